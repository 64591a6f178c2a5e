//! Settled lines that went by between two looks: what of them is news.
//!
//! Constraints. A frame is looked at every few milliseconds at best; an agent that prints fast, a flood, a node that was away
//! let lines go by that no frame showed. What a frame showed is the frame's to tell: it has composer, boxes and regions. So
//! only lines count that no frame showed, and those whose match left the screen before it had stood for its time. Nothing
//! may be told twice, also when the row settles much later, and history must stay silent: what stood above at first sight,
//! what a new process replays, what was re-wrapped into another layout, what stands above a submitted prompt. What other
//! programs print between two lines of the agent is not the agent's.
//!
//! Format. Rows are known by their stable numbers within a layout. Rows above the live area are taken as shown; below it an
//! agent draws again and again, and what settles there later reads otherwise. Of the alternate screen, whose rows have no
//! numbers, nothing is read. What must survive a restart is the number of the row after the last that was shown.
//!
//! Operation. Lines are gathered, with the rows above them for what a rule asks of its neighbours, and run through the rules
//! when there are many and before each look; matches wait for the look, which knows the turn and whether a prompt has come.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use wa_proto::{AgentKind, EventKind, Frame, FrameRow};

use crate::aside::Definitions;
use crate::look::Look;
use crate::matcher::{PaneMatcher, Running, Turn};
use crate::observation::{Detected, Facts};
use crate::presence::{Match, Moment};
use crate::process::Foreground;
use crate::reading;
use crate::rules::{Engine, Excerpt, Hit, Rearm, rows_of};
use crate::shadow;

/// Rows and bytes that are gathered before rules run over them.
const MOST_ROWS: usize = 512;
const MOST_BYTES: usize = 64 << 10;
/// Of a longer line the beginning is read, in bytes.
const LINE_BYTES: usize = 4096;
/// Rows that are kept to stand above the next ones.
const ABOVE: usize = 32;
/// A match may go on for so many rows.
const BELOW: usize = 12;
/// Matches that wait for a look; the oldest go first.
const MOST_FOUND: usize = 32;
/// Ranges of rows that were shown; with more, everything above the second is taken as shown.
const MOST_SHOWN: usize = 32;

/// A line that has settled: it will not change any more, or stood unchanged for a while.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    pub layout: u64,
    /// Stable number of its first row.
    pub row: i64,
    /// Soft-wrapped rows that it takes.
    pub rows: u32,
    /// Not redacted.
    pub text: &'a str,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Passing {
    shown: Shown,
    rows: Frame,
    /// Stable number of each of the rows.
    numbers: Vec<i64>,
    bytes: usize,
    /// The first row that has not been read yet.
    from: usize,
    found: Vec<Found>,
    /// The process table did not speak when they came.
    unsure: bool,
    /// Whose rules found it.
    by: Option<Arc<Definitions>>,
}

#[derive(Debug, Clone)]
struct Found {
    hit: Hit,
    row: i64,
}

/// Which rows a frame has shown.
#[derive(Debug, Clone, Default)]
struct Shown {
    layout: Option<u64>,
    /// All rows before this one were shown, or are history.
    before: i64,
    ranges: VecDeque<Range<i64>>,
}

/// What stands below the lines that were gathered.
#[derive(Clone, Copy)]
enum Below<'a> {
    /// This frame, unless rows are missing between.
    Frame(&'a Frame),
    /// The next lines, which have not come yet.
    Unknown,
    /// Other rows than those that followed.
    Nothing,
}

impl Shown {
    fn has(&self, row: i64) -> bool {
        row < self.before || self.ranges.iter().any(|range| range.contains(&row))
    }

    fn end(&self) -> i64 {
        self.ranges.back().map_or(self.before, |last| last.end)
    }

    /// A frame shows these rows. `history`: what stands above them is.
    fn note(&mut self, layout: u64, rows: Range<i64>, history: bool) {
        if history || self.layout != Some(layout) {
            *self = Self { layout: Some(layout), before: rows.end, ranges: VecDeque::new() };
            return;
        }
        let known = self.end();
        match self.ranges.back_mut() {
            Some(last) if (last.start..=last.end).contains(&rows.start) => last.end = known.max(rows.end),
            None if rows.start <= known => self.before = known.max(rows.end),
            _ if rows.end <= known => {}
            _ => self.ranges.push_back(rows),
        }
        if self.ranges.len() > MOST_SHOWN {
            self.before = self.ranges.pop_front().map_or(self.before, |first| first.end);
        }
    }
}

impl Passing {
    /// After a restart: the layout, and the row after the last that was shown.
    pub(crate) fn restored(shown: Option<(i64, i64)>) -> Self {
        let shown = shown.map(|(layout, before)| Shown {
            layout: Some(layout.cast_unsigned()),
            before,
            ranges: VecDeque::new(),
        });
        Self { shown: shown.unwrap_or_default(), ..Self::default() }
    }

    pub(crate) fn saved(&self) -> Option<(i64, i64)> {
        Some((self.shown.layout?.cast_signed(), self.shown.end()))
    }

    /// Rows are missing from here on, or are not the agent's.
    fn break_off(&mut self) {
        self.rows.rows.clear();
        self.numbers.clear();
        (self.bytes, self.from) = (0, 0);
    }

    fn push(&mut self, line: Settled<'_>) {
        let text = &line.text[..line.text.floor_char_boundary(LINE_BYTES)];
        let rows = if line.rows > 1 { rows_of(text, self.rows.cols) } else { vec![FrameRow::plain(text)] };
        for (row, number) in rows.into_iter().zip(line.row..) {
            self.bytes += row.text.len();
            self.rows.rows.push(row);
            self.numbers.push(number);
        }
    }

    fn is_full(&self) -> bool {
        self.numbers.len() >= MOST_ROWS || self.bytes >= MOST_BYTES
    }

    /// Runs the rules over what has not been read.
    fn read(&mut self, engine: &Engine, (agent, version): (&AgentKind, &str), below: Below<'_>) {
        let (gathered, from) = (self.numbers.len(), self.from);
        if gathered <= from {
            return;
        }
        let next = self.numbers.last().map_or(0, |last| last.saturating_add(1));
        let below = match below {
            Below::Frame(frame) if frame.first_row > next => Below::Unknown,
            below => below,
        };
        if let Below::Frame(frame) = below {
            let skip = usize::try_from(next.saturating_sub(frame.first_row)).unwrap_or(usize::MAX);
            self.rows.rows.extend(frame.rows.iter().skip(skip).take(BELOW).cloned());
        }
        // The rest of a match may still be on its way.
        let until = match below {
            Below::Unknown => gathered.saturating_sub(BELOW).max(from),
            Below::Frame(_) | Below::Nothing => gathered,
        };
        let excerpt = Excerpt::lines(&self.rows, from, agent, version);
        let prompt = excerpt.prompt().filter(|row| (from..gathered).contains(row));
        if prompt.is_some() || self.by.as_ref().is_none_or(|by| !Arc::ptr_eq(by, engine.definitions())) {
            self.found.clear();
        }
        self.by = Some(Arc::clone(engine.definitions()));
        for hit in engine.hits(&excerpt.scene()) {
            if let Some(row) = self.numbers.get(hit.rows.start).filter(|_| hit.rows.start < until) {
                self.found.push(Found { hit, row: *row });
            }
        }
        let excess = self.found.len().saturating_sub(MOST_FOUND);
        self.found.drain(..excess);
        self.rows.rows.truncate(gathered);
        self.from = until;
        self.forget_above();
    }

    /// Keeps what may stand above the next rows.
    fn forget_above(&mut self) {
        let gone = self.from.saturating_sub(ABOVE);
        self.rows.rows.drain(..gone);
        self.numbers.drain(..gone);
        self.from -= gone;
        self.bytes = self.rows.rows.iter().map(|row| row.text.len()).sum();
    }
}

impl PaneMatcher {
    /// A line has settled, while this program held the terminal. True: no frame showed it, and a look may tell of it.
    pub fn settled(&mut self, engine: &Engine, line: Settled<'_>, foreground: &Foreground) -> bool {
        let running = self.running.as_ref().filter(|agent| match foreground {
            Foreground::Agent { kind, pid, .. } => {
                *kind == agent.kind && (agent.pid == *pid || agent.pid == 0 || *pid == 0)
            }
            Foreground::Unknown => agent.pid != 0,
            _ => false,
        });
        let running = running.filter(|_| self.passing.shown.layout == Some(line.layout));
        let Some(Running { kind, version, .. }) = running else {
            self.passing.break_off();
            return false;
        };
        if self.passing.numbers.last().is_some_and(|last| last.checked_add(1) != Some(line.row)) {
            self.passing.read(engine, (kind, version), Below::Nothing);
            self.passing.break_off();
        }
        self.passing.unsure |= *foreground == Foreground::Unknown;
        self.passing.push(line);
        if self.passing.is_full() {
            self.passing.read(engine, (kind, version), Below::Unknown);
        }
        !self.passing.shown.has(line.row)
    }

    /// Lines were lost: what follows is read by itself, and nobody knows what it stands below.
    pub fn lines_lost(&mut self) {
        self.passing.break_off();
        self.passing.found.clear();
    }

    /// Lines that came before the process table spoke are the agent's if it holds the terminal when it does.
    pub(crate) fn attest_lines(&mut self, foreground: &Foreground) {
        let holds = |pid: u32| self.running.as_ref().is_some_and(|agent| agent.pid == pid);
        match foreground {
            _ if !self.passing.unsure => {}
            Foreground::Unknown => return,
            foreground if foreground.agent_pid().is_some_and(holds) => {}
            _ => self.lines_lost(),
        }
        self.passing.unsure = false;
    }

    /// Tells what went by since the last look. `begins`: everything up to here is history.
    pub(crate) fn passed_by(
        &mut self,
        engine: &Engine,
        (frame, facts): (&Frame, &Facts),
        (seen, turn): (&Look, &Turn),
        begins: bool,
        now: Timestamp,
    ) -> (Vec<Detected>, Vec<Detected>) {
        let mut passing = mem::take(&mut self.passing);
        let agent = self.running.as_ref().or(self.leaving.as_ref().map(|leaving| &leaving.agent));
        let agent = agent.map(|agent| (agent.kind.clone(), agent.version.clone(), agent.turns));
        let (mut events, mut shadowed) = (Vec::new(), Vec::new());
        if let Some((kind, version, turns)) = agent.filter(|_| !passing.unsure) {
            passing.read(engine, (&kind, &version), Below::Frame(frame));
            let moment = Moment { turn: turns, ..self.moment(seen, turn, now) };
            // Before its first turn a process only replays; what stands above a prompt is over.
            let news = turns > 0 && !begins && seen.prompt.is_none();
            for Found { hit, row } in mem::take(&mut passing.found) {
                let unseen = !passing.shown.has(row);
                if !news || engine.rule(hit.rule).is_none_or(|rule| self.aside.is_new(rule)) {
                    continue;
                }
                let told = self.tells_line(engine, seen, &hit, unseen, &moment);
                let event = || Detected {
                    agent: Some(kind.clone()),
                    row: None,
                    stable_row: Some(row),
                    ..reading::detected(engine, seen, &hit)
                };
                match told {
                    Tells::Nothing => {}
                    Tells::InShadow => shadowed.push(shadow::without_secrets(event())),
                    Tells::Event => {
                        let mut event = event();
                        self.resets.note(&mut event, facts.zone.as_ref(), now);
                        if !self.was_warned(&event, seen) && !self.testimonies.confirms(event.kind, turns) {
                            events.push(event);
                        }
                    }
                }
            }
        }
        passing.look(frame, facts.layout, seen, begins);
        self.passing = passing;
        (events, shadowed)
    }

    /// Whether a match in a line is news.
    fn tells_line(
        &mut self,
        engine: &Engine,
        seen: &Look,
        hit: &Hit,
        unseen: bool,
        moment: &Moment,
    ) -> Tells {
        let Some(rule) = engine.rule(hit.rule) else { return Tells::Nothing };
        if !reading::is_witnessed(engine, seen, hit) {
            return Tells::Nothing;
        }
        let found = Match { key: hit.key, rearm: rule.text.rearm, cooldown: rule.text.cooldown, hold: 0 };
        if rule.shadow {
            let told = unseen && self.aside.shadow.appears(&found, moment);
            return if told { Tells::InShadow } else { Tells::Nothing };
        }
        let told = match rule.text.rearm {
            Rearm::Compaction => {
                unseen && hit.event == EventKind::ContextCompacted && self.compaction.passed()
            }
            _ => {
                let there = seen.hits.iter().any(|other| other.key == hit.key);
                let unseen = self.presences.was_cut_short(hit.key, there) || unseen;
                unseen && self.presences.appears(&found, moment)
            }
        };
        if told { Tells::Event } else { Tells::Nothing }
    }
}

enum Tells {
    Nothing,
    InShadow,
    Event,
}

impl Passing {
    /// Notes what a look has shown.
    fn look(&mut self, frame: &Frame, layout: u64, seen: &Look, begins: bool) {
        self.rows.cols = frame.cols;
        if self.shown.layout != Some(layout) {
            self.break_off();
        }
        if frame.alternate {
            self.shown = Shown { layout: Some(layout), before: i64::MAX, ranges: VecDeque::new() };
            return;
        }
        let cursor = usize::try_from(frame.cursor.row).unwrap_or(usize::MAX);
        let rows = seen.view.live_top.unwrap_or(cursor).min(frame.rows.len());
        let end = frame.first_row.saturating_add(i64::try_from(rows).unwrap_or(i64::MAX));
        self.shown.note(layout, frame.first_row..end, begins);
    }
}
