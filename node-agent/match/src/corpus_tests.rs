//! The built-in packs against recorded and reported screens, where these are at hand.
//!
//! The folder is named by `WA_CORPUS`, or stands beside the workspace as `../shared/corpus`. A table of what was found,
//! missed and false is printed; the figures must not fall below those written down here. Screens are read as text, without
//! styles or cursor, once with the agent named and once without.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use wa_proto::{AgentKind, EventKind, Frame};

use crate::{Engine, Facts, Foreground, Observation, scan};

/// The events of the built-in packs, and for each how many samples are found and how many false ones there are, with the
/// agent named. What is missed: fragments of dialogs without their box, and screens that a paste has mangled. Two labels are
/// taken for wrong: `err-03-overloaded` of Codex 0.89 says that the servers are overloaded, `err-07-http_401` shows no error.
const FIGURES: &[(&str, EventKind, usize, usize)] = &[
    ("claude", EventKind::AgentStarted, 3, 1),
    ("claude", EventKind::ApprovalRequested, 11, 2),
    ("claude", EventKind::ContextCompacted, 6, 0),
    ("claude", EventKind::LimitReached, 9, 0),
    ("claude", EventKind::LimitWarning, 5, 0),
    ("claude", EventKind::SessionEnded, 2, 0),
    ("codex", EventKind::AgentStarted, 9, 1),
    ("codex", EventKind::ApprovalRequested, 45, 2),
    ("codex", EventKind::ContextCompacted, 8, 1),
    ("codex", EventKind::LimitReached, 50, 0),
    ("codex", EventKind::LimitWarning, 18, 0),
    ("codex", EventKind::SessionEnded, 16, 0),
    ("gemini", EventKind::AgentStarted, 6, 0),
    ("gemini", EventKind::ApprovalRequested, 24, 2),
    ("gemini", EventKind::ContextCompacted, 4, 0),
    ("gemini", EventKind::LimitReached, 12, 4),
    ("gemini", EventKind::LimitWarning, 0, 0),
    ("gemini", EventKind::SessionEnded, 7, 1),
    ("claude", EventKind::AuthRequired, 7, 0),
    ("claude", EventKind::AuthSucceeded, 1, 0),
    ("claude", EventKind::ContextFull, 1, 0),
    ("claude", EventKind::ContextLow, 2, 0),
    ("claude", EventKind::ErrorApi, 3, 0),
    ("claude", EventKind::ErrorOverloaded, 2, 0),
    ("claude", EventKind::ErrorRetrying, 1, 0),
    ("codex", EventKind::AuthDeviceCode, 6, 0),
    ("codex", EventKind::AuthFailed, 2, 0),
    ("codex", EventKind::AuthRequired, 4, 0),
    ("codex", EventKind::AuthSignedOut, 6, 0),
    ("codex", EventKind::AuthSucceeded, 8, 0),
    ("codex", EventKind::ContextFull, 2, 0),
    ("codex", EventKind::ErrorApi, 14, 0),
    ("codex", EventKind::ErrorOverloaded, 1, 1),
    ("codex", EventKind::ErrorRetrying, 6, 0),
    ("gemini", EventKind::ErrorApi, 4, 1),
    ("gemini", EventKind::ErrorOverloaded, 6, 0),
];
const STATES_RIGHT: usize = 162;

/// The folder of the corpus, if there is one.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("WA_CORPUS").map(PathBuf::from);
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    [named, Some(beside)].into_iter().flatten().find(|folder| folder.join("index.jsonl").is_file())
}

struct Sample {
    file: String,
    agent: String,
    text: String,
    cols: u32,
    expect: BTreeSet<String>,
    visible: BTreeSet<String>,
    state: Option<String>,
    fields: serde_json::Value,
}

fn samples(folder: &Path) -> Vec<Sample> {
    let index = std::fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let words = |value: &serde_json::Value| {
        value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let entries = index.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let screens = entries.filter(|entry| entry["form"] != "raw-bytes");
    screens
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let file = text("file");
            let screen = std::fs::read(folder.join(&file)).unwrap();
            Sample {
                agent: text("agent"),
                text: String::from_utf8_lossy(&screen).into_owned(),
                cols: text("size").split('x').next().and_then(|cols| cols.parse().ok()).unwrap_or(0),
                expect: words(&entry["expect"]),
                visible: words(&entry["also_visible"]),
                state: entry["state"].as_str().map(str::to_owned),
                fields: entry["fields"].clone(),
                file,
            }
        })
        .collect()
}

fn look(sample: &Sample, named: bool) -> Observation {
    let frame = Frame::from_text(sample.cols, &sample.text);
    let foreground = match sample.agent.as_str() {
        agent if named && agent != "shell" => {
            Foreground::Agent { kind: AgentKind::new(agent), version: String::new(), pid: 1 }
        }
        _ => Foreground::Unknown,
    };
    scan(Engine::builtin(), &frame, &Facts { foreground, ..Facts::default() }, Timestamp::UNIX_EPOCH)
}

#[derive(Default)]
struct Score {
    found: usize,
    missed: usize,
    wrong: usize,
}

#[derive(Default)]
struct Tally {
    scores: BTreeMap<(String, &'static str), Score>,
    states: usize,
    states_right: usize,
}

impl Tally {
    fn add(&mut self, sample: &Sample, seen: &Observation) {
        for kind in EventKind::ALL.iter().copied() {
            let score = self.scores.entry((sample.agent.clone(), kind.as_str())).or_default();
            let event = seen.events.iter().find(|event| event.kind == kind);
            match (event, sample.expect.contains(kind.as_str())) {
                (Some(event), true) => {
                    score.found += 1;
                    print_wrong_fields(sample, kind, &event.fields);
                }
                (None, true) => {
                    score.missed += 1;
                    println!("missed {kind} in {}", sample.file);
                }
                (Some(event), false) if !sample.visible.contains(kind.as_str()) => {
                    score.wrong += 1;
                    println!("false  {kind} in {}: {}", sample.file, event.line);
                    let name = sample.file.rsplit('/').next().unwrap_or_default();
                    assert!(
                        !name.starts_with("neg-") || kind == EventKind::AgentStarted,
                        "{}: a quotation fired {kind}: {}",
                        sample.file,
                        event.line
                    );
                }
                _ => {}
            }
        }
        let Some(state) = &sample.state else { return };
        self.states += 1;
        if seen.state.as_str() == state {
            self.states_right += 1;
        } else {
            println!("state  {} is {} ({}), not {state}", sample.file, seen.state, seen.detail.why);
        }
    }

    fn print(&self, title: &str) {
        println!("== {title}\n{:<8} {:<20} found missed false", "agent", "event");
        for ((agent, event), score) in &self.scores {
            println!("{agent:<8} {event:<20} {:>5} {:>6} {:>5}", score.found, score.missed, score.wrong);
        }
        println!("states right: {} of {}", self.states_right, self.states);
    }
}

fn print_wrong_fields(sample: &Sample, kind: EventKind, fields: &BTreeMap<String, String>) {
    // The fields of a sample with several events are those of one of them.
    if sample.expect.len() > 1 || kind == EventKind::AgentStarted {
        return;
    }
    for name in
        ["percent_left", "percent_used", "window", "reset_at", "session_id", "session_name", "command"]
    {
        let wanted = match &sample.fields[name] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            _ => continue,
        };
        if fields.get(name) != Some(&wanted) {
            println!("field  {kind} in {}: {name} is {:?}, not {wanted:?}", sample.file, fields.get(name));
        }
    }
}

#[test]
fn the_corpus_is_recognised() {
    let Some(folder) = folder() else {
        println!("skipped: no corpus of screens here; name its folder in WA_CORPUS");
        return;
    };
    let samples = samples(&folder);
    let ours = ["claude", "codex", "gemini", "shell"];
    let (mut named, mut nameless) = (Tally::default(), Tally::default());
    for sample in samples.iter().filter(|sample| ours.contains(&sample.agent.as_str())) {
        named.add(sample, &look(sample, true));
    }
    named.print("the agent's process is known");
    for sample in samples.iter().filter(|sample| ours.contains(&sample.agent.as_str())) {
        nameless.add(sample, &look(sample, false));
    }
    nameless.print("the screen alone");
    for (agent, kind, found, wrong) in FIGURES {
        let score = &named.scores[&((*agent).to_owned(), kind.as_str())];
        assert!(score.found >= *found, "{agent} {kind}: {} found, {found} before", score.found);
        assert!(score.wrong <= *wrong, "{agent} {kind}: {} false, {wrong} before", score.wrong);
    }
    assert!(named.states_right >= STATES_RIGHT, "{} states right", named.states_right);
}
