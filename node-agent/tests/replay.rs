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

impl Told {
    fn print(&self, session: &Session, pause: i64) {
        let figures = &self.figures;
        println!(
            "{pause:3} ms {:44} rows {:4} captured {:4} gap {:3} repaint {:3} | lines {:4} absent {} | read {:4} stored {:4} {:.2} | stood {} and {}, not logged {} and {} | gaps {}",
            session.name,
            figures.printed,
            figures.captured,
            figures.gapped,
            figures.repainted,
            self.lines,
            self.absent.len(),
            self.read,
            self.stored,
            self.stored as f64 / self.read.max(1) as f64,
            self.stood[0].0,
            self.stood[1].0,
            self.stood[0].1.len(),
            self.stood[1].1.len(),
            self.gaps,
        );
    }
}

impl Sum {
    fn add(&mut self, told: &Told) {
        let stood = told.stood.each_ref().map(|(count, unlogged)| (*count, unlogged.len()));
        self.join(&Self {
            lines: told.lines,
            absent: told.absent.len(),
            stored: told.stored,
            read: told.read,
            stood,
        });
    }

    fn join(&mut self, more: &Self) {
        self.lines += more.lines;
        self.absent += more.absent;
        self.stored += more.stored;
        self.read += more.read;
        for (sum, more) in self.stood.iter_mut().zip(more.stood) {
            *sum = (sum.0 + more.0, sum.1 + more.1);
        }
    }

    fn present(&self) -> f64 {
        1.0 - self.absent as f64 / self.lines.max(1) as f64
    }

    fn stored_per_line(&self) -> f64 {
        self.stored as f64 / self.read.max(1) as f64
    }
}

/// All sessions, their pieces `pause` milliseconds apart, and `still` milliseconds where they stood still.
fn play_all(pause: i64, still: i64) {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for session in sessions() {
        let told = play(&session, Pace { cut: Cut::Frames, pause, still });
        told.print(&session, pause);
        assert_eq!(told.figures.missing, [], "{}: rows that are nowhere", session.name);
        assert_eq!(told.figures.wrong, [], "{}: rows that read differently", session.name);
        assert_eq!(told.figures.doubled, [], "{}: rows stored twice", session.name);
        if session.agent.starts_with("shell") {
            assert_eq!(told.stood[0].1, [""; 0], "what a person has read before a clear");
        }
        sums.entry(session.agent.clone()).or_default().add(&told);
    }
    let mut all = Sum::default();
    for (agent, sum) in &sums {
        let (present, quiet) = (100.0 * sum.present(), sum.stored_per_line());
        println!("{pause:3} ms {agent:14} present {present:.2} %, stored per line read {quiet:.3}");
        all.join(sum);
    }
    let quiet = all.stored_per_line();
    println!(
        "{pause:3} ms all: {} of {} lines absent, stored per line read {quiet:.3}; stood for a second, and not logged of that: primary, alternate {:?}",
        all.absent, all.lines, all.stood
    );
    for (stood, unlogged) in all.stood {
        assert!(unlogged * 20 <= stood, "95 % of what stood for a second is in the log");
    }
    assert!(all.absent * 200 <= all.lines, "99.5 % of the lines are in the log");
    assert!(quiet <= 1.1, "{quiet} stored lines for a line that a person would have read");
}

#[test]
fn logs_read_like_quick_sessions() {
    play_all(25, 1300);
}

#[test]
fn logs_read_like_sessions_at_a_common_pace() {
    play_all(100, 2000);
}

#[test]
fn logs_read_like_slow_sessions() {
    play_all(300, 2000);
}
