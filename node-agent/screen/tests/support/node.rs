//! A node with a store: what was handed out and the position are one write.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use wa_mux::codec::{RenderChanges, Row};
use wa_proto::{Frame, Gap, GapCause, Generation, Line, MuxName, PaneRef, Repaint, Timestamp};
use wa_screen::{Input, Options, Output, PaneScreen, Position, Removal};

/// What the node is connected to.
pub(crate) trait Server {
    /// What it tells now, if anything changed.
    fn push(&mut self) -> Option<RenderChanges>;
    /// The answer to a question for rows.
    fn get_lines(&mut self, ranges: &[Range<i64>]) -> Vec<Row>;
    /// A new connection, which has not been told anything.
    fn reconnect(&mut self);
}

/// Where the agent's live area begins in a frame, in frame rows, and which agent runs.
pub(crate) trait Eye {
    fn look(&mut self, frame: &Frame, now: Timestamp) -> (Option<usize>, Option<u64>);
}

/// Sees nothing.
pub(crate) struct Blind;

impl Eye for Blind {
    fn look(&mut self, _: &Frame, _: Timestamp) -> (Option<usize>, Option<u64>) {
        (None, None)
    }
}

pub(crate) fn pane() -> PaneRef {
    PaneRef { mux: MuxName::main(), generation: Generation::new("boot-1-1").unwrap(), pane_id: 1 }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stored {
    Line(u64, Line),
    Gap(Gap),
    Repaint(Repaint),
}

pub(crate) struct Node {
    pub(crate) screen: PaneScreen,
    pub(crate) options: Options,
    pub(crate) store: Vec<Stored>,
    pub(crate) position: Position,
    pub(crate) now: Timestamp,
    pub(crate) asked: Option<Vec<Range<i64>>>,
    /// What the server answered; it has not been handed in yet.
    read: Option<Vec<Row>>,
    /// The rows that the server held at the last push.
    held: Range<i64>,
    pub(crate) frames: usize,
    /// Outputs of the calls since the last look.
    pub(crate) fresh: Vec<Stored>,
    /// Layouts of alternate screens.
    pub(crate) alternates: BTreeSet<u64>,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        Self {
            screen: PaneScreen::new(pane(), options),
            options,
            store: Vec::new(),
            position: Position::default(),
            now: Timestamp::from_second(1_700_000_000).unwrap(),
            asked: None,
            read: None,
            held: 0..0,
            frames: 0,
            fresh: Vec::new(),
            alternates: BTreeSet::new(),
        }
    }

    /// One input; what comes out is checked and stored with the position.
    pub(crate) fn apply(&mut self, input: Input) {
        if let Input::Changes(changes) = &input {
            let dims = &changes.dims;
            self.held = dims.scrollback_top..dims.physical_top.saturating_add_unsigned(dims.viewport_rows);
        }
        let outputs = self.screen.apply(input, self.now);
        let mut seen_frame = false;
        for output in outputs {
            match output {
                Output::Fetch(ranges) => {
                    assert!(self.asked.is_none(), "two questions at once");
                    let rows: i64 = ranges.iter().map(|range| range.end - range.start).sum();
                    assert!(rows > 0 && rows <= 500, "{ranges:?}");
                    assert!(ranges.iter().all(|range| range.start < range.end), "{ranges:?}");
                    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{ranges:?}");
                    let held = ranges.iter().all(|r| r.start >= self.held.start && r.end <= self.held.end);
                    assert!(held || self.held.start > self.held.end, "{ranges:?} of {:?}", self.held);
                    self.asked = Some(ranges);
                }
                Output::Line { layout, line } => self.put(Stored::Line(layout, line)),
                Output::Gap(gap) => self.put(Stored::Gap(gap)),
                Output::Repaint(repaint) => self.put(Stored::Repaint(repaint)),
                Output::FrameChanged => {
                    assert!(!seen_frame);
                    seen_frame = true;
                    self.frames += 1;
                }
            }
        }
        self.position = self.screen.position();
        if self.screen.frame().alternate {
            self.alternates.insert(self.screen.layout());
        }
    }

    /// One input; if the frame differs then, it is looked at.
    pub(crate) fn apply_and_look(&mut self, input: Input, eye: &mut impl Eye) {
        let before = self.frames;
        self.apply(input);
        if self.frames != before {
            let frame = self.screen.frame();
            let (live_top, agent) = eye.look(&frame, self.now);
            self.apply(Input::AgentProcess(agent));
            let row = |at| frame.first_row + i64::try_from(at).unwrap();
            self.apply(Input::LiveTop(live_top.map(row)));
        }
    }

    fn put(&mut self, stored: Stored) {
        self.fresh.push(stored.clone());
        self.store.push(stored);
    }

    /// An input whose outputs reach nobody: the node dies right after it.
    pub(crate) fn apply_and_die(&mut self, input: Input) {
        drop(self.screen.apply(input, self.now));
        self.restart();
    }

    /// A new process that knows what was stored.
    pub(crate) fn restart(&mut self) {
        self.screen = PaneScreen::resume(pane(), self.options, self.position.clone());
        self.forget_question();
    }

    pub(crate) fn pass(&mut self, milliseconds: i64) {
        self.now = Timestamp::from_millisecond(self.now.as_millisecond() + milliseconds).unwrap();
    }

    pub(crate) fn tick_after(&mut self, milliseconds: i64) {
        self.pass(milliseconds);
        self.apply(Input::Tick);
    }

    pub(crate) fn push(&mut self, server: &mut impl Server) {
        if let Some(changes) = server.push() {
            self.apply(Input::Changes(changes));
        }
    }

    pub(crate) fn forget_question(&mut self) {
        self.asked = None;
        self.read = None;
    }

    /// The connection drops and comes back.
    pub(crate) fn reconnect(&mut self, server: &mut impl Server) {
        self.forget_question();
        self.apply(Input::Detached);
        server.reconnect();
    }

    /// The server answers; the answer waits.
    pub(crate) fn read(&mut self, server: &mut impl Server) {
        if let Some(ranges) = &self.asked {
            self.read.get_or_insert_with(|| server.get_lines(ranges));
        }
    }

    /// Answers the question under way, as a driver should: the pushes before the barrier come first.
    pub(crate) fn answer(&mut self, server: &mut impl Server) -> bool {
        self.read(server);
        let Some(rows) = self.read.take() else { return false };
        self.push(server);
        self.asked = None;
        self.apply(Input::Rows(rows));
        true
    }

    /// Push and answers until the question under way is answered and none follows; time stands still.
    pub(crate) fn keep_up(&mut self, server: &mut impl Server, eye: &mut impl Eye) {
        if let Some(changes) = server.push() {
            self.apply_and_look(Input::Changes(changes), eye);
        }
        while let Some(ranges) = self.asked.take() {
            let rows = server.get_lines(&ranges);
            if let Some(changes) = server.push() {
                self.asked = Some(ranges);
                self.apply_and_look(Input::Changes(changes), eye);
                self.asked = None;
            }
            self.apply_and_look(Input::Rows(rows), eye);
        }
    }

    /// Time passes; what is due meanwhile is done at its time.
    pub(crate) fn pass_and_look(&mut self, milliseconds: i64, server: &mut impl Server, eye: &mut impl Eye) {
        let end = Timestamp::from_microsecond(self.now.as_microsecond() + milliseconds * 1000).unwrap();
        while let Some(wake) = self.screen.next_wakeup().filter(|wake| *wake <= end) {
            assert!(wake > self.now, "a wake-up in the past");
            self.now = wake;
            self.apply_and_look(Input::Tick, eye);
            self.keep_up(server, eye);
        }
        self.now = end;
    }

    /// Push, answers and time until nothing more is to come.
    pub(crate) fn drain(&mut self, server: &mut impl Server) {
        self.push(server);
        for _ in 0..10_000 {
            if self.answer(server) {
                continue;
            }
            let Some(wake) = self.screen.next_wakeup() else { return };
            assert!(wake > self.now, "a wake-up in the past");
            self.now = wake;
            self.apply(Input::Tick);
        }
        panic!("no end: next wake-up {:?} at {:?}", self.screen.next_wakeup(), self.now);
    }

    pub(crate) fn remove(&mut self) {
        self.forget_question();
        self.apply(Input::Removed(Removal::Exit));
    }

    /// What the last calls handed out.
    pub(crate) fn take(&mut self) -> Vec<Stored> {
        std::mem::take(&mut self.fresh)
    }

    /// Texts of the lines that the last calls handed out.
    pub(crate) fn take_texts(&mut self) -> Vec<String> {
        let text = |stored| match stored {
            Stored::Line(_, line) => Some(line.text),
            _ => None,
        };
        self.take().into_iter().filter_map(text).collect()
    }

    /// The log as a reader sees it: by layout and row, the highest revision, swallowed lines left out.
    pub(crate) fn log(&self) -> BTreeMap<(u64, i64), Line> {
        let mut log: BTreeMap<(u64, i64), Line> = BTreeMap::new();
        for stored in &self.store {
            let Stored::Line(layout, line) = stored else { continue };
            let before = log.insert((*layout, line.row), line.clone());
            if let Some(before) = before {
                assert!(before.rev < line.rev, "{before:?} then {line:?}");
            }
        }
        log.retain(|_, line| line.rows > 0);
        log
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let gap = |stored: &Stored| match stored {
            Stored::Gap(gap) => Some(gap.clone()),
            _ => None,
        };
        self.store.iter().filter_map(gap).collect()
    }

    pub(crate) fn repaints(&self) -> Vec<Repaint> {
        let repaint = |stored: &Stored| match stored {
            Stored::Repaint(repaint) => Some(repaint.clone()),
            _ => None,
        };
        self.store.iter().filter_map(repaint).collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.log().into_values().map(|line| line.text).collect()
    }
}

/// The revisions that the last calls handed out: row, rev, rows, text.
pub(crate) fn revisions(node: &mut Node) -> Vec<(i64, u32, u32, String)> {
    let line = |stored| match stored {
        Stored::Line(_, line) => Some((line.row, line.rev, line.rows, line.text)),
        _ => None,
    };
    node.take().into_iter().filter_map(line).collect()
}

pub(crate) fn gap(first_row: Option<i64>, rows: Option<u64>, cause: GapCause, layout: u64) -> Gap {
    Gap { pane: pane(), layout, first_row, rows, cause }
}
