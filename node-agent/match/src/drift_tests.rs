//! What is known is quiet; what is not is counted once.

use jiff::{SignedDuration, Timestamp};
use wa_proto::{AgentKind, Frame};

use crate::testing::{testdata, title};
use crate::{Engine, Facts, Foreground, Observation, PaneMatcher, UnknownKind, scan};

fn facts(agent: &str) -> Facts {
    let foreground = Foreground::Agent { kind: AgentKind::new(agent), version: String::new(), pid: 1 };
    Facts { foreground, ..Facts::default() }
}

fn look(agent: &str, text: &str) -> Observation {
    scan(Engine::builtin(), &Frame::from_text(80, text), &facts(agent), Timestamp::UNIX_EPOCH)
}

#[test]
fn recorded_screens_are_known() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let (mut screens, mut unknown) = (0, Vec::new());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "ansi") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let info = std::fs::read_to_string(path.with_extension("info")).unwrap();
        let facts = Facts { title: title(&info).to_owned(), ..facts(name.split('-').next().unwrap()) };
        let seen = scan(Engine::builtin(), &testdata(&name), &facts, Timestamp::UNIX_EPOCH);
        screens += 1;
        unknown.extend(seen.unknown.into_iter().map(|look| (name.clone(), look)));
    }
    assert!(screens >= 60, "{screens}");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// A picker of another age: choices without numbers.
fn picker(model: &str, marked: usize) -> String {
    let choices = ["Keep the model", "Use a smaller one", "Wait for the reset"];
    let mut text = format!("⏺ Some answer.\n\n{}\n Which way from {model}?\n\n", "─".repeat(60));
    for (at, choice) in choices.iter().enumerate() {
        text.extend([if at == marked { " ❯ " } else { " ○ " }, choice, "\n"]);
    }
    text + "\n Enter to choose, Esc to go back (12s)\n"
}

#[test]
fn a_dialog_of_another_shape_is_noticed() {
    let seen = look("claude", &picker("opus", 0));
    let [unknown] = &seen.unknown[..] else { panic!("{:?}", seen.unknown) };
    assert_eq!((unknown.kind, unknown.rows.clone()), (UnknownKind::Dialog, 2..10));
    // Numbers, paths, quotations and other agents' answers above do not change its shape.
    let other =
        picker("~/code/x.rs 99%", 0).replace("(12s)", "(3s)").replace("Some answer", "Another, longer one");
    assert_eq!(look("claude", &other).unknown[0].key, unknown.key);
    // Nor does another choice that is marked.
    assert_eq!(look("claude", &picker("opus", 2)).unknown[0].key, unknown.key);
    let another = picker("opus", 0).replace("Keep the model", "Sign in again");
    assert_ne!(look("claude", &another).unknown[0].key, unknown.key);
}

#[test]
fn who_has_no_grammar_has_no_drift() {
    assert!(look("opencode", &picker("opus", 0)).unknown.is_empty());
    let frame = Frame::from_text(80, &picker("opus", 0));
    let seen = scan(Engine::builtin(), &frame, &Facts::default(), Timestamp::UNIX_EPOCH);
    assert!(seen.unknown.is_empty());
}

#[test]
fn a_composer_of_another_shape_is_noticed() {
    let text = "⏺ Done.\n\n❯ \n  ? for shortcuts            42% left\n";
    let seen = look("claude", text);
    assert_eq!(seen.unknown.len(), 1, "{:?}", seen.composer);
    assert_eq!(seen.unknown[0].kind, UnknownKind::Footer);
    let other = text.replace("42%", "7%");
    assert_eq!(look("claude", &other).unknown[0].key, seen.unknown[0].key);
}

#[test]
fn a_notice_of_limits_that_no_rule_reads_is_noticed() {
    let rule = "─".repeat(80);
    let screen =
        |notice: &str| format!("⏺ Done.\n\n{rule}\n❯\u{a0}\n{rule}\n  ? for shortcuts\n  {notice}\n");
    let seen = look("claude", &screen("Fair-use quota nearly gone"));
    assert_eq!(seen.unknown.len(), 1, "{:?}", seen.composer);
    assert_eq!((seen.unknown[0].kind, seen.unknown[0].rows.clone()), (UnknownKind::Footer, 6..7));
    assert!(look("claude", &screen("esc to interrupt")).unknown.is_empty());
}

#[test]
fn an_agent_that_speaks_of_choices_is_no_dialog() {
    let rule = "─".repeat(80);
    let quoted = format!(
        "⏺ It asks:\n  ❯ 1. Yes\n    2. No\n  Enter to confirm\n\n{rule}\n❯\u{a0}\n{rule}\n  ? for shortcuts\n"
    );
    assert!(look("claude", &quoted).unknown.is_empty());
    let draft =
        format!("⏺ Done.\n\n{rule}\n❯\u{a0}1. first this\n  2. then that\n{rule}\n  esc to interrupt\n");
    assert!(look("claude", &draft).unknown.is_empty());
}

#[test]
fn a_pane_tells_it_once_when_it_has_stood() {
    let mut matcher = PaneMatcher::new();
    let mut now = Timestamp::UNIX_EPOCH;
    let mut told = Vec::new();
    let mut show = |text: &str, millis: i64| {
        now += SignedDuration::from_millis(millis);
        let seen = matcher.observe(Engine::builtin(), &Frame::from_text(80, text), &facts("claude"), now);
        told.push(seen.unknown.len());
        matcher.next_wakeup()
    };
    let dialog = picker("opus", 0);
    show(&dialog, 50);
    let wakeup = show(&dialog, 100).unwrap();
    assert!(wakeup.as_millisecond() <= 1150);
    for millis in [900, 2000, 100] {
        show(&dialog, millis);
    }
    // Drawn for a moment only, it is not told.
    show("", 100);
    show(&dialog, 100);
    show("", 500);
    assert_eq!(told, [0, 0, 1, 0, 0, 0, 0, 0]);
}
