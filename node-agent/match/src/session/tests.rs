//! Recorded sessions, with what a person reads in them; and files that mean harm.
//!
//! The Codex and Gemini files were written by the real programs (long prompts shortened); Claude Code's is composed by
//! hand from what is known of its format.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::Engine;

struct Read {
    messages: Vec<Message>,
    testimonies: Vec<Testimony>,
    facts: SessionFacts,
}

fn now() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

fn parser(agent: &str) -> SessionParser {
    SessionParser::new(&AgentKind::new(agent)).unwrap()
}

fn feed(parser: &mut SessionParser, bytes: &[u8]) -> Vec<Said> {
    let mut said = Vec::new();
    LineSplitter::new().feed(bytes, |cut, _| {
        if let Cut::Line(line) = cut {
            parser.line(line, now(), |one| said.push(one));
        }
    });
    said
}

fn read(agent: &str, bytes: &[u8]) -> Read {
    let mut parser = parser(agent);
    let said = feed(&mut parser, bytes);
    split(agent, said, parser.facts().clone())
}

/// What is told, with notices as the built-in rules read them.
fn split(agent: &str, said: Vec<Said>, facts: SessionFacts) -> Read {
    let (mut messages, mut testimonies) = (Vec::new(), Vec::new());
    let agent = AgentKind::new(agent);
    for one in said {
        match one {
            Said::Message(message) => messages.push(message),
            Said::Testimony(testimony) => testimonies.push(testimony),
            Said::Notice(notice) => {
                testimonies.extend(notice.read(Engine::builtin(), &agent, &facts.version).testimony);
            }
        }
    }
    Read { messages, testimonies, facts }
}

/// A message a line: role, tool, the first words.
fn outline(messages: &[Message]) -> String {
    let mut lines = String::new();
    for message in messages {
        let name = if message.name.is_empty() { String::new() } else { format!(" {}", message.name) };
        let words: String = message.text.replace('\n', " / ").chars().take(40).collect();
        writeln!(lines, "{} {}{name}: {words}", message.index, message.role).unwrap();
    }
    lines
}

fn kinds(testimonies: &[Testimony]) -> Vec<(&'static str, &str)> {
    testimonies.iter().map(|one| (one.kind.as_str(), one.key.as_str())).collect()
}

fn field<'t>(testimony: &'t Testimony, name: &str) -> &'t str {
    testimony.fields.get(name).map_or("", String::as_str)
}

fn usage(input: u64, cached: u64, output: u64, context: u64, window: u64) -> TokenUsage {
    TokenUsage { input, cached_input: cached, output, context, context_window: window }
}

#[test]
fn codex_169_with_approved_and_refused_commands() {
    let read = read("codex", include_bytes!("../../testdata/session-files/codex-0.169-tools.jsonl"));
    let done = "assistant: Done. I read `src/lib.rs`, moved the par";
    assert_eq!(
        outline(&read.messages),
        format!(
            "0 user: hi\n1 {done}\n2 user: run the tool\n\
             3 tool_call exec_command: touch /etc/zz-probe1 && echo done\n4 tool_result exec_command: done\n5 {done}\n\
             6 user: lease go onrun the tool\n\
             7 tool_call exec_command: touch /etc/zz-probe2 && echo done\n8 tool_result exec_command: done\n9 {done}\n\
             10 user: run the tool\n11 tool_call exec_command: touch /etc/zz-probe3 && echo done\n\
             12 tool_result exec_command: Wall time: 1.9 seconds / aborted by user\n13 notice: Interrupted by the user\n\
             14 user: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx / y\n15 {done}\n"
        )
    );
    assert_eq!(read.facts.session_id, "01a2024b-ee8a-7751-81a8-57eed6284e65");
    assert_eq!(read.facts.cwd, "/home/dev/lab/cp/cx-0.169.0-100x30-c/dev/webapp");
    assert_eq!((read.facts.version.as_str(), read.facts.model.as_str()), ("0.169.0", "gpt-5.1-codex"));
    assert_eq!(read.facts.usage, usage(8400 - 7168, 7168, 630, 1290, 258_400));
    assert_eq!((read.facts.unknown, read.facts.broken, read.facts.background), (0, 0, false));
    let windows: Vec<_> =
        read.facts.rate_limits.iter().map(|w| (w.window.as_str(), w.percent_used)).collect();
    assert_eq!(windows, [("5h", 12.0), ("weekly", 5.0)]);
    assert_eq!(read.facts.rate_limits[0].resets_at, Some(Timestamp::from_second(1_795_342_090).unwrap()));
    let turns = kinds(&read.testimonies);
    assert_eq!(turns.len(), 10, "five turns, each with begin and end: {turns:?}");
    let aborted = &read.testimonies[7];
    assert_eq!((aborted.kind, field(aborted, "reason")), (EventKind::TurnFinished, "interrupted"));
    assert_eq!(aborted.key, "01a2024c-49b7-7702-b492-900f300b3e8d");
    assert_eq!(read.messages[3].id, "call_44ec38930c");
    assert_eq!(read.messages[1].id, "msg_31c0d9029ccc");
}

#[test]
fn codex_169_compacted_and_then_at_its_limit() {
    let read = read("codex", include_bytes!("../../testdata/session-files/codex-0.169-compacted.jsonl"));
    let done = "assistant: Done. I read `src/lib.rs`, moved the par";
    assert_eq!(
        outline(&read.messages),
        format!(
            "0 user: hello one\n1 {done}\n2 compaction: Another language model started to solve \n\
             3 user: hello two\n4 {done}\n5 user: hello three\n6 notice: You’ve hit your usage limit. Upgrade to \n"
        )
    );
    assert_eq!(read.facts.compactions, 1);
    let limit_turn = "01a20249-007e-7cd0-a30b-cd7fb1e271d1";
    let told = kinds(&read.testimonies);
    assert_eq!(
        told[2..5],
        [
            ("turn.started", "01a20248-bd24-7bb3-a2ce-eec52db9a1c2"),
            ("context.compacted", "01a20248-bd51-7351-b56c-7a88ff54513e"),
            ("turn.finished", "01a20248-bd24-7bb3-a2ce-eec52db9a1c2")
        ]
    );
    assert_eq!(
        told[7..],
        [
            ("turn.started", limit_turn),
            ("limit.reached", limit_turn),
            ("limit.reached", limit_turn),
            ("turn.finished", limit_turn)
        ]
    );
    let limit = &read.testimonies[9];
    assert_eq!((field(limit, "window"), field(limit, "reset_at")), ("5h", "4:04 AM"));
    let reset = read.facts.rate_limits[0].resets_at.unwrap();
    assert_eq!(field(limit, "reset_time"), reset.to_string());
    assert_eq!(field(limit, "session_id"), "01a20248-9eaf-7612-8d85-30c65ae07515");
    assert_eq!(limit.at.to_string(), "2026-11-22T08:04:28.471Z");
}

#[test]
fn codex_of_old_versions() {
    let old = read("codex", include_bytes!("../../testdata/session-files/codex-0.53.jsonl"));
    let roles: Vec<&str> = old.messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(
        roles.join(" "),
        "user assistant user tool_call tool_result assistant user tool_call tool_result assistant user tool_call \
         tool_result notice"
    );
    assert_eq!(old.messages[3].text, "touch /etc/zz-probe1 && echo done");
    assert_eq!((old.messages[4].name.as_str(), old.messages[4].text.as_str()), ("shell", "done"));
    assert_eq!(old.facts.usage.context, 1290);
    let prompts = old.testimonies.iter().filter(|one| one.kind == EventKind::TurnStarted).count();
    assert_eq!(prompts, 4);

    let compacted = read("codex", include_bytes!("../../testdata/session-files/codex-0.89.jsonl"));
    let roles: Vec<&str> = compacted.messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles.join(" "), "user assistant compaction user assistant user");
    assert_eq!(compacted.facts.compactions, 1, "two records tell of it");
    let limit = compacted.testimonies.last().unwrap();
    assert_eq!((limit.kind, field(limit, "window")), (EventKind::LimitReached, "5h"));
    assert_eq!(field(limit, "percent_left"), "0");

    let rolled = read("codex", include_bytes!("../../testdata/session-files/codex-0.118.jsonl"));
    let prompts = rolled.messages.iter().filter(|message| message.role == Role::User).count();
    assert_eq!((prompts, rolled.facts.usage.output), (11, 810));
    assert!(rolled.messages.iter().any(|m| m.text.starts_with("Rolled back: the last 5 turns")));

    let steered = read("codex", include_bytes!("../../testdata/session-files/codex-0.144.jsonl"));
    let prompts: Vec<&str> =
        steered.messages.iter().filter(|m| m.role == Role::User).map(|m| m.text.as_str()).collect();
    assert_eq!(
        prompts,
        [
            "hi",
            "long task please",
            "queued by enter",
            "another long one",
            "steer me",
            "run the tool",
            "run the tool",
            "run again"
        ]
    );
    for all in [old, compacted, rolled, steered] {
        assert_eq!((all.facts.unknown, all.facts.broken), (0, 0), "{}", all.facts.version);
    }
}

#[test]
fn gemini_line_by_line_with_its_history_written_twice_and_compressed() {
    let read = read("gemini", include_bytes!("../../testdata/session-files/gemini-0.61.jsonl"));
    let done = "assistant: Done. I read `src/lib.rs`, moved the par";
    let mut expected = String::new();
    for (place, prompt) in
        ["paste None", "paste 0.05", "paste 0.3", "raw None", "raw 0.05", "raw 0.3"].iter().enumerate()
    {
        write!(expected, "{} user: Proceed with {prompt}.\n{} {done}\n", 2 * place, 2 * place + 1).unwrap();
    }
    write!(
        expected,
        "12 user: long task please\n13 notice: Request cancelled.\n14 user: second thing\n15 {done}\n\
         16 user: run the tool\n17 assistant: I will run the test suite first.\n\
         18 tool_call run_shell_command: git push origin main\n\
         19 tool_result run_shell_command: [Operation Cancelled] Reason: User denie\n20 notice: Request cancelled.\n\
         21 user: run the tool\n22 assistant: I will run the test suite first.\n\
         23 tool_call run_shell_command: git push origin main\n\
         24 tool_result run_shell_command: error: src refspec main does not match a\n25 {done}\n\
         26 compaction: {{\"complexity_reasoning\":\"simple\",\"comple\n"
    )
    .unwrap();
    assert_eq!(outline(&read.messages), expected);
    assert_eq!(read.facts.session_id, "43f7a349-5f20-49ad-bfb2-b8bb61b5bf9c");
    assert_eq!(read.facts.model, "gemini-3-flash-preview");
    // Ten answers with tokens.
    assert_eq!(read.facts.usage, usage(4000, 8000, 600, 1260, 0));
    assert_eq!((read.facts.compactions, read.facts.unknown), (1, 0));
    let compacted: Vec<_> =
        read.testimonies.iter().filter(|t| t.kind == EventKind::ContextCompacted).collect();
    assert_eq!(compacted.len(), 1);
    assert_eq!(compacted[0].key, "84361043-5bd1-4452-82f5-3138e376248a");
}

#[test]
fn gemini_as_one_object_and_growing() {
    let file = include_bytes!("../../testdata/session-files/gemini-0.24.json");
    let mut parser = parser("gemini");
    let mut said = Vec::new();
    assert!(parser.whole(file, now(), |one| said.push(one)));
    let whole = split("gemini", said, parser.facts().clone());
    let roles: Vec<&str> = whole.messages.iter().skip(12).map(|message| message.role.as_str()).collect();
    assert_eq!(
        roles.join(" "),
        "user notice user assistant tool_call tool_result notice user assistant tool_call tool_result assistant"
    );
    assert_eq!(whole.messages[16].text, "git push origin main");
    assert_eq!(whole.facts.usage, usage(3600, 7200, 540, 1260, 0));
    assert_eq!(whole.facts.session_id, "f5e69cfc-1598-4e91-92c1-2839cd9fb36f");

    parser.whole(file, now(), |one| panic!("told again: {one:?}"));

    // Read while it is being written, at any length, and then again: the same in the end.
    for cut in (0..file.len()).step_by(97) {
        let mut parser = self::parser("gemini");
        let mut said = Vec::new();
        assert!(!parser.whole(&file[..cut], now(), |one| said.push(one)));
        assert!(parser.whole(file, now(), |one| said.push(one)));
        let grown = split("gemini", said, parser.facts().clone());
        assert_eq!(outline(&grown.messages), outline(&whole.messages), "cut at {cut}");
        assert_eq!(grown.facts.usage, whole.facts.usage);
    }
}

#[test]
fn claude_code() {
    let read = read("claude", include_bytes!("../../testdata/session-files/claude-2.1.jsonl"));
    assert_eq!(
        outline(&read.messages),
        "0 user: /model opus\n1 notice: Set model to Opus\n2 user: Fix the parser, please.\n\
         3 reasoning: The parser splits too early.\n4 assistant: I will look at the parser.\n\
         5 tool_call Read: /srv/webapp/src/lib.rs\n6 tool_result Read: 1\tfn parse() {}\n\
         7 tool_call Bash: cargo test\n8 tool_result Bash: error[E0308]: mismatched types\n\
         9 assistant: Done: the parser is fixed.\n\
         10 compaction: Conversation compacted (auto, 155000 to \n\
         11 notice: This session is being continued from a p\n12 user: Which colour?\n\
         13 tool_call AskUserQuestion: Which colour do you want? (Red / Blue)\n\
         14 notice: [Request interrupted by user for tool us\n15 user: go on\n\
         16 notice: API error 529: Overloaded\n17 notice: You've hit your session limit · resets 3\n"
    );
    // 2010 + 105 + 53 + 11 and the sub-agent's 100; 55 + 20 + 40 + 9 and its 7.
    assert_eq!(read.facts.usage, usage(2279, 5000, 131, 1 + 10 + 900 + 9, 0));
    assert_eq!((read.facts.version.as_str(), read.facts.model.as_str()), ("2.1.176", "claude-opus-4-6"));
    assert_eq!((read.facts.compactions, read.facts.unknown, read.facts.broken), (1, 1, 0));
    let events: Vec<&str> = read.testimonies.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(
        events,
        [
            "turn.started",
            "turn.finished",
            "context.compacted",
            "turn.started",
            "question.asked",
            "turn.finished",
            "turn.started",
            "error.retrying",
            "limit.reached",
            "turn.finished"
        ]
    );
    let limit = &read.testimonies[8];
    assert_eq!((field(limit, "window"), field(limit, "reset_at")), ("session", "3:40pm (UTC)"));
    assert_eq!(field(&read.testimonies[2], "trigger"), "auto");
    assert_eq!(read.testimonies[2].key, "00000000-0000-4000-8000-000000000015");
    assert_eq!(field(&read.testimonies[7], "status"), "529");
}

#[test]
fn claude_limits_of_all_times() {
    let cases = [
        ("Claude AI usage limit reached|1753077600", "limit.reached", "", "2025-07-21T06:00:00Z"),
        ("5-hour limit reached ∙ resets 9pm", "limit.reached", "5h", ""),
        (
            "You've hit your weekly limit · resets Jul 27 at 4:30am (Asia/Calcutta)",
            "limit.reached",
            "weekly",
            "",
        ),
        ("You've hit your limit · resets 5pm (America/Chicago)", "limit.reached", "", ""),
        (
            "API Error: Server is temporarily limiting requests (not your usage limit)",
            "error.retrying",
            "",
            "",
        ),
        ("API Error: something that nobody has seen before", "error.api", "", ""),
        ("API Error: 529 {\"type\":\"error\"}", "error.overloaded", "", ""),
        ("API Error: 500 Internal server error", "error.api", "", ""),
        ("Prompt is too long", "context.full", "", ""),
        ("Invalid API key · Please run /login", "auth.required", "", ""),
    ];
    for (said, kind, window, time) in cases {
        let line = serde_json::json!({
            "type": "assistant", "uuid": "u", "sessionId": "s", "isApiErrorMessage": true,
            "message": {"model": "<synthetic>", "content": [{"type": "text", "text": said}]}
        });
        let read = read("claude", format!("{line}\n").as_bytes());
        let told = &read.testimonies[0];
        assert_eq!(
            (told.kind.as_str(), field(told, "window"), field(told, "reset_time")),
            (kind, window, time),
            "{said}"
        );
    }
}

fn token_count(primary: f64, resets: u64) -> String {
    let line = serde_json::json!({"timestamp": "2026-11-22T08:00:00Z", "type": "event_msg", "payload": {
        "type": "token_count", "info": null,
        "rate_limits": {"primary": {"used_percent": primary, "window_minutes": 299, "resets_at": resets}, "secondary": null}
    }});
    format!("{line}\n")
}

#[test]
fn a_window_is_warned_of_once_at_each_step_and_once_when_it_is_full_and_free_again() {
    let mut file = String::new();
    for percent in [60.0, 78.0, 79.0, 91.0, 91.0, 96.0, 100.0, 100.0, 3.0, 4.0, 80.0] {
        file.push_str(&token_count(percent, 1_795_341_673));
    }
    let read = read("codex", file.as_bytes());
    let told: Vec<_> = read.testimonies.iter().map(|t| (t.kind.as_str(), field(t, "percent_left"))).collect();
    assert_eq!(
        told,
        [
            ("limit.warning", "22"),
            ("limit.warning", "9"),
            ("limit.warning", "4"),
            ("limit.reached", "0"),
            ("limit.lifted", "97"),
            ("limit.warning", "20")
        ]
    );
    assert_eq!(read.facts.rate_limits[0].window, "5h", "299 minutes");
}

#[test]
fn what_is_broken_hides_nothing_else() {
    let file = concat!(
        "not json\n{\"type\":\"event_msg\",\"payload\":{\"type\":\"user_message\",\"message\":\"one\"}}\n",
        "{\"type\":\"event_msg\",\"payload\":[1,2]}\n{\"type\":7,\"payload\":null}\n\"text\"\n[]\nnull\n",
        "{\"type\":\"event_msg\",\"payload\":{\"type\":\"user_message\",\"message\":{\"not\":\"a text\"}}}\n",
        "{\"timestamp\":12,\"type\":\"event_msg\",\"payload\":{\"type\":\"token_count\",\"info\":{\"total_token_usage\":",
        "{\"input_tokens\":-5,\"cached_input_tokens\":1e300,\"output_tokens\":18446744073709551615}},",
        "\"rate_limits\":{\"primary\":{\"used_percent\":1e308,\"window_minutes\":1e30,\"resets_at\":99999999999999999},",
        "\"secondary\":{\"used_percent\":-3,\"window_minutes\":\"x\",\"resets_at\":null}}}}\n",
        "{\"type\":\"event_msg\",\"payload\":{\"type\":\"user_message\",\"message\":\"two \\ud83d\"}}\n",
        "{\"type\":\"event_msg\",\"payload\":{\"type\":\"user_message\",\"message\":\"half",
    );
    let read = read("codex", file.as_bytes());
    let texts: Vec<&str> = read.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["one", "two \u{fffd}"]);
    assert_eq!(read.facts.broken, 1);
    assert_eq!(read.messages[0].time, None);
    assert_eq!(read.testimonies[0].at, now(), "a record without a time is told at the reader's");
}

#[test]
fn a_long_text_is_cut_and_says_so() {
    let text = "é".repeat(200_000);
    let line =
        serde_json::json!({"type": "event_msg", "payload": {"type": "agent_message", "message": text}});
    let read = read("codex", format!("{line}\n").as_bytes());
    let message = &read.messages[0];
    assert_eq!(message.text.len(), 64 << 10);
    assert_eq!(message.text.len() as u64 + message.cut_bytes, 400_000);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let names = prop_oneof![
        Just("type"),
        Just("payload"),
        Just("message"),
        Just("content"),
        Just("$set"),
        Just("messages"),
        Just("id"),
        Just("uuid"),
        Just("timestamp"),
        Just("rate_limits"),
        Just("primary"),
        Just("used_percent"),
        Just("info"),
        Just("item"),
        Just("toolCalls"),
        Just("text"),
        Just("usage"),
        Just("sessionId"),
        Just("tokens"),
        Just("input")
    ];
    let texts = prop_oneof![
        Just("user"),
        Just("assistant"),
        Just("gemini"),
        Just("event_msg"),
        Just("response_item"),
        Just("token_count"),
        Just("user_message"),
        Just("item_completed"),
        Just("compacted"),
        Just("system"),
        Just("compact_boundary"),
        Just("tool_use"),
        Just("function_call"),
        Just("info"),
        Just("session_meta"),
        Just("{}"),
        Just("<command-name>")
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        texts.prop_map(Into::into)
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::vec((names.clone(), inner), 0..6).prop_map(|members| {
                serde_json::Value::Object(
                    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                )
            })
        ]
    })
}

proptest! {
    #[test]
    fn no_record_does_harm_or_spoils_the_next(records in proptest::collection::vec(any_json(), 1..6)) {
        let known = [
            ("claude", r#"{"type":"user","uuid":"last","sessionId":"s","message":{"content":"the last words"}}"#),
            ("codex", r#"{"type":"event_msg","payload":{"type":"user_message","message":"the last words"}}"#),
            ("gemini", r#"{"id":"last","type":"user","content":"the last words"}"#),
        ];
        for (agent, last) in known {
            let mut parser = parser(agent);
            for record in &records {
                parser.line(record.to_string().as_bytes(), now(), |_| ());
            }
            let mut said = Vec::new();
            parser.line(last.as_bytes(), now(), |one| said.push(one));
            let found = said.iter().any(|one| matches!(one, Said::Message(m) if m.text == "the last words"));
            prop_assert!(found, "{agent}: {said:?}");
            parser.whole(&serde_json::to_vec(&records).unwrap(), now(), |_| ());
        }
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for agent in ["claude", "codex", "gemini"] {
            let mut parser = parser(agent);
            feed(&mut parser, &bytes);
            parser.whole(&bytes, now(), |_| ());
        }
    }
}
