#![allow(clippy::unwrap_used)]
mod support;
use support::Node;
use support::figures::exactness;
use support::node::Blind;
use support::session::{Cut, Pace, sessions};

#[test]
fn every_row_that_left_the_screen_is_in_the_log_once() {
    for session in sessions() {
        let start = std::time::Instant::now();
        let mut node = Node::new();
        let pane =
            session.play(Pace { cut: Cut::Frames, pause: 100 }, &mut node, &mut Blind, |_, _, _, _| {});
        let f = exactness(&node, &pane);
        println!(
            "{:45} {:5} rows {:5} cap {:3} gap {:3} rep | missing {} doubled {} wrong {} | {} pieces {:?}",
            session.name,
            f.printed,
            f.captured,
            f.gapped,
            f.repainted,
            f.missing.len(),
            f.doubled.len(),
            f.wrong.len(),
            session.pieces(Pace { cut: Cut::Frames, pause: 1 }).len(),
            start.elapsed()
        );
    }
}
#[test]
fn dbg_wrong() {
    for session in sessions()
        .into_iter()
        .filter(|s| s.name.contains("codex_0.89.0_120x40_session") || s.name.contains("0.53.0_80x24_session"))
    {
        let mut node = Node::new();
        let pane =
            session.play(Pace { cut: Cut::Frames, pause: 100 }, &mut node, &mut Blind, |_, _, _, _| {});
        let f = exactness(&node, &pane);
        for (r, a, b) in f.wrong {
            println!("{} {r}\n   {a:?}\n   {b:?}", session.name);
        }
    }
}
#[test]
fn dbg_rows() {
    for session in sessions().into_iter().filter(|s| s.name == "codex_0.89.0_120x40_session") {
        let mut node = Node::new();
        let mut n = 0;
        let mut at = 0;
        let mut last = 0;
        let pane =
            session.play(Pace { cut: Cut::Frames, pause: 100 }, &mut node, &mut Blind, |p, node, _, _| {
                let d = p.terminal.dimensions();
                for s in &node.store[n..] {
                    if let support::node::Stored::Line(l, line) = s {
                        if line.row >= 90 && line.row < 96 {
                            println!(
                                "{at} lay {l} row {} rev {} rows {} {:?}",
                                line.row, line.rev, line.rows, line.text
                            );
                        }
                    } else {
                        println!("{at} {s:?}");
                    }
                }
                if (d.physical_top, d.scrollback_top) != (last, 0) {
                    println!("{at} {d:?} cur {:?}", p.terminal.cursor());
                    last = d.physical_top;
                }
                n = node.store.len();
                at += 1;
            });
        println!("{:?}", (90..96).map(|r| pane.truth.get(&r)).collect::<Vec<_>>());
    }
}
#[test]
fn dbg_frames() {
    let name = std::env::var("ONLY").unwrap();
    let from: usize = std::env::var("FROM").unwrap().parse().unwrap();
    let to: usize = std::env::var("TO").unwrap().parse().unwrap();
    for session in sessions().into_iter().filter(|s| s.name == name) {
        let mut node = Node::new();
        let mut at = 0;
        session.play(Pace { cut: Cut::Frames, pause: 100 }, &mut node, &mut Blind, |p, _, _, still| {
            if (from..to).contains(&at) {
                println!(
                    "==== {at} still {still} {:?} cursor {:?} mouse {}",
                    p.terminal.dimensions(),
                    p.terminal.cursor(),
                    p.terminal.mouse_grabbed()
                );
                for (i, r) in p.terminal.frame().rows.iter().enumerate() {
                    if !r.text.trim().is_empty() {
                        println!("{i:3} {}", r.text.chars().take(100).collect::<String>());
                    }
                }
            }
            at += 1;
        });
    }
}
