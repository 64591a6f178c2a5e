//! One pane: inputs in, outputs out.
//!
//! The parts have their rules in their own modules: rows and frames in [`crate::grid`], lines of the primary screen in
//! [`crate::primary`], the alternate one in [`crate::alternate`], wiped pages in [`crate::page`], column changes in
//! [`crate::resync`], reprints in [`crate::repaint`], the live area in [`crate::live`], questions in [`crate::fetch`].
//! Here they are kept in step. What a push means is in `push`, what becomes a record in `record`.

use std::collections::VecDeque;
use std::ops::Range;

use wa_mux::codec::{RenderChanges, Row};
use wa_proto::{Frame, Gap, GapCause, Line, PaneRef, Repaint, Timestamp};

use crate::alternate::Alternate;
use crate::clock::Clock;
use crate::document::Document;
use crate::fetch::{Due, Fetcher, Loss, MAX_ROWS};
use crate::grid::{Dims, Grid, frame_row};
use crate::live::Live;
use crate::page::Turns;
use crate::position::{LINE_HASHES, Position, Saved, SavedPrimary};
use crate::primary::Primary;
use crate::repaint::Repaints;

/// How long a screen is quiet before it is read a second time, in microseconds.
pub(crate) const QUIET: u64 = 50_000;
/// Entries that a position holds at most.
const MAX_SAVED_ENTRIES: usize = 256;

/// What happened to a pane.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A push of the server.
    Changes(RenderChanges),
    /// The answer to [`Output::Fetch`]. May lack rows, hold others, or hold rows twice.
    Rows(Vec<Row>),
    /// There will be no answer to [`Output::Fetch`].
    FetchFailed,
    /// Time has passed.
    Tick,
    /// The first stable row of the agent's live area (spinner, composer, footer, dialog), which is not logged; `None`:
    /// there is none. Holds until the next.
    LiveTop(Option<i64>),
    /// Which agent process runs in the foreground, as any number that another process will not have (made of pid and
    /// start time, say); `None`: none.
    AgentProcess(Option<u64>),
    /// What stands on the screen, and what of it is still to be read, is not to be logged: it counts as logged from now on.
    PassOver,
    /// The connection is gone, the pane perhaps not. The next push is the first of a new connection.
    Detached,
    /// The pane is gone. What stood on its screen outside the live area is handed out.
    Removed(Removal),
}

/// Why a pane is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Its program ended, or it was closed.
    Exit,
    /// The mux server process ended.
    MuxLost,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Ask the server for these rows: ascending, not empty, within what it held at the last push, 500 rows at most.
    Fetch(Vec<Range<i64>>),
    Line {
        layout: u64,
        line: Line,
    },
    Gap(Gap),
    Repaint(Repaint),
    /// [`PaneScreen::frame`] differs from before. At most once per call.
    FrameChanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// For servers of codec 42. They may forget to report a change: the viewport is read once more when it has been
    /// quiet for 50 ms. And rows of their alternate screen count on when it scrolls.
    pub codec_42: bool,
}

/// How the transcript came to where it is: the cause of a gap before the next push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    First,
    Following,
    /// Nobody reads.
    Detached,
    /// The first push of a new connection.
    Reattached,
    Resumed,
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// No push yet.
    New,
    Resumed(Box<Position>),
    Following,
    Gone,
}

/// The primary screen as it was, and its tail.
#[derive(Debug)]
pub(crate) struct Resting {
    pub(crate) primary: Primary,
    pub(crate) tail: VecDeque<(i64, u64)>,
    /// Nothing is logged of what was shown since.
    pub(crate) unread: bool,
}

/// The screen and the transcript of one pane.
#[derive(Debug)]
pub struct PaneScreen {
    pub(crate) pane: PaneRef,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) stage: Stage,
    pub(crate) reading: Reading,
    pub(crate) layout: u64,
    pub(crate) primary: Primary,
    pub(crate) alternate: Option<Alternate>,
    /// What was logged of alternate screens that are gone.
    pub(crate) document: Document,
    /// The primary screen before a push that may have shown the alternate one.
    pub(crate) before_switch: Option<Box<Resting>>,
    /// Row and hash of the last logical lines above `primary.next`, oldest first.
    pub(crate) tail: VecDeque<(i64, u64)>,
    /// Row number to go on at when content does not tell.
    pub(crate) trusted: Option<i64>,
    pub(crate) repaints: Repaints,
    pub(crate) fetcher: Fetcher,
    pub(crate) agent: Option<u64>,
    pub(crate) live: Live,
    pub(crate) turns: Turns,
    /// Rows of a page that may have been wiped, until they are compared.
    pub(crate) doubtful: Option<Range<i64>>,
    pub(crate) mouse_grabbed: bool,
    pub(crate) reread_at: Option<u64>,
    pub(crate) frame_changed: bool,
    pub(crate) wake: Option<u64>,
    pub(crate) out: Vec<Output>,
}

impl PaneScreen {
    /// A pane that is seen for the first time: what the server still holds is logged, then it is followed.
    pub fn new(pane: PaneRef, options: Options) -> Self {
        Self {
            pane,
            options,
            clock: Clock::default(),
            stage: Stage::New,
            reading: Reading::First,
            layout: 0,
            primary: Primary::new(Grid::default(), 0),
            alternate: None,
            document: Document::default(),
            before_switch: None,
            tail: VecDeque::new(),
            trusted: None,
            repaints: Repaints::default(),
            fetcher: Fetcher::default(),
            agent: None,
            live: Live::default(),
            turns: Turns::default(),
            doubtful: None,
            mouse_grabbed: false,
            reread_at: None,
            frame_changed: false,
            wake: None,
            out: Vec::new(),
        }
    }

    /// A pane whose transcript goes on where it stood. A damaged position is taken for what of it can be read.
    pub fn resume(pane: PaneRef, options: Options, position: Position) -> Self {
        let mut screen = Self::new(pane, options);
        if position != Position::default() {
            screen.layout = position.layout;
            screen.stage = Stage::Resumed(Box::new(position));
        }
        screen
    }

    /// Takes in what happened and says what is to be done. `now` is wall-clock time; a step back of it does no harm.
    pub fn apply(&mut self, input: Input, now: Timestamp) -> Vec<Output> {
        self.clock.advance(now);
        if matches!(self.stage, Stage::Gone) {
            return Vec::new();
        }
        match input {
            Input::Changes(changes) => self.changes(changes),
            Input::Rows(rows) => self.rows(rows),
            Input::FetchFailed => {
                let loss = self.fetcher.failed(self.clock.now());
                self.give_up(loss);
            }
            Input::Tick => {}
            Input::LiveTop(row) => self.live.set(row, self.clock.now()),
            Input::AgentProcess(agent) => self.agent_process(agent),
            Input::PassOver => self.pass_over(),
            Input::Detached => {
                self.fetcher.forget();
                if matches!(self.stage, Stage::Following) {
                    self.reading = Reading::Detached;
                }
            }
            Input::Removed(removal) => self.removed(removal),
        }
        if matches!(self.stage, Stage::Following) {
            self.settle();
            self.ask();
        }
        if std::mem::take(&mut self.frame_changed) {
            self.out.push(Output::FrameChanged);
        }
        std::mem::take(&mut self.out)
    }

    /// When to call [`Self::apply`] with [`Input::Tick`], if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.clock.wall(self.wake?)
    }

    /// What a person sees now. Empty before the first push.
    pub fn frame(&self) -> Frame {
        match &self.alternate {
            Some(alternate) => alternate.grid.frame(true),
            None => self.primary.grid.frame(false),
        }
    }

    /// The layout that lines are logged under now.
    pub fn layout(&self) -> u64 {
        self.layout
    }

    /// Where the transcript stands after everything that was handed out.
    pub fn position(&self) -> Position {
        if let Stage::Resumed(position) = &self.stage {
            return Position::clone(position);
        }
        if matches!(self.stage, Stage::New) {
            return Position::default();
        }
        let tail = || self.tail.iter().map(|(_, hash)| *hash);
        let (next_row, line_hashes, frame_hash) = match &self.alternate {
            Some(alternate) => {
                (alternate.next_row(), alternate.last_logged(LINE_HASHES), alternate.grid.frame_hash())
            }
            None => (self.primary.next, tail().collect(), self.primary.grid.frame_hash()),
        };
        let alternate = self.alternate.as_ref().map(|alternate| SavedPrimary {
            next: self.primary.next,
            tail: tail().collect(),
            alternate: alternate.save(),
        });
        let mut dims = self.primary.grid.dims();
        if let Some(resync) = &self.primary.resync {
            (dims.cols, dims.oldest) = (0, resync.oldest);
        }
        let skip = self.primary.entries.len().saturating_sub(MAX_SAVED_ENTRIES);
        let saved = Saved {
            dims,
            mouse_grabbed: self.mouse_grabbed,
            agent: self.agent,
            entries: self.primary.entries.iter().skip(skip).map(|(row, entry)| (*row, *entry)).collect(),
            repaint: self.repaints.open(),
            alternate,
        };
        Position { layout: self.layout, next_row, line_hashes, frame_hash, opaque: saved.encode() }
    }

    fn agent_process(&mut self, agent: Option<u64>) {
        if agent != self.agent {
            self.close_repaint();
            self.repaints.forget();
            self.agent = agent;
        }
    }

    /// The grid that shows now.
    pub(crate) fn shown(&self) -> &Grid {
        self.alternate.as_ref().map_or(&self.primary.grid, |alternate| &alternate.grid)
    }

    /// Stores a row of the screen that shows now.
    pub(crate) fn store(&mut self, row: Row) {
        let (index, now) = (row.index, self.clock.now());
        let dims = self.shown().dims();
        if index >= dims.end() {
            return;
        }
        let change = match &mut self.alternate {
            Some(alternate) => {
                let change = alternate.grid.store(index, frame_row(row), now);
                alternate.note(change);
                change
            }
            None => {
                let change = self.primary.grid.store(index, frame_row(row), now);
                self.primary.note(index, change);
                change
            }
        };
        self.frame_changed |= change != crate::grid::Change::Same && index >= dims.top;
    }

    fn rows(&mut self, rows: Vec<Row>) {
        let Some(due) = self.fetcher.answered() else { return };
        if due.is_void() {
            return;
        }
        for row in rows {
            if due.takes(row.index, self.shown().fresh(row.index).is_some()) {
                self.store(row);
            }
        }
        if !due.is_reread() {
            let loss = self.fetcher.lacks(self.lacking(&due));
            self.give_up(loss);
        }
    }

    /// One past the first rows that an answer should have brought and did not.
    fn lacking(&self, due: &Due) -> Option<i64> {
        let from = self.primary.readable_from();
        let lacks = |row: &i64| *row >= from && self.shown().fresh(*row).is_none() && !due.touched(*row);
        due.ranges().iter().find_map(|range| {
            let first = range.clone().find(lacks)?;
            Some((first..range.end).find(|row| !lacks(row)).unwrap_or(range.end))
        })
    }

    fn give_up(&mut self, loss: Loss) {
        let Loss::Below(row) = loss else { return };
        let now = self.clock.now();
        match &mut self.alternate {
            Some(alternate) => {
                let Dims { top, .. } = alternate.grid.dims();
                for row in top..row.min(alternate.grid.dims().end()) {
                    if alternate.grid.fresh(row).is_none() {
                        alternate.grid.store(row, wa_proto::FrameRow::default(), now);
                    }
                }
            }
            None => self.primary.give_up_below(row, now),
        }
    }

    /// Asks for what is missing, if nothing is under way.
    fn ask(&mut self) {
        let now = self.clock.now();
        if self.reading == Reading::Detached || !self.fetcher.is_free(now) {
            return self.wake_at(self.fetcher.wake());
        }
        let dims = self.shown().dims();
        let mut ranges = match &self.alternate {
            Some(alternate) => {
                let (mut budget, mut ranges) = (MAX_ROWS, Vec::new());
                alternate.grid.missing(dims.top..dims.end(), &mut budget, &mut ranges);
                ranges
            }
            None => self.primary.wanted(MAX_ROWS),
        };
        let reread = ranges.is_empty() && self.reread_at.is_some_and(|moment| moment <= now);
        if reread {
            self.reread_at = None;
            ranges.push(dims.top.max(dims.oldest)..dims.end().min(dims.top + MAX_ROWS));
        }
        ranges.retain(|range| range.start < range.end);
        if !ranges.is_empty() {
            self.fetcher.ask(ranges.clone(), reread);
            self.out.push(Output::Fetch(ranges));
        }
        self.wake_at(self.reread_at);
    }

    /// Remembers to look again at this moment.
    pub(crate) fn wake_at(&mut self, moment: Option<u64>) {
        let Some(moment) = moment.map(|moment| moment.max(self.clock.now() + 1)) else { return };
        self.wake = Some(self.wake.map_or(moment, |wake| wake.min(moment)));
    }

    fn removed(&mut self, removal: Removal) {
        let cause = match removal {
            Removal::Exit => GapCause::Exit,
            Removal::MuxLost => GapCause::MuxLost,
        };
        if matches!(self.stage, Stage::Following) {
            self.fetcher.forget();
            if self.alternate.is_some() {
                self.leave_alternate();
            }
            self.log_last(cause);
        }
        self.stage = Stage::Gone;
        self.wake = None;
        self.out.push(Output::Gap(Gap {
            pane: self.pane.clone(),
            layout: self.layout,
            first_row: None,
            rows: None,
            cause,
        }));
    }

    pub(crate) fn close_repaint(&mut self) {
        if let Some(open) = self.repaints.close() {
            self.put_repaint(open);
        }
    }

    pub(crate) fn put_repaint(&mut self, open: crate::repaint::OpenRepaint) {
        self.out.push(Output::Repaint(Repaint {
            pane: self.pane.clone(),
            layout: self.layout,
            first_row: open.first_row,
            rows: open.rows,
        }));
    }
}
