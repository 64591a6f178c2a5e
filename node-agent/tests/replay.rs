//! Recorded sessions of real agents through terminal model, screen and matcher, as a node sees them: is the log complete,
//! and is it quiet? What is counted is said in `screen/tests/support/figures.rs`.

#![allow(clippy::unwrap_used)]

#[path = "../screen/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use support::Node;
use support::figures::{Figures, Printed, Stood, exactness, lacking, stored_lines};
use support::node::Eye;
use support::session::{Cut, Pace, Session, sessions};
use wa_match::{Engine, Facts, PaneMatcher};
use wa_proto::{Frame, Timestamp};

/// The matcher without a process table: the screen tells the agent.
struct Matcher {
    matcher: PaneMatcher,
    live_top: Option<usize>,
    process: u64,
    agent: bool,
}

impl Matcher {
    fn new() -> Self {
        Self { matcher: PaneMatcher::new(), live_top: None, process: 0, agent: false }
    }
}

impl Eye for Matcher {
    fn look(&mut self, frame: &Frame, now: Timestamp) -> (Option<usize>, Option<u64>) {
        let seen = self.matcher.observe(Engine::builtin(), frame, &Facts::default(), now);
        self.live_top = seen.live_top;
        let agent = seen.agent.is_some();
        if agent && !self.agent {
            self.process += 1;
        }
        self.agent = agent;
        (seen.live_top, agent.then_some(self.process))
    }
}

#[derive(Debug)]
struct Told {
    figures: Figures,
    /// Lines of the primary screen that a person would have read.
    lines: usize,
    absent: Vec<String>,
    read: usize,
    stored: usize,
    gaps: usize,
}

fn play(session: &Session, pace: Pace) -> Told {
    let (mut node, mut eye, mut stood, mut printed) =
        (Node::new(), Matcher::new(), Stood::default(), Printed::default());
    let mut end = 0;
    let pane = session.play(pace, &mut node, &mut eye, |pane, node, eye: &mut Matcher| {
        let frame = pane.terminal.frame();
        let height = i64::try_from(frame.rows.len()).unwrap();
        let cursor = if frame.cursor.visible || !frame.alternate { frame.cursor.row } else { height };
        let live = eye.live_top.map_or(height, |at| i64::try_from(at).unwrap()).min(cursor);
        if frame.alternate {
            let rows = frame.rows[..usize::try_from(live).unwrap()].iter();
            stood.note(rows.map(|row| row.text.trim_end().to_owned()).collect(), node.now.as_millisecond());
        } else {
            end = frame.first_row + live;
            printed.note(pane, end, node.now.as_millisecond());
        }
    });
    printed.note_all(&pane, end);
    let (lines, absent) = lacking(&node, &pane, end);
    Told {
        figures: exactness(&node, &pane),
        lines,
        absent,
        read: printed.read(&node) + stood.read(),
        stored: stored_lines(&node),
        gaps: node.gaps().len(),
    }
}

/// Of one agent, over all its sessions: present, of lines; stored, of lines read.
#[derive(Default)]
struct Sum {
    lines: usize,
    absent: usize,
    stored: usize,
    read: usize,
}

#[test]
fn logs_of_real_sessions_read_like_the_sessions() {
    for pause in [40, 100, 300] {
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        for session in sessions() {
            let told = play(&session, Pace { cut: Cut::Frames, pause });
            let figures = &told.figures;
            println!(
                "{pause:3} ms {:44} rows {:4} captured {:4} gap {:3} repaint {:3} | lines {:4} absent {} | read {:4} stored {:4} {:.2} | gaps {}",
                session.name,
                figures.printed,
                figures.captured,
                figures.gapped,
                figures.repainted,
                told.lines,
                told.absent.len(),
                told.read,
                told.stored,
                told.stored as f64 / told.read.max(1) as f64,
                told.gaps,
            );
            assert_eq!(figures.missing, [], "{}: rows that are nowhere", session.name);
            assert_eq!(figures.wrong, [], "{}: rows that read differently", session.name);
            assert_eq!(figures.doubled, [], "{}: rows stored twice", session.name);
            let sum = sums.entry(session.agent.clone()).or_default();
            sum.lines += told.lines;
            sum.absent += told.absent.len();
            sum.stored += told.stored;
            sum.read += told.read;
        }
        let mut all = Sum::default();
        for (agent, sum) in &sums {
            let present = 1.0 - sum.absent as f64 / sum.lines.max(1) as f64;
            let quiet = sum.stored as f64 / sum.read.max(1) as f64;
            println!(
                "{pause:3} ms {agent:14} present {:.2} %, stored per line read {quiet:.3}",
                present * 100.0
            );
            all.lines += sum.lines;
            all.absent += sum.absent;
            all.stored += sum.stored;
            all.read += sum.read;
        }
        let quiet = all.stored as f64 / all.read as f64;
        println!(
            "{pause:3} ms all: {} of {} lines absent, stored per line read {quiet:.3}",
            all.absent, all.lines
        );
        assert!(all.absent * 200 <= all.lines, "99.5 % of the lines are in the log");
        assert!(quiet <= 1.1, "{quiet} stored lines for a line that a person would have read");
    }
}
