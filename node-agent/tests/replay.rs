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
use wa_match::{Engine, Facts, Foreground, PaneMatcher};
use wa_proto::{Frame, Timestamp};

/// The matcher without a process table: the screen tells the agent. That no agent runs in a shell's session it is told.
struct Matcher {
    matcher: PaneMatcher,
    live_top: Option<usize>,
    process: u64,
    agent: bool,
    facts: Facts,
}

impl Matcher {
    fn of(session: &Session) -> Self {
        let shell = Foreground::Shell { name: "bash".into() };
        let foreground = if session.agent.starts_with("shell") { shell } else { Foreground::Unknown };
        let facts = Facts { foreground, ..Facts::default() };
        Self { matcher: PaneMatcher::new(), live_top: None, process: 0, agent: false, facts }
    }
}

impl Eye for Matcher {
    fn look(&mut self, frame: &Frame, now: Timestamp) -> (Option<usize>, Option<u64>) {
        let seen = self.matcher.observe(Engine::builtin(), frame, &self.facts, now);
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
    /// What stood for a second on the primary screen and on alternate ones: how many, and those that are not in the log.
    stood: [(usize, Vec<String>); 2],
    read: usize,
    stored: usize,
    gaps: usize,
}

fn play(session: &Session, pace: Pace) -> Told {
    let (mut node, mut eye, mut stood, mut printed) =
        (Node::new(), Matcher::of(session), Stood::default(), Printed::default());
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
    let stood_long = [printed.unlogged(&node), stood.unlogged(&node)];
    printed.note_all(&pane, end);
    let (lines, absent) = lacking(&node, &pane, end);
    Told {
        figures: exactness(&node, &pane),
        lines,
        absent,
        stood: stood_long,
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
    /// As in [`Told`]: how many, and how many of them are not in the log.
    stood: [(usize, usize); 2],
}

fn add(sums: &mut [(usize, usize); 2], more: [(usize, usize); 2]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum = (sum.0 + more.0, sum.1 + more.1);
    }
}

#[test]
fn logs_of_real_sessions_read_like_the_sessions() {
    for (pause, still) in [(25, 1300), (100, 2000), (300, 2000)] {
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        for session in sessions() {
            let told = play(&session, Pace { cut: Cut::Frames, pause, still });
            let figures = &told.figures;
            println!(
                "{pause:3} ms {:44} rows {:4} captured {:4} gap {:3} repaint {:3} | lines {:4} absent {} | read {:4} stored {:4} {:.2} | stood {} and {}, not logged {} and {} | gaps {}",
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
                told.stood[0].0,
                told.stood[1].0,
                told.stood[0].1.len(),
                told.stood[1].1.len(),
                told.gaps,
            );
            assert_eq!(figures.missing, [], "{}: rows that are nowhere", session.name);
            assert_eq!(figures.wrong, [], "{}: rows that read differently", session.name);
            assert_eq!(figures.doubled, [], "{}: rows stored twice", session.name);
            if session.agent.starts_with("shell") {
                assert_eq!(told.stood[0].1, [""; 0], "what a person has read before a clear");
            }
            let sum = sums.entry(session.agent.clone()).or_default();
            sum.lines += told.lines;
            sum.absent += told.absent.len();
            sum.stored += told.stored;
            sum.read += told.read;
            add(&mut sum.stood, told.stood.each_ref().map(|(count, unlogged)| (*count, unlogged.len())));
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
            add(&mut all.stood, sum.stood);
        }
        let quiet = all.stored as f64 / all.read as f64;
        println!(
            "{pause:3} ms all: {} of {} lines absent, stored per line read {quiet:.3}",
            all.absent, all.lines
        );
        println!(
            "{pause:3} ms stood for a second, and not logged of that: primary, alternate {:?}",
            all.stood
        );
        for (stood, unlogged) in all.stood {
            assert!(unlogged * 20 <= stood, "95 % of what stood for a second is in the log");
        }
        assert!(all.absent * 200 <= all.lines, "99.5 % of the lines are in the log");
        assert!(quiet <= 1.1, "{quiet} stored lines for a line that a person would have read");
    }
}
