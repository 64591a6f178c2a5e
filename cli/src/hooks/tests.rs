use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn program(node: &str) -> Program {
    Program { node: node.to_owned(), state_dir: "/state dir".to_owned() }
}

fn target(agent: Agent, name: &str) -> Target {
    let dir = Path::new("/nowhere");
    let found = place::targets(agent, dir).into_iter().find(|target| target.path == dir.join(name));
    found.unwrap_or_else(|| panic!("{name}"))
}

fn claude() -> Target {
    target(Agent::Claude, "settings.json")
}

fn install(target: &Target, text: &str) -> Rewritten {
    target.rewrite(text, &target.wanted(&program("/b/wa-node"))).unwrap()
}

fn remove(target: &Target, text: &str) -> Rewritten {
    target.rewrite(text, &Wanted::default()).unwrap()
}

const SETTINGS: &str = r#"{
  "model": "opus",
  "hooks": {
    "Stop": [
      {"hooks": [{"type": "command", "command": "say done"}]}
    ]
  },
  "env": {"A": "1"}
}
"#;

#[test]
fn what_is_the_users_stays_letter_by_letter() {
    let installed = install(&claude(), SETTINGS);
    let mut lines = installed.text.lines();
    for line in SETTINGS.lines() {
        let key = line.trim_end_matches(['}', ']', ',']).trim_end();
        assert!(lines.any(|there| there.starts_with(key)), "{line}\n{}", installed.text);
    }
    let value: Value = serde_json::from_str(&installed.text).unwrap();
    assert_eq!(value["hooks"]["Stop"].as_array().unwrap().len(), 2);
    assert_eq!(
        value["hooks"]["UserPromptSubmit"],
        json!([{"hooks": [{"type": "command", "timeout": 5,
            "command": "/b/wa-node hook --state-dir '/state dir' claude UserPromptSubmit"}]}])
    );
    assert_eq!(remove(&claude(), &installed.text).text, SETTINGS);
}

#[test]
fn comments_of_gemini_settings_stay() {
    let target = target(Agent::Gemini, "settings.json");
    let text = "// mine\n{\n  \"ui\": {}, // why\n  /* hooks */\n  \"hooks\": {\n    // loud\n    \"AfterAgent\": [{\"hooks\": [{\"command\": \"beep\"}]}]\n  }\n}\n";
    let installed = install(&target, text);
    for comment in ["// mine", "// why", "/* hooks */", "// loud"] {
        assert!(installed.text.contains(comment), "{comment}\n{}", installed.text);
    }
    assert!(installed.text.contains("\"timeout\": 5000") && installed.text.contains("\"name\": \"wa\""));
    let plain = |text: &str| text.replace(char::is_whitespace, "");
    assert_eq!(plain(&remove(&target, &installed.text).text), plain(text));
    assert!(claude().rewrite(text, &Wanted::default()).is_err(), "Claude Code would not read it either");
}

#[test]
fn older_entries_of_ours_make_way_and_nobody_elses() {
    let text = r#"{"hooks": {
        "Stop": [{"matcher": "", "hooks": [
            {"type": "command", "command": "/old/wa-node hook --state-dir /x claude Stop"},
            {"type": "command", "command": "my-wa-node hook"}]}],
        "PreToolUse": [{"hooks": [{"type": "command", "command": "wa-node hook"}]}],
        "Odd": "text"
    }}"#;
    let installed = install(&claude(), text);
    assert_eq!(installed.before.hooks.len(), 2);
    let value: Value = serde_json::from_str(&installed.text).unwrap();
    assert!(value["hooks"].get("PreToolUse").is_none());
    assert_eq!(value["hooks"]["Odd"], "text");
    assert_eq!(value["hooks"]["Stop"][0]["hooks"][0]["command"], "my-wa-node hook");
    assert!(!installed.text.contains("/old/"));
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    for (text, says) in [
        ("{\n  \"a\": 1,\n}", "line 3: key must"),
        ("{\n  \"a\": 1\n  \"b\": 2\n}", "line 3: expected `,`"),
        ("{\n  // x\n}", "line 2: key must"),
        ("[]", "no object"),
        ("{\"hooks\": []}", "hooks is no object"),
        ("{\"hooks\": {\"Stop\": {}}}", "hooks.Stop is no list"),
        ("{\"hooks\": {}, \"hooks\": {}}", "hooks stands twice"),
        ("{\"hooks\": {\"Stop\": [], \"Stop\": []}}", "hooks.Stop stands twice"),
    ] {
        let Unfit(problem) = claude().rewrite(text, &claude().wanted(&program("/b/wa-node"))).unwrap_err();
        assert!(problem.contains(says), "{text}: {problem}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(claude().rewrite(&deep, &Wanted::default()).is_err());
    let config = target(Agent::Codex, "config.toml");
    for (text, says) in [("a = 1\nb = \n", "line 2"), ("hooks = 1\n", "hooks is no table")] {
        let Unfit(problem) = config.rewrite(text, &Wanted::default()).unwrap_err();
        assert!(problem.contains(says), "{text}: {problem}");
    }
}

const CONFIG: &str = r#"# my Codex
model = "gpt" # the good one

[features]
hooks = true

# beeps
[[hooks.Stop]]
[[hooks.Stop.hooks]]
type = "command"
command = "beep"

[hooks.state."/h/config.toml:stop:0:0"]
trusted_hash = "sha256:1"

[projects."/w"]
trust_level = "trusted"
# the end
"#;

/// As [`place::targets`] has it for a user who keeps hooks in `config.toml`.
fn config(program: &Program) -> (Target, Wanted) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.toml"), CONFIG).unwrap();
    let target = place::targets(Agent::Codex, dir.path()).pop().unwrap();
    let wanted = target.wanted(program);
    (target, wanted)
}

#[test]
fn hooks_in_toml_keep_comments_and_order() {
    let (target, wanted) = config(&program("/b/wa-node"));
    let installed = target.rewrite(CONFIG, &wanted).unwrap();
    for line in CONFIG.lines().filter(|line| !line.is_empty()) {
        assert!(installed.text.contains(line), "{line}\n{}", installed.text);
    }
    let value: toml_edit::DocumentMut = installed.text.parse().unwrap();
    assert_eq!(value["notify"][0].as_str(), Some("/b/wa-node"));
    assert_eq!(value["hooks"]["Stop"].as_array_of_tables().unwrap().len(), 2);
    assert_eq!(
        value["hooks"]["Stop"][0]["hooks"][0]["command"].as_str(),
        Some("beep"),
        "the user's stays first"
    );
    assert_eq!(value["hooks"]["PostCompact"][0]["hooks"][0]["timeout"].as_integer(), Some(3));
    assert_eq!(target.rewrite(&installed.text, &wanted).unwrap().text, installed.text);
    assert_eq!(target.rewrite(&installed.text, &Wanted::default()).unwrap().text, CONFIG);
}

#[test]
fn inline_hooks_in_toml_are_edited_too() {
    let text = "hooks = { Stop = [{ hooks = [{ type = \"command\", command = \"beep\" }] }] }\n";
    let (target, wanted) = config(&program("/b/wa-node"));
    let installed = target.rewrite(text, &wanted).unwrap();
    assert_eq!(target.rewrite(&installed.text, &wanted).unwrap().text, installed.text, "{}", installed.text);
    assert_eq!(target.rewrite(&installed.text, &wanted).unwrap().before.hooks.len(), wanted.hooks.len());
    let removed = target.rewrite(&installed.text, &Wanted::default()).unwrap().text;
    let plain = |text: &str| {
        text.parse::<toml_edit::DocumentMut>().unwrap()["hooks"]["Stop"].to_string().replace(' ', "")
    };
    assert_eq!(plain(&removed), plain(text));
}

#[test]
fn the_users_notify_stays() {
    let (target, wanted) = config(&program("/b/wa-node"));
    let text = "notify = [\"notify-send\", \"Codex is done\"]\n";
    let installed = target.rewrite(text, &wanted).unwrap();
    assert!(installed.text.contains("notify = [\"notify-send\", \"Codex is done\"]"), "{}", installed.text);
    let notes = notes(&target, &installed.before, &wanted, Goal::Install);
    assert!(
        notes[0].contains("notify-send 'Codex is done'") && notes[0].contains("wa-node hook"),
        "{notes:?}"
    );
    let old = "notify = [\"/old/wa-node\", \"hook\"]\n";
    assert!(target.rewrite(old, &wanted).unwrap().text.contains("/b/wa-node"));
    assert_eq!(target.rewrite(old, &Wanted::default()).unwrap().text, "");
}

#[test]
fn settings_that_turn_hooks_off_are_noticed() {
    let gemini = target(Agent::Gemini, "settings.json");
    let config = target(Agent::Codex, "config.toml");
    for (target, text, off) in [
        (claude(), r#"{"disableAllHooks": true}"#, true),
        (claude(), r#"{"disableAllHooks": false}"#, false),
        (gemini.clone(), r#"{"hooksConfig": {"enabled": false}}"#, true),
        (gemini, r#"{"hooksConfig": {"enabled": true}}"#, false),
        (config.clone(), "[features]\nhooks = false\n", true),
        (config, "[features]\nhooks = true\n", false),
    ] {
        assert_eq!(install(&target, text).before.off.is_some(), off, "{text}");
    }
}

/// Any JSON that can stand in a settings file.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~ä漢\"\\\\\n]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn groups() -> impl Strategy<Value = Value> {
    let command = prop_oneof!["[a-z ]{1,8}", Just("x; wa-node hook".to_owned())];
    let handler = prop_oneof![
        3 => command.prop_map(|command| json!({"type": "command", "command": command})),
        1 => anything(),
    ];
    let group =
        proptest::collection::vec(handler, 1..3).prop_map(|hooks| json!({"matcher": "a", "hooks": hooks}));
    proptest::collection::vec(prop_oneof![3 => group, 1 => anything()], 1..3).prop_map(Value::from)
}

/// A settings file, with or without hooks of the user's.
fn settings() -> impl Strategy<Value = Map<String, Value>> {
    let event = prop_oneof![Just("Stop"), Just("SessionStart"), Just("PreToolUse"), Just("Odd")]
        .prop_map(str::to_owned);
    let hooks = proptest::option::of(proptest::collection::btree_map(event, groups(), 1..4));
    (proptest::collection::btree_map("[a-z]{1,6}", anything(), 0..4), hooks).prop_map(|(others, hooks)| {
        let mut map: Map<String, Value> = others.into_iter().filter(|(name, _)| name != "hooks").collect();
        if let Some(hooks) = hooks {
            map.insert("hooks".to_owned(), Value::Object(hooks.into_iter().collect()));
        }
        map
    })
}

proptest! {
    #[test]
    fn installing_and_removing_leaves_what_was_there(settings in settings(), pretty in any::<bool>()) {
        let value = Value::Object(settings);
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let installed = install(&claude(), &text);
        let again = install(&claude(), &installed.text);
        prop_assert_eq!(&again.text, &installed.text, "a second time changes nothing");
        let wanted = claude().wanted(&program("/b/wa-node"));
        prop_assert_eq!(again.before.state(&wanted, true), State::Installed);
        let with: Value = serde_json::from_str(&installed.text).unwrap();
        for entry in &wanted.hooks {
            let found = with["hooks"][&entry.event].as_array().unwrap().iter()
                .filter(|group| group["hooks"][0]["command"] == json!(entry.command)).count();
            prop_assert_eq!(found, 1, "{}", entry.event);
        }
        let removed: Value = serde_json::from_str(&remove(&claude(), &installed.text).text).unwrap();
        prop_assert_eq!(removed, value);
        let other = claude().wanted(&program("/new/wa-node"));
        let moved = claude().rewrite(&installed.text, &other).unwrap();
        prop_assert!(!moved.text.contains("/b/wa-node"));
        prop_assert_eq!(again.before.state(&other, true), State::Outdated);
    }

    #[test]
    fn no_file_does_harm(text in "[\\[\\]{}\":, a-z\n/*=#'.]{0,60}") {
        for target in [claude(), target(Agent::Gemini, "settings.json"), target(Agent::Codex, "config.toml")] {
            let wanted = target.wanted(&program("/b/wa-node"));
            if let Ok(installed) = target.rewrite(&text, &wanted) {
                prop_assert_eq!(&target.rewrite(&installed.text, &wanted).unwrap().text, &installed.text);
            }
        }
    }
}
