//! The terminal by itself: what it says beside rows, and any bytes in any pieces.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::single_range_in_vec_init, clippy::reversed_empty_ranges, reason = "lists of ranges of rows")]

use proptest::prelude::*;
use wa_mux::codec::{Progress, Zone};
use wa_screen::terminal::{Notice, Size, Terminal};

const SIZE: Size = Size { cols: 20, rows: 6 };

fn terminal() -> Terminal {
    Terminal::new(SIZE, 50)
}

fn texts(terminal: &mut Terminal) -> Vec<String> {
    let retained = terminal.dimensions().retained();
    let rows = terminal.rows(retained);
    rows.iter().map(|row| row.text().to_owned()).collect()
}

#[test]
fn a_synchronised_update_comes_at_once() {
    let mut terminal = terminal();
    let before = terminal.seqno();
    let batch = terminal.advance(b"before\x1b[?2026hhidden");
    assert!(batch.applied);
    assert_eq!(texts(&mut terminal)[0], "before");
    assert!(!terminal.advance(b" and more").applied);
    assert_eq!(terminal.seqno(), before + 1);
    assert!(!terminal.advance(b"\x1b[?20").applied);
    assert!(terminal.advance(b"26l").applied);
    assert_eq!(texts(&mut terminal)[0], "beforehidden and mor");
    assert_eq!(terminal.seqno(), before + 2);
}

#[test]
fn an_update_without_end_is_bounded() {
    let mut terminal = terminal();
    terminal.advance(b"\x1b[?2026h");
    let line = b"some more text\r\n".repeat(1 << 12);
    let mut batches = 0;
    while !terminal.advance(&line).applied {
        batches += 1;
        assert!(batches < 100);
    }
}

#[test]
fn questions_are_answered_where_they_stand() {
    let mut terminal = terminal();
    let batch = terminal.advance(b"ab\x1b[6n\r\n\x1b[6nc\x1b[5n\x1b[c\x1b]11;?\x07\x1b[18t");
    let replies = String::from_utf8(batch.replies).unwrap();
    assert_eq!(
        replies,
        "\x1b[1;3R\x1b[2;1R\x1b[0n\x1b[?65;4;6;18;22c\x1b]11;rgb:0000/0000/0000\x1b\\\x1b[8;6;20t"
    );
    let modes = terminal.advance(b"\x1b[?2004h\x1b[?2004$p\x1b[?1$p\x1b[?2026$p\x1b[?7777$p");
    assert_eq!(modes.replies, b"\x1b[?2004;1$y\x1b[?1;2$y\x1b[?2026;2$y\x1b[?7777;0$y");
    // Within a synchronised update the answer waits for its end.
    assert!(terminal.advance(b"\x1b[?2026h\x1b[6n").replies.is_empty());
    assert_eq!(terminal.advance(b"\x1b[?2026l").replies, b"\x1b[2;2R");
}

#[test]
fn what_a_program_says_beside_its_text() {
    let mut terminal = terminal();
    let batch = terminal.advance(
        b"\x1b]0;a; b\x07\x1b]2;t\x1b\\\x1b]7;file://h/x\x07\x07\x1b]9;note; two\x07\x1b]777;notify;T;B\x07\
          \x1b]9;4;1;42\x07\x1b]9;4;3\x07\x1b]1337;SetUserVar=k=dmFsdWU=\x07\x1b]52;c;aGVsbG8=\x07",
    );
    let user_var = Notice::UserVar { name: "k".into(), value: "value".into() };
    let toast =
        |title: Option<&str>, body: &str| Notice::Toast { title: title.map(Into::into), body: body.into() };
    assert_eq!(
        batch.notices,
        [
            Notice::WindowTitle("a; b".into()),
            Notice::IconTitle("a; b".into()),
            Notice::WindowTitle("t".into()),
            Notice::WorkingDirectory,
            Notice::Bell,
            toast(None, "note; two"),
            toast(Some("T"), "B"),
            Notice::Progress(Progress::Percentage(42)),
            Notice::Progress(Progress::Indeterminate),
            user_var,
            Notice::Clipboard { primary: false, text: "hello".into() },
        ]
    );
    assert_eq!(terminal.title(), Some("t"));
    assert_eq!(terminal.working_dir(), Some("file://h/x"));
    // A string without end is not collected for ever, and what follows is text again.
    terminal.advance(b"\x1b]2;");
    terminal.advance(&[b'x'; 1 << 20]);
    let batch = terminal.advance(b"\x07\x1b]2;short\x07\r\nafter");
    assert_eq!(batch.notices, [Notice::WindowTitle("short".into())]);
    assert_eq!(texts(&mut terminal)[1], "after");
}

#[test]
fn modes_are_known_and_survive_a_resize() {
    let mut terminal = terminal();
    assert!(!terminal.bracketed_paste() && !terminal.application_cursor());
    terminal.advance(b"\x1b[?2004h\x1b[?1h\x1b[?1000h\x1b[?25l\x1b[31mred");
    terminal.resize(Size { cols: 10, rows: 4 });
    assert!(terminal.bracketed_paste() && terminal.application_cursor());
    assert!(terminal.mouse_grabbed() && !terminal.cursor().visible);
    terminal.advance(b"still");
    let row = &terminal.rows(0..1)[0];
    assert_eq!(row.text(), "redstill");
    let style = row.cells().last().unwrap().style;
    assert_eq!(style.fg, wa_mux::codec::Color::Palette(1));
}

#[test]
fn the_primary_screen_waits_behind_the_alternate_one() {
    let mut terminal = terminal();
    terminal.advance(b"one two three four five six\r\n$ \x1b7vi\x1b[?1049h\x1b[Halternate");
    assert_eq!(terminal.dimensions().retained(), 0..6);
    terminal.resize(Size { cols: 10, rows: 6 });
    assert_eq!(texts(&mut terminal)[0], "alternate");
    terminal.advance(b"\x1b[?1049l!");
    assert_eq!(texts(&mut terminal)[..4], ["one two th", "ree four f", "ive six", "$ vi!"]);
}

#[test]
fn rows_know_when_they_changed() {
    let mut terminal = terminal();
    terminal.advance(b"a\r\nb\r\nc\r\n");
    let first = terminal.seqno();
    terminal.advance(b"\x1b[2;1HB");
    assert_eq!(terminal.changed_since(first), [1..2]);
    let second = terminal.seqno();
    // The same again is no change, and neither is a moved cursor.
    terminal.advance(b"\x1b[2;1HB\x1b[5;5H");
    assert_eq!(terminal.changed_since(second), []);
    // Three rows scroll off, one of them changed on its way.
    terminal.advance(b"\x1b[1;1HA\x1b[6;1H\n\n\n");
    assert_eq!(terminal.changed_since(second), [0..1, 6..9]);
    assert_eq!(terminal.rows(0..1)[0].seqno, terminal.seqno());
    assert_eq!(terminal.rows(1..2)[0].seqno, second);
}

#[test]
fn prompts_are_marked() {
    let mut terminal = terminal();
    terminal.advance(b"\x1b]133;A\x07$ \x1b]133;B\x07ls\r\n\x1b]133;C\x07out\r\n\x1b]133;D;0\x07");
    let rows = terminal.rows(0..2);
    let zones: Vec<Zone> = rows[0].cells().map(|cell| cell.zone).collect();
    assert_eq!(zones, [Zone::Prompt, Zone::Prompt, Zone::Input, Zone::Input]);
    assert!(rows[1].cells().all(|cell| cell.zone == Zone::Output));
}

/// What a program might send, and what none should.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"text",
        b"\r\n",
        b"\n",
        b"\x1b[2J",
        b"\x1b[H",
        b"\x1b[3J",
        b"\x1bc",
        b"\x1b[?1049h",
        b"\x1b[?1049l",
        b"\x1b[?47h",
        b"\x1b[?47l",
        b"\x1b[5;3H",
        b"\x1b[2;4r",
        b"\x1b[r",
        b"\x1b[3L",
        b"\x1b[2M",
        b"\x1b[4P",
        b"\x1b[4@",
        b"\x1b[9X",
        b"\x1b[K",
        b"\x1b[1K",
        b"\x1bM",
        b"\x1bD",
        b"\x1bE",
        b"\x1b7",
        b"\x1b8",
        b"\x1b[s",
        b"\x1b[u",
        b"\x1b[?6h",
        b"\x1b[?6l",
        b"\x1b[2S",
        b"\x1b[2T",
        b"\x1b[99b",
        b"\x1b[38;2;1;2;3m",
        b"\x1b[7m",
        b"\x1b[0m",
        b"\x1b[?2026h",
        b"\x1b[?2026l",
        b"\x1b]0;t\x07",
        b"\x1b]133;A\x07",
        b"\x1b]8;;x\x1b\\",
        b"\t",
        b"\x08",
        b"\x1b[6n",
        b"\x1bPq\x1b\\",
        "漢字".as_bytes(),
        "e\u{301}".as_bytes(),
        "👨\u{200d}👩".as_bytes(),
        "⚠\u{fe0f}".as_bytes(),
        "🇩🇪".as_bytes(),
        b"\xef\xb8",
        b"\xef",
        b"\xff",
        b"\x1b",
        b"\x1b[",
        b"\x1b]",
        b"\x1b[65535;65535H",
        b"\x1b[65535A",
        b"\x1b[65535B",
        b"\x1b[65535C",
        b"\x1b[65535D",
    ];
    prop_oneof![
        8 => proptest::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 1..8),
    ]
}

fn picture(terminal: &mut Terminal) -> impl PartialEq + std::fmt::Debug {
    let dims = terminal.dimensions();
    let rows: Vec<_> = terminal
        .rows(dims.retained())
        .iter()
        .map(|row| (row.index, row.text().to_owned(), row.wrapped))
        .collect();
    (dims, terminal.cursor(), rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").map_or(200, |n| n.parse().unwrap())))]

    #[test]
    fn where_reads_end_does_not_matter(
        pieces in proptest::collection::vec(pieces(), 0..60),
        cut in 1usize..9,
    ) {
        let bytes = pieces.concat();
        let (mut whole, mut parts) = (terminal(), terminal());
        whole.advance(&bytes);
        for part in bytes.chunks(cut) {
            parts.advance(part);
        }
        // An end that lets everything out that is still held.
        whole.advance(b"\x07\x1b\\\x1b[?2026l");
        parts.advance(b"\x07\x1b\\\x1b[?2026l");
        prop_assert_eq!(picture(&mut whole), picture(&mut parts));
    }

    #[test]
    fn anything_is_taken(
        steps in proptest::collection::vec((pieces(), proptest::option::weighted(0.2, (0u16..40, 0u16..12))), 0..60),
    ) {
        let mut terminal = terminal();
        let mut top = 0;
        for (bytes, resize) in steps {
            terminal.advance(&bytes);
            if let Some((cols, rows)) = resize {
                terminal.resize(Size { cols, rows });
            }
            let dims = terminal.dimensions();
            let retained = dims.retained();
            let rows = terminal.rows(retained.clone());
            prop_assert_eq!(rows.len(), dims.scrollback_rows);
            prop_assert!(rows.iter().map(|row| row.index).eq(retained.clone()));
            prop_assert!(retained.contains(&terminal.cursor().y));
            prop_assert!(rows.iter().all(|row| row.seqno >= 1 && row.seqno <= terminal.seqno()));
            if dims.scrollback_rows > usize::from(dims.viewport_rows) {
                // Of the primary screen: no row comes back that was dropped.
                prop_assert!(dims.scrollback_top >= top);
                top = dims.scrollback_top;
            }
        }
    }
}
