//! Random programs on the terminal model, under pushes that come late, answers that come later or not, and restarts:
//! every row that left the viewport is in a line or a gap, once, and the frame is what the terminal shows.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::Node;
use support::node::{Blind, Server as _, Stored};
use support::pane::Pane;
use wa_screen::terminal::{Size, Terminal};
use wa_screen::{Input, Options};

const SIZE: Size = Size { cols: 24, rows: 8 };

/// Text of every kind that terminals have trouble with.
const TEXTS: &[&str] = &[
    "plain",
    "a longer text that wraps around the edge of the screen",
    "漢字かな交じり文、全角の行",
    "e\u{301}a\u{308}o\u{302}",
    "👩\u{200d}💻 and 👨\u{200d}👩\u{200d}👧",
    "⚠\u{fe0f} ✅ 🇩🇪",
    "שלום עולם",
    "مرحبا بالعالم",
    "tab\tbed",
];

/// What does not drop history.
fn simple() -> impl Strategy<Value = Vec<u8>> {
    let escape = |text: &'static str| Just(text.as_bytes().to_vec());
    prop_oneof![
        6 => (0..TEXTS.len(), 0..99_u32).prop_map(|(at, n)| format!("{n}{}", TEXTS[at]).into_bytes()),
        8 => escape("\r\n"),
        1 => escape("\r"),
        2 => (1..9_u16, 1..25_u16).prop_map(|(y, x)| format!("\x1b[{y};{x}H").into_bytes()),
        1 => (1..5_u16, 4..9_u16).prop_map(|(top, bottom)| format!("\x1b[{top};{bottom}r").into_bytes()),
        1 => escape("\x1b[r"),
        1 => (1..4_u16).prop_map(|n| format!("\x1b[{n}L").into_bytes()),
        1 => (1..4_u16).prop_map(|n| format!("\x1b[{n}M").into_bytes()),
        1 => escape("\x1b[K"),
        1 => escape("\x1b[J"),
        1 => escape("\x1b[2J"),
        1 => escape("\x1bM"),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<u8>),
    Push,
    Read,
    Answer,
    Fail,
    Pass(i64),
    Reconnect,
    Restart,
    Resize(u16, u16),
    /// A push that was made while the program wrote on: what it wrote is never told.
    LosePush(Vec<u8>),
}

fn writing() -> impl Strategy<Value = Step> {
    let update = proptest::collection::vec(simple(), 1..6)
        .prop_map(|parts| [b"\x1b[?2026h".to_vec(), parts.concat(), b"\x1b[?2026l".to_vec()].concat());
    let other: &[&'static [u8]] = &[b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?1049l", b"\x1b[3J", b"\x1bc"];
    prop_oneof![
        30 => simple(),
        3 => update,
        2 => proptest::sample::select(other.to_vec()).prop_map(<[u8]>::to_vec),
    ]
    .prop_map(Step::Write)
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => writing(),
        5 => Just(Step::Push),
        2 => Just(Step::Read),
        3 => Just(Step::Answer),
        1 => Just(Step::Fail),
        2 => (1..2500_i64).prop_map(Step::Pass),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Restart),
    ]
}

fn resizing() -> impl Strategy<Value = Step> {
    prop_oneof![20 => steps(), 1 => (2..60_u16, 2..20_u16).prop_map(|(cols, rows)| Step::Resize(cols, rows))]
}

fn losing() -> impl Strategy<Value = Step> {
    prop_oneof![10 => steps(), 1 => simple().prop_map(Step::LosePush)]
}

struct World {
    pane: Pane,
    node: Node,
    /// It took the primary screen for an alternate one, or the other way round.
    mistaken: bool,
    /// How each row of the primary screen ever read.
    versions: BTreeMap<i64, Vec<String>>,
}

impl World {
    fn new(terminal: Terminal, options: Options) -> Self {
        let pane = Pane::of(terminal);
        let mut world = Self { pane, node: Node::with(options), mistaken: false, versions: BTreeMap::new() };
        // Some history, so that the alternate screen can be told from the primary one.
        (0..12).for_each(|at| world.write(format!("first {at}\r\n").as_bytes()));
        world
    }

    fn write(&mut self, bytes: &[u8]) {
        self.pane.write(bytes);
        for (row, (text, _)) in &self.pane.truth {
            let versions = self.versions.entry(*row).or_default();
            if versions.last() != Some(text) {
                versions.push(text.clone());
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(bytes) => self.write(bytes),
            Step::Push => self.node.push(&mut self.pane),
            Step::Read => self.node.read(&mut self.pane),
            Step::Answer => drop(self.node.answer(&mut self.pane)),
            Step::Fail => {
                if self.node.asked.is_some() {
                    self.node.forget_question();
                    self.node.apply(Input::FetchFailed);
                }
            }
            Step::Pass(milliseconds) => self.node.tick_after(*milliseconds),
            Step::Reconnect => self.node.reconnect(&mut self.pane),
            Step::Restart => {
                self.node.restart();
                self.pane.reconnect();
            }
            Step::Resize(cols, rows) => self.pane.resize(Size { cols: *cols, rows: *rows }),
            Step::LosePush(bytes) => {
                let told = self.pane.push();
                self.write(bytes);
                drop(self.pane.push());
                if let Some(changes) = told {
                    self.node.apply(Input::Changes(changes));
                }
            }
        }
        if matches!(step, Step::Push | Step::Answer) {
            self.mistaken |= self.node.screen.frame().alternate != self.pane.terminal.is_alternate();
        }
    }

    fn finish(&mut self) {
        self.write(b"\x1b[?2026l\x1b[?1049l\x1b[r\x1b[8;1H\r\nlast\r\n");
        self.node.drain(&mut self.pane);
        self.mistaken |= self.node.screen.frame().alternate;
    }

    fn check_frame(&mut self) -> Result<(), TestCaseError> {
        let shown = self.pane.terminal.frame();
        let seen = self.node.screen.frame();
        let texts = |frame: &wa_proto::Frame| -> Vec<String> {
            frame.rows.iter().map(|row| row.text.trim_end().to_owned()).collect()
        };
        prop_assert_eq!((seen.first_row, texts(&seen)), (shown.first_row, texts(&shown)));
        Ok(())
    }

    /// Every row that left the viewport has one owner, and a line reads as its rows once did.
    fn check_rows(&self) -> Result<(), TestCaseError> {
        let mut owners: BTreeMap<i64, u64> = BTreeMap::new();
        let mut lines: BTreeMap<i64, wa_proto::Line> = BTreeMap::new();
        for stored in &self.node.store {
            match stored {
                Stored::Line(layout, line) if !self.node.alternates.contains(layout) => {
                    lines.insert(line.row, line.clone());
                }
                Stored::Line(..) => {}
                Stored::Gap(gap) => {
                    let (Some(first), Some(rows)) = (gap.first_row, gap.rows) else { continue };
                    (first..first + rows as i64).for_each(|row| *owners.entry(row).or_default() += 1);
                }
                Stored::Repaint(repaint) => prop_assert!(false, "no agent, no repaint: {:?}", repaint),
            }
        }
        for line in lines.values() {
            // Under an earlier layout another line may have reached over these rows.
            for row in line.row..line.row + i64::from(line.rows) {
                owners.entry(row).or_insert(1);
            }
            if line.rows == 1 && line.row < self.pane.printed {
                let versions = self.versions.get(&line.row);
                let known = versions
                    .is_some_and(|all| all.iter().any(|text| text.trim_end_matches(' ') == line.text));
                prop_assert!(known, "row {} never read {:?}: {:?}", line.row, line.text, versions);
            }
        }
        for row in 0..self.pane.printed {
            let count = owners.get(&row).copied().unwrap_or(0);
            prop_assert_eq!(
                count,
                1,
                "row {} of {}, which read {:?}",
                row,
                self.pane.printed,
                self.pane.truth.get(&row)
            );
        }
        Ok(())
    }
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").map_or(150, |n| n.parse().unwrap());
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_row_is_in_the_log_or_in_a_gap(
        steps in proptest::collection::vec(steps(), 1..120),
        scrollback in 20..80_usize,
    ) {
        let mut world = World::new(Terminal::new(SIZE, scrollback), Options::default());
        steps.iter().for_each(|step| world.step(step));
        world.finish();
        prop_assume!(!world.mistaken);
        world.check_frame()?;
        world.check_rows()?;
    }

    #[test]
    fn an_old_server_is_believed_only_after_a_second_look(
        steps in proptest::collection::vec(losing(), 1..120),
        scrollback in 20..80_usize,
    ) {
        let terminal = Terminal::new(SIZE, scrollback).with_advancing_alternate();
        let mut world = World::new(terminal, Options { codec_42: true });
        steps.iter().for_each(|step| world.step(step));
        world.finish();
        prop_assume!(!world.mistaken);
        world.check_frame()?;
    }

    #[test]
    fn resizes_do_no_harm(
        steps in proptest::collection::vec(resizing(), 1..120),
        scrollback in 0..80_usize,
    ) {
        let mut world = World::new(Terminal::new(SIZE, scrollback), Options::default());
        for step in &steps {
            world.step(step);
            prop_assert!(world.node.screen.frame().rows.len() <= 20);
            prop_assert!(world.node.position.opaque.len() < 16 << 10);
        }
        world.finish();
        world.node.remove();
    }
}

#[test]
fn a_flood_is_one_gap_with_the_exact_count_and_one_question_at_a_time() {
    let mut pane = Pane::new(Size { cols: 80, rows: 24 }, 100);
    let mut node = Node::new();
    let mut questions = 0;
    for round in 0..10 {
        let text: String = (0..5_000).map(|at| format!("round {round} line {at}\r\n")).collect();
        pane.terminal.advance(text.as_bytes());
        node.push(&mut pane);
        questions += usize::from(node.asked.is_some());
        node.keep_up(&mut pane, &mut Blind);
    }
    node.drain(&mut pane);
    assert!(questions <= 10, "{questions} questions for 10 pushes");
    let captured: i64 = node.log().values().map(|line| i64::from(line.rows)).sum();
    let lost: u64 = node.gaps().iter().map(|gap| gap.rows.unwrap()).sum();
    assert_eq!(captured + lost as i64, 10 * 5_000, "every line that was printed is there, once");
    assert!(node.gaps().len() <= 10);
}

#[test]
fn a_stopped_reader_catches_up_with_one_push_and_few_questions() {
    let mut pane = Pane::new(Size { cols: 80, rows: 24 }, 3500);
    let mut node = Node::new();
    node.push(&mut pane);
    for from in (0..30_000).step_by(1000) {
        let lines: String = (from..from + 1000).map(|at| format!("line {at}\r\n")).collect();
        pane.terminal.advance(lines.as_bytes());
    }
    node.push(&mut pane);
    let mut questions = 0;
    while node.asked.is_some() {
        questions += 1;
        node.answer(&mut pane);
    }
    node.drain(&mut pane);
    assert!(questions <= 3600 / 500 + 1, "{questions} questions for 3500 rows");
    let captured = node.log().len() as u64;
    let lost: u64 = node.gaps().iter().map(|gap| gap.rows.unwrap()).sum();
    assert_eq!((captured + lost, node.gaps().len()), (30_000, 1));
}

/// What no program should send.
#[test]
fn hostile_bytes_are_taken_and_memory_is_bounded() {
    let endless_title = [b"\x1b]2;".to_vec(), vec![b'x'; 1 << 20], b"\x07".to_vec()].concat();
    let stacked = "e\u{301}".repeat(3) + &"\u{301}".repeat(50_000);
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("invalid utf-8", (0..=255_u8).cycle().filter(|byte| *byte >= 0x80).take(32 << 10).collect()),
        ("one line of a megabyte", vec![b'y'; 1 << 20]),
        ("nuls", vec![0; 256 << 10]),
        ("half an escape", b"\x1b[38;2;".to_vec()),
        ("endless parameters", [b"\x1b[".to_vec(), b"1;".repeat(128 << 10)].concat()),
        ("endless title", endless_title),
        ("title of controls", b"\x1b]0;\x1b\x01\x02\xff\xfe\x07".to_vec()),
        ("dcs without end", [b"\x1bP".to_vec(), vec![b'q'; 256 << 10]].concat()),
        ("update without end", [b"\x1b[?2026h".to_vec(), b"z\r\n".repeat(64 << 10)].concat()),
        ("marks on marks", stacked.into_bytes()),
        ("far away", b"\x1b[65535;65535H\x1b[65535L\x1b[65535@x\x1b[2147483647b".to_vec()),
    ];
    for (what, bytes) in hostile {
        for size in [Size { cols: 80, rows: 24 }, Size { cols: 10_000, rows: 50 }, Size { cols: 1, rows: 1 }]
        {
            let mut pane = Pane::new(size, 200);
            let mut node = Node::new();
            // The wide one costs a test build much time.
            let bytes = if size.cols > 80 { &bytes[..bytes.len().min(8 << 10)] } else { &bytes };
            for piece in bytes.chunks(16 << 10) {
                pane.terminal.advance(piece);
                node.keep_up(&mut pane, &mut Blind);
                node.tick_after(5);
            }
            pane.terminal.advance(b"\x1b\\\x07\x1b[?2026l\x18\r\nstill here\r\n");
            node.drain(&mut pane);
            let seen = node.screen.frame();
            let wide = seen.cols >= 20;
            let alive = seen.rows.iter().any(|row| row.text.contains("still here"));
            assert!(alive || !wide, "{what} at {size:?}: {seen:?}");
            let kept: usize = seen.rows.iter().map(|row| row.text.len()).sum();
            assert!(kept < 8 << 20, "{what}: a frame of {kept} bytes");
            let longest = node.log().values().map(|line| line.text.len()).max().unwrap_or(0);
            assert!(longest <= (64 << 10) + 10_000 * 32, "{what}: a line of {longest} bytes");
            let captured: i64 = node.log().values().map(|line| i64::from(line.rows)).sum();
            let lost: u64 = node.gaps().iter().filter_map(|gap| gap.rows).sum();
            let top = pane.terminal.dimensions().physical_top;
            assert!(captured + lost as i64 >= top, "{what}: {captured} + {lost} of {top} rows");
        }
    }
}
