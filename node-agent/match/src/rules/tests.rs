use super::text::Sheet;
use super::*;
use wa_proto::{Frame, FrameRow};

pub(super) fn pack_of(name: &str, text: &str) -> Pack {
    Pack { name: name.to_owned(), text: text.to_owned(), origin: Origin::Pushed, shadow: false }
}

/// A pack of one rule, with one line exchanged.
fn pack(from: &str, to: &str) -> Result<(), String> {
    let text = r#"
schema = "wa.pack/1"
[[rule]]
id = "t.limit"
event = "limit.reached"
agent = "codex"
region = "tail"
columns = [0, 0]
literals = ["hit your limit"]
pattern = '■ You hit your limit until (?P<reset_at>{reset})'
rearm = "turn"
[[rule.example]]
text = "■ You hit your limit until 5pm"
fields = { reset_at = "5pm" }
[[rule.counter]]
text = "  ■ You hit your limit until 5pm"
"#;
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    Engine::from_packs(&[pack_of("t", &text)]).map(drop).map_err(|error| error.to_string())
}

#[test]
fn the_builtin_packs_load() {
    for name in ["claude", "codex", "gemini", "shell", "opencode", "aider", "copilot"] {
        let path = format!("{}/packs/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        if let Err(error) = Engine::from_packs(&[pack_of(name, &text)]) {
            panic!("{error}");
        }
    }
    assert!(Engine::builtin().rule(0).is_some());
}

#[test]
fn a_bad_pack_is_refused_with_its_place() {
    assert_eq!(pack("schema", "schema"), Ok(()));
    let cases = [
        ("wa.pack/1", "wa.pack/9", "\"wa.pack/9\" is not known"),
        ("region = \"tail\"", "region = \"top\"", "rule[0].region"),
        ("rearm =", "rearmed =", "rule[0].rearmed"),
        ("limit.reached", "limit.hit", "rule[0].event"),
        ("agent = \"codex\"", "agent = \"codex", "the file"),
        ("pattern = '■", "pattern = '(■", "rule t.limit: pattern"),
        ("pattern = '■", "versions = '1.2'\npattern = '■", "version range"),
        ("pattern = '■", "pattern = '(?:[a-z]{1,999}){1,999}■", "size limit"),
        ("[\"hit your limit\"]", "[]", "1 to 32 literals"),
        ("[\"hit your limit\"]", "[\"a b\"]", "at least 3 characters"),
        ("until 5pm\"\nfields", "soon\"\nfields", "example 1 does not match"),
        ("{ reset_at = \"5pm\" }", "{ reset_at = \"6pm\" }", "reset_at is \"5pm\", not \"6pm\""),
        ("text = \"  ■", "text = \"■", "counter-example 1 matches"),
        ("[[rule.example]]", "[[rule.counter]]", "fields"),
    ];
    for (from, to, wanted) in cases {
        let error = pack(from, to).unwrap_err();
        assert!(error.contains(wanted) && error.starts_with("pack t"), "{to}: {error}");
    }
}

#[test]
fn a_rule_without_an_example_does_not_load() {
    let text = "schema = \"wa.pack/1\"\n[[rule]]\nid = \"t\"\nevent = \"bell\"\nagent = \"codex\"\nregion = \"tail\"\nliterals = [\"abc\"]\npattern = 'abc'\nrearm = \"once\"\n";
    let error = Engine::from_packs(&[pack_of("t", text)]).err().unwrap().to_string();
    assert!(error.contains("a rule needs a real sample"), "{error}");
}

fn block(frame: &Frame, row: usize) -> String {
    let (mut text, mut starts) = (String::new(), Vec::new());
    Sheet::new(frame).block(row, frame.rows.len(), &mut text, &mut starts);
    text
}

#[test]
fn blocks_are_joined_as_they_were_cut() {
    // A full row goes on in the middle of a word; a shorter one ends at a blank.
    let hard = Frame::from_text(10, "abcdefghij\nklm\n\nnext");
    assert_eq!(block(&hard, 0), "abcdefghijklm");
    let soft = Frame::from_text(20, "⚠ Heads up, you’ve\n  seen it\n• other");
    assert_eq!(block(&soft, 0), "⚠ Heads up, you've seen it");
    let boxed = Frame::from_text(20, "│ To resume:      │\n│ codex           │\n╰─────────────────╯");
    assert_eq!(block(&boxed, 0), "To resume: codex");
    // An agent's own scroll bar in the last column is no text, and cuts no word.
    let barred = Frame::from_text(
        20,
        "✦ compressed to    █\n  643 tokens.      █\n│ make deploy     │▄\n word              █ █",
    );
    assert_eq!(block(&barred, 0), "✦ compressed to 643 tokens.");
    assert_eq!(block(&barred, 2), "make deploy");
    let mut wrapped =
        Frame { cols: 80, rows: vec![FrameRow::plain("abc"), FrameRow::plain("def")], ..Frame::default() };
    wrapped.rows[0].wrapped = true;
    assert_eq!(block(&wrapped, 0), "abcdef");
    // A blank in the last column is a part of the line.
    wrapped.rows[0].text = "in ".to_owned();
    assert_eq!(block(&wrapped, 0), "in def");
}

#[test]
fn a_rule_leaves_to_another_what_that_knows_better() {
    let rule = |unless: &str| {
        let text = format!(
            "schema = 'wa.pack/1'\n[[rule]]\nid = 'x.error'\nevent = 'error.api'\nagent = 'gemini'\nregion = 'tail'\n\
             literals = ['✕ [API']\npattern = '✕ \\[API.*'\nunless = '{unless}'\nrearm = 'turn'\n[[rule.example]]\ntext = '✕ [API Error: over quota]'"
        );
        Engine::with_packs(&[pack_of("x", &text)]).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(rule(".*overloaded"), Ok(()));
    assert!(rule(".*quota").unwrap_err().contains("example 1 does not match"));
    assert!(rule("(").unwrap_err().contains("unless: "));
}

#[test]
fn the_same_sentence_matches_at_any_width() {
    let sentence = "■ You’ve hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit https://chatgpt.com/settings/usage to purchase more credits or try again at Nov 24th, 2026 8:04 AM.";
    for cols in 20..160_usize {
        let mut rows = vec![String::new()];
        for word in sentence.split(' ') {
            let last = rows.last_mut().unwrap();
            if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > cols {
                rows.push(String::new());
            }
            let last = rows.last_mut().unwrap();
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
        let frame = Frame::from_text(u32::try_from(cols).unwrap(), &rows.join("\n"));
        let facts = crate::Facts {
            foreground: crate::Foreground::Agent {
                kind: wa_proto::AgentKind::codex(),
                version: String::new(),
                pid: 1,
            },
            ..crate::Facts::default()
        };
        let seen = crate::scan(Engine::builtin(), &frame, &facts, jiff::Timestamp::UNIX_EPOCH);
        let reset =
            seen.events.first().and_then(|event| event.fields.get("reset_at")).cloned().unwrap_or_default();
        assert_eq!(reset.replace(' ', ""), "Nov24th,20268:04AM", "{cols}");
        assert_eq!(seen.state, wa_proto::PaneState::Limited, "{cols}");
    }
}

#[test]
fn hostile_screens_cost_little() {
    let long = "You've hit your limit · resets ".repeat(4000);
    let rows = vec![
        FrameRow::plain(format!("■ {long}")),
        FrameRow::plain(long.clone()),
        FrameRow::plain("\u{1b}[31m\u{0}\u{7}"),
    ];
    let frame = Frame { cols: 80, rows, ..Frame::default() };
    for agent in ["codex", "claude", "gemini"] {
        let kind = wa_proto::AgentKind::new(agent);
        let foreground = crate::Foreground::Agent { kind, version: "x".repeat(100_000), pid: 1 };
        let facts = crate::Facts { foreground, title: long.clone(), ..crate::Facts::default() };
        let seen = crate::scan(Engine::builtin(), &frame, &facts, jiff::Timestamp::UNIX_EPOCH);
        assert!(seen.events.len() < 4);
    }
}
