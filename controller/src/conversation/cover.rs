//! Whether a line of the screen says what a message says.
//!
//! Constraints: a line that is covered has all its letters and digits, in their order and next to each other, in one
//! message of the agent that ran when it was printed. Agents wrap, indent, frame and bullet what they print and take the
//! marks of markdown away; none of these are letters or digits, so texts are compared by those alone, folded.
//!
//! That alone would let a short line (`Yes`, `Done`) vanish because the word stands in some long message. So a line
//! counts
//! - anywhere in what was said before it or in the next few messages, if it is long;
//! - with the line below it, if they are long together and stand there next to each other;
//! - if it is short, only near the message that the screen showed last, or that was said at that time, and there only as
//!   a whole line of the message or right behind what the line before it covered;
//! - anywhere before, too, if it is the first line of what a person said and has the mark of a prompt before it: resumed
//!   and rolled-back sessions are drawn again from their beginning.
//!
//! A printed tool call begins with a word of the agent's own (`Ran cargo test`), which its message does not have.
//!
//! Operation: of each message the squeezed text is kept, with a set of its 8-byte pieces as a filter, so that a line that
//! stands nowhere costs a few bit tests per message and no search.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use jiff::SignedDuration;
use wa_proto::{Role, Timestamp};

use crate::store::{squeeze, weight};

/// From this weight on a line is long: nobody prints so much by chance.
const LONG: usize = 24;
/// After the word of the agent's own, so much of a tool call must follow.
const CALL: usize = 6;
/// Messages that are kept after they were given, and bytes of their squeezed texts.
const KEPT: usize = 1024;
const KEPT_BYTES: usize = 2 * 1024 * 1024;
/// Messages before and after a place that count as near it.
const NEAR_BEFORE: usize = 2;
const NEAR_AFTER: usize = 4;
/// Lines without words of one message that are known.
const MARKS: usize = 32;
/// Bytes of a piece.
const PIECE: usize = 8;
/// How long after a line the message may be dated that it renders: long answers are printed while they are made.
pub(super) const AHEAD: SignedDuration = SignedDuration::from_mins(15);

/// What agents print before a tool call.
const CALL_WORDS: &[&str] = &[
    "ran",
    "running",
    "run",
    "explored",
    "exploring",
    "read",
    "reading",
    "list",
    "listed",
    "search",
    "searched",
    "edited",
    "added",
    "deleted",
    "called",
    "calling",
    "updated",
    "update",
    "wrote",
    "write",
    "bash",
    "shell",
    "you ran",
];

/// A message as it is compared.
pub(crate) struct Spoken {
    agent: String,
    role: Role,
    text: String,
    filter: Filter,
    /// The squeezed lines that are short.
    lines: Vec<String>,
    marks: Vec<String>,
}

impl Spoken {
    pub(crate) fn of(agent: &str, role: Role, text: &str) -> Self {
        let (mut lines, mut all_marks) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let squeezed = squeeze(line);
            if squeezed.is_empty() {
                let marks = marks(line);
                if !marks.is_empty() && all_marks.len() < MARKS && !all_marks.contains(&marks) {
                    all_marks.push(marks);
                }
            } else if weight(&squeezed) < LONG {
                lines.push(squeezed);
            }
        }
        let text = squeeze(text);
        let filter = Filter::of(text.as_bytes());
        let agent = agent.to_owned();
        Self { agent, role, filter, text, lines, marks: all_marks }
    }

    /// Bytes that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Whether this is its first line, or all of it.
    fn begins_with(&self, line: &str) -> bool {
        self.text.starts_with(line)
            && (self.text == line || self.lines.first().is_some_and(|first| first == line))
    }

    /// Where the first place of a text from `from` on ends.
    fn find(&self, text: &Text, from: usize) -> Option<usize> {
        if !self.filter.may_hold(text) {
            return None;
        }
        let at = self.text.get(from..)?.find(&text.text)?;
        Some(from + at + text.text.len())
    }
}

/// A line as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Words {
    /// Squeezed, and squeezed without its first word, if that is one that agents print before a tool call.
    Some(Line),
    /// No letter or digit.
    None(Plain),
}

/// A line without words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plain {
    /// What there is that is neither blank nor decoration.
    pub(super) marks: String,
    /// The end of a frame that begins above, the beginning of one that ends below.
    pub(super) ends: bool,
    pub(super) begins: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    all: Text,
    call: Option<Text>,
    /// It begins with the mark that agents put before what a person said.
    prompt: bool,
}

/// A squeezed text that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Text {
    text: String,
    weight: usize,
    /// Hashes of pieces of it.
    pieces: Vec<u64>,
}

impl Text {
    fn of(text: String) -> Self {
        let pieces = text.as_bytes().chunks_exact(PIECE).map(hash).collect();
        Self { weight: weight(&text), pieces, text }
    }
}

fn hash(piece: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(piece)
}

impl Words {
    pub(super) fn of(text: &str) -> Self {
        let all = squeeze(text);
        if all.is_empty() {
            let ends = text.contains(['╰', '╯', '└', '┘', '╚', '╝']);
            let begins = text.contains(['╭', '╮', '┌', '┐', '╔', '╗']);
            return Self::None(Plain { marks: marks(text), ends, begins });
        }
        let call = CALL_WORDS.iter().find_map(|word| {
            let rest = text.trim_start_matches(|c: char| !c.is_alphanumeric());
            let head = rest.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word))?;
            let rest = &rest[head.len()..];
            if rest.starts_with(|c: char| c.is_alphanumeric()) { None } else { Some(Text::of(squeeze(rest))) }
        });
        let prompt = text.trim_start_matches([' ', '│', '┃', '|']).starts_with(['›', '❯', '>']);
        Self::Some(Line { all: Text::of(all), call: call.filter(|rest| rest.weight >= CALL), prompt })
    }
}

/// What is left of a line without words when blanks, frames, rules and bullets are gone.
fn marks(text: &str) -> String {
    let decoration = |c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '\u{2500}'
                    ..='\u{25ff}' | '⎿' | '✦' | '✻' | '✳' | '∙' | '•' | '·' | '›' | '»' | '❯' | '>'
            )
            || matches!(c, '|' | '-' | '–' | '—' | '*' | '_' | '=' | '~' | '#' | '`' | '+')
    };
    text.chars().filter(|c| !decoration(*c)).take(64).collect()
}

/// Pieces of a text as a set with false members, but no false strangers.
struct Filter {
    bits: Vec<u64>,
}

impl Filter {
    fn of(text: &[u8]) -> Self {
        let mut filter = Self { bits: vec![0; (text.len() / 8).next_power_of_two()] };
        for piece in text.windows(PIECE) {
            let (word, bit) = filter.place(hash(piece));
            filter.bits[word] |= bit;
        }
        filter
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        // The number of words is a power of two.
        let word = (hash >> 6) as usize & (self.bits.len() - 1);
        (word, 1 << (hash & 63))
    }

    /// Whether the text may stand there.
    fn may_hold(&self, text: &Text) -> bool {
        text.pieces.iter().all(|piece| {
            let (word, bit) = self.place(*piece);
            self.bits[word] & bit != 0
        })
    }
}

/// Where the line before stood.
#[derive(Clone, Copy)]
struct Found {
    /// Number of the message, from the first ever.
    message: usize,
    /// Where what was found ends in its squeezed text.
    end: usize,
}

/// The messages that lines are compared with.
#[derive(Default)]
pub(super) struct Cover {
    known: VecDeque<(Timestamp, Spoken)>,
    bytes: usize,
    /// Number of the first in `known`.
    first: usize,
    /// How many of `known` were given.
    given: usize,
    last: Option<Found>,
}

impl Cover {
    pub(super) fn add(&mut self, at: Timestamp, spoken: Spoken) {
        self.bytes += spoken.bytes();
        self.known.push_back((at, spoken));
    }

    /// The next message has been given. What was given long ago is forgotten.
    pub(super) fn given(&mut self) {
        self.given += 1;
        while self.given > KEPT || (self.bytes > KEPT_BYTES && self.given > 1) {
            let Some((_, old)) = self.known.pop_front() else { break };
            self.bytes -= old.bytes();
            self.first += 1;
            self.given -= 1;
        }
    }

    /// Something is missing between the line before and the next.
    pub(super) fn broke_off(&mut self) {
        self.last = None;
    }

    /// The time of the message that says what this line says.
    pub(super) fn find(&mut self, line: &Line, agent: &str, time: Timestamp) -> Option<Timestamp> {
        let found = self.place_of(line, agent, time)?;
        self.last = Some(found);
        self.known.get(found.message.checked_sub(self.first)?).map(|(at, _)| *at)
    }

    /// As [`Self::find`], for a line that is too short to count by itself, with the line below it.
    pub(super) fn find_with_next(
        &mut self,
        line: &Line,
        next: &Line,
        agent: &str,
        time: Timestamp,
    ) -> Option<Timestamp> {
        let both = Line {
            all: Text::of(format!("{}{}", line.all.text, next.all.text)),
            call: None,
            prompt: line.prompt,
        };
        let at = self.find(&both, agent, time)?;
        // The next is found behind this one.
        if let Some(last) = &mut self.last {
            last.end -= next.all.text.len();
        }
        Some(at)
    }

    /// Whether the message that was found last has a line of these marks.
    pub(super) fn has_marks(&self, marks: &str) -> bool {
        let last = self.last.and_then(|last| self.known.get(last.message.checked_sub(self.first)?));
        last.is_some_and(|(_, spoken)| spoken.marks.iter().any(|known| known == marks))
    }

    fn place_of(&self, line: &Line, agent: &str, time: Timestamp) -> Option<Found> {
        // Messages dated up to the time of the line, as places in `known`.
        let by_time = self.known.partition_point(|(at, _)| *at <= time);
        let last = self.last.and_then(|last| last.message.checked_sub(self.first));
        let of_agent = |at: &usize| self.known[*at].1.agent == agent;
        let to = time.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
        let known = self.known.partition_point(|(at, _)| *at <= to);
        let near = near_last_then_time(last, by_time, known);
        for at in near.filter(of_agent) {
            if let Some(end) = self.near(at, line) {
                return Some(Found { message: self.first + at, end });
            }
        }
        let known = known.min(by_time + NEAR_AFTER);
        (0..known).rev().filter(of_agent).find_map(|at| {
            let (_, spoken) = &self.known[at];
            let prompt = line.prompt && spoken.role == Role::User && spoken.begins_with(&line.all.text);
            let found = || spoken.find(&line.all, 0);
            let end =
                if prompt { Some(line.all.text.len()) } else { (line.all.weight >= LONG).then(found)? };
            Some(Found { message: self.first + at, end: end? })
        })
    }

    /// Where the line ends in a message that is near.
    fn near(&self, at: usize, line: &Line) -> Option<usize> {
        let (_, known) = &self.known[at];
        let from = match self.last {
            Some(last) if last.message == self.first + at => last.end,
            _ => 0,
        };
        let all = &line.all.text;
        if from > 0 && known.text.get(from..).is_some_and(|rest| rest.starts_with(all)) {
            return Some(from + all.len());
        }
        let whole = known.text == *all || known.lines.contains(all);
        let counts = whole || line.all.weight >= LONG;
        let found = || known.find(&line.all, from).or_else(|| known.find(&line.all, 0));
        let call = || known.find(line.call.as_ref().filter(|_| known.role == Role::ToolCall)?, 0);
        counts.then(found).flatten().or_else(call)
    }
}

/// Places near the last find, then near the time, the nearest to the last find first; one may come twice.
fn near_last_then_time(last: Option<usize>, by_time: usize, known: usize) -> impl Iterator<Item = usize> {
    let around_last = last.into_iter().flat_map(move |last| {
        (last..(last + NEAR_AFTER + 1).min(known)).chain((last.saturating_sub(NEAR_BEFORE)..last).rev())
    });
    let time = by_time.saturating_sub(NEAR_BEFORE)..(by_time + NEAR_AFTER).min(known);
    around_last.chain(time)
}
