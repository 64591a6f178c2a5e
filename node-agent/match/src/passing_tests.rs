//! What scrolls by between two frames, what a session file says of it, and what a frame shows: each thing is told once.

use proptest::prelude::*;
use wa_proto::{AgentKind, EventKind, Frame, Witness};

use crate::matcher_tests::Pane;
use crate::session::{LineSplitter, Said, SessionParser};
use crate::{Detected, Engine, Foreground, Observation, Settled};

const HEIGHT: usize = 24;
const LIVE: &[&str] =
    &["", "› Ask Codex to do anything", "", "  gpt-5.1-codex default · ~/webapp", "  ? for shortcuts"];
const WORKING: &[&str] = &["", "• Working (3s • esc to interrupt)"];
const LIMIT: &str = "■ You’ve hit your usage limit. Try again at 2:31 AM.";

/// A terminal in which an agent prints: rows with their numbers, of which those that have left the screen settle.
struct Term {
    pane: Pane,
    rows: Vec<String>,
    settled: usize,
    layout: u64,
    working: bool,
    events: Vec<Detected>,
}

impl Term {
    /// Codex at work on a prompt.
    fn codex() -> Self {
        let mut pane = Pane::new("codex");
        pane.facts.zone = Some(jiff::tz::TimeZone::UTC);
        let mut term =
            Self { pane, rows: Vec::new(), settled: 0, layout: 1, working: false, events: Vec::new() };
        term.print(&["", ">_ OpenAI Codex (v0.169.0)", ""]);
        term.pause(3000);
        term.working = true;
        term.print(&["› read the log", ""]);
        term.pause(500);
        term.events.clear();
        term
    }

    fn print<T: AsRef<str>>(&mut self, rows: &[T]) {
        self.rows.extend(rows.iter().map(|row| row.as_ref().to_owned()));
    }

    fn work(&mut self, rows: usize) {
        let from = self.rows.len();
        self.rows.extend((from..from + rows).map(|row| format!("    output row {row} of a long command")));
    }

    fn top(&self) -> usize {
        (self.rows.len() + WORKING.len() + LIVE.len()).saturating_sub(HEIGHT)
    }

    fn frame(&self) -> Frame {
        let live = if self.working { [WORKING, LIVE].concat() } else { LIVE.to_vec() };
        let all: Vec<&str> = self.rows.iter().map(String::as_str).chain(live).collect();
        let top = self.top().min(self.rows.len());
        let frame = Frame::from_text(80, &all[top..].join("\n"));
        Frame { first_row: i64::try_from(top).unwrap(), ..frame }
    }

    /// Hands out lines that have left the screen, so many at most.
    fn settle(&mut self, most: usize) {
        let end = self.top().min(self.settled.saturating_add(most)).min(self.rows.len());
        for row in self.settled..end {
            let text = self.rows[row].clone();
            self.line(i64::try_from(row).unwrap(), &text);
        }
        self.settled = self.settled.max(end);
    }

    fn line(&mut self, row: i64, text: &str) {
        let line = Settled { layout: self.layout, row, rows: 1, text };
        self.pane.matcher.settled(Engine::builtin(), line, &self.pane.facts.foreground);
    }

    fn look(&mut self) -> Observation {
        self.pane.facts.layout = self.layout;
        let frame = self.frame();
        let mut seen = self.pane.show(&frame);
        self.events.append(&mut seen.events);
        seen
    }

    /// Looks, and again until the pane has stood for so many milliseconds.
    fn pause(&mut self, milliseconds: i64) {
        for _ in 0..milliseconds / 50 {
            self.look();
        }
    }

    fn record(&mut self, json: &serde_json::Value) {
        let agent = self.pane.facts.foreground.agent().unwrap().clone();
        let mut parser = SessionParser::new(&agent).unwrap();
        parser.line(json.to_string().as_bytes(), self.pane.now, |said| match said {
            Said::Testimony(testimony) => self.pane.matcher.tell(testimony),
            Said::Notice(notice) => self.pane.matcher.notice(notice),
            Said::Message(_) => {}
        });
    }

    /// What was told, without turns.
    fn told(&mut self) -> Vec<Detected> {
        let of_turns = [EventKind::TurnStarted, EventKind::TurnFinished, EventKind::AgentStarted];
        self.events.drain(..).filter(|event| !of_turns.contains(&event.kind)).collect()
    }

    fn kinds(&mut self) -> Vec<EventKind> {
        self.told().iter().map(|event| event.kind).collect()
    }

    /// A flood with these rows in its midst, which no frame shows.
    fn flood(&mut self, rows: &[&str]) {
        self.work(300);
        self.print(rows);
        self.work(300);
        self.settle(usize::MAX);
        self.pause(4000);
    }
}

fn error(message: &str) -> serde_json::Value {
    serde_json::json!({"type": "event_msg", "payload": {"type": "error", "message": message}})
}

#[test]
fn a_banner_in_a_flood_is_told_with_its_row() {
    let mut term = Term::codex();
    let row = term.rows.len() + 301;
    term.flood(&["", LIMIT, ""]);
    let told = term.told();
    assert_eq!(told.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::LimitReached]);
    assert_eq!((told[0].row, told[0].stable_row), (None, i64::try_from(row).ok()));
    assert_eq!(
        (told[0].rule.as_str(), told[0].fields["reset_at"].as_str()),
        ("codex.limit.usage", "2:31 AM")
    );
    assert_eq!(told[0].witnesses, [Witness::Screen, Witness::Process]);
    assert!(told[0].fields.contains_key("reset_time"));
    // The same words at the end of the same turn say nothing new.
    term.print(&["", LIMIT]);
    term.pause(1000);
    assert_eq!(term.kinds(), []);
}

#[test]
fn a_banner_that_a_push_cuts_in_two_is_read_whole() {
    for above in 0..40 {
        let mut term = Term::codex();
        term.work(300 + above);
        term.print(&["", "■ unexpected status 503 Service Unavailable: upstream says 503, url:"]);
        term.settle(usize::MAX);
        term.print(&["http://127.0.0.1:8097/v1/responses, request id: req_1", ""]);
        term.work(above);
        term.pause(300);
        term.settle(usize::MAX);
        term.pause(4000);
        let told = term.told();
        let lines: Vec<&str> = told.iter().map(|event| event.line.as_str()).collect();
        assert_eq!(lines.len(), 1, "{above}: {lines:?}");
        assert!(lines[0].ends_with("req_1"), "{above}: {lines:?}");
    }
}

#[test]
fn what_a_frame_told_is_not_told_again_when_its_row_settles() {
    let mut term = Term::codex();
    term.print(&["", LIMIT, ""]);
    term.pause(1000);
    assert_eq!(term.kinds(), [EventKind::LimitReached]);
    term.work(5);
    term.pause(60_000);
    term.flood(&[]);
    assert_eq!(term.kinds(), []);
}

#[test]
fn what_left_the_screen_before_it_had_stood_is_told_by_its_line() {
    let mut term = Term::codex();
    term.print(&["", LIMIT, ""]);
    term.look();
    assert_eq!(term.kinds(), [], "it may be half a sentence");
    term.flood(&[]);
    assert_eq!(term.kinds(), [EventKind::LimitReached]);
}

#[test]
fn a_compaction_in_a_flood_is_one() {
    let mut term = Term::codex();
    term.flood(&["", "• Context compacted", "", "• Ran make"]);
    assert_eq!(term.kinds(), [EventKind::ContextCompacted]);
    term.flood(&["", "• Context compacted", "", "• Ran make"]);
    assert_eq!(term.kinds(), [], "nothing was asked between");
}

#[test]
fn history_is_silent() {
    // What the server still holds at first sight.
    let mut term = Term::codex();
    let before = Term { pane: Pane::new("codex"), ..Term::codex() };
    term.pane = before.pane;
    term.look();
    for row in 0..20 {
        term.line(row - 20, if row == 10 { LIMIT } else { "" });
    }
    term.pause(1000);
    assert_eq!(term.kinds(), []);

    // A resumed session in a new process.
    let mut term = Term::codex();
    (term.working, term.settled) = (false, term.rows.len());
    term.pane.process("codex", 200);
    term.flood(&["", LIMIT, ""]);
    assert_eq!(term.kinds().iter().filter(|kind| **kind == EventKind::LimitReached).count(), 0);
    term.pause(2000);
    term.flood(&["", LIMIT, ""]);
    assert_eq!(term.kinds(), [], "it has not worked yet");

    // A prompt below it, in the flood or on the screen.
    let mut term = Term::codex();
    term.flood(&["", LIMIT, "", "› and now?", ""]);
    assert_eq!(term.kinds(), []);
    term.work(100);
    term.print(&["", LIMIT, "", "› go on", ""]);
    term.settle(usize::MAX);
    term.pause(2000);
    term.flood(&[]);
    // The frame still showed it, above the prompt.
    assert_eq!(term.kinds(), []);
}

#[test]
fn rows_of_another_layout_and_of_another_program_are_not_read() {
    let mut term = Term::codex();
    term.layout = 2;
    term.line(900, "");
    term.line(901, LIMIT);
    term.pause(1000);
    assert_eq!(term.kinds(), []);

    let mut term = Term::codex();
    term.work(100);
    let agent = std::mem::replace(&mut term.pane.facts.foreground, Foreground::Shell { name: "bash".into() });
    term.print(&["", LIMIT, ""]);
    term.work(100);
    term.settle(usize::MAX);
    term.pane.facts.foreground = agent;
    term.work(100);
    term.settle(usize::MAX);
    term.pause(2000);
    assert_eq!(term.kinds().iter().filter(|kind| **kind == EventKind::LimitReached).count(), 0);

    // Only the screen can tell who prints there.
    let mut term = Term::codex();
    term.pane.facts.foreground = Foreground::Remote { name: "ssh".into() };
    term.flood(&["", LIMIT, ""]);
    assert_eq!(term.kinds().iter().filter(|kind| **kind == EventKind::LimitReached).count(), 0);
}

#[test]
fn a_restarted_node_tells_what_went_by_meanwhile_and_nothing_again() {
    let mut term = Term::codex();
    term.flood(&["", LIMIT, ""]);
    assert_eq!(term.kinds(), [EventKind::LimitReached]);
    term.pane.restart();
    let foreground = std::mem::take(&mut term.pane.facts.foreground);
    // The process table speaks later than the server.
    term.work(100);
    term.print(&["", "■ exceeded retry limit, last status: 429 Too Many Requests", ""]);
    term.work(100);
    term.settle(usize::MAX);
    term.look();
    assert_eq!(term.kinds(), []);
    term.pane.facts.foreground = foreground;
    term.pause(2000);
    assert_eq!(term.kinds(), [EventKind::ErrorApi]);

    // The agent went while nobody looked; what follows is another's.
    term.pane.restart();
    term.pane.facts.foreground = Foreground::Unknown;
    term.work(100);
    term.print(&["", "■ stream disconnected before completion: error sending request", ""]);
    term.work(100);
    term.settle(usize::MAX);
    term.look();
    term.pane.facts.foreground = Foreground::Shell { name: "bash".into() };
    term.pause(2000);
    assert_eq!(term.kinds().iter().filter(|kind| **kind == EventKind::ErrorApi).count(), 0);
}

#[test]
fn the_words_of_a_record_are_read_by_the_rules_of_the_screen() {
    let mut term = Term::codex();
    term.record(&error("You've hit your usage limit. Upgrade to Pro, or try again at 2:31 AM."));
    term.pause(5000);
    let told = term.told();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].kind, told[0].rule.as_str()), (EventKind::LimitReached, "codex.limit.usage"));
    assert_eq!((told[0].fields["reset_at"].as_str(), told[0].fields["plan"].as_str()), ("2:31 AM", "plus"));
    assert!(told[0].fields.contains_key("reset_time"));
    assert_eq!(told[0].witnesses, [Witness::SessionFile]);
    // What the screen shows of it long after, in a line, confirms it.
    term.pause(30_000);
    term.flood(&["", "■ You’ve hit your usage limit. Upgrade to Pro, or try again at 2:31 AM.", ""]);
    assert_eq!(term.kinds(), []);
}

#[test]
fn one_error_that_all_three_tell_is_one_with_its_witnesses() {
    let mut term = Term::codex();
    term.record(&error("unexpected status 503 Service Unavailable: no upstream, request id: req_7"));
    term.flood(&["", "■ unexpected status 503 Service Unavailable: no upstream, request id: req_7", ""]);
    let told = term.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].witnesses, [Witness::Screen, Witness::Process, Witness::SessionFile]);
    assert_eq!(told[0].fields["status"], "503");
}

#[test]
fn notices_of_each_agent_are_told_as_their_screens_tell_them() {
    let claude = |said: &str| {
        serde_json::json!({"type": "assistant", "uuid": said, "sessionId": "s", "isApiErrorMessage": true,
            "message": {"model": "<synthetic>", "content": [{"type": "text", "text": said}]}})
    };
    let remark = |said: &str| {
        serde_json::json!({"type": "system", "subtype": "informational", "uuid": said, "sessionId": "s",
            "content": said})
    };
    let gemini = |kind: &str, said: &str| serde_json::json!({"id": said, "type": kind, "content": said});
    let codex = |said: &str| serde_json::json!({"type": "event_msg", "payload": {"type": "warning", "message": said}});
    let quota = "[API Error: You have exhausted your daily quota on this model.]";
    let cases = [
        ("claude", claude("You've hit your Opus limit · resets 5pm (UTC)"), "limit.reached claude"),
        ("claude", claude("API Error: 529 Overloaded"), "error.overloaded claude"),
        ("claude", claude("It said: You've hit your limit · resets 5pm (UTC)"), "error.api "),
        ("claude", remark("Context limit reached · /compact or /clear to continue"), "context.full claude"),
        ("claude", remark("Set model to Opus"), ""),
        ("gemini", gemini("error", quota), "limit.reached gemini"),
        ("gemini", gemini("info", quota), ""),
        (
            "codex",
            codex("Heads up, you have less than 10% of your weekly limit left. Run /status for a breakdown."),
            "limit.warning codex",
        ),
        ("codex", codex("Long threads can cause the model to be less accurate."), ""),
    ];
    for (agent, record, wanted) in cases {
        let mut pane = Pane::new(agent);
        let frame = Frame::from_text(80, "");
        pane.show(&frame);
        let mut term =
            Term { pane, rows: Vec::new(), settled: 0, layout: 1, working: false, events: Vec::new() };
        term.record(&record);
        term.pause(4000);
        // Kind, and whose rule told it.
        let pack = |event: &Detected| event.rule.split('.').next().unwrap_or_default().to_owned();
        let told: Vec<String> =
            term.told().iter().map(|event| format!("{} {}", event.kind.as_str(), pack(event))).collect();
        assert_eq!(told.join(", "), wanted, "{record}");
    }
}

/// The sentences of all rules that read lines or records, as their samples have them.
fn sentences(agent: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("{}/packs/{agent}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let pack: toml::Table = text.parse().unwrap();
    let rules = pack["rule"].as_array().unwrap().iter().filter(|rule| rule.get("on").is_some());
    let samples = rules.flat_map(|rule| rule["example"].as_array().unwrap());
    samples.flat_map(|sample| sample["text"].as_str().unwrap().lines()).map(str::to_owned).collect()
}

/// How a text comes to stand in a transcript without being the agent's own word. Each way keeps the rows' order.
fn quoted(agent: &str, way: usize, rows: &[String]) -> Vec<String> {
    let numbered = |row: &String, at: usize| format!("    {:>4} {row}", at + 1);
    let with = |prefix: &str| rows.iter().map(|row| format!("{prefix}{row}")).collect::<Vec<_>>();
    let head = if agent == "codex" { "• Ran cat agent.log" } else { "⏺ Bash(cat agent.log)" };
    let elbow = if agent == "codex" { "  └ " } else { "  ⎿  " };
    let mut out = vec![String::new(), head.to_owned()];
    match way {
        // A command's output.
        0 => out.extend(rows.iter().enumerate().map(|(at, row)| {
            format!("{}{row}", if at == 0 { elbow.to_owned() } else { " ".repeat(elbow.chars().count()) })
        })),
        // A difference, added and removed.
        1 => out.extend(with("    12 +")),
        2 => out.extend(with("      - ")),
        // A file with numbers.
        3 => out.extend(rows.iter().enumerate().map(|(at, row)| numbered(row, at))),
        // What the model says of it.
        4 => out.extend(with(if agent == "codex" { "• The log says " } else { "⏺ The log says " })),
        // What the person asks about it.
        5 => {
            out.pop();
            out.extend(with("› why does it say "));
        }
        _ => out.extend(with("  > ")),
    }
    out.push(String::new());
    out
}

#[test]
fn quotations_pass_by_in_silence() {
    for agent in ["claude", "codex", "gemini"] {
        let rows = sentences(agent);
        assert!(rows.len() > 10, "{agent}");
        for way in 0..7 {
            for row in &rows {
                let mut term = Term::codex();
                if agent != "codex" {
                    term.pane.process(agent, 300);
                    term.pause(3000);
                    term.pane.matcher.running.as_mut().unwrap().turns = 1;
                    term.events.clear();
                }
                term.work(40);
                term.print(&quoted(agent, way, std::slice::from_ref(row)));
                term.work(40);
                term.settle(usize::MAX);
                term.pause(200);
                let told = term.told();
                assert_eq!(told, [], "{agent}, way {way}: {row}");
            }
        }
    }
}

#[test]
fn quotations_in_a_session_file_are_no_notices() {
    for agent in ["claude", "codex", "gemini"] {
        let kind = AgentKind::new(agent);
        for said in sentences(agent) {
            let records = [
                serde_json::json!({"type": "user", "uuid": "u", "sessionId": "s", "message": {"content": said}}),
                serde_json::json!({"type": "user", "uuid": "u", "sessionId": "s", "message": {"content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": said}]}}),
                serde_json::json!({"type": "assistant", "uuid": "u", "sessionId": "s", "message": {"model": "m",
                    "content": [{"type": "text", "text": said}]}}),
                serde_json::json!({"type": "system", "subtype": "local_command", "uuid": "u", "sessionId": "s",
                    "content": format!("<local-command-stdout>{said}</local-command-stdout>")}),
                serde_json::json!({"type": "event_msg", "payload": {"type": "agent_message", "message": said}}),
                serde_json::json!({"type": "event_msg", "payload": {"type": "user_message", "message": said}}),
                serde_json::json!({"type": "response_item", "payload": {"type": "function_call_output",
                    "call_id": "c", "output": said}}),
                serde_json::json!({"id": "a", "type": "gemini", "content": said}),
                serde_json::json!({"id": "b", "type": "user", "content": said}),
            ];
            let mut parser = SessionParser::new(&kind).unwrap();
            let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
            LineSplitter::new().feed(lines.as_bytes(), |cut, _| {
                let crate::session::Cut::Line(line) = cut else { panic!() };
                parser.line(line, jiff::Timestamp::UNIX_EPOCH, |said| {
                    assert!(!matches!(said, Said::Notice(_)), "{said:?}");
                });
            });
        }
    }
}

/// What happens in a pane, step by step.
#[derive(Debug, Clone)]
enum Step {
    /// Output, and then perhaps an error that never happened before.
    Print {
        rows: usize,
        error: bool,
    },
    /// Lines that have left the screen are handed out, so many at most.
    Settle(usize),
    Pause(i64),
    Restart,
    Prompt,
    /// A command shows what an error looks like.
    Quote,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_usize..80, any::<bool>()).prop_map(|(rows, error)| Step::Print { rows, error }),
        4 => (1_usize..120).prop_map(Step::Settle),
        3 => (50_i64..2_000).prop_map(Step::Pause),
        1 => Just(Step::Restart),
        1 => Just(Step::Prompt),
        1 => Just(Step::Quote),
    ]
}

fn error_words(nth: usize) -> String {
    format!("unexpected status 503 Service Unavailable: no upstream, request id: req_{nth}")
}

/// Plays the steps; how many errors there were, and what was told.
fn play(steps: &[Step], records: bool) -> (usize, Vec<Detected>) {
    let mut term = Term::codex();
    let mut errors = 0;
    for step in steps {
        match step {
            Step::Print { rows, error: fails } => {
                term.work(*rows);
                if *fails {
                    errors += 1;
                    term.print(&["", &format!("■ {}", error_words(errors)), ""]);
                    if records {
                        term.record(&error(&error_words(errors)));
                    }
                }
            }
            Step::Settle(most) => term.settle(*most),
            Step::Pause(milliseconds) => term.pause(*milliseconds),
            Step::Restart => term.pane.restart(),
            Step::Prompt => term.print(&["", "› go on, and look closer", ""]),
            Step::Quote => term.print(&["• Ran cat log", &format!("  └ ■ {}", error_words(0)), ""]),
        }
    }
    term.settle(usize::MAX);
    term.pause(5000);
    (errors, term.told())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Frames, lines and records in any order: what happened in a turn is told once.
    #[test]
    fn each_error_is_told_once(steps in proptest::collection::vec(step(), 1..14), records in any::<bool>()) {
        let steps: Vec<Step> =
            steps.into_iter().filter(|step| !matches!(step, Step::Prompt | Step::Restart)).collect();
        let (errors, told) = play(&steps, records);
        prop_assert!(told.iter().all(|event| event.kind == EventKind::ErrorApi), "{told:?}");
        prop_assert_eq!(told.len(), errors, "{:?}", told.iter().map(|event| &event.line).collect::<Vec<_>>());
        let lines: std::collections::BTreeSet<&str> = told.iter().map(|event| event.line.as_str()).collect();
        prop_assert!(lines.iter().all(|line| !line.ends_with("req_0")), "a quotation");
    }

    /// With prompts, which put behind what stands above them, and restarts of the node it is told once at most.
    #[test]
    fn no_error_is_told_twice(steps in proptest::collection::vec(step(), 1..20)) {
        let (_, told) = play(&steps, false);
        let mut lines: Vec<&str> = told.iter().map(|event| event.line.as_str()).collect();
        let all = lines.len();
        lines.sort_unstable();
        lines.dedup();
        prop_assert_eq!(lines.len(), all, "{:?}", lines);
        prop_assert!(lines.iter().all(|line| !line.ends_with("req_0")), "a quotation");
    }
}
