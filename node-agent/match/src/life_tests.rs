//! Starts and ends of agents, and what is news in between.

use wa_proto::{EventKind, Frame, PaneState};

use crate::matcher_tests::{BUSY, Pane, claude, codex, talk, talking};
use crate::testing::testdata;
use crate::{Detected, Foreground, Observation};

fn kinds(events: &[Detected]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).collect()
}

/// A pane in which the agent's process has just begun below a shell's prompt.
fn begun(agent: &str) -> Pane {
    let mut pane = Pane::new("bash");
    pane.show(&Frame::from_text(100, "dev@box:~/webapp$"));
    pane.process(agent, 7);
    pane
}

#[test]
fn a_start_waits_for_its_version() {
    let mut pane = begun("codex");
    assert_eq!(pane.show(&Frame::from_text(100, "dev@box:~/webapp$ codex")).events, []);
    assert_eq!(pane.show(&codex(&[], "")).events, []);
    let (events, _) = pane.rest(&testdata("codex-0.169.0-empty.ansi"));
    assert_eq!(kinds(&events), [EventKind::AgentStarted]);
    assert_eq!(events[0].fields["version"], "0.169.0");
}

#[test]
fn a_start_without_a_banner_is_told_before_anything_else() {
    let mut pane = begun("codex");
    let (events, _) = pane.rest(&codex(&[], ""));
    assert_eq!((kinds(&events), events[0].fields.len()), (vec![EventKind::AgentStarted], 0));
    // One that shows nothing at all is there, too.
    let (events, _) = begun("codex").rest(&Frame::from_text(100, "dev@box:~/webapp$ codex"));
    assert_eq!(kinds(&events), [EventKind::AgentStarted]);
    // It does not keep what comes after it.
    let mut pane = begun("codex");
    assert_eq!(pane.show(&codex(&[], "")).events, []);
    let busy = pane.show(&codex(&["› hello"], BUSY));
    assert_eq!(kinds(&busy.events), [EventKind::AgentStarted, EventKind::TurnStarted]);
    // Nor does a restart lose it.
    let mut pane = begun("codex");
    assert_eq!(pane.show(&codex(&[], "")).events, []);
    pane.restart();
    assert_eq!(kinds(&pane.rest(&codex(&[], "")).0), [EventKind::AgentStarted]);
}

#[test]
fn the_end_of_the_agent_before_comes_before_a_start() {
    let mut pane = Pane::new("codex");
    pane.rest(&testdata("codex-0.169.0-empty.ansi"));
    pane.process("codex", 8);
    let (events, _) = pane.rest(&testdata("codex-0.169.0-empty.ansi"));
    assert_eq!(kinds(&events), [EventKind::AgentExited, EventKind::AgentStarted]);
}

#[test]
fn a_command_that_is_done_at_once_is_no_start_and_no_end() {
    let mut pane = begun("codex");
    pane.show(&Frame::from_text(100, "dev@box:~/webapp$ codex --version\ncodex-cli 0.169.0"));
    pane.process("bash", 0);
    let after = "dev@box:~/webapp$ codex --version\ncodex-cli 0.169.0\ndev@box:~/webapp$";
    let (events, last) = pane.rest(&Frame::from_text(100, after));
    assert_eq!((events, last.state), (vec![], PaneState::Shell));
}

#[test]
fn a_sign_in_alone_is_no_start_and_its_code_is_told_once() {
    let asked = "dev@box:~/webapp$ codex login --device-auth\n\
                 1. Open this link in your browser and sign in to your account\n   https://auth.openai.com/codex/device\n\n\
                 2. Enter this one-time code (expires in 15 minutes)\n   1F4J-LS4XN\n";
    let mut pane = begun("codex");
    let (events, last) = pane.rest(&Frame::from_text(100, asked));
    assert_eq!((kinds(&events), last.state), (vec![EventKind::AuthDeviceCode], PaneState::Authenticating));
    pane.process("bash", 0);
    let failed = format!("{asked}\nError logging in with device code: device auth failed with status 400");
    let (events, last) = pane.rest(&Frame::from_text(100, &format!("{failed}\ndev@box:~/webapp$")));
    assert_eq!((kinds(&events), last.state), (vec![EventKind::AuthFailed], PaneState::Shell));
    // The agent begins below, and nothing has drawn over the old code yet.
    pane.now += jiff::SignedDuration::from_secs(90);
    pane.rest(&Frame::from_text(100, "dev@box:~/webapp$"));
    pane.process("codex", 9);
    let again = Frame::from_text(100, &format!("{asked}\ndev@box:~/webapp$ codex"));
    assert!(!kinds(&pane.rest(&again).0).contains(&EventKind::AuthDeviceCode));
}

/// A Claude Code screen with a row of its own below the composer.
fn footed(rows: &[&str], footer: &str) -> Frame {
    let frame = claude(100, rows, "");
    let text: Vec<String> =
        frame.rows.iter().map(|row| row.text.replace("  ? for shortcuts", footer)).collect();
    Frame::from_text(100, &text.join("\n"))
}

#[test]
fn one_limit_in_a_row_and_in_the_footer_is_one() {
    let waits = "  ⚠ Usage limit reached · continuing automatically at 11:10am · esc or type to cancel";
    for row in [
        "You've hit your session limit · resets 11:10am (Europe/Vienna)",
        "You've hit your limit · resets 11:10am (Europe/Vienna)",
        "  ⎿  You've hit your session limit · resets 11:10am (Europe/Vienna)",
    ] {
        let rows = [talk(), vec!["", row]].concat();
        let orders: [&[(&[&str], &str)]; 3] = [
            &[(&rows, "  ? for shortcuts"), (&rows, waits)],
            &[(&talk(), waits), (&rows, waits)],
            &[(&rows, waits), (&rows, "  ? for shortcuts"), (&rows, waits)],
        ];
        for (nth, order) in orders.into_iter().enumerate() {
            let mut pane = talking();
            let mut reached = 0;
            for (rows, footer) in order {
                let (events, last): (_, Observation) = pane.rest(&footed(rows, footer));
                assert_eq!(last.state, PaneState::Limited, "{row} {nth}");
                reached += kinds(&events).iter().filter(|kind| **kind == EventKind::LimitReached).count();
                pane.now += jiff::SignedDuration::from_secs(90);
            }
            assert_eq!(reached, 1, "{row} {nth}");
        }
    }
}

/// A Gemini CLI screen: transcript, and the composer of 0.24 unless a dialog takes its place.
fn gemini(rows: &[&str], composer: bool) -> Frame {
    let rule = "─".repeat(78);
    let mut text = rows.join("\n");
    if composer {
        let hint = format!("{:<76}", ">   Type your message or @path/to/file");
        text = format!("{text}\n\n╭{rule}╮\n│ {hint} │\n╰{rule}╯\n ~/webapp      no sandbox      auto");
    }
    Frame::from_text(80, &text)
}

/// A box with these rows.
fn boxed(rows: &[&str]) -> String {
    let rule = "─".repeat(78);
    let rows: Vec<String> = rows.iter().map(|row| format!("│ {row:<76} │")).collect();
    format!("╭{rule}╮\n{}\n╰{rule}╯", rows.join("\n"))
}

#[test]
fn what_an_answered_dialog_leaves_behind_is_no_news() {
    let limit = boxed(&["Usage limit reached for gemini-2.5-pro.", "", "● 1. Keep trying", "  2. Stop"]);
    let demand = boxed(&["We are currently experiencing high demand.", "", "● 1. Keep trying", "  2. Stop"]);
    let quota = "✕ [API Error: Resource has been exhausted (e.g. check quota).]";
    let unavailable = r#"✕ [API Error: {"error": {"code": 503, "message": "The model is overloaded."}}]"#;
    for (dialog, line, with, without) in [
        (&limit, quota, EventKind::LimitReached, EventKind::ErrorApi),
        (&demand, unavailable, EventKind::ErrorOverloaded, EventKind::ErrorOverloaded),
    ] {
        let told = |events: Vec<EventKind>| -> Vec<EventKind> {
            events.into_iter().filter(|kind| *kind != EventKind::ApprovalRequested).collect()
        };
        let mut pane = Pane::new("gemini");
        let prompts = ["> hello", "", "✦ Hi.", "", "> go on with the review", ""];
        pane.kinds(&gemini(&prompts[..3], true));
        let spinner = "⠏ Thinking... (esc to cancel, 2s)";
        pane.kinds(&gemini(&[&prompts[..], &[spinner]].concat(), true));
        assert_eq!(told(pane.kinds(&gemini(&[&prompts[..], &[dialog]].concat(), false))), [with], "{line}");
        let rows = [&prompts[..], &[line]].concat();
        assert_eq!(pane.kinds(&gemini(&rows, true)), [], "{line}");
        // Below another prompt, and without a dialog, it tells of itself.
        let next = [&rows[..], &["", "> and the tests", ""]].concat();
        assert_eq!(pane.kinds(&gemini(&[&next[..], &[spinner]].concat(), true)), [], "{line}");
        assert_eq!(pane.kinds(&gemini(&[&next[..], &[line]].concat(), true)), [without], "{line}");
    }
}

#[test]
fn what_a_tool_has_printed_is_no_dialog() {
    let printed = [
        "✓  Shell cat NOTES.md",
        "",
        "Usage limit reached for gemini-2.5-pro.",
        "We are currently experiencing high demand.",
        "Allow execution of: 'git push'?",
        "● 1. Allow once",
        "  2. Allow for this session",
    ];
    let mut pane = Pane::new("gemini");
    pane.kinds(&gemini(&["> hello", "", "✦ Hi."], true));
    pane.kinds(&gemini(&["> show the notes", "", "⠏ Thinking... (esc to cancel, 2s)"], true));
    // The composer below it is not drawn yet, or no longer.
    assert_eq!(pane.kinds(&gemini(&["> show the notes", "", &boxed(&printed)], false)), []);
    // The same where a shell's program prints it, and only the screen tells.
    let mut shell = Pane::new("");
    shell.kinds(&Frame::from_text(80, "dev@box:~/webapp$"));
    let notes = boxed(&["Usage limit reached for all Pro models.", "● 1. Keep trying", "  2. Stop"]);
    let (events, last) =
        shell.rest(&Frame::from_text(80, &format!("dev@box:~/webapp$ cat NOTES.md\n{notes}")));
    assert_eq!((events, last.agent), (vec![], None));
}

#[test]
fn an_end_screen_tells_the_session() {
    for (agent, name) in [("codex", "codex-0.89.0"), ("codex", "codex-0.169.0"), ("gemini", "gemini-0.61.0")]
    {
        let end = if agent == "codex" { "quit" } else { "end" };
        let mut pane = Pane::new(agent);
        pane.kinds(&testdata(&format!("{name}-empty.ansi")));
        pane.process("bash", 0);
        let (events, last) = pane.rest(&testdata(&format!("{name}-{end}.ansi")));
        let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::SessionEnded, EventKind::AgentExited], "{name}");
        assert_eq!(events[0].fields["session_id"].len(), 36, "{name}");
        assert_eq!(events[1].fields["session_id"], events[0].fields["session_id"]);
        assert_eq!((last.state, last.agent), (PaneState::Exited, None), "{name}");
    }
}

#[test]
fn an_agent_that_vanishes_at_work_has_crashed() {
    let mut pane = Pane::new("codex");
    pane.kinds(&testdata("codex-0.89.0-empty.ansi"));
    pane.kinds(&testdata("codex-0.89.0-busy.ansi"));
    pane.process("bash", 0);
    let (events, last) = pane.rest(&Frame::from_text(100, "Killed\ndev@box:~/webapp$"));
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!((kinds, last.state), (vec![EventKind::AgentCrashed], PaneState::Crashed));
    // The shell's word is written over what the agent left: then its silence tells, and nothing before.
    let mut pane = Pane::new("codex");
    pane.kinds(&testdata("codex-0.89.0-empty.ansi"));
    pane.kinds(&testdata("codex-0.89.0-busy.ansi"));
    pane.process("bash", 0);
    let overwritten = Frame::from_text(100, "› Killedtests for @filename\ndev@box:~/webapp$");
    let at_once = pane.show(&overwritten);
    assert_eq!((at_once.events, at_once.state), (Vec::new(), PaneState::Working));
    assert_eq!(pane.rest(&overwritten).1.state, PaneState::Crashed);
    // Idle and without a turn, an agent may leave without a word.
    let mut pane = Pane::new("codex");
    pane.kinds(&testdata("codex-0.89.0-empty.ansi"));
    pane.process("bash", 0);
    let (events, _) = pane.rest(&Frame::from_text(100, "dev@box:~/webapp$ codex\ndev@box:~/webapp$"));
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::AgentExited]);
}

#[test]
fn a_stopped_agent_is_not_gone() {
    let mut pane = Pane::new("codex");
    pane.kinds(&testdata("codex-0.89.0-empty.ansi"));
    pane.process("bash", 0);
    let (events, last) = pane.rest(&testdata("codex-0.89.0-ctrl-z.ansi"));
    assert_eq!((events, last.state, last.agent), (Vec::new(), PaneState::Shell, None));
    pane.process("codex", 100);
    assert_eq!(pane.kinds(&testdata("codex-0.89.0-empty.ansi")), []);
}

#[test]
fn an_agent_behind_ssh_ends_with_its_end_screen() {
    let mut pane = Pane::new("");
    pane.facts.foreground = Foreground::Remote { name: "ssh".to_owned() };
    pane.kinds(&testdata("codex-0.89.0-empty.ansi"));
    let end = testdata("codex-0.89.0-quit.ansi");
    let (events, last) = pane.rest(&end);
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::SessionEnded, EventKind::AgentExited]);
    assert_eq!((last.agent, last.session_id.len()), (None, 36));
}

#[test]
fn the_end_screen_may_come_before_the_process_is_gone() {
    let mut pane = Pane::new("codex");
    pane.kinds(&testdata("codex-0.89.0-empty.ansi"));
    let end = testdata("codex-0.89.0-quit.ansi");
    assert_eq!(pane.kinds(&end), [], "its process still holds the terminal");
    pane.process("bash", 0);
    let (events, last) = pane.rest(&end);
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::SessionEnded, EventKind::AgentExited]);
    assert_eq!(last.state, PaneState::Exited);
}

/// Nothing of the pane can be read any more: what was known of the agent decides.
#[test]
fn an_agent_that_goes_with_its_pane_has_crashed_only_at_its_work() {
    let at_work = || {
        let mut pane = Pane::new("codex");
        pane.rest(&testdata("codex-0.169.0-empty.ansi"));
        pane.show(&codex(&["› hello", ""], BUSY));
        pane
    };
    let mut pane = at_work();
    let crash = pane.matcher.crashed_with_pane().unwrap();
    assert_eq!((crash.kind, crash.fields["pane_gone"].as_str()), (EventKind::AgentCrashed, "true"));
    assert_eq!(pane.matcher.crashed_with_pane(), None, "once");
    // Its process was seen to go a moment before.
    let mut pane = at_work();
    pane.process("bash", 1);
    assert_eq!(kinds(&pane.show(&codex(&["› hello", ""], BUSY)).events), []);
    assert!(pane.matcher.is_at_work() && pane.matcher.crashed_with_pane().is_some());
    // Done, never begun, or known by its screen alone.
    let mut pane = at_work();
    pane.rest(&codex(&["› hello", "", "• Done.", ""], ""));
    assert_eq!(pane.matcher.crashed_with_pane(), None);
    assert_eq!(Pane::new("bash").matcher.crashed_with_pane(), None);
    let mut pane = Pane::new("");
    pane.rest(&testdata("codex-0.169.0-empty.ansi"));
    pane.show(&codex(&["› hello", ""], BUSY));
    assert_eq!(pane.matcher.crashed_with_pane(), None);
}
