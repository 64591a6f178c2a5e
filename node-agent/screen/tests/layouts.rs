//! What becomes of the transcript when rows change their meaning: re-wraps, the alternate screen, reprints, restarts.

#![allow(clippy::unwrap_used)]

mod support;

use support::node::Server as _;
use support::node::{Stored, gap, revisions};
use support::term::{number, print};
use support::{Node, Term};
use wa_mux::codec::{CursorPosition, Dimensions, RenderChanges, Row};
use wa_proto::{GapCause, Repaint};
use wa_screen::{Input, Position};

fn term() -> Term {
    Term::new(40, 10, 100)
}

mod width {
    use super::*;

    #[test]
    fn a_rewrap_is_a_new_layout_and_no_line_twice() {
        let (mut term, mut node) = (Term::new(40, 10, 400), Node::new());
        let long = |at: usize| format!("{at} {}", "word ".repeat(15).trim_end());
        (0..60).for_each(|at| term.line(&long(at)));
        node.drain(&mut term);
        for (cols, at) in [(25, 60), (90, 61), (40, 62)] {
            term.resize_cols(cols);
            node.push(&mut term);
            term.line(&long(at));
            node.drain(&mut term);
        }
        assert_eq!(node.texts(), (0..63).map(long).collect::<Vec<_>>());
        assert_eq!(node.screen.layout(), 3);
        assert!(node.gaps().is_empty());
    }

    #[test]
    fn a_rewrap_while_the_node_was_down() {
        let (mut term, mut node) = (Term::new(40, 10, 400), Node::new());
        print(&mut term, 0, 60);
        node.drain(&mut term);
        node.restart();
        term.reconnect();
        term.resize_cols(5);
        print(&mut term, 60, 70);
        node.drain(&mut term);
        assert_eq!(node.texts(), number(0, 70));
        assert!(node.gaps().is_empty());
    }

    #[test]
    fn a_rewrap_under_which_everything_logged_went_is_a_gap_without_a_count() {
        let (mut term, mut node) = (term(), Node::new());
        print(&mut term, 0, 20);
        node.drain(&mut term);
        node.take();
        term.resize_cols(30);
        print(&mut term, 20, 1000);
        node.drain(&mut term);
        let stored = node.take();
        assert_eq!(stored[0], Stored::Gap(gap(None, None, GapCause::Resize, 1)));
        assert_eq!(stored.len() as i64, 1 + 1000 - term.oldest());
    }

    #[test]
    fn a_line_rewritten_after_a_rewrap_appears_under_the_new_layout() {
        let (mut term, mut node) = (term(), Node::new());
        print(&mut term, 0, 5);
        node.drain(&mut term);
        term.resize_cols(30);
        node.drain(&mut term);
        node.take();
        term.rewrite(2, "other");
        node.drain(&mut term);
        let Stored::Line(layout, line) = node.take().remove(0) else { panic!() };
        assert_eq!((layout, line.row, line.rev, line.text.as_str()), (1, 2, 0, "other"));
    }
}

mod alternate {
    use super::*;

    /// A primary screen with history, then the alternate one.
    fn entered() -> (Term, Node) {
        let (mut term, mut node) = (term(), Node::new());
        print(&mut term, 0, 30);
        node.drain(&mut term);
        node.take();
        term.enter_alternate();
        (term, node)
    }

    #[test]
    fn entering_and_leaving_are_layouts_and_the_primary_goes_on() {
        let (mut term, mut node) = entered();
        term.line("inside");
        node.drain(&mut term);
        assert!(node.screen.frame().alternate);
        let Stored::Line(1, line) = node.take().remove(0) else { panic!() };
        assert_eq!((line.row, line.text.as_str()), (0, "inside"));
        term.leave_alternate();
        print(&mut term, 30, 35);
        node.drain(&mut term);
        assert!(!node.screen.frame().alternate);
        let expected: Vec<(u64, i64, String)> =
            (30..35).map(|at| (2, i64::from(at), format!("line {at}"))).collect();
        let lines = node.take().into_iter().map(|stored| match stored {
            Stored::Line(layout, line) => (layout, line.row, line.text),
            other => panic!("{other:?}"),
        });
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_scrolling_picture_is_logged_line_by_line_once() {
        let (mut term, mut node) = entered();
        for at in 0..100 {
            term.line(&format!("agent says {at}"));
            node.push(&mut term);
            node.tick_after(100);
        }
        node.drain(&mut term);
        let expected: Vec<String> = (0..100).map(|at| format!("agent says {at}")).collect();
        assert_eq!(node.take_texts(), expected);
    }

    #[test]
    fn a_page_turned_back_is_not_logged_again() {
        let (mut term, mut node) = entered();
        let mut page = |from: usize, node: &mut Node| {
            (0..9).for_each(|y| term.rewrite(y, &format!("page row {}", from + y)));
            term.go_to(0, 9);
            node.drain(&mut term);
        };
        for from in [0, 9, 18, 9, 4, 5, 0, 10, 20] {
            page(from, &mut node);
        }
        let expected: Vec<String> = (0..29).map(|at| format!("page row {at}")).collect();
        assert_eq!(node.take_texts(), expected);
    }

    #[test]
    fn a_dashboard_is_not_a_transcript() {
        let (mut term, mut node) = entered();
        for second in 0..600 {
            (0..9).for_each(|y| term.rewrite(y, &format!("cpu {y}: {}%", second * 7 % 101)));
            term.go_to(0, 9);
            node.push(&mut term);
            node.tick_after(2000);
        }
        assert!(node.take().len() < 9 * 6);
    }

    #[test]
    fn a_killed_node_does_not_log_the_picture_again() {
        let (mut term, mut node) = entered();
        (0..5).for_each(|at| term.line(&format!("inside {at}")));
        node.drain(&mut term);
        assert_eq!(node.take_texts().len(), 5);
        node.restart();
        term.reconnect();
        term.line("inside 5");
        node.drain(&mut term);
        assert_eq!(node.take_texts(), ["inside 5"]);
        node.restart();
        term.reconnect();
        term.leave_alternate();
        print(&mut term, 30, 31);
        node.drain(&mut term);
        assert_eq!(node.take_texts(), ["line 30"]);
        assert!(node.gaps().is_empty());
    }

    #[test]
    fn without_history_a_grabbed_mouse_tells() {
        let (mut term, mut node) = (term(), Node::new());
        print(&mut term, 0, 5);
        node.drain(&mut term);
        node.take();
        term.enter_alternate();
        term.mouse = true;
        (0..5).for_each(|at| term.line(&format!("full screen {at}")));
        node.drain(&mut term);
        assert!(node.screen.frame().alternate);
        assert_eq!(node.take_texts().len(), 5);
        term.leave_alternate();
        term.mouse = false;
        node.drain(&mut term);
        assert!(!node.screen.frame().alternate);
        assert_eq!(node.take_texts(), [""; 0], "the screen is what it was");
    }

    #[test]
    fn more_or_fewer_rows_are_no_alternate_screen() {
        let mut node = Node::new();
        let push = |height: u64, top: i64, total: i64| {
            Input::Changes(RenderChanges {
                pane_id: 1,
                mouse_grabbed: false,
                cursor: CursorPosition { y: total - 1, ..CursorPosition::default() },
                dims: Dimensions {
                    cols: 40,
                    viewport_rows: height,
                    scrollback_rows: (total as u64).max(height),
                    physical_top: top,
                    ..Dimensions::default()
                },
                dirty: Vec::new(),
                title: String::new(),
                working_dir: None,
                rows: (top..total).map(|row| Row::plain(row, &format!("row {row}"))).collect(),
                input_serial: None,
                seqno: 1,
            })
        };
        node.apply(push(10, 5, 15));
        node.apply(push(20, 0, 15));
        assert!(!node.screen.frame().alternate);
        assert_eq!(node.screen.layout(), 0);
        node.apply(push(10, 5, 15));
        node.tick_after(1000);
        let expected: Vec<String> = (0..14).map(|row| format!("row {row}")).collect();
        assert_eq!(node.texts(), expected);
    }
}

mod reprint {
    use super::*;

    fn agent(runs: bool) -> (Term, Node) {
        let (mut term, mut node) = (term(), Node::new());
        node.apply(Input::AgentProcess(runs.then_some(4711)));
        print(&mut term, 0, 40);
        node.drain(&mut term);
        node.take();
        (term, node)
    }

    #[test]
    fn an_agent_that_prints_its_transcript_again_makes_one_record() {
        let (mut term, mut node) = agent(true);
        term.clear();
        term.clear_scrollback();
        let first_row = term.top();
        print(&mut term, 0, 25);
        node.push(&mut term);
        node.tick_after(300);
        print(&mut term, 25, 40);
        term.line("and this is new");
        node.drain(&mut term);
        let (mut records, mut texts) = (Vec::new(), Vec::new());
        for stored in node.take() {
            match stored {
                Stored::Line(_, line) => texts.push(line.text),
                other => records.push(other),
            }
        }
        let repaint = Repaint { pane: support::node::pane(), layout: 1, first_row, rows: 40 };
        assert_eq!(records, [Stored::Repaint(repaint)]);
        assert_eq!(texts, ["and this is new"]);
    }

    #[test]
    fn a_shell_that_prints_the_same_again_prints_lines() {
        let (mut term, mut node) = agent(false);
        term.clear();
        term.clear_scrollback();
        print(&mut term, 0, 40);
        node.drain(&mut term);
        assert_eq!(node.take_texts().len(), 40);
        assert!(node.repaints().is_empty());
    }

    #[test]
    fn another_process_repeats_nobody() {
        let (mut term, mut node) = agent(true);
        node.apply(Input::AgentProcess(Some(4712)));
        term.clear();
        term.clear_scrollback();
        print(&mut term, 0, 40);
        node.drain(&mut term);
        assert_eq!(node.take_texts().len(), 40);
    }

    #[test]
    fn seven_lines_are_lines() {
        let (mut term, mut node) = agent(true);
        term.clear();
        print(&mut term, 3, 7);
        term.line("something else");
        node.drain(&mut term);
        assert_eq!(node.take_texts(), ["line 3", "line 4", "line 5", "line 6", "something else"]);
    }

    #[test]
    fn an_open_record_survives_the_node() {
        let (mut term, mut node) = agent(true);
        term.clear();
        term.clear_scrollback();
        let first_row = term.top();
        print(&mut term, 0, 40);
        node.push(&mut term);
        while node.answer(&mut term) {}
        assert!(node.repaints().is_empty(), "it may go on");
        node.restart();
        term.reconnect();
        print(&mut term, 40, 41);
        node.drain(&mut term);
        assert_eq!(node.repaints()[0].first_row, first_row);
        let repainted: u32 = node.repaints().iter().map(|repaint| repaint.rows).sum();
        let logged = node.take_texts().len() as u32;
        assert_eq!(repainted + logged, 41);
    }
}

mod position {
    use super::*;

    #[test]
    fn nothing_is_logged_again_and_rewritten_rows_get_a_revision() {
        let (mut term, mut node) = (term(), Node::new());
        print(&mut term, 0, 30);
        node.drain(&mut term);
        node.take();
        node.restart();
        term.reconnect();
        term.rewrite(5, "rewritten meanwhile");
        node.drain(&mut term);
        let row = term.top() + 5;
        assert_eq!(revisions(&mut node), [(row, 1, 1, "rewritten meanwhile".to_owned())]);
    }

    #[test]
    fn a_damaged_position_is_found_again_by_content() {
        let (mut term, mut node) = (term(), Node::new());
        print(&mut term, 0, 30);
        node.drain(&mut term);
        let position = node.position.clone();
        let damaged = [
            Position { opaque: Vec::new(), ..position.clone() },
            Position { opaque: vec![1; 300], ..position.clone() },
            Position { opaque: vec![1; 300], next_row: i64::MAX, ..position.clone() },
            Position { opaque: Vec::new(), line_hashes: vec![1; 1000], ..position },
        ];
        for position in damaged {
            let mut term = term.clone();
            term.reconnect();
            let mut node = Node::new();
            node.position = position.clone();
            node.restart();
            print(&mut term, 30, 33);
            node.drain(&mut term);
            assert_eq!(node.take_texts(), number(30, 33), "{position:?}");
        }
    }

    #[test]
    fn a_position_before_the_first_push_is_the_one_it_came_from() {
        let (mut term, mut node) = (term(), Node::new());
        assert_eq!(node.screen.position(), Position::default());
        print(&mut term, 0, 30);
        node.drain(&mut term);
        let position = node.position.clone();
        assert!(position.opaque.len() + 8 * position.line_hashes.len() < 2048);
        node.restart();
        assert_eq!(node.screen.position(), position);
        node.apply(Input::Tick);
        assert_eq!(node.screen.position(), position);
    }
}
