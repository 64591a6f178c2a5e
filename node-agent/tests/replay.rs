//! Recorded sessions of real agents through terminal model, screen and matcher, as a node sees them: is the log complete,
//! and is it quiet? What is counted is said in `screen/tests/support/figures.rs`.

#![allow(clippy::unwrap_used)]

#[path = "../screen/tests/support/mod.rs"]
mod support;

use support::figures::{Figures, Printed, Stood, exactness, lacking, stored_lines};
use support::node::Eye;
use support::session::{Cut, Pace, Session, sessions};
use support::Node;
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

impl Told {
    fn present(&self) -> f64 {
        if self.lines == 0 { 1.0 } else { 1.0 - self.absent.len() as f64 / self.lines as f64 }
    }

    fn quiet(&self) -> f64 {
        self.stored as f64 / self.read.max(1) as f64
    }
}

fn play(session: &Session, pace: Pace) -> (Told, Node) {
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
    if std::env::var_os("STOOD").is_some() { for t in stood.texts() { println!("   S {t}"); } }
    let (lines, absent) = lacking(&node, &pane, end);
    let told = Told {
        figures: exactness(&node, &pane),
        lines,
        absent,
        read: printed.read(&node) + stood.read(),
        stored: stored_lines(&node),
        gaps: node.gaps().len(),
    };
    (told, node)
}

#[test]
fn logs_of_real_sessions_read_like_the_sessions() {
    let only = std::env::var("ONLY").unwrap_or_default();
    for pause in std::env::var("P").map_or(vec![40, 100, 300], |p| vec![p.parse().unwrap()]) {
        for session in sessions() {
            if !session.name.contains(&only) { continue; }
            let (told, node) = play(&session, Pace { cut: Cut::Frames, pause });
            let f = &told.figures;
            println!(
                "{pause:3} {:44} printed {:4} cap {:4} gap {:3} rep {:3} miss {} dbl {} wrong {} | lines {:4} present {:6.2} % | read {:4} stored {:4} quiet {:.3} gaps {}",
                session.name, f.printed, f.captured, f.gapped, f.repainted, f.missing.len(), f.doubled.len(), f.wrong.len(),
                told.lines, told.present() * 100.0, told.read, told.stored, told.quiet(), told.gaps
            );
            if !only.is_empty() {
                for a in &told.absent { println!("   absent {a:?}"); }
                for a in &f.wrong { println!("   wrong {a:?}"); }
                for a in &f.doubled { println!("   doubled {a:?}"); }
                for s in &node.store { println!("   {}", match s { support::node::Stored::Line(l, x) => format!("{l} {:4} r{} n{} {}", x.row, x.rev, x.rows, x.text), o => format!("{o:?}") }); }
            }
        }
        if !only.is_empty() { break; }
    }
}
