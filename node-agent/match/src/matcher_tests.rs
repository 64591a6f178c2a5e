//! Panes over time: what fires, when, and how often.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use wa_proto::{AgentKind, EventKind, Frame, PaneState};

use crate::testing::{testdata, title};
use crate::{Detected, Engine, Facts, Foreground, Observation, PaneMatcher};

/// A pane under test: frames go in at given distances, events are collected.
pub(crate) struct Pane {
    pub(crate) matcher: PaneMatcher,
    pub(crate) now: Timestamp,
    pub(crate) facts: Facts,
}

impl Pane {
    pub(crate) fn new(agent: &str) -> Self {
        let mut pane =
            Self { matcher: PaneMatcher::new(), now: Timestamp::UNIX_EPOCH, facts: Facts::default() };
        pane.process(agent, 100);
        pane
    }

    pub(crate) fn process(&mut self, agent: &str, pid: u32) {
        self.facts.foreground = match agent {
            "bash" => Foreground::Shell { name: agent.to_owned() },
            "" => Foreground::Unknown,
            _ => Foreground::Agent { kind: AgentKind::new(agent), version: String::new(), pid },
        };
    }

    pub(crate) fn show(&mut self, frame: &Frame) -> Observation {
        self.now += SignedDuration::from_millis(50);
        self.matcher.observe(Engine::builtin(), frame, &self.facts, self.now)
    }

    /// Shows a screen and then lets time pass, waking the matcher when it asks.
    pub(crate) fn rest(&mut self, frame: &Frame) -> (Vec<Detected>, Observation) {
        let mut last = self.show(frame);
        let mut events = std::mem::take(&mut last.events);
        for _ in 0..20 {
            let Some(at) = self.matcher.next_wakeup() else { break };
            assert!(at > self.now, "it asks for what is over");
            self.now = at;
            last = self.matcher.observe(Engine::builtin(), frame, &self.facts, self.now);
            events.append(&mut last.events);
        }
        assert_eq!(self.matcher.next_wakeup(), None, "it asks for ever");
        (events, last)
    }

    pub(crate) fn kinds(&mut self, frame: &Frame) -> Vec<EventKind> {
        self.rest(frame).0.iter().map(|event| event.kind).filter(|kind| !is_turn(*kind)).collect()
    }

    pub(crate) fn restart(&mut self) {
        self.matcher = PaneMatcher::restore(&self.matcher.save());
    }
}

fn is_turn(kind: EventKind) -> bool {
    matches!(kind, EventKind::TurnStarted | EventKind::TurnFinished)
}

/// A Claude Code screen: transcript, spinner row or nothing, composer.
pub(crate) fn claude(cols: usize, transcript: &[&str], spinner: &str) -> Frame {
    let rule = "─".repeat(cols);
    let mut rows: Vec<String> = transcript.iter().map(|row| (*row).to_owned()).collect();
    rows.push(String::new());
    if !spinner.is_empty() {
        rows.extend([spinner.to_owned(), String::new()]);
    }
    rows.extend([rule.clone(), "❯\u{a0}".to_owned(), rule, "  ? for shortcuts".to_owned()]);
    Frame::from_text(u32::try_from(cols).unwrap(), &rows.join("\n"))
}

pub(crate) const LOGO: &[&str] =
    &[" ▐▛███▜▌   Claude Code v2.1.96", "▝▜█████▛▘  Opus 4.6 · Claude Pro", "  ▘▘ ▝▝    ~/code/proxy", ""];
pub(crate) const WORK: &str = "✻ Mulling… (12s · ↑ 335 tokens)";
const COMPACTING: &str = "✽ Compacting conversation… (29s)";
pub(crate) const MARK: &str = "✻ Conversation compacted (ctrl+o for history)";

fn with_logo<'a>(rows: &[&'a str]) -> Vec<&'a str> {
    [LOGO, rows].concat()
}

pub(crate) fn talk() -> Vec<&'static str> {
    with_logo(&["❯ read the parser", "", "⏺ I have read it.", "", "❯ now split it", "", "⏺ Reading 3 files"])
}

pub(crate) fn compacted() -> Vec<&'static str> {
    with_logo(&[MARK, "", "  ⎿  Read src/lib.rs (114 lines)"])
}

/// A pane in which a conversation is going on.
pub(crate) fn talking() -> Pane {
    let mut pane = Pane::new("claude");
    assert_eq!(pane.kinds(&claude(80, LOGO, "")), [EventKind::AgentStarted]);
    assert_eq!(pane.kinds(&claude(80, &talk(), WORK)), []);
    pane
}

const COMPACTED: [EventKind; 1] = [EventKind::ContextCompacted];

#[test]
fn a_compaction_fires_once() {
    let mut pane = talking();
    assert_eq!(pane.kinds(&claude(80, &talk(), COMPACTING)), []);
    let (events, _) = pane.rest(&claude(80, &compacted(), ""));
    let event = events.iter().find(|event| event.kind == EventKind::ContextCompacted).unwrap();
    assert_eq!((event.rule.as_str(), event.line.as_str()), ("claude.compacted.star", MARK));
    assert_eq!(event.witnesses, [wa_proto::Witness::Screen, wa_proto::Witness::Process]);
    // It stays; the pane is redrawn at another width, from an empty screen on; it stays.
    for cols in [80, 80, 120] {
        assert_eq!(pane.kinds(&claude(cols, &compacted(), "")), []);
    }
    pane.show(&Frame::from_text(120, ""));
    pane.show(&claude(120, LOGO, ""));
    assert_eq!(pane.kinds(&claude(120, &compacted(), "")), []);
}

#[test]
fn two_compactions_that_leave_the_same_screen_fire_twice() {
    let mut pane = talking();
    pane.kinds(&claude(80, &talk(), COMPACTING));
    assert_eq!(pane.kinds(&claude(80, &compacted(), "")), COMPACTED);
    let next = [compacted(), vec!["", "❯ and the docs"]].concat();
    assert_eq!(pane.kinds(&claude(80, &next, WORK)), []);
    assert_eq!(pane.kinds(&claude(80, &compacted(), "")), COMPACTED);
}

#[test]
fn a_compaction_in_the_middle_of_a_turn_without_a_spinner() {
    let mut pane = talking();
    let after = [compacted(), vec!["", "⏺ I go on with the split."]].concat();
    assert_eq!(pane.kinds(&claude(80, &after, WORK)), COMPACTED);
    assert_eq!(pane.kinds(&claude(80, &after, "")), []);
}

#[test]
fn two_compactions_in_one_turn_fire_twice() {
    let mut pane = talking();
    pane.kinds(&claude(80, &talk(), COMPACTING));
    let after =
        [compacted(), vec!["", "⏺ I go on with the split, and then with the next of the files."]].concat();
    assert_eq!(pane.kinds(&claude(80, &after, WORK)), COMPACTED);
    assert_eq!(pane.kinds(&claude(80, &after, COMPACTING)), []);
    assert_eq!(pane.kinds(&claude(80, &compacted(), WORK)), COMPACTED);
}

#[test]
fn a_half_drawn_screen_without_the_prompt_does_not_fire() {
    let mut pane = talking();
    pane.kinds(&claude(80, &talk(), COMPACTING));
    assert_eq!(pane.kinds(&claude(80, &compacted(), "")), COMPACTED);
    let next = [compacted(), vec!["", "❯ and the docs", "", "⏺ I read them."]].concat();
    assert_eq!(pane.kinds(&claude(80, &next, WORK)), []);
    // The pane is widened: the agent draws from the top, and a push comes in between.
    for rows in [0, 3, 5, 7, 9] {
        assert_eq!(pane.kinds(&Frame::from_text(120, &next[..rows].join("\n"))), [], "{rows}");
    }
    assert_eq!(pane.kinds(&claude(120, &next, WORK)), []);
}

#[test]
fn a_cancelled_compaction_does_not_fire() {
    let mut pane = talking();
    pane.kinds(&claude(80, &talk(), COMPACTING));
    assert_eq!(pane.kinds(&claude(80, &compacted(), "")), COMPACTED);
    let asked = [compacted(), vec!["", "❯ /compact"]].concat();
    assert_eq!(pane.kinds(&claude(80, &asked, COMPACTING)), []);
    let cancelled = [asked, vec!["  ⎿  Compaction canceled."]].concat();
    assert_eq!(pane.kinds(&claude(80, &cancelled, "")), []);
}

#[test]
fn the_command_compacts_with_both_of_its_marks_once() {
    let mut pane = talking();
    pane.kinds(&claude(80, &talk(), COMPACTING));
    let both = with_logo(&[MARK, "", "❯ /compact", "  ⎿  Compacted (ctrl+o to see full summary)"]);
    // A mark with nothing below it may be how an answer begins, so it is told with what comes after it, or in quiet.
    let mut events = pane.show(&claude(80, &both[..5], "")).events;
    events.extend(pane.rest(&claude(80, &both, "")).0);
    events.extend(pane.rest(&claude(80, &both, "")).0);
    events.retain(|event| !is_turn(event.kind));
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), COMPACTED, "{events:?}");
}

#[test]
fn the_older_form_fires_too() {
    let mut pane = Pane::new("claude");
    pane.kinds(&claude(80, &["❯ read the parser", "", "⏺ I have read it."], ""));
    pane.kinds(&claude(80, &talk()[4..], COMPACTING));
    let rule = format!("{} Conversation compacted · ctrl+o for history {}", "═".repeat(18), "═".repeat(18));
    let logo = [" ▐▛███▜▌   Claude Code v2.0.36", "", &rule, "  ⎿  Read lib/types/price.ts (262 lines)"];
    assert_eq!(pane.kinds(&claude(80, &logo, "")), COMPACTED);
}

#[test]
fn what_was_there_before_is_history() {
    let mut pane = Pane::new("claude");
    let (events, last) = pane.rest(&claude(80, &compacted(), ""));
    assert_eq!(events, []);
    assert_eq!((last.state, last.version.as_str()), (PaneState::Idle, "2.1.96"));
}

#[test]
fn a_resumed_session_replays_its_history_in_silence() {
    let mut pane = talking();
    pane.kinds(&claude(80, &talk(), COMPACTING));
    assert_eq!(pane.kinds(&claude(80, &compacted(), "")), COMPACTED);
    pane.process("claude", 200);
    let started = pane.kinds(&claude(80, LOGO, ""));
    assert_eq!(started, [EventKind::AgentExited, EventKind::AgentStarted]);
    let old = [compacted(), vec!["", "⏺ You've hit your limit, so to speak.", ""]].concat();
    assert_eq!(pane.kinds(&claude(80, &old, "")), []);
    // And then it compacts in truth.
    let next = [old.clone(), vec!["❯ go on"]].concat();
    assert_eq!(pane.kinds(&claude(80, &next, WORK)), []);
    assert_eq!(pane.kinds(&claude(80, &next, COMPACTING)), []);
    assert_eq!(pane.kinds(&claude(80, &compacted(), "")), COMPACTED);
}

#[test]
fn a_restart_of_the_node_neither_loses_nor_repeats() {
    let mut pane = talking();
    pane.kinds(&claude(80, &talk(), COMPACTING));
    pane.restart();
    assert_eq!(pane.kinds(&claude(80, &compacted(), "")), COMPACTED);
    pane.restart();
    assert_eq!(pane.kinds(&claude(80, &compacted(), "")), []);
    for garbage in [&b""[..], b"\x01nonsense", b"\xff", b"\x01state = 3"] {
        pane.matcher = PaneMatcher::restore(garbage);
        assert_eq!(pane.kinds(&claude(80, &compacted(), "")), []);
    }
}

#[test]
fn nothing_of_the_screen_is_saved() {
    let mut pane = talking();
    pane.kinds(&claude(80, &with_logo(&["❯ my password is hunter2", "", MARK, "", "⏺ hunter2"]), WORK));
    let saved = String::from_utf8_lossy(&pane.matcher.save()).into_owned();
    assert!(saved.contains("claude") && !saved.contains("hunter2") && !saved.contains("password"), "{saved}");
}

#[test]
fn quotations_do_not_fire() {
    let mut pane = talking();
    let quoting = with_logo(&[
        "❯ what does ✻ Conversation compacted (ctrl+o for history) mean",
        "",
        "⏺ The marks are:",
        "  ✻ Conversation compacted (ctrl+o for history)",
        "  You've hit your limit · resets 5pm (America/Chicago)",
        "",
        "⏺ Bash(cat log)",
        "  ⎿  Compacted 3 tables",
        "     You've hit your session limit · resets 5pm",
    ]);
    assert_eq!(pane.kinds(&claude(80, &quoting, WORK)), []);
    assert_eq!(pane.kinds(&claude(80, &quoting, "")), []);
    // The same words where no agent runs.
    let mut shell = Pane::new("bash");
    shell.kinds(&Frame::from_text(80, "dev@box:~$"));
    let text = "dev@box:~$ cat log\n■ You've hit your usage limit. Try again at 3:42 PM.\n✻ Conversation compacted (ctrl+o for history)\nTo continue this session, run codex resume 019bcea5-acb4-7370-a50d-8a2b59553cf6\ndev@box:~$";
    let (events, last) = shell.rest(&Frame::from_text(80, text));
    assert_eq!((events, last.state), (Vec::new(), PaneState::Shell));
}

#[test]
fn recorded_compactions_of_codex_and_gemini() {
    for (agent, before, after) in [
        ("codex", "codex-0.169.0-busy", "codex-0.169.0-compact"),
        ("codex", "codex-0.89.0-busy", "codex-0.89.0-compact"),
        ("gemini", "gemini-0.61.0-busy", "gemini-0.61.0-compress"),
        ("gemini", "gemini-0.24.0-busy", "gemini-0.24.0-compress"),
    ] {
        let mut pane = Pane::new(agent);
        pane.kinds(&testdata(&format!("{agent}{}-empty.ansi", &before[agent.len()..before.len() - 5])));
        pane.kinds(&testdata(&format!("{before}.ansi")));
        let frame = testdata(&format!("{after}.ansi"));
        assert_eq!(pane.kinds(&frame), COMPACTED, "{after}");
        assert_eq!(pane.kinds(&frame), [], "{after}");
        let mut late = Pane::new(agent);
        assert_eq!(late.kinds(&frame), [], "{after}: first sight");
    }
}

pub(crate) fn codex(transcript: &[&str], live: &str) -> Frame {
    let mut rows: Vec<&str> = transcript.to_vec();
    rows.push("");
    if !live.is_empty() {
        rows.extend([live, "", ""]);
    }
    rows.extend([
        "› Ask Codex to do anything",
        "",
        "  gpt-5.1-codex default · ~/webapp",
        "  ← for agents · ? for shortcuts",
    ]);
    Frame::from_text(100, &rows.join("\n"))
}

pub(crate) const BUSY: &str = "• Working (2s • esc to interrupt)";
pub(crate) const LIMIT: &str = "■ You’ve hit your usage limit. Try again at 2:31 AM.";

#[test]
fn two_commands_to_compact_leave_two_marks() {
    let mut pane = Pane::new("codex");
    let mut rows = vec!["› hello", "", "• Hi.", ""];
    pane.kinds(&codex(&rows, ""));
    for _ in 0..2 {
        pane.kinds(&codex(&rows, BUSY));
        rows.extend(["• Context compacted · 0s", "", "  Worked for <1s · 02:04", ""]);
        assert_eq!(pane.kinds(&codex(&rows, "")), COMPACTED);
    }
}

#[test]
fn a_limit_fires_in_each_turn_that_hits_it() {
    let mut pane = Pane::new("codex");
    pane.kinds(&codex(&["  >_ OpenAI Codex (v0.169.0)"], ""));
    let mut rows = vec!["› continue", ""];
    pane.kinds(&codex(&rows, BUSY));
    rows.extend([LIMIT, ""]);
    let (events, last) = pane.rest(&codex(&rows, ""));
    let reached = events.iter().find(|event| event.kind == EventKind::LimitReached).unwrap();
    assert_eq!(reached.fields["reset_at"], "2:31 AM");
    assert_eq!(last.state, PaneState::Limited);
    assert_eq!(pane.kinds(&codex(&rows, "")), []);
    rows.extend(["› continue", ""]);
    let (_, last) = pane.rest(&codex(&rows, BUSY));
    assert_eq!(last.state, PaneState::Working, "an old limit above a working agent");
    rows.extend([LIMIT, ""]);
    assert_eq!(pane.kinds(&codex(&rows, "")), [EventKind::LimitReached]);
    // Resumed in a new process, which prints it again.
    pane.process("codex", 200);
    pane.kinds(&codex(&["  >_ OpenAI Codex (v0.169.0)"], ""));
    let (events, last) = pane.rest(&codex(&rows, ""));
    assert_eq!((events, last.state), (Vec::new(), PaneState::Limited));
}

#[test]
fn a_limit_lifts_when_it_said_so_first_not_a_day_later() {
    let mut pane = Pane::new("codex");
    pane.facts.zone = Some(jiff::tz::TimeZone::get("America/Chicago").unwrap());
    pane.now = "2026-11-22T06:30:00Z".parse().unwrap();
    pane.kinds(&codex(&["  >_ OpenAI Codex (v0.169.0)"], ""));
    let rows = ["› continue", "", LIMIT, ""];
    pane.kinds(&codex(&rows[..2], BUSY));
    let (events, last) = pane.rest(&codex(&rows, ""));
    let reached = events.iter().find(|event| event.kind == EventKind::LimitReached).unwrap();
    assert_eq!(reached.fields["reset_time"], "2026-11-22T08:31:00Z");
    let until = last.detail.until;
    assert_eq!(until, "2026-11-22T08:31:00Z".parse().ok());
    // Hours later the same words still stand there; also for a program that was started anew.
    pane.now = "2026-11-22T12:00:00Z".parse().unwrap();
    assert_eq!(pane.rest(&codex(&rows, "")).1.detail.until, until);
    pane.restart();
    assert_eq!(pane.rest(&codex(&rows, "")).1.detail.until, until);
    // Whoever sees them for the first time does not know when they were printed.
    pane.matcher = PaneMatcher::new();
    let (_, last) = pane.rest(&codex(&rows, ""));
    assert_eq!((last.state, last.detail.until), (PaneState::Limited, None));
}

#[test]
fn a_sign_in_is_told_with_its_code_kept_apart() {
    let code = |code: &str| {
        format!(
            "1. Open this link in your browser and sign in to your account\n   https://auth.openai.com/codex/device\n\n\
             2. Enter this one-time code (expires in 15 minutes)\n   {code}\n\nContinue only if you started this login."
        )
    };
    let mut pane = Pane::new("bash");
    pane.kinds(&Frame::from_text(80, "$ codex login --device-auth"));
    // The code may stand there when the process is first seen.
    pane.process("codex", 7);
    let screen = format!("$ codex login --device-auth\n{}", code("1F4J-LS4XN"));
    let (events, last) = pane.rest(&Frame::from_text(80, &screen));
    let event = events.iter().find(|event| event.kind == EventKind::AuthDeviceCode).unwrap();
    assert_eq!(event.secrets["user_code"], "1F4J-LS4XN");
    assert_eq!(event.secrets["url"], "https://auth.openai.com/codex/device");
    assert!(
        !event.line.contains("1F4J") && event.fields.values().all(|value| !value.contains("1F4J")),
        "{event:?}"
    );
    assert_eq!((last.state, pane.kinds(&Frame::from_text(80, &screen))), (PaneState::Authenticating, vec![]));
    pane.process("bash", 0);
    let screen = format!("{screen}\nSuccessfully logged in\n$");
    assert!(pane.kinds(&Frame::from_text(80, &screen)).contains(&EventKind::AuthSucceeded));
    // The next one has another code, below the first.
    pane.process("codex", 8);
    let screen = format!("{screen} codex login --device-auth\n{}", code("8M3D-PLQ6T"));
    let (events, _) = pane.rest(&Frame::from_text(80, &screen));
    let codes: Vec<&str> = events
        .iter()
        .filter(|event| event.kind == EventKind::AuthDeviceCode)
        .map(|event| event.secrets["user_code"].as_str())
        .collect();
    assert_eq!(codes, ["8M3D-PLQ6T"]);
}

#[test]
fn a_sticky_warning_fires_once_and_colours_only_an_idle_agent() {
    let sticky = format!("{:>90}", "⚠ 5h limit: 22% left · resets at 02:21 · /status");
    let mut pane = Pane::new("codex");
    pane.kinds(&codex(&["› hello", "", "• Hi."], ""));
    pane.kinds(&codex(&["› hello", "", "• Hi.", "", "› more"], BUSY));
    let rows = [
        "› more",
        "",
        "• Done.",
        "",
        "⚠ Heads up, you have less than 25% of your 5h limit left. Run /status for a breakdown.",
    ];
    let (events, last) = pane.rest(&codex(&rows, &sticky));
    let warnings: Vec<&Detected> =
        events.iter().filter(|event| event.kind == EventKind::LimitWarning).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].fields["percent_left"], "25");
    assert_eq!((last.state, last.detail.window.as_str()), (PaneState::LimitWarning, "5h"));
    assert_eq!((last.detail.percent_left, last.detail.until), (Some(22.0), None), "in which zone?");
    let next = [&rows[..], &["", "› go on"]].concat();
    let busy = codex(&next, &format!("{BUSY}\n\n{sticky}"));
    let (events, last) = pane.rest(&busy);
    assert!(events.iter().all(|event| is_turn(event.kind)), "{events:?}");
    assert_eq!(last.state, PaneState::Working);
    // Hidden for a few seconds of a turn, it is no news.
    pane.show(&codex(&[&next[..], &["", "› and on"]].concat(), BUSY));
    pane.now += SignedDuration::from_secs(5);
    assert_eq!(pane.kinds(&codex(&["› and on", "", "• Done."], &sticky)), []);
}

#[test]
fn a_dialog_fires_once_until_it_is_answered() {
    let mut pane = Pane::new("codex");
    pane.kinds(&testdata("codex-0.169.0-empty.ansi"));
    pane.kinds(&testdata("codex-0.169.0-busy.ansi"));
    let dialog = testdata("codex-0.169.0-dialog.ansi");
    let (events, last) = pane.rest(&dialog);
    let asked = events.iter().find(|event| event.kind == EventKind::ApprovalRequested).unwrap();
    assert_eq!(
        (asked.fields["kind"].as_str(), asked.fields["command"].as_str()),
        ("exec", "touch /etc/zz-probe && echo done")
    );
    assert!(asked.fields["choices"].starts_with("Yes, proceed (y) | "), "{}", asked.fields["choices"]);
    assert_eq!((last.state, last.detail.kind.as_str()), (PaneState::Waiting, "approval"));
    let mut moved = dialog.clone();
    for row in &mut moved.rows {
        row.text = row.text.replace("› 1.", "  1.").replace("  2.", "› 2.");
    }
    assert_eq!(pane.kinds(&moved), []);
    pane.kinds(&testdata("codex-0.169.0-busy.ansi"));
    assert_eq!(pane.kinds(&dialog), [EventKind::ApprovalRequested]);
}

#[test]
fn turns_begin_with_a_marker_and_end_in_quiet() {
    let mut pane = Pane::new("codex");
    let kinds = |events: &[Detected]| events.iter().map(|event| event.kind).collect::<Vec<_>>();
    let (_, idle) = pane.rest(&codex(&["› hello", "", "• Hi."], ""));
    assert_eq!(idle.state, PaneState::Idle);
    let busy = pane.show(&codex(&["› hello", "", "• Hi.", "", "› more"], BUSY));
    assert_eq!((kinds(&busy.events), busy.state), (vec![EventKind::TurnStarted], PaneState::Working));
    // The answer streams without a marker.
    for answer in ["• I", "• I read", "• I read it"] {
        let streaming = pane.show(&codex(&["› more", "", answer], ""));
        assert_eq!((streaming.events, streaming.state), (Vec::new(), PaneState::Working));
    }
    let (events, last) = pane.rest(&codex(&["› more", "", "• I read it"], ""));
    assert_eq!((kinds(&events), last.state), (vec![EventKind::TurnFinished], PaneState::Idle));
    assert_eq!(last.live_top, Some(3));
}

#[test]
fn the_title_helps() {
    let mut pane = Pane::new("codex");
    let frame = testdata("codex-0.144.0-empty.ansi");
    pane.facts.title = "⠏ webapp".to_owned();
    assert_eq!(pane.show(&frame).state, PaneState::Working);
    pane.facts.title = "[ ! ] Action Required | webapp".to_owned();
    assert_eq!(pane.show(&frame).state, PaneState::Waiting);
    pane.facts.title = "webapp".to_owned();
    assert_eq!(pane.rest(&frame).1.state, PaneState::Idle);
    let info = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/gemini-0.61.0-busy.info");
    assert!(title(&std::fs::read_to_string(info).unwrap()).starts_with('✦'));
}

#[test]
fn a_start_is_no_turn() {
    // Servers are booted, with a spinner row; others turn only the title's spinner.
    let kinds = |events: &[Detected]| -> Vec<EventKind> { events.iter().map(|event| event.kind).collect() };
    for (name, title) in [("codex-0.144.0-booting", "⠹ webapp"), ("codex-0.169.0-empty", "⠋ webapp")] {
        let mut pane = Pane::new("bash");
        let shell = testdata("codex-0.144.0-quit.ansi");
        pane.show(&shell);
        pane.process("codex", 7);
        let frame = testdata(&format!("{name}.ansi"));
        let ready = testdata("codex-0.169.0-empty.ansi");
        let mut seen = kinds(&pane.rest(&ready).0);
        pane.facts.title = title.to_owned();
        let (events, last) = pane.rest(&frame);
        seen.extend(kinds(&events));
        assert_eq!(last.state, PaneState::Working, "{name}");
        pane.facts.title = "webapp".to_owned();
        let (events, last) = pane.rest(&ready);
        seen.extend(kinds(&events));
        assert_eq!((last.state, seen), (PaneState::Idle, vec![EventKind::AgentStarted]), "{name}");
        // Once it was asked something, the same title is a turn.
        let asked = codex(&["› hello", "", "• I"], "");
        pane.facts.title = title.to_owned();
        assert_eq!(kinds(&pane.show(&asked).events), vec![EventKind::TurnStarted], "{name}");
    }
}

#[test]
fn what_it_says_of_an_idle_agent_settles() {
    // A warning that comes to an idle agent colours it, though nothing changes any more.
    let mut pane = Pane::new("codex");
    pane.rest(&codex(&["› hello", "", "• Hi."], ""));
    let warning = "⚠ Heads up, you have less than 25% of your 5h limit left. Run /status for a breakdown.";
    let warned = codex(&["› hello", "", "• Hi.", "", warning], "");
    assert_eq!(pane.show(&warned).state, PaneState::Idle);
    assert_eq!(pane.rest(&warned).1.state, PaneState::LimitWarning);
    let (_, idle) = pane.rest(&testdata("codex-0.169.0-empty.ansi"));
    assert_eq!((idle.state, idle.detail.why.as_str()), (PaneState::Idle, "the composer waits for input"));
}

#[test]
fn the_screen_names_the_agent_where_the_process_table_cannot() {
    for (name, agent) in [
        ("codex-0.89.0-empty", "codex"),
        ("gemini-0.61.0-empty", "gemini"),
        ("codex-0.169.0-dialog", "codex"),
    ] {
        let mut pane = Pane::new("");
        pane.facts.foreground = Foreground::Remote { name: "ssh".to_owned() };
        let (_, last) = pane.rest(&testdata(&format!("{name}.ansi")));
        assert_eq!(last.agent, Some(AgentKind::new(agent)), "{name}");
        assert_eq!(last.agent_pid, 0);
    }
    let mut pane = Pane::new("");
    assert_eq!(pane.rest(&claude(80, &talk(), "")).1.agent, Some(AgentKind::claude()));
}

#[test]
fn a_process_table_that_fails_for_a_moment_says_nothing() {
    let mut pane = talking();
    pane.process("", 0);
    let (events, last) = pane.rest(&claude(80, &talk(), WORK));
    assert_eq!((events, last.agent_pid), (Vec::new(), 100));
}

proptest::proptest! {
    #[test]
    fn any_frames_do_not_panic_and_what_is_saved_is_restored(
        screens in proptest::collection::vec(proptest::collection::vec("(› |❯ |✻ Conversation compacted|• Context compacted|■ You've hit your usage limit\\.|─────────────|│ |╭|╰|[a-z0-9 é界]){0,4}", 0..10), 1..6),
        agent in "codex|claude|gemini|bash|",
    ) {
        let mut pane = Pane::new(&agent);
        for screen in screens {
            pane.show(&Frame::from_text(40, &screen.join("\n")));
        }
        let saved = pane.matcher.save();
        proptest::prop_assert_eq!(PaneMatcher::restore(&saved).save(), saved);
    }
}
