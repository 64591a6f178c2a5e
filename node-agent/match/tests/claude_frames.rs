//! Claude Code's notices on made-up screens of many widths and versions: each fires once where the program itself says it,
//! and the same words say nothing where somebody else does.
//!
//! The notices are what the program prints; what stands around them is drawn by lot. A pane goes through a turn: it is idle,
//! a prompt is sent, it works, and then the screen under test stands there for a while and is drawn again.

#![allow(clippy::unwrap_used)]

#[path = "claude_frames/draw.rs"]
mod draw;

use draw::{Block, Look, Screen, blocks, look};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;
use wa_match::{Detected, Engine, Facts, Foreground, Observation, PaneMatcher, scan};
use wa_proto::{AgentKind, EventKind, Frame, PaneState};

/// Where the program says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Column 0.
    Bare,
    /// At an elbow below the prompt.
    Elbow,
    /// Behind an answer's glyph.
    Dot,
    /// Below the composer, at the left or at the right.
    Footer,
}

type Notice = (EventKind, &'static str, &'static [Place], &'static [(&'static str, &'static str)]);

const ANY: &[Place] = &[Place::Bare, Place::Elbow];

/// What the program prints, and what is to be read from it.
const NOTICES: &[Notice] = &[
    (
        EventKind::LimitReached,
        "You've hit your session limit · resets 1:20am (Europe/Vienna)",
        ANY,
        &[("window", "session"), ("reset_at", "1:20am (Europe/Vienna)")],
    ),
    (
        EventKind::LimitReached,
        "You've hit your weekly limit · resets Oct 12, 4am",
        ANY,
        &[("window", "weekly"), ("reset_at", "Oct 12, 4am")],
    ),
    (EventKind::LimitReached, "You've hit your limit · resets 5pm (America/Chicago)", ANY, &[]),
    (EventKind::LimitReached, "You've hit your Opus limit · resets 3:45pm", ANY, &[("model", "Opus")]),
    (EventKind::LimitReached, "You've hit your org's monthly usage limit", ANY, &[]),
    (EventKind::LimitReached, "You're out of extra usage · resets 10:30pm (Europe/Rome)", ANY, &[]),
    (
        EventKind::LimitReached,
        "You've reached your Fable 5 limit. Run /usage-credits to continue or switch models with /model.",
        ANY,
        &[("model", "Fable 5")],
    ),
    (EventKind::LimitReached, "5-hour limit reached · resets 3am", ANY, &[("window", "5h")]),
    (EventKind::LimitReached, "Opus weekly limit reached · resets Oct 31, 9am", ANY, &[("model", "Opus")]),
    (
        EventKind::LimitReached,
        "Usage limit reached · continuing automatically at 7pm · esc or type to cancel",
        &[Place::Dot, Place::Footer],
        &[("auto_continue", "true"), ("reset_at", "7pm")],
    ),
    (
        EventKind::LimitLifted,
        "Usage limit reset · continuing automatically",
        &[Place::Dot, Place::Footer],
        &[],
    ),
    (
        EventKind::LimitWarning,
        "Approaching your 5-hour usage limit — Claude will wrap up the current step.",
        &[Place::Dot],
        &[("window", "5h")],
    ),
    (
        EventKind::LimitWarning,
        "You've used 97% of your session limit · resets 3:40pm (UTC)",
        &[Place::Footer],
        &[("percent_used", "97"), ("window", "session"), ("reset_at", "3:40pm (UTC)")],
    ),
    (
        EventKind::LimitWarning,
        "Approaching usage limit · resets at 11am",
        &[Place::Footer],
        &[("reset_at", "11am")],
    ),
    (EventKind::ContextLow, "Context left until auto-compact: 5%", &[Place::Footer], &[("percent", "5")]),
    (EventKind::ContextFull, "Context limit reached · /compact or /clear to continue", ANY, &[]),
    (EventKind::ContextFull, "Prompt is too long", ANY, &[]),
    (
        EventKind::ErrorOverloaded,
        "API Error: 529 Overloaded. This is a server-side issue, usually temporary.",
        &[Place::Bare, Place::Elbow, Place::Dot],
        &[("status", "529")],
    ),
    (
        EventKind::ErrorApi,
        "API Error: 500 {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Internal server error\"}}",
        &[Place::Bare, Place::Elbow, Place::Dot],
        &[("status", "500")],
    ),
    (EventKind::ErrorApi, "API Error: Connection error.", ANY, &[]),
    (EventKind::ErrorApi, "Credit balance is too low", ANY, &[]),
    (
        EventKind::ErrorRetrying,
        "API Error (Request timed out.) · Retrying in 5 seconds… (attempt 4/10)",
        ANY,
        &[("retry_in", "5 seconds")],
    ),
    (EventKind::AuthRequired, "Not logged in · Please run /login", ANY, &[("reason", "Not logged in")]),
    (
        EventKind::AuthRequired,
        "Please run /login · API Error: 401 Invalid authentication credentials",
        &[Place::Bare, Place::Elbow, Place::Dot],
        &[("status", "401")],
    ),
];

/// Dialogs: the kind, and their rows.
const DIALOGS: &[(&str, &str)] = &[
    (
        "exec",
        " Bash command\n\n   touch notes.txt\n   Create an empty file\n\n Do you want to proceed?\n ❯ 1. Yes\n   2. Yes, and don't ask again for: touch *\n   3. No\n\n Esc to cancel · Tab to amend",
    ),
    (
        "write",
        " Create file\n notes.txt\n\n  1 hello\n\n Do you want to create notes.txt?\n   1. Yes\n ❯ 2. Yes, allow all edits during this session\n   3. No\n\n Esc to cancel · Tab to amend",
    ),
    (
        "plan",
        " Would you like to proceed?\n\n ❯ 1. Yes, and use auto mode\n   2. Yes, manually approve edits\n   3. Tell Claude what to change",
    ),
    (
        "fetch",
        " Fetch\n\n   https://example.com\n\n Do you want to allow Claude to fetch this content?\n ❯ 1. Yes\n   2. No, and tell Claude what to do differently (esc)",
    ),
    (
        "trust",
        " Quick safety check: Is this a project you created or one you trust?\n\n ❯ No, exit\n   Yes, I trust this folder\n\n Enter to confirm · Esc to cancel",
    ),
    (
        "limit",
        " What do you want to do?\n\n ❯ 1. Stop and wait for limit to reset\n   2. Upgrade your plan\n\n Enter to confirm · Esc to cancel",
    ),
    (
        "question",
        " ☐ Colour\n\n Which colour?\n\n ❯ 1. Teal\n   2. Orange\n\n Enter to select · ↑/↓ to navigate · Esc to cancel",
    ),
];

/// Who else may say the same words.
#[derive(Debug, Clone, Copy)]
enum Mouth {
    AnswerWithin,
    AnswerRow,
    AnswerElbow,
    Code,
    Bullet,
    Tool,
    ToolBelow,
    Mcp,
    Diff,
    Grep,
    BashMode,
    Prompt,
    PromptRow,
    Draft,
}

const MOUTHS: &[Mouth] = &[
    Mouth::AnswerWithin,
    Mouth::AnswerRow,
    Mouth::AnswerElbow,
    Mouth::Code,
    Mouth::Bullet,
    Mouth::Tool,
    Mouth::ToolBelow,
    Mouth::Mcp,
    Mouth::Diff,
    Mouth::Grep,
    Mouth::BashMode,
    Mouth::Prompt,
    Mouth::PromptRow,
    Mouth::Draft,
];

/// A pane of Claude Code, watched.
struct Pane {
    matcher: PaneMatcher,
    facts: Facts,
    now: Timestamp,
}

impl Pane {
    fn new() -> Self {
        let kind = AgentKind::claude();
        let foreground = Foreground::Agent { kind, version: String::new(), pid: 100 };
        let facts = Facts { foreground, ..Facts::default() };
        Self { matcher: PaneMatcher::new(), facts, now: Timestamp::UNIX_EPOCH }
    }

    /// Shows a screen until nothing more comes of it.
    fn rest(&mut self, frame: &Frame) -> (Vec<Detected>, Observation) {
        self.now += SignedDuration::from_secs(2);
        let mut last = self.matcher.observe(Engine::builtin(), frame, &self.facts, self.now);
        let mut events = std::mem::take(&mut last.events);
        for _ in 0..20 {
            let Some(at) = self.matcher.next_wakeup() else { break };
            self.now = at;
            last = self.matcher.observe(Engine::builtin(), frame, &self.facts, self.now);
            events.append(&mut last.events);
        }
        (events, last)
    }

    /// An idle pane in which a prompt was sent and is worked on.
    fn at_work(look: &Look, before: &[Block]) -> Self {
        let mut pane = Self::new();
        pane.rest(&Screen::begun(look, before).composed("", &[]));
        let mut screen = Screen::begun(look, before);
        screen.prompt("look at the log");
        screen.working();
        let (_, seen) = pane.rest(&screen.composed("", &["  esc to interrupt".to_owned()]));
        assert_eq!(seen.state, PaneState::Working, "{seen:?}");
        pane
    }
}

fn told(events: &[Detected]) -> Vec<EventKind> {
    let turn = |kind: &EventKind| matches!(kind, EventKind::TurnStarted | EventKind::TurnFinished);
    events.iter().map(|event| event.kind).filter(|kind| !turn(kind)).collect()
}

fn rows_of(frame: &Frame) -> String {
    frame.rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join("\n")
}

/// The screen on which the program says it.
fn said(look: &Look, before: &[Block], text: &str, place: Place, right: bool) -> Frame {
    let mut screen = Screen::begun(look, before);
    screen.prompt("look at the log");
    match place {
        Place::Bare => screen.notice(text),
        Place::Elbow => screen.elbow(text),
        Place::Dot => screen.answer(text),
        Place::Footer => screen.answer("Done."),
    }
    screen.done();
    let room = look.cols.saturating_sub(text.chars().count() + 1);
    let footer = match place {
        Place::Footer if right => vec![format!("{}{text}", " ".repeat(room))],
        Place::Footer => vec![format!("  {text}")],
        _ => Vec::new(),
    };
    screen.composed("", &footer)
}

/// The screen on which somebody else says it.
fn quoted(look: &Look, before: &[Block], text: &str, mouth: Mouth) -> Frame {
    let mut screen = Screen::begun(look, before);
    let prose = text.replace('\n', " ");
    match mouth {
        Mouth::Prompt => screen.prompt(&format!("why does it say {prose} although it has been paid for?")),
        Mouth::PromptRow => screen.prompt(&format!("the other pane shows this:\n{text}")),
        _ => screen.prompt("look at the log"),
    }
    match mouth {
        Mouth::AnswerWithin => screen.answer(&format!("When it stops it says \"{prose}\" and waits.")),
        Mouth::AnswerRow => screen.answer(&format!("The screen then says:\n\n{text}\n\nand that is all.")),
        Mouth::AnswerElbow => {
            screen.answer(&format!("The screen then says:\n\n⎿  {text}\n\nand that is all."))
        }
        Mouth::Code => {
            screen.answer("Here is what it prints:");
            screen.raw(4, text);
            screen.raw(2, "Nothing else.");
        }
        Mouth::Bullet => screen.answer(&format!("Two cases:\n- {text}\n- anything else")),
        Mouth::Tool => screen.tool("Bash(tail -3 pane.log)", text),
        Mouth::ToolBelow => screen.tool("Bash(tail -3 pane.log)", &format!("first line\n{text}\nlast line")),
        Mouth::Mcp => screen.tool("github - get_issue (MCP)(id: \"7\")", text),
        Mouth::Diff => {
            screen.tool("Update(notes.md)", "Added 2 lines");
            screen.raw(6, &format!("12 +  {}", text.replace('\n', "\n13 +  ")));
        }
        Mouth::Grep => screen.tool("Bash(grep -rn resets .)", &format!("notes.md:12:{text}")),
        Mouth::BashMode => {
            screen.notice("");
            screen.notice("! tail -3 pane.log");
            screen.elbow(text);
        }
        Mouth::Prompt | Mouth::PromptRow | Mouth::Draft => screen.answer("Wait for it."),
    }
    screen.done();
    screen.composed(if matches!(mouth, Mouth::Draft) { text } else { "" }, &[])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_notice_is_told_once(
        look in look(),
        before in blocks(),
        (notice, place) in select(NOTICES).prop_flat_map(|notice| (Just(notice), select(notice.2))),
        right in any::<bool>(),
    ) {
        let (kind, text, _, fields) = notice;
        let frame = said(&look, &before, text, place, right);
        let mut pane = Pane::at_work(&look, &before);
        let (events, seen) = pane.rest(&frame);
        prop_assert_eq!(told(&events), vec![kind], "{}", rows_of(&frame));
        let event = events.iter().find(|event| event.kind == kind).unwrap();
        for (name, value) in fields {
            prop_assert_eq!(event.fields.get(*name).map(String::as_str), Some(*value), "{}", rows_of(&frame));
        }
        let state = match kind {
            EventKind::LimitReached => PaneState::Limited,
            EventKind::LimitWarning => PaneState::LimitWarning,
            _ => PaneState::Idle,
        };
        prop_assert_eq!(seen.state, state, "{}", rows_of(&frame));
        let (again, _) = pane.rest(&frame);
        prop_assert_eq!(told(&again), vec![]);
    }

    #[test]
    fn a_dialog_is_told_once(look in look(), before in blocks(), (kind, dialog) in select(DIALOGS)) {
        let mut screen = Screen::begun(&look, &before);
        screen.prompt("look at the log");
        screen.answer("Let me see.");
        let frame = screen.asked(dialog);
        let mut pane = Pane::at_work(&look, &before);
        let (events, seen) = pane.rest(&frame);
        prop_assert_eq!(told(&events), vec![EventKind::ApprovalRequested], "{}", rows_of(&frame));
        let event = events.iter().find(|event| event.kind == EventKind::ApprovalRequested).unwrap();
        prop_assert_eq!(event.fields.get("kind").map(String::as_str), Some(kind));
        prop_assert_eq!(seen.state, PaneState::Waiting);
        let (again, _) = pane.rest(&frame);
        prop_assert_eq!(told(&again), vec![]);
    }

    #[test]
    fn the_same_words_in_another_mouth_say_nothing(
        look in look(),
        before in blocks(),
        text in prop_oneof![
            select(NOTICES).prop_map(|notice| notice.1),
            select(DIALOGS).prop_map(|(_, rows)| rows),
            select(OTHERS).prop_map(|rows| rows),
        ],
        mouth in select(MOUTHS),
    ) {
        let frame = quoted(&look, &before, text, mouth);
        let mut pane = Pane::at_work(&look, &before);
        let (events, seen) = pane.rest(&frame);
        prop_assert_eq!(told(&events), vec![], "{}", rows_of(&frame));
        prop_assert_eq!(seen.state, PaneState::Idle, "{}", rows_of(&frame));
    }
}

/// A sign-in has no composer, and is known by what it waits for.
#[test]
fn a_sign_in_tells_whose_it_is_at_any_width() {
    let address =
        "https://claude.com/cai/oauth/authorize?code=true&client_id=9d1c250a&response_type=code&state=abc";
    for cols in [52, 80, 120, 200] {
        let mut rows =
            vec!["Browser didn't open? Use the url below to sign in (c to copy)".to_owned(), String::new()];
        let letters: Vec<char> = address.chars().collect();
        rows.extend(letters.chunks(cols).map(|row| row.iter().collect::<String>()));
        rows.extend(["", "  Paste code here if prompted >", "", "  Esc to cancel"].map(str::to_owned));
        let frame = Frame::from_text(u32::try_from(cols).unwrap(), &rows.join("\n"));
        for foreground in [
            Foreground::Unknown,
            Foreground::Agent { kind: AgentKind::claude(), version: String::new(), pid: 1 },
        ] {
            let facts = Facts { foreground, ..Facts::default() };
            let seen = scan(Engine::builtin(), &frame, &facts, Timestamp::UNIX_EPOCH);
            assert_eq!(told(&seen.events), [EventKind::AuthRequired], "{cols}");
            assert_eq!(seen.events[0].secrets.get("url").map(String::as_str), Some(address), "{cols}");
            assert_eq!(seen.state, PaneState::Authenticating, "{cols}");
        }
    }
}

/// What is said at the start, at the end and in between, and may be quoted as well.
const OTHERS: &[&str] = &[
    " ▐▛███▜▌   Claude Code v2.1.96\n▝▜█████▛▘  Sonnet 4.6 · Claude Pro",
    "Claude Code v2.1.29",
    "✻ Conversation compacted (ctrl+o for history)",
    "═══════ Conversation compacted · ctrl+o for history ═══════",
    "❯ /compact\n  ⎿  Compacted (ctrl+o to see full summary)",
    "Resume this session with:\nclaude --resume df6695ca-03a2-43c9-a7cd-f47f5ae9db68",
    "Total cost:            $0.59\nTotal duration (API):  2m 24s",
    "Browser didn't open? Use the url below to sign in (c to copy)\n\nhttps://claude.com/cai/oauth/authorize?code=true\n\nPaste code here if prompted >",
    "Invalid code. Please make sure the full code was copied\n\nPaste code here if prompted >",
    "OAuth error: Request failed with status code 400",
    "If the browser didn't open, visit: https://claude.com/cai/oauth/authorize?code=true&client_id=0",
    "Select login method:",
    "Login successful. Press Enter to continue…",
    "Successfully logged out from your Anthropic account.",
    "Unable to connect to Anthropic services",
    "✳ Unable to connect to API (ENOTIMP) · Retrying in 8s · attempt 5/10",
    "✻ 529 Overloaded · Retrying in 4s · attempt 7/10",
];
