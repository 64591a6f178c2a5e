//! The transcript against a terminal model, under kills, floods, coalesced pushes and re-wraps.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::node::Server as _;
use support::{Node, Term};
use wa_screen::Input;

#[derive(Debug, Clone)]
enum Step {
    /// Prints a line of about so many cells.
    Line(usize),
    Blank,
    Flood(usize),
    /// Prints and does not end the line.
    Partial(usize),
    Push,
    /// The server answers, the answer arrives later.
    Read,
    Answer,
    /// The answer is lost.
    Fail,
    Pass(i64),
    Reconnect,
    Restart,
    /// Dies with the outputs of a push in hand.
    DieInPush,
    // Not append-only from here on.
    Width(usize),
    Rewrite(usize, usize),
    Clear,
    ClearScrollback,
    Alternate(usize),
    Back,
    Agent(bool),
    Live(i64),
}

fn appending() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..90_usize).prop_map(Step::Line),
        2 => Just(Step::Blank),
        1 => (1..200_usize).prop_map(Step::Flood),
        1 => (1..30_usize).prop_map(Step::Partial),
        8 => Just(Step::Push),
        3 => Just(Step::Read),
        5 => Just(Step::Answer),
        1 => Just(Step::Fail),
        4 => (1..2500_i64).prop_map(Step::Pass),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Restart),
        1 => Just(Step::DieInPush),
    ]
}

fn rewriting() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => appending(),
        3 => (0..8_usize, 0..30_usize).prop_map(|(y, n)| Step::Rewrite(y, n)),
        1 => Just(Step::Clear),
        1 => Just(Step::ClearScrollback),
    ]
}

fn resizing() -> impl Strategy<Value = Step> {
    prop_oneof![14 => appending(), 1 => (12..60_usize).prop_map(Step::Width)]
}

fn anything() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => rewriting(),
        1 => (5..60_usize).prop_map(Step::Width),
        1 => (1..20_usize).prop_map(Step::Alternate),
        2 => Just(Step::Back),
        1 => any::<bool>().prop_map(Step::Agent),
        1 => (-3..40_i64).prop_map(Step::Live),
    ]
}

/// Graphemes that are not one byte and one column: wide, combining, emoji with and without selector.
const ODD: &[&str] = &["漢", "é", "e\u{301}", "✅", "⚠\u{fe0f}", "👩\u{200d}💻", "ß"];

struct World {
    term: Term,
    node: Node,
    printed: usize,
    /// Texts in the order printed, without blank ones.
    lines: Vec<String>,
    open: String,
}

impl World {
    fn new(cols: usize, height: usize, limit: usize) -> Self {
        let term = Term::new(cols, height, limit);
        Self { term, node: Node::new(), printed: 0, lines: Vec::new(), open: String::new() }
    }

    fn cells(&mut self, length: usize) {
        self.printed += 1;
        let mut cells: Vec<String> = format!("<{}>", self.printed).chars().map(String::from).collect();
        for at in 0..length {
            let odd = (at * 7 + self.printed) % 11;
            cells.push(
                ODD.get(odd)
                    .map_or_else(|| "abcdefgh"[at % 8..=at % 8].to_owned(), |cell| (*cell).to_owned()),
            );
        }
        cells.push(".".to_owned());
        self.open.push_str(&cells.concat());
        self.term.put(&cells.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn end_line(&mut self) {
        self.term.newline();
        let line = std::mem::take(&mut self.open);
        if !line.is_empty() && !self.term.is_alternate() {
            self.lines.push(line);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Line(length) => {
                self.cells(*length);
                self.end_line();
            }
            Step::Blank => self.end_line(),
            Step::Flood(count) => (0..*count).for_each(|at| {
                self.cells(at % 40);
                self.end_line();
            }),
            Step::Partial(length) => self.cells(*length),
            Step::Push => self.node.push(&mut self.term),
            Step::Read => self.node.read(&mut self.term),
            Step::Answer => drop(self.node.answer(&mut self.term)),
            Step::Fail => {
                if self.node.asked.is_some() {
                    self.node.forget_question();
                    self.node.apply(Input::FetchFailed);
                }
            }
            Step::Pass(milliseconds) => self.node.tick_after(*milliseconds),
            Step::Reconnect => self.node.reconnect(&mut self.term),
            Step::Restart => {
                self.node.restart();
                self.term.reconnect();
            }
            Step::DieInPush => {
                if let Some(changes) = self.term.push() {
                    self.node.apply_and_die(Input::Changes(changes));
                    self.term.reconnect();
                }
            }
            Step::Width(cols) => self.term.resize_cols(*cols),
            Step::Rewrite(y, length) => {
                self.printed += 1;
                let text = format!("[{}]{}", self.printed, "r".repeat(*length));
                self.term.rewrite(*y % self.term.height, &text);
            }
            Step::Clear => self.term.clear(),
            Step::ClearScrollback => self.term.clear_scrollback(),
            Step::Alternate(lines) => {
                self.term.enter_alternate();
                (0..*lines).for_each(|at| self.term.line(&format!("alternate {at}")));
            }
            Step::Back => self.term.leave_alternate(),
            Step::Agent(runs) => self.node.apply(Input::AgentProcess(runs.then_some(7))),
            Step::Live(row) => {
                let row = Some(self.term.top() + row).filter(|_| *row >= 0);
                self.node.apply(Input::LiveTop(row));
            }
        }
    }

    fn finish(&mut self) {
        self.term.newline();
        if !self.open.is_empty() {
            self.lines.push(std::mem::take(&mut self.open));
        }
        self.node.drain(&mut self.term);
    }
}

fn joined(rows: impl Iterator<Item = String>) -> String {
    rows.collect::<String>().trim_end_matches(' ').to_owned()
}

/// Every row up to the cursor (or, where it is blank, up to the last text) is in a line or a gap, once, with its text.
fn check_rows(world: &World) -> Result<(), TestCaseError> {
    let mut owner: BTreeMap<i64, &str> = BTreeMap::new();
    let log = world.node.log();
    for ((layout, row), line) in &log {
        prop_assert_eq!(*layout, 0);
        for index in *row..*row + i64::from(line.rows) {
            prop_assert!(owner.insert(index, "line").is_none(), "row {} twice", index);
        }
        let truth =
            joined((*row..*row + i64::from(line.rows)).map(|index| world.term.truth[&index].0.clone()));
        prop_assert_eq!(&line.text, &truth, "row {}", row);
        let last = *row + i64::from(line.rows) - 1;
        let whole =
            !world.term.truth[&last].1 || owner.contains_key(&(last + 1)) || last + 1 < world.term.oldest();
        prop_assert!(whole, "row {} is half a line", row);
    }
    for gap in world.node.gaps() {
        let (first, rows) = (gap.first_row.unwrap(), gap.rows.unwrap());
        for index in first..first + rows as i64 {
            prop_assert!(owner.insert(index, "gap").is_none(), "row {} twice", index);
            prop_assert!(index < world.term.oldest(), "row {} is still there: {:?}", index, gap);
        }
    }
    let last_text = (0..world.term.cursor_row()).rev().find(|row| !world.term.truth[row].0.is_empty());
    let end = last_text.map_or(0, |row| row + 1).max(world.term.top());
    for row in 0..end {
        prop_assert!(owner.contains_key(&row), "row {} of {} is missing", row, end);
    }
    Ok(())
}

/// Lines that were printed, in their order, none twice; all of them where there is no gap.
fn check_order(world: &World) -> Result<(), TestCaseError> {
    let logged: Vec<String> = world.node.texts().into_iter().filter(|text| !text.is_empty()).collect();
    let printed: Vec<&str> = world.lines.iter().map(|line| line.trim_end_matches(' ')).collect();
    let gaps = !world.node.gaps().is_empty();
    if !gaps {
        prop_assert_eq!(&logged, &printed);
        return Ok(());
    }
    let mut at = 0;
    for line in &logged {
        // Any part of a line may be in a gap, also the middle.
        let whole = printed[at..].iter().position(|printed| printed == line).map(|skip| at + skip);
        let from = at.saturating_sub(1);
        let part =
            printed[from..].iter().position(|printed| printed.contains(line.as_str()) && printed != line);
        let found = whole.or(part.map(|skip| from + skip));
        prop_assert!(found.is_some(), "{:?} again, out of order or wrong", line);
        at = found.unwrap() + 1;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").map_or(160, |n| n.parse().unwrap()), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printed_is_captured_plus_gaps(
        steps in proptest::collection::vec(appending(), 1..120),
        cols in 10..50_usize,
        limit in 5..120_usize,
    ) {
        let mut world = World::new(cols, 8, limit);
        steps.iter().for_each(|step| world.step(step));
        world.finish();
        check_rows(&world)?;
        check_order(&world)?;
    }

    #[test]
    fn a_rewrap_repeats_and_loses_nothing(
        steps in proptest::collection::vec(resizing(), 1..120),
        cols in 12..50_usize,
    ) {
        let mut world = World::new(cols, 8, 2000);
        steps.iter().for_each(|step| world.step(step));
        world.finish();
        check_order(&world)?;
    }

    #[test]
    fn what_is_on_the_screen_at_last_is_in_the_log(
        steps in proptest::collection::vec(rewriting(), 1..120),
        cols in 10..50_usize,
        limit in 5..120_usize,
    ) {
        let mut world = World::new(cols, 8, limit);
        steps.iter().for_each(|step| world.step(step));
        world.finish();
        // A program that clears the screen and then paints its bottom looks like one on the alternate screen.
        prop_assume!(world.node.alternates.is_empty());
        let log = world.node.log();
        let end = world.term.cursor_row();
        let text = |row: i64| world.term.row(row).unwrap();
        let mut row = world.term.top();
        while row < end {
            let mut last = row;
            while text(last).wrapped && last + 1 < end { last += 1; }
            let truth = joined((row..=last).map(|row| text(row).text()));
            let first_seen = row == world.term.top() && row > 0;
            // After a restart the rest of a line whose head was trimmed cannot be told from a new text.
            let oldest = world.term.oldest();
            let headless = log.values().any(|line| line.row < oldest && row < line.row + i64::from(line.rows));
            let below = (last + 1..end).any(|row| !text(row).text().is_empty());
            if (!truth.is_empty() || below) && !first_seen && !headless {
                // Of the page that shows.
                let line = log.iter().rev().find(|((_, first), _)| *first == row).map(|(_, line)| line);
                prop_assert_eq!(line.map(|line| line.text.as_str()), Some(truth.as_str()), "row {}", row);
            }
            row = last + 1;
        }
    }

    #[test]
    fn nothing_makes_it_panic_or_spin(
        steps in proptest::collection::vec(anything(), 1..150),
        cols in 5..50_usize,
        limit in 0..60_usize,
    ) {
        let mut world = World::new(cols, 8, limit);
        for step in &steps {
            world.step(step);
            let frame = world.node.screen.frame();
            prop_assert!(frame.rows.len() <= 8);
        }
        world.finish();
        world.node.remove();
        world.node.log();
    }
}
