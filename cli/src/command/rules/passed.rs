//! The lines of a replayed stream, as a node would log them: rules that read lines find what no frame showed.
//!
//! The terminal model plays the multiplexer's server, and the node's own screen reads from it. Nothing is stored.

use wa_proto::{Generation, Line, MuxName, PaneRef, Timestamp};
use wa_screen::terminal::{Facts, Terminal, Told};
use wa_screen::{Input, Options, Output, PaneScreen};

/// Rows above the screen that can be read, as WezTerm keeps by default.
pub(super) const SCROLLBACK: usize = 3500;

/// What went by.
pub(super) enum Passed {
    Line {
        layout: u64,
        line: Line,
    },
    /// Rows went by unread.
    Lost,
}

pub(super) struct Lines {
    screen: PaneScreen,
    told: Option<Told>,
}

impl Lines {
    pub(super) fn new() -> Self {
        // No other pane is here that it could be taken for.
        let generation = Generation::new("replay").expect("a plain word");
        let pane = PaneRef { mux: MuxName::main(), generation, pane_id: 0 };
        Self { screen: PaneScreen::new(pane, Options::default()), told: None }
    }

    /// The terminal has taken something.
    pub(super) fn follow(&mut self, terminal: &mut Terminal, now: Timestamp) -> Vec<Passed> {
        let pushed = terminal.changes(0, Facts::default(), self.told.as_ref(), None);
        let Some((told, changes)) = pushed else { return Vec::new() };
        self.told = Some(told);
        self.apply(Input::Changes(changes), terminal, now)
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, terminal: &mut Terminal, now: Timestamp) -> Vec<Passed> {
        match self.next_wakeup() {
            Some(at) if at <= now => self.apply(Input::Tick, terminal, now),
            _ => Vec::new(),
        }
    }

    /// What the matcher has seen: where the agent draws again and again, and which process of an agent runs.
    pub(super) fn seen(
        &mut self,
        live_top: Option<i64>,
        agent: Option<u64>,
        terminal: &mut Terminal,
        now: Timestamp,
    ) -> Vec<Passed> {
        let mut passed = self.apply(Input::AgentProcess(agent), terminal, now);
        passed.extend(self.apply(Input::LiveTop(live_top), terminal, now));
        passed
    }

    pub(super) fn next_wakeup(&self) -> Option<Timestamp> {
        self.screen.next_wakeup()
    }

    pub(super) fn layout(&self) -> u64 {
        self.screen.layout()
    }

    fn apply(&mut self, input: Input, terminal: &mut Terminal, now: Timestamp) -> Vec<Passed> {
        let mut passed = Vec::new();
        let mut next = Some(input);
        // Each answer may bring another question, of rows further down.
        while let Some(input) = next.take() {
            for output in self.screen.apply(input, now) {
                match output {
                    Output::Fetch(ranges) => next = Some(Input::Rows(terminal.lines(&ranges))),
                    // A revision stands on the screen.
                    Output::Line { line, .. } if line.rev > 0 || line.rows == 0 => {}
                    Output::Line { layout, line } => passed.push(Passed::Line { layout, line }),
                    Output::Gap(_) => passed.push(Passed::Lost),
                    Output::Repaint(_) | Output::FrameChanged => {}
                }
            }
        }
        passed
    }
}
