//! Each rule of the transcript by itself.

#![allow(clippy::unwrap_used)]

mod support;

use std::ops::Range;

use support::node::Server as _;
use support::node::{gap, revisions};
use support::term::{number, print};
use support::{Node, Term};
use wa_mux::codec::{Cell, Color, CursorPosition, Dimensions, RenderChanges, Row, Style};
use wa_proto::GapCause;
use wa_screen::{Input, Options, Removal};

fn term() -> Term {
    Term::new(40, 10, 100)
}

fn only(rows: Range<i64>) -> Vec<Range<i64>> {
    std::iter::once(rows).collect()
}

#[test]
fn what_scrolled_off_is_logged_at_once_and_the_rest_after_a_second() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 12);
    node.push(&mut term);
    node.answer(&mut term);
    assert_eq!(node.take_texts(), number(0, 3));
    node.tick_after(999);
    assert_eq!(node.take_texts(), [""; 0]);
    node.tick_after(1);
    assert_eq!(node.take_texts(), number(3, 12));
    assert_eq!(node.screen.next_wakeup(), None, "nothing is waiting");
}

#[test]
fn the_cursor_row_and_the_live_area_never_settle() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 3);
    term.line("* thinking");
    term.line("> draft");
    term.put(&["p", "r", "o", "m", "p", "t"]);
    node.apply(Input::LiveTop(Some(3)));
    node.push(&mut term);
    node.tick_after(60_000);
    assert_eq!(node.take_texts(), number(0, 3));
    node.apply(Input::LiveTop(None));
    node.tick_after(60_000);
    assert_eq!(node.take_texts(), [""; 0], "the remains of an agent that died");
    term.put(&["$"]);
    node.push(&mut term);
    node.tick_after(2000);
    assert_eq!(node.take_texts(), ["* thinking", "> draft"], "the cursor row still waits");
}

#[test]
fn a_row_that_changes_holds_back_what_stands_below_it() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 4);
    node.push(&mut term);
    for round in 0..5 {
        node.tick_after(600);
        term.rewrite(1, &format!("spinner {round}"));
        node.push(&mut term);
    }
    assert_eq!(node.take_texts(), ["line 0"]);
    node.tick_after(1000);
    assert_eq!(node.take_texts(), ["spinner 4", "line 2", "line 3"]);
}

#[test]
fn soft_wrapped_rows_are_one_line_with_their_inner_blanks() {
    let (mut term, mut node) = (Term::new(10, 10, 100), Node::new());
    term.line("0123456   0123456789 the end");
    term.line("漢字漢字漢字e\u{301}");
    node.drain(&mut term);
    let expected =
        [(0, 0, 3, "0123456   0123456789 the end".to_owned()), (3, 0, 2, "漢字漢字漢字e\u{301}".to_owned())];
    assert_eq!(revisions(&mut node), expected);
}

#[test]
fn an_endless_line_is_handed_out_in_pieces() {
    let (mut term, mut node) = (Term::new(10, 10, 2000), Node::new());
    let text: String = (0..1000).map(|at| format!("{at:09} ")).collect();
    term.line(&text);
    node.drain(&mut term);
    let pieces = revisions(&mut node);
    assert_eq!(
        pieces.iter().map(|(row, _, rows, _)| (*row, *rows)).collect::<Vec<_>>(),
        [(0, 512), (512, 488)]
    );
    assert_eq!(pieces.iter().map(|(.., text)| format!("{text} ")).collect::<String>(), text);
    term.rewrite(8, "the end");
    node.drain(&mut term);
    let again = revisions(&mut node);
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].0, again[0].1, again[0].2), (512, 1, 488));
    assert!(again[0].3.ends_with("the end"));
}

#[test]
fn a_rewritten_line_is_handed_out_again_only_if_it_reads_differently() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 4);
    node.drain(&mut term);
    node.take();
    term.rewrite(1, "running");
    node.push(&mut term);
    term.rewrite(2, "for a moment");
    node.push(&mut term);
    node.tick_after(500);
    term.rewrite(2, "line 2");
    node.drain(&mut term);
    assert_eq!(revisions(&mut node), [(1, 1, 1, "running".to_owned())]);
    term.rewrite(1, "done");
    print(&mut term, 4, 30);
    node.drain(&mut term);
    let after = revisions(&mut node);
    assert_eq!(after[0], (1, 2, 1, "done".to_owned()), "it scrolled off as it was rewritten");
    assert_eq!(after.len(), 27);
}

#[test]
fn a_line_that_grows_swallows_the_next_and_gives_it_back() {
    let (mut term, mut node) = (Term::new(10, 10, 100), Node::new());
    for line in ["aaa", "bbb", "ccc"] {
        term.line(line);
    }
    node.drain(&mut term);
    node.take();
    term.go_to(0, 0);
    term.put(&["x"; 14]);
    term.go_to(0, 3);
    node.drain(&mut term);
    let grown = "x".repeat(14);
    assert_eq!(revisions(&mut node), [(0, 1, 2, grown), (1, 1, 0, String::new())]);
    assert_eq!(node.texts(), ["xxxxxxxxxxxxxx", "ccc"]);
    term.rewrite(0, "short");
    node.drain(&mut term);
    assert_eq!(node.texts(), ["short", "xxxx", "ccc"]);
}

#[test]
fn a_line_rewritten_all_the_time_settles_more_and_more_slowly() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 3);
    node.drain(&mut term);
    for second in 0..300 {
        term.rewrite(1, &format!("{second} seconds"));
        node.push(&mut term);
        node.tick_after(1000);
    }
    let stored = node.store.len();
    assert!(stored < 10, "{stored} records of a clock");
    node.drain(&mut term);
    assert_eq!(node.texts()[1], "299 seconds");
}

#[test]
fn blank_lines_are_lines_but_not_below_the_last_text() {
    let (mut term, mut node) = (term(), Node::new());
    for line in ["a", "", "", "b", "", ""] {
        term.line(line);
    }
    node.drain(&mut term);
    assert_eq!(node.take_texts(), ["a", "", "", "b"]);
    term.line("c");
    node.drain(&mut term);
    assert_eq!(node.take_texts(), ["", "", "c"]);
}

#[test]
fn a_change_of_style_is_a_new_frame_and_no_new_line() {
    let mut node = Node::new();
    let row = |style| Row::from_cells(0, 1, false, [Cell { text: "x", style, ..Cell::plain("x") }]);
    let push = |row: Row| {
        Input::Changes(RenderChanges {
            pane_id: 1,
            mouse_grabbed: false,
            cursor: CursorPosition { y: 1, ..CursorPosition::default() },
            dims: Dimensions { cols: 10, viewport_rows: 2, scrollback_rows: 2, ..Dimensions::default() },
            dirty: Vec::new(),
            title: String::new(),
            working_dir: None,
            rows: vec![row, Row::plain(1, "")],
            input_serial: None,
            seqno: 1,
        })
    };
    node.apply(push(row(Style::default())));
    node.tick_after(1000);
    assert_eq!((node.take_texts(), node.frames), (vec!["x".to_owned()], 1));
    node.apply(push(row(Style { bold: true, ..Style::default() })));
    node.tick_after(5000);
    assert_eq!((node.take_texts().len(), node.frames), (0, 2));
    assert!(node.screen.frame().rows[0].style_at(0).bold);
}

#[test]
fn first_sight_takes_what_the_server_still_holds() {
    let (mut term, mut node) = (Term::new(40, 10, 700), Node::new());
    print(&mut term, 0, 1000);
    node.drain(&mut term);
    let oldest = term.oldest();
    assert_eq!(node.gaps(), [gap(Some(0), Some(oldest as u64), GapCause::Trimmed, 0)]);
    assert_eq!(node.take_texts(), number(oldest as usize, 1000));
}

#[test]
fn a_flood_is_a_gap_with_the_exact_count() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 5);
    node.drain(&mut term);
    print(&mut term, 5, 5000);
    node.drain(&mut term);
    let oldest = term.oldest();
    assert_eq!(node.gaps(), [gap(Some(5), Some(oldest as u64 - 5), GapCause::Flood, 0)]);
    assert_eq!(node.texts().len() as i64, 5 + 5000 - oldest);
}

#[test]
fn the_cause_of_a_gap_tells_who_could_not_read() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 5);
    node.drain(&mut term);
    node.reconnect(&mut term);
    print(&mut term, 5, 500);
    node.drain(&mut term);
    node.restart();
    term.reconnect();
    print(&mut term, 500, 1000);
    node.drain(&mut term);
    let causes: Vec<GapCause> = node.gaps().iter().map(|gap| gap.cause).collect();
    assert_eq!(causes, [GapCause::Trimmed, GapCause::NodeDown]);
    let lost: u64 = node.gaps().iter().filter_map(|gap| gap.rows).sum();
    assert_eq!(node.texts().len() as u64 + lost, 1000);
}

#[test]
fn the_end_of_a_pane_hands_out_its_screen_and_admits_last_words() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 300);
    term.put(&["b", "y", "e"]);
    node.push(&mut term);
    // The question that this made is never answered.
    node.remove();
    let top = term.top();
    let gaps = node.gaps();
    assert_eq!(gaps[0].rows, Some(term.oldest() as u64));
    assert_eq!(gaps[1], gap(Some(term.oldest()), Some((top - term.oldest()) as u64), GapCause::Exit, 0));
    assert_eq!(gaps[2], gap(None, None, GapCause::Exit, 0));
    let mut expected = number(top as usize, 300);
    expected.push("bye".to_owned());
    assert_eq!(node.texts(), expected);
    node.push(&mut term);
    node.apply(Input::Removed(Removal::MuxLost));
    assert_eq!(node.gaps().len(), 3, "it is gone once");
}

#[test]
fn the_live_area_of_a_pane_that_ends_is_not_logged() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 3);
    term.line("> composer");
    node.push(&mut term);
    node.apply(Input::LiveTop(Some(3)));
    node.remove();
    assert_eq!(node.texts(), number(0, 3));
}

#[test]
fn one_question_covers_a_flood_and_failures_are_repeated_later() {
    let (mut term, mut node) = (Term::new(40, 10, 3000), Node::new());
    print(&mut term, 0, 1500);
    node.push(&mut term);
    let asked = node.asked.clone().unwrap();
    assert_eq!(asked, only(0..500));
    print(&mut term, 1500, 2000);
    node.push(&mut term);
    assert_eq!(node.asked.as_ref(), Some(&asked), "still the same question");
    node.forget_question();
    node.apply(Input::FetchFailed);
    assert_eq!(node.asked, None, "not at once");
    let wake = node.screen.next_wakeup().unwrap();
    assert!(wake > node.now);
    node.drain(&mut term);
    assert_eq!(node.texts(), number(0, 2000));
    assert!(node.gaps().is_empty());
}

#[test]
fn rows_that_no_answer_brings_are_a_gap() {
    let (mut term, mut node) = (Term::new(40, 10, 3000), Node::new());
    print(&mut term, 0, 50);
    node.push(&mut term);
    for _ in 0..2 {
        node.forget_question();
        node.apply(Input::Rows(Vec::new()));
    }
    assert_eq!(node.gaps(), [gap(Some(0), Some(41), GapCause::Trimmed, 0)]);
    node.drain(&mut term);
    assert_eq!(node.texts(), number(41, 50));
}

#[test]
fn clearing_the_screen_begins_a_page_on_the_same_rows() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 5);
    node.drain(&mut term);
    node.take();
    term.clear();
    node.drain(&mut term);
    assert_eq!(revisions(&mut node), [], "a blank screen is not text");
    term.line("fresh");
    node.drain(&mut term);
    assert_eq!(revisions(&mut node), [(0, 0, 1, "fresh".to_owned())]);
    assert_eq!(node.screen.layout(), 1);
    assert_eq!(node.texts(), [number(0, 5), vec!["fresh".to_owned()]].concat());
}

#[test]
fn clearing_the_scrollback_loses_only_what_was_unread() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 30);
    node.drain(&mut term);
    term.clear_scrollback();
    print(&mut term, 30, 35);
    node.drain(&mut term);
    assert_eq!(node.texts(), number(0, 35));
    print(&mut term, 35, 60);
    let unread = 35..term.top();
    term.clear_scrollback();
    node.drain(&mut term);
    let lost = (unread.end - unread.start) as u64;
    assert_eq!(node.gaps(), [gap(Some(35), Some(lost), GapCause::Flood, 0)]);
}

#[test]
fn an_old_server_is_asked_once_more_when_it_has_become_quiet() {
    let mut term = term();
    let mut node = Node::with(Options { codec_42: true });
    print(&mut term, 0, 5);
    node.push(&mut term);
    node.tick_after(30);
    print(&mut term, 5, 6);
    node.push(&mut term);
    node.tick_after(49);
    assert_eq!(node.asked, None);
    node.tick_after(1);
    assert_eq!(node.asked, Some(only(0..10)));
    // A change that the server never reported.
    term.rewrite(3, "unreported");
    let told = term.push();
    assert!(told.is_some());
    node.drain(&mut term);
    assert_eq!(node.texts()[3], "unreported");
    node.tick_after(1000);
    assert_eq!(node.asked, None, "once");
}

#[test]
fn frames_cut_default_blanks_and_keep_styled_ones() {
    let mut node = Node::new();
    let reverse = Style { reverse: true, ..Style::default() };
    let red = Style { fg: Color::Palette(1), ..Style::default() };
    let cells = |cells: &[(&'static str, Style)]| -> Vec<Cell<'static>> {
        cells.iter().map(|(text, style)| Cell { text, style: *style, ..Cell::plain("") }).collect()
    };
    let plain = Style::default();
    let rows = vec![
        Row::from_cells(7, 1, false, cells(&[("漢", plain), ("b", red), (" ", plain), (" ", plain)])),
        Row::from_cells(8, 1, false, cells(&[(">", plain), (" ", reverse), (" ", plain)])),
    ];
    node.apply(Input::Changes(RenderChanges {
        pane_id: 1,
        mouse_grabbed: false,
        cursor: CursorPosition { x: 2, y: 8, ..CursorPosition::default() },
        dims: Dimensions {
            cols: 20,
            viewport_rows: 3,
            scrollback_rows: 10,
            physical_top: 7,
            ..Dimensions::default()
        },
        dirty: Vec::new(),
        title: String::new(),
        working_dir: None,
        rows,
        input_serial: None,
        seqno: 1,
    }));
    let frame = node.screen.frame();
    assert_eq!((frame.first_row, frame.cols, frame.rows.len()), (7, 20, 3));
    assert_eq!((frame.cursor.row, frame.cursor.col, frame.cursor.visible), (1, 2, true));
    assert_eq!(frame.rows[0].text, "漢b");
    assert_eq!(frame.rows[0].style_at(3).fg, wa_proto::Color::Palette(1));
    assert_eq!(frame.rows[1].text, "> ", "a reversed blank is a cursor");
    assert!(frame.rows[1].style_at(1).reverse);
    assert_eq!(frame.rows[2].text, "");
}

#[test]
fn absurd_sizes_do_no_harm() {
    let absurd = [
        Dimensions {
            cols: u64::MAX,
            viewport_rows: u64::MAX,
            scrollback_rows: u64::MAX,
            ..Dimensions::default()
        },
        Dimensions { physical_top: i64::MAX, scrollback_top: i64::MIN, ..Dimensions::default() },
        Dimensions {
            physical_top: i64::MIN,
            scrollback_top: i64::MAX,
            viewport_rows: 5,
            ..Dimensions::default()
        },
        Dimensions::default(),
        Dimensions { cols: 80, viewport_rows: 24, scrollback_rows: 24, ..Dimensions::default() },
    ];
    let mut node = Node::new();
    for round in 0..50 {
        let dims = absurd[round * 7 % 5];
        node.forget_question();
        node.apply(Input::Changes(RenderChanges {
            pane_id: 1,
            mouse_grabbed: round % 2 == 0,
            cursor: CursorPosition { x: u64::MAX, y: i64::MIN + round as i64, ..CursorPosition::default() },
            dims,
            dirty: vec![i64::MIN..i64::MAX, Range { start: 5, end: -5 }],
            title: String::new(),
            working_dir: None,
            rows: vec![Row::plain(i64::MAX, "x"), Row::plain(i64::MIN, "y"), Row::plain(3, "z")],
            input_serial: None,
            seqno: 1,
        }));
        node.forget_question();
        node.apply(if round % 3 == 0 {
            Input::FetchFailed
        } else {
            Input::Rows(vec![Row::plain(3, "a"), Row::plain(i64::MAX, "b")])
        });
        node.apply(Input::LiveTop(Some(i64::MIN + round as i64)));
        node.forget_question();
        node.tick_after(5000);
    }
    node.forget_question();
    node.remove();
}
