//! What a person would have read of a recorded session.
//!
//! - *Primary screen*: every logical line that was ever printed, as it last read, except those inside the agent's live area
//!   at the end. What the multiplexer still holds in the end is taken from its own answer. And before it every line that
//!   stood for a second outside the live area and is not there in the end, because the screen was cleared or the place
//!   written over; these are found with a terminal model that is shown the same pieces at the same times. What was printed
//!   again in blocks of five such lines or more may be read once or twice: it counts as the log has it.
//! - *Alternate screen*, which has no history: of every text that stood for a second outside the live area, as often as
//!   it stood there at the same time, at most.
//!
//! Lines without a letter or a digit (rules, frames, blank ones) count nowhere; blanks at the ends do not count either.
//! Where the live area begins the node's own matcher says.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use wa_match::{Engine, Facts, Foreground, PaneMatcher};
use wa_mux::codec;
use wa_proto::{AgentKind, Timestamp};
use wa_screen::terminal::{Size, Terminal};

use super::sessions::{Play, Session};

/// A text that stood so long was read.
const STOOD: Duration = Duration::from_secs(1);
/// As many lines as these, printed again, are a transcript printed again. The node asks for eight, blank ones included.
const REPRINT: usize = 5;
/// As the multiplexer's.
const SCROLLBACK: usize = 3500;

/// A line as it is compared: blanks are one, ends are cut; `None` without a letter or digit.
pub(crate) fn content(text: &str) -> Option<String> {
    text.chars().any(char::is_alphanumeric).then(|| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A line to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToRead {
    pub(crate) text: String,
    /// It stood there before, as did its neighbours: once is enough.
    pub(crate) again: bool,
}

/// See the head of the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// Lines of the final scrollback, outside the live area, in order.
    pub(crate) last: Vec<ToRead>,
    /// Lines of the primary screen that were gone or written over by then, in the order in which they were read.
    pub(crate) cleared: Vec<ToRead>,
    /// Texts of alternate screens, each as often as it stood there at the same time.
    pub(crate) alternate: Vec<String>,
}

/// Rows joined where they wrap, each line with its first row.
fn logical<'a>(rows: impl Iterator<Item = &'a codec::Row>) -> Vec<(i64, String)> {
    let mut lines: Vec<(i64, String)> = Vec::new();
    let mut next = None;
    for row in rows {
        match lines.last_mut() {
            Some((_, text)) if next == Some(row.index) => text.push_str(&row.text),
            _ => lines.push((row.index, row.text.clone())),
        }
        next = row.wrapped.then_some(row.index + 1);
    }
    lines
}

/// The lines with a letter or digit.
fn contents<'a>(rows: impl Iterator<Item = &'a codec::Row>) -> Vec<(i64, String)> {
    logical(rows).into_iter().filter_map(|(row, text)| Some((row, content(&text)?))).collect()
}

/// Marks the blocks that stand there a second time.
fn marked(lines: Vec<String>) -> Vec<ToRead> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut again = vec![false; lines.len()];
    for (at, line) in lines.iter().enumerate() {
        let before = places.entry(line).or_default();
        let same =
            |from: &usize| lines[*from..at].iter().zip(&lines[at..]).take_while(|(a, b)| a == b).count();
        let longest = before.iter().map(same).max().unwrap_or(0);
        if longest >= REPRINT {
            again[at..at + longest].fill(true);
        }
        before.push(at);
    }
    lines.into_iter().zip(again).map(|(text, again)| ToRead { text, again }).collect()
}

/// A terminal model that was shown the pieces of a session at their times.
#[derive(Debug)]
pub(crate) struct Played {
    terminal: Terminal,
    matcher: PaneMatcher,
    /// Every row of the primary screen, as it last read.
    rows: BTreeMap<i64, codec::Row>,
    noted: u64,
    /// First row of the live area on the primary screen.
    live: i64,
    /// Lines on the primary screen, and since when they stand there.
    standing: HashMap<(i64, String), Duration>,
    /// Those that have stood long enough, in this order.
    read: Vec<(i64, String)>,
    known: HashSet<(i64, String)>,
    stood: Stood,
}

impl Played {
    pub(crate) fn of(session: &Session) -> anyhow::Result<Self> {
        let size = Size { cols: session.cols, rows: session.rows };
        let mut played = Self {
            terminal: Terminal::new(size, SCROLLBACK),
            matcher: PaneMatcher::new(),
            rows: BTreeMap::new(),
            noted: 0,
            live: i64::MAX,
            standing: HashMap::new(),
            read: Vec::new(),
            known: HashSet::new(),
            stood: Stood::default(),
        };
        let play = Play::of(&session.path)?;
        let mut now = Duration::ZERO;
        for (piece, pause) in &play.pieces {
            let foreground = if play.is_agent(piece.start) {
                let kind = AgentKind::new(session.agent.clone());
                Foreground::Agent { kind, version: String::new(), pid: 1 }
            } else {
                Foreground::Shell { name: "bash".into() }
            };
            let facts = Facts { foreground, ..Facts::default() };
            played.look(&play.bytes[piece.clone()], &facts, now);
            now += *pause;
            played.look(&[], &facts, now);
        }
        Ok(played)
    }

    fn look(&mut self, bytes: &[u8], facts: &Facts, now: Duration) {
        self.terminal.advance(bytes);
        let frame = self.terminal.frame();
        let time = Timestamp::UNIX_EPOCH + now;
        let seen = self.matcher.observe(Engine::builtin(), &frame, facts, time);
        if self.terminal.is_alternate() {
            let end = seen.live_top.unwrap_or(usize::MAX).min(frame.rows.len());
            self.stood.note(frame.rows[..end].iter().filter_map(|row| content(&row.text)), now);
            return;
        }
        self.live = seen.live_top.map_or(i64::MAX, |at| frame.first_row.saturating_add_unsigned(at as u64));
        for range in self.terminal.changed_since(self.noted) {
            self.rows.extend(self.terminal.rows(range).iter().map(|row| (row.index, row.to_wire())));
        }
        self.noted = self.terminal.seqno();
        let top = self.terminal.dimensions().physical_top;
        let lines = contents(self.rows.range(top..self.live.max(top)).map(|(_, row)| row));
        let mut standing = HashMap::new();
        for line in lines {
            let since = self.standing.get(&line).copied().unwrap_or(now);
            if now - since >= STOOD && self.known.insert(line.clone()) {
                self.read.push(line.clone());
            }
            standing.insert(line, since);
        }
        self.standing = standing;
    }

    /// `held`: what the multiplexer holds in the end.
    pub(crate) fn conclude(&self, held: &[codec::Row]) -> Reading {
        // Of an alternate screen's rows the numbers mean nothing; the primary one below it is the model's then.
        let held = if self.terminal.is_alternate() { &[] } else { held };
        let mut rows = self.rows.clone();
        rows.extend(held.iter().map(|row| (row.index, row.clone())));
        let end = contents(rows.values());
        let there: HashSet<&(i64, String)> = end.iter().collect();
        let mut all: Vec<String> =
            self.read.iter().filter(|line| !there.contains(line)).map(|(_, text)| text.clone()).collect();
        let cleared = all.len();
        all.extend(end.iter().filter(|(row, _)| *row < self.live).map(|(_, text)| text.clone()));
        let mut cleared_and_last = marked(all);
        let last = cleared_and_last.split_off(cleared);
        Reading { last, cleared: cleared_and_last, alternate: self.stood.texts() }
    }
}

/// What stood on alternate screens.
#[derive(Debug, Default)]
struct Stood {
    /// Texts of the last frame, and since when they stand.
    now: Vec<(String, Duration)>,
    most: BTreeMap<String, usize>,
}

impl Stood {
    fn note(&mut self, texts: impl Iterator<Item = String>, now: Duration) {
        let mut before: HashMap<String, Vec<Duration>> = HashMap::new();
        for (text, since) in self.now.drain(..) {
            before.entry(text).or_default().push(since);
        }
        let mut counts: HashMap<String, usize> = HashMap::new();
        for text in texts {
            let since = before.get_mut(&text).and_then(Vec::pop).unwrap_or(now);
            if now - since >= STOOD {
                *counts.entry(text.clone()).or_default() += 1;
            }
            self.now.push((text, since));
        }
        for (text, count) in counts {
            let most = self.most.entry(text).or_default();
            *most = (*most).max(count);
        }
    }

    fn texts(&self) -> Vec<String> {
        self.most.iter().flat_map(|(text, count)| std::iter::repeat_n(text.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_block_that_is_printed_again_is_marked_and_a_single_line_is_not() {
        let texts = "a b c d e between a b c d e c".split(' ').collect::<Vec<_>>();
        let again: Vec<bool> = marked(lines(&texts)).iter().map(|line| line.again).collect();
        let wanted: Vec<bool> = (0..12).map(|at| (6..11).contains(&at)).collect();
        assert_eq!(again, wanted);
    }

    #[test]
    fn rules_and_blanks_are_no_content() {
        assert_eq!(content("  ╭────╮ "), None);
        assert_eq!(content(" │  two   words │").as_deref(), Some("│ two words │"));
    }

    #[test]
    fn wrapped_rows_are_one_line() {
        let mut rows: Vec<codec::Row> = (5..8).map(|n| codec::Row::plain(n, "abc")).collect();
        rows[0].wrapped = true;
        assert_eq!(logical(rows.iter()), [(5, "abcabc".to_owned()), (7, "abc".to_owned())]);
    }

    #[test]
    fn what_stood_for_a_second_was_read_and_a_spinner_was_not() {
        let mut stood = Stood::default();
        for tick in 0..30_u32 {
            let texts = lines(&["answer", "answer", &format!("working {tick}")]);
            stood.note(texts.into_iter(), Duration::from_millis(100) * tick);
        }
        assert_eq!(stood.texts(), ["answer", "answer"]);
    }
}
