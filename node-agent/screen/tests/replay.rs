//! Recorded sessions of real agents through the terminal model, with no agent known: every row that left the viewport is
//! in the log, or in a gap, whatever the pieces that the server makes of the stream and however slow the reader.

#![allow(clippy::unwrap_used)]

mod support;

use support::Node;
use support::figures::{Figures, exactness};
use support::node::Blind;
use support::session::{Cut, Pace, sessions};

fn check(name: &str, figures: &Figures) {
    println!(
        "{name:46} printed {:4} captured {:4} gap {:4}",
        figures.printed, figures.captured, figures.gapped
    );
    assert_eq!(figures.missing, [], "{name}");
    assert_eq!(figures.captured + figures.gapped, figures.printed, "{name}");
}

#[test]
fn every_row_that_left_the_screen_is_in_the_log_once() {
    for session in sessions() {
        let cuts = [Cut::Frames, Cut::Bytes(1 + session.bytes.len() / 100), Cut::Bytes(128 << 10)];
        for cut in cuts {
            let mut node = Node::new();
            let pane =
                session.play(Pace { cut, pause: 100, still: 2000 }, &mut node, &mut Blind, |_, _, _| {});
            let figures = exactness(&node, &pane);
            check(&session.name, &figures);
            assert_eq!(figures.gapped, 0, "{}: nothing was trimmed unread", session.name);
            if matches!(cut, Cut::Frames) {
                // Cut in mid-frame, text is overwritten between two pushes, which nobody promises to see.
                assert_eq!(figures.wrong, [], "{}", session.name);
            }
        }
    }
}

#[test]
fn a_slow_reader_misses_only_what_it_says() {
    for session in sessions().into_iter().filter(|session| session.bytes.len() < 600 << 10) {
        let mut node = Node::new();
        let mut state = 1_u32;
        let dice = |sides: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % sides
        };
        let pane =
            session.play_slowly(Pace { cut: Cut::Bytes(2000), pause: 60, still: 2000 }, &mut node, dice);
        check(&session.name, &exactness(&node, &pane));
    }
}
