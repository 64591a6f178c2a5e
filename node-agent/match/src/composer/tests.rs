//! Recorded screens of many versions, and Claude Code screens written after its published look.

use super::*;
use crate::testing::{frame, testdata};

fn view(agent: &str, name: &str) -> ComposerView {
    read(&testdata(&format!("{agent}-{name}.ansi")), &AgentKind::new(agent))
}

fn text(view: &ComposerView) -> &str {
    match &view.content {
        Composer::Draft { text } | Composer::Paste { text, .. } => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn codex_of_five_versions() {
    for version in ["0.53.0", "0.89.0", "0.118.0", "0.144.0", "0.169.0"] {
        let codex = |what: &str| view("codex", &format!("{version}-{what}"));
        let empty = codex("empty");
        assert_eq!(empty.content, Composer::Empty, "{version}");
        assert!(empty.working.is_none() && !empty.footer.is_empty(), "{version}");
        assert_eq!(
            empty.live_top,
            Some(empty.rows.start - 1),
            "{version}: the blank row above belongs to it"
        );

        let draft = codex("draft");
        // A full last row may leave an empty one, with the cursor in it.
        assert!((3..=4).contains(&draft.rows.len()), "{version}");
        assert!(text(&draft).starts_with("fix the login bug word0 word1"), "{version}");
        assert!(text(&draft).ends_with("word39"), "{version}: {}", text(&draft));

        let paste = codex("paste");
        let chars = Some(1001);
        assert!(
            matches!(paste.content, Composer::Paste { chars: c, lines: None, .. } if c == chars),
            "{version}"
        );
        assert_eq!(paste.holds(&"x".repeat(1001)), Held::All);
        assert_eq!(paste.holds(&"x".repeat(1000)), Held::No);

        let busy = codex("busy");
        let working = busy.working.as_ref().unwrap();
        assert_eq!(busy.content, Composer::Empty, "{version}");
        assert_eq!(busy.live_top, Some(working.row), "{version}");
        assert!(working.text.contains("Working (0s") && !working.compacting);

        assert_eq!(codex("quit").content, Composer::Missing, "{version}");
    }
}

#[test]
fn the_rows_of_a_dialog_hold_its_question_its_command_and_its_choices() {
    for version in ["0.53.0", "0.89.0", "0.144.0", "0.169.0"] {
        let frame = testdata(&format!("codex-{version}-dialog.ansi"));
        let rows = crate::menu::rows(&frame, &AgentKind::codex()).unwrap();
        assert!(rows.len() < frame.rows.len(), "{version}: not the whole screen");
        let text: String = frame.rows[rows].iter().map(|row| row.text.as_str()).collect();
        for part in ["Would you like to run", "$ ", "Yes, proceed", "No, "] {
            assert!(text.contains(part), "{version} has no {part:?}: {text}");
        }
    }
    assert_eq!(crate::menu::rows(&testdata("codex-0.169.0-empty.ansi"), &AgentKind::codex()), None);
}

#[test]
fn codex_dialogs_take_the_composers_place() {
    for version in ["0.53.0", "0.89.0", "0.144.0", "0.169.0"] {
        let name = format!("codex-{version}-dialog.ansi");
        let frame = testdata(&name);
        let dialog = read(&frame, &AgentKind::codex());
        assert_eq!(dialog.content, Composer::Dialog, "{version}");
        assert!(frame.rows[dialog.rows.start].text.contains("Would you like to run"), "{version}");
        assert_eq!(dialog.live_top, Some(dialog.rows.start));
    }
    assert_eq!(view("codex", "0.118.0-overlay").content, Composer::Dialog);
    assert_eq!(view("codex", "0.169.0-limit-popup").content, Composer::Dialog);
}

#[test]
fn codex_traps() {
    // Words left over from an overlay with dim blanks of the placeholder between them.
    assert_eq!(text(&view("codex", "0.118.0-mixed-dim")).replace(' ', ""), "Proceedwithraw0.05.");
    // A draft that came back: the cursor stands at its beginning.
    let restored = view("codex", "0.89.0-cursor-at-start");
    assert_eq!(text(&restored), "second thing\nthird thing\nfourth thing");
    let clipped = view("codex", "0.169.0-clipped");
    assert!(clipped.clipped);
    let bang = view("codex", "0.169.0-bang");
    assert_eq!((text(&bang), bang.shell_mode), ("ls", true));
    assert_eq!(view("codex", "0.169.0-qmark").content, Composer::Empty);
    // The marked row of the list above the composer is no submitted prompt.
    let slash = view("codex", "0.169.0-slash");
    assert_eq!((text(&slash), slash.live_top), ("/", Some(slash.rows.start - 9)));
    let queued = view("codex", "0.169.0-queued");
    assert_eq!(text(&queued), "third thing\nfourth thing");
    assert!(queued.working.is_some() && queued.live_top < Some(queued.rows.start - 4));
    let booting = view("codex", "0.144.0-booting");
    assert_eq!(booting.content, Composer::Empty);
    assert!(booting.working.is_some_and(|working| working.starting));
    // The shell is in charge; the old composer still stands above its prompt.
    assert_eq!(view("codex", "0.89.0-ctrl-z").content, Composer::Missing);
}

#[test]
fn gemini_of_two_versions() {
    for version in ["0.24.0", "0.61.0"] {
        let gemini = |what: &str| view("gemini", &format!("{version}-{what}"));
        assert_eq!(gemini("empty").content, Composer::Empty, "{version}");
        let draft = gemini("draft");
        assert!(text(&draft).starts_with("fix the login bug word0"), "{version}");
        assert!(text(&draft).ends_with("word39"), "{version}: {}", text(&draft));
        let busy = gemini("busy");
        assert_eq!(busy.content, Composer::Empty, "{version}");
        assert_eq!(busy.live_top, busy.working.as_ref().map(|working| working.row));
        let working = busy.working.as_ref().unwrap();
        assert!(working.text.ends_with("s)") && !working.text.contains("shortcuts"), "{}", working.text);
        // Text and Enter came in one burst: the Enter became a newline, and the cursor stands in an empty line.
        let newline = gemini("newline");
        assert_eq!(newline.rows.len(), 2, "{version}");
        assert_eq!(newline.holds("Proceed with raw None."), Held::All);
        let queued = gemini("queued");
        assert!(queued.live_top.is_some_and(|top| top + 4 < queued.rows.start), "{version}");
        assert!(queued.working.is_some(), "{version}");
        assert_eq!(gemini("dialog").content, Composer::Dialog, "{version}");
        assert_eq!(gemini("end").content, Composer::Missing, "{version}");
    }
    // Ten rows at most are shown; the glyph stands in the first that is.
    let lines: Vec<String> = (1..=11).map(|n| format!("line {n}")).collect();
    assert_eq!(view("gemini", "0.24.0-clipped").holds(&lines.join("\n")), Held::VisiblePart);
    let chars = view("gemini", "0.61.0-paste-chars");
    assert!(matches!(chars.content, Composer::Paste { chars: Some(501), lines: None, .. }));
    let lines = view("gemini", "0.61.0-paste-lines");
    assert_eq!(lines.holds("a\nb\nc\nd\ne\nf"), Held::All);
    assert_eq!(lines.holds("a\nb"), Held::No);
    // Made smaller, the terminal keeps pieces of older footers below the new one.
    let resized = view("gemini", "0.61.0-resized");
    assert_eq!((&resized.content, resized.footer.len()), (&Composer::Empty, 2));
    let bang = view("gemini", "0.61.0-bang");
    assert_eq!((bang.content, bang.shell_mode), (Composer::Empty, true));
}

const RULE: &str = "\u{1b}[2m────────────────────────────────────────\u{1b}[0m";

/// A screen as text, 40 columns wide.
fn gemini(rows: &[&str]) -> ComposerView {
    read(&Frame::from_text(40, &rows.join("\n")), &AgentKind::gemini())
}

#[test]
fn gemini_between_half_blocks() {
    let (upper, lower) = ("▀".repeat(40), "▄".repeat(40));
    let footer = " ~/shop-api   no sandbox   Auto /model";
    let prompt = [&upper[..], " > count the orders", &lower];
    let composer = [&upper[..], " >   Type your message or @path/to/file", &lower, footer];
    let spinner = "⠋ Trying to reach gemini-2.5-flash (Attempt 2/3) (esc to cancel, 1s)";
    let busy = gemini(&[&prompt[..], &["", spinner, ""], &composer[..]].concat());
    assert_eq!((busy.content, busy.rows, busy.live_top), (Composer::Empty, 7..8, Some(4)));
    assert!(busy.working.is_some());
    let drafted = [&upper[..], " * and then", "   the docs", &lower, footer];
    let draft = gemini(&[&prompt[..], &["✦ Done.", ""], &drafted[..]].concat());
    assert_eq!(text(&draft), "and then\nthe docs");
    // A submitted prompt above anything that is longer than a footer is none.
    let answered = [&prompt[..], &["✦ one", "  two", "  three", "  four"]].concat();
    assert_eq!(gemini(&answered).content, Composer::Missing);
}

#[test]
fn gemini_queues_without_a_head() {
    let composer = [
        "╭──────────────────────────────────────╮",
        "│ >   Type your message or @path/to/file │",
        "╰──────────────────────────────────────╯",
    ];
    let spinner = "⠦ Channeling the Force... (esc to cancel, 2s)";
    let busy =
        gemini(&[&["> think", "", spinner, "", "  and then the docs", ""][..], &composer[..]].concat());
    assert_eq!((busy.working.map(|working| working.row), busy.live_top), (Some(2), Some(2)));
    let idle = gemini(&[&["✦ Done:", "  and then the docs", ""][..], &composer[..]].concat());
    assert_eq!((idle.working, idle.live_top), (None, Some(3)));
}

#[test]
fn gemini_asks_in_boxes_within_boxes_and_in_cut_ones() {
    let tall = [
        "│ 3. Manual                            │",
        "│   Manually select a model            │",
        "│ (Press Esc to close)                 │",
        "╰──────────────────────────────────────╯",
    ];
    assert_eq!(gemini(&tall).content, Composer::Dialog);
    let rows = "│                                      │";
    let key = [
        "╭──────────────────────────────────────╮",
        rows,
        "│ Enter Gemini API Key                 │",
        rows,
        rows,
        rows,
        rows,
        "│ ╭──────────────────────────────────╮ │",
        "│ │ Paste your API key here          │ │",
        "│ ╰──────────────────────────────────╯ │",
        rows,
        "│ (Press Enter to submit, Esc to cancel)│",
        "╰──────────────────────────────────────╯",
    ];
    let mut frame = Frame::from_text(40, &key.join("\n"));
    frame.cursor = wa_proto::Cursor { row: 8, col: 4, visible: true };
    assert_eq!(read(&frame, &AgentKind::gemini()).content, Composer::Dialog);
    // A tool that is done may have printed anything, also beside a scroll bar.
    let done = [
        "╭──────────────────────────────────────╮█",
        "│ ✓ Shell cat notes                    │█",
        "│ ● 1. Keep trying                     │█",
        "╰──────────────────────────────────────╯█",
    ];
    assert_eq!(gemini(&done).content, Composer::Missing);
}

fn claude(above: &str, prompt: &str, footer: &str) -> ComposerView {
    let screen = format!("{above}\n{RULE}\n{prompt}\u{1b}[0m\n{RULE}\n  {footer}");
    read(&frame(&screen, ""), &AgentKind::claude())
}

#[test]
fn claude_composer() {
    let footer = "? for shortcuts";
    let empty = claude("⏺ Done.\n", "❯\u{a0}\u{1b}[7m \u{1b}[0m", footer);
    assert_eq!((empty.content, empty.live_top), (Composer::Empty, Some(2)));
    // The placeholder's first letter is reversed and not dim.
    let placeholder = claude("", "❯\u{a0}\u{1b}[7mT\u{1b}[0m\u{1b}[2mry \"fix lint errors\"", footer);
    assert_eq!(placeholder.content, Composer::Empty);
    let draft = claude("", "❯\u{a0}hello world\u{1b}[7m \u{1b}[0m", footer);
    assert_eq!(text(&draft), "hello world");
    // The cursor stands on a draft's only letter.
    assert_eq!(text(&claude("", "❯\u{a0}\u{1b}[7mx\u{1b}[0m", footer)), "x");
    let paste = claude("", "❯\u{a0}[Pasted text #1 +12 lines]\u{1b}[7m \u{1b}[0m", footer);
    assert!(matches!(paste.content, Composer::Paste { lines: Some(12), .. }));
    let wrapped = claude("", "❯\u{a0}one two\n  three\u{1b}[7m \u{1b}[0m", footer);
    assert_eq!(wrapped.holds("one two three"), Held::All);
}

#[test]
fn claude_works() {
    let busy = claude(
        "⏺ Bash(ls)\n\n✻ Mulling… (12s · ↑ 335 tokens)\n  ⎿  Tip: use /help\n",
        "❯\u{a0}\u{1b}[7m \u{1b}[0m",
        "",
    );
    assert_eq!((busy.working.as_ref().map(|working| working.row), busy.live_top), (Some(2), Some(2)));
    let compacting = claude("✽ Compacting conversation… (2m 1s)\n", "❯\u{a0}\u{1b}[7m \u{1b}[0m", "");
    assert!(compacting.working.is_some_and(|working| working.compacting));
    let footer = claude("⏺ Hello\n", "❯\u{a0}\u{1b}[7m \u{1b}[0m", "⏸ plan mode on · esc to interrupt");
    assert!(footer.working.is_some());
    for done in
        ["✻ Brewed for 2m 4s", "✻ Conversation compacted (ctrl+o for history)", "⏺ I am thinking… about it"]
    {
        let idle = claude(&format!("{done}\n"), "❯\u{a0}\u{1b}[7m \u{1b}[0m", "? for shortcuts");
        assert_eq!(idle.working, None, "{done}");
    }
}

#[test]
fn claude_dialogs_and_look_alikes() {
    let dialog = format!(
        "❯ run it\n\n⏺ Bash(touch x)\n{RULE}\n Bash command\n\n   touch x\n\n Do you want to proceed?\n ❯ 1. Yes\n   2. No\n\n Esc to cancel · Tab to amend"
    );
    let view = read(&frame(&dialog, ""), &AgentKind::claude());
    assert_eq!((view.content, view.live_top), (Composer::Dialog, Some(3)));
    // A submitted prompt has the composer's glyph and no rules around it.
    let submitted = "\u{1b}[48;5;8m❯ hello\u{1b}[0m\n\n⏺ Hi.";
    assert_eq!(read(&frame(submitted, ""), &AgentKind::claude()).content, Composer::Missing);
    let boxed = "╭──────────────╮\n│ > \u{1b}[7m \u{1b}[0m          │\n╰──────────────╯\n  ? for shortcuts";
    assert_eq!(read(&frame(boxed, ""), &AgentKind::claude()).content, Composer::Empty);
}

#[test]
fn a_long_draft_is_held_in_part() {
    let words: Vec<String> = (0..200).map(|n| format!("word{n}")).collect();
    let shown =
        words[100..].chunks(8).map(|row| format!("  {}", row.join(" "))).collect::<Vec<_>>().join("\n");
    let last = shown.lines().count() - 1;
    let info = format!("cur=20,{last} vis=1 alt=0");
    let view = read(&frame(&shown, &info), &AgentKind::codex());
    assert!(view.clipped);
    assert_eq!(view.holds(&words.join(" ")), Held::VisiblePart);
    assert_eq!(view.holds("something else"), Held::No);
}

#[test]
fn an_unknown_agent_has_no_composer() {
    let frame = testdata("codex-0.169.0-empty.ansi");
    assert_eq!(read(&frame, &AgentKind::new("other")).content, Composer::Missing);
}

proptest::proptest! {
    #[test]
    fn no_screen_panics(rows in proptest::collection::vec("[›❯>!*│╭╰─ a1.\u{1b}é界]{0,12}", 0..14), row in -2_i64..20, col in 0_u32..20, visible: bool) {
        let rows = rows.into_iter().map(wa_proto::FrameRow::plain).collect();
        let cursor = wa_proto::Cursor { row, col, visible };
        let frame = Frame { cols: 12, rows, cursor, ..Frame::default() };
        for agent in ["codex", "gemini", "claude"] {
            let view = read(&frame, &AgentKind::new(agent));
            proptest::prop_assert!(view.rows.end <= frame.rows.len());
            let _ = view.holds("abc");
            drop(crate::shell::prompt_row(&frame));
        }
    }
}
