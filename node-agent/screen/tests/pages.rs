//! Pages that are wiped, screens that are covered, and live areas that have gone: what a person has read stays in the log.

#![allow(clippy::unwrap_used)]

mod support;

use support::node::{Blind, Eye, Server as _};
use support::pane::Pane;
use support::term::{number, print};
use support::{Node, Term};
use wa_proto::{Frame, Timestamp};
use wa_screen::terminal::Size;
use wa_screen::{Input, Removal};

fn term() -> Term {
    Term::new(40, 10, 100)
}

fn lines(what: &str, count: usize) -> Vec<String> {
    (1..=count).map(|at| format!("{what} clear {at}")).collect()
}

fn shell() -> (Pane, Node) {
    (Pane::new(Size { cols: 40, rows: 12 }, 100), Node::new())
}

/// The program writes; so much time passes.
fn write(pane: &mut Pane, node: &mut Node, text: &str, milliseconds: i64) {
    write_before(pane, node, text, milliseconds, &mut Blind);
}

fn write_before(pane: &mut Pane, node: &mut Node, text: &str, milliseconds: i64, eye: &mut impl Eye) {
    pane.write(text.replace('\n', "\r\n").as_bytes());
    node.keep_up(pane, eye);
    node.pass_and_look(milliseconds, pane, eye);
}

/// Sees an agent, and its live area from this row of the frame on.
struct Agent(Option<usize>);

impl Eye for Agent {
    fn look(&mut self, _: &Frame, _: Timestamp) -> (Option<usize>, Option<u64>) {
        (self.0, Some(1))
    }
}

const CLEARS: &[&str] = &["\x1b[H\x1b[2J", "\x1b[H\x1b[2J\x1b[3J", "\x1b[H\x1b[J", "\x1bc"];

#[test]
fn what_stood_before_a_clear_stays_in_the_log_in_order() {
    for clear in CLEARS {
        for coalesced in [false, true] {
            let (mut pane, mut node) = shell();
            let before = format!("{}\n$ clear\n", lines("before", 6).join("\n"));
            write(&mut pane, &mut node, &before, 1500);
            if !coalesced {
                write(&mut pane, &mut node, clear, 700);
            }
            let after = format!("{}\n$ ", lines("after", 4).join("\n"));
            let after = if coalesced { format!("{clear}{after}") } else { after };
            write(&mut pane, &mut node, &after, 1500);
            let expected = [lines("before", 6), vec!["$ clear".to_owned()], lines("after", 4)].concat();
            assert_eq!(node.texts(), expected, "{clear:?} {coalesced}");
            assert!(node.log().values().all(|line| line.rev == 0));
            assert!(node.gaps().is_empty());
        }
    }
}

#[test]
fn a_clear_in_one_push_with_more_than_a_page_destroys_nothing() {
    let (mut pane, mut node) = shell();
    write(&mut pane, &mut node, &format!("{}\n$ ", lines("before", 6).join("\n")), 1500);
    write(&mut pane, &mut node, &format!("\n\x1b[H\x1b[2J{}\n$ ", lines("after", 30).join("\n")), 1500);
    let expected = [lines("before", 6), lines("after", 30)].concat();
    assert_eq!(node.texts(), expected);
}

#[test]
fn the_place_is_kept_over_a_restart_on_a_new_page() {
    let (mut pane, mut node) = shell();
    write(&mut pane, &mut node, &format!("{}\n$ clear\n", lines("before", 6).join("\n")), 1500);
    write(&mut pane, &mut node, "\x1b[H\x1b[2Jafter clear 1\nafter clear 2\n", 1500);
    node.restart();
    pane.reconnect();
    write(&mut pane, &mut node, "after clear 3\nafter clear 4\n", 1500);
    let expected = [lines("before", 6), vec!["$ clear".to_owned()], lines("after", 4)].concat();
    assert_eq!(node.texts(), expected);
}

#[test]
fn a_clear_while_the_node_was_down_destroys_nothing() {
    let (mut pane, mut node) = shell();
    write(&mut pane, &mut node, &format!("{}\n$ ", lines("before", 6).join("\n")), 1500);
    pane.write(b"\x1b[H\x1b[2Jafter clear 1\r\nafter clear 2\r\n");
    node.restart();
    pane.reconnect();
    write(&mut pane, &mut node, "after clear 3\nafter clear 4\n", 1500);
    assert_eq!(node.texts(), [lines("before", 6), lines("after", 4)].concat());
}

#[test]
fn what_was_read_and_had_not_settled_is_logged_and_what_flashed_by_is_not() {
    for (stood, logged) in [(300, true), (50, false)] {
        let (mut pane, mut node) = shell();
        write(&mut pane, &mut node, "settled 1\nsettled 2\n", 1500);
        write(&mut pane, &mut node, "young\n$ clear", stood);
        write(&mut pane, &mut node, "\n\x1b[H\x1b[2J$ ", 1500);
        let mut expected = vec!["settled 1", "settled 2"];
        expected.extend(["young", "$ clear"].into_iter().filter(|_| logged));
        assert_eq!(node.texts(), expected);
    }
}

#[test]
fn the_line_that_is_being_typed_goes_along_with_ctrl_l() {
    let (mut pane, mut node) = shell();
    write(&mut pane, &mut node, "one\ntwo\n$ make te", 1500);
    write(&mut pane, &mut node, "\x1b[H\x1b[2J$ make te", 300);
    write(&mut pane, &mut node, "st\nok\n$ ", 1500);
    assert_eq!(node.texts(), ["one", "two", "$ make test", "ok"]);
}

#[test]
fn spinners_and_progress_are_no_new_pages() {
    let (mut pane, mut node) = shell();
    for at in 0..40 {
        let spinner = ["⠋", "⠙", "⠹", "⠸"][at % 4];
        let text = format!(
            "\x1b[H\x1b[K{spinner} Installing {at} of 40\n\x1b[Kfetched {}%\n\x1b[Ktotal {}\n",
            at * 2,
            "#".repeat(at)
        );
        write(&mut pane, &mut node, &text, 1100);
    }
    assert_eq!(node.screen.layout(), 0);
    assert!(node.store.len() < 40, "{} records", node.store.len());
}

#[test]
fn a_loop_of_clears_is_not_logged_for_ever() {
    let (mut pane, mut node) = shell();
    for at in 0..200 {
        write(&mut pane, &mut node, &format!("\x1b[H\x1b[2JSun 12:00:{at}\nload {at}\nusers {at}\n"), 2000);
        write(&mut pane, &mut node, "\x1b[H\x1b[2J", 30);
    }
    assert!(node.store.len() < 60, "{} records", node.store.len());
}

#[test]
fn an_agent_that_draws_its_own_region_anew_turns_no_page() {
    let (mut pane, mut node) = shell();
    write_before(&mut pane, &mut node, "answer 1\nanswer 2\nanswer 3\n", 1500, &mut Agent(None));
    for at in 0..20 {
        let frame = format!("\x1b[4;1H\x1b[J* {at}\n┌──────┐\n│ {} │\n└──────┘\nfooter {at}", "x".repeat(at));
        write_before(&mut pane, &mut node, &frame, 400, &mut Agent(Some(3)));
    }
    assert_eq!(node.screen.layout(), 0);
    assert_eq!(node.texts(), ["answer 1", "answer 2", "answer 3"]);
}

#[test]
fn two_equal_answers_are_two_although_the_live_area_was_drawn_anew() {
    let (mut pane, mut node) = (Pane::new(Size { cols: 80, rows: 40 }, 200), Node::new());
    let answer =
        "> what is it?\n\n* It is a parser.\n  It reads lines,\n  one by one,\n  and prints them.\n\nDone.\n";
    // Most of the screen is the live area: when it goes nearly all text on the screen is another.
    let live: String = (0..30).map(|at| format!("\nthinking {}", "x".repeat(at))).collect();
    write_before(&mut pane, &mut node, answer, 1500, &mut Agent(None));
    write_before(&mut pane, &mut node, &format!("\x1b7{live}"), 100, &mut Agent(Some(8)));
    write_before(&mut pane, &mut node, "\x1b8\x1b[J", 100, &mut Agent(None));
    write_before(&mut pane, &mut node, answer, 1500, &mut Agent(None));
    node.drain(&mut pane);
    let count = node.texts().iter().filter(|text| *text == "  one by one,").count();
    assert_eq!(count, 2, "{:#?}", node.texts());
    assert!(node.repaints().is_empty());
}

#[test]
fn what_the_alternate_screen_covers_is_logged_also_if_the_pane_ends_there() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 30);
    node.drain(&mut term);
    term.line("$ codex");
    node.push(&mut term);
    node.tick_after(30);
    term.enter_alternate();
    term.line("full screen");
    node.push(&mut term);
    let expected = [number(0, 30), vec!["$ codex".to_owned()]].concat();
    assert_eq!(node.texts(), expected, "logged as soon as it is covered");
    node.apply(Input::Removed(Removal::Exit));
    assert_eq!(node.texts()[..31], expected);
}

#[test]
fn a_switch_on_a_screen_without_history_loses_no_typed_command() {
    let page: String = (1..=12).map(|at| format!("\x1b[{at};1Hpicture {at}")).collect();
    let page = format!("\x1b[?1049h{page}");
    let (mut pane, mut node) = shell();
    write(&mut pane, &mut node, "$ codex\n", 30);
    write(&mut pane, &mut node, &page, 3000);
    assert_eq!(node.texts()[0], "$ codex");
    // It may be known already which program it is.
    let (mut pane, mut node) = shell();
    write_before(&mut pane, &mut node, "$ codex\n", 30, &mut Agent(None));
    write_before(&mut pane, &mut node, &page, 3000, &mut Agent(Some(0)));
    assert_eq!(node.texts(), ["$ codex"]);
}

#[test]
fn a_short_visit_to_the_alternate_screen_does_not_repeat_the_page() {
    let (mut pane, mut node) = shell();
    write(&mut pane, &mut node, "one\ntwo\n$ codex\n", 1500);
    let blank: String = (1..=12).map(|at| format!("\x1b[{at};1H-\x1b[{at};1H\x1b[K")).collect();
    write(&mut pane, &mut node, &format!("\x1b[?1049h\x1b[H{blank}"), 100);
    write(&mut pane, &mut node, "\x1b[?1049l", 100);
    write(&mut pane, &mut node, "three\n", 1500);
    assert_eq!(node.texts(), ["one", "two", "$ codex", "three"]);
}

#[test]
fn the_composer_of_an_agent_that_was_killed_is_not_logged() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 3);
    term.line("> draft");
    term.line("100% context left");
    node.push(&mut term);
    node.apply(Input::LiveTop(Some(3)));
    node.tick_after(60_000);
    // The process is gone, and with it the live area; then the pane.
    node.apply(Input::LiveTop(None));
    node.tick_after(400);
    term.line("Killed");
    node.push(&mut term);
    node.remove();
    assert_eq!(node.texts(), [number(0, 3), vec!["Killed".to_owned()]].concat());
}

#[test]
fn the_end_screen_that_takes_the_place_of_a_composer_is_text() {
    let (mut pane, mut node) = shell();
    write_before(&mut pane, &mut node, "answer\n", 1500, &mut Agent(None));
    write_before(&mut pane, &mut node, "> draft\n100% left", 5000, &mut Agent(Some(1)));
    write_before(&mut pane, &mut node, "\x1b[2;1H\x1b[JTo continue, run resume 7\n", 200, &mut Agent(None));
    node.remove();
    assert_eq!(node.texts(), ["answer", "To continue, run resume 7"]);
}

#[test]
fn the_same_on_the_alternate_screen() {
    let (mut term, mut node) = (term(), Node::new());
    print(&mut term, 0, 30);
    node.drain(&mut term);
    term.enter_alternate();
    for line in ["answer 1", "answer 2", "> draft", "100% context left"] {
        term.line(line);
    }
    node.push(&mut term);
    node.apply(Input::LiveTop(Some(2)));
    node.tick_after(60_000);
    node.apply(Input::LiveTop(None));
    node.tick_after(1500);
    node.remove();
    assert_eq!(node.texts()[30..], ["answer 1", "answer 2"]);
}

#[test]
fn rows_that_an_agent_left_blank_when_it_drew_anew_are_counted_once_they_scroll_off() {
    let (mut pane, mut node) = shell();
    let agent = &mut Agent(None);
    write_before(&mut pane, &mut node, "one\ntwo\n", 1500, agent);
    write_before(&mut pane, &mut node, "\n\n\n\nthree", 100, agent);
    write_before(&mut pane, &mut node, "\x1b[3;1Hspinner\x1b[6;1H\n", 190, agent);
    write_before(&mut pane, &mut node, "\x1b[3;1H\x1b[K\x1b[7;1H", 190, agent);
    write_before(&mut pane, &mut node, "\x1b[H\x1b[Jfour", 100, agent);
    write_before(&mut pane, &mut node, &"\n".repeat(12), 100, agent);
    write_before(&mut pane, &mut node, "five\nsix\n", 3000, agent);
    node.drain(&mut pane);
    assert!(node.screen.layout() > 0);
    let figures = support::figures::exactness(&node, &pane);
    assert_eq!(figures.missing, []);
}
