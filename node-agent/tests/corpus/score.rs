//! Counting what was found, missed and false; and what was read from it.

use std::collections::BTreeMap;

use serde_json::Value;
use wa_match::{Detected, Observation};
use wa_proto::EventKind;

use super::samples::Sample;

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Score {
    pub(crate) found: usize,
    pub(crate) missed: usize,
    pub(crate) wrong: usize,
}

/// Right, of all.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) right: usize,
    pub(crate) all: usize,
}

impl Share {
    pub(crate) fn count(&mut self, right: bool) {
        self.right += usize::from(right);
        self.all += 1;
    }

    /// 0 to 1; 1 of nothing.
    pub(crate) fn ratio(self) -> f64 {
        if self.all == 0 { 1.0 } else { self.right as f64 / self.all as f64 }
    }
}

/// What one way of looking gave, by agent.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) scores: BTreeMap<(String, EventKind), Score>,
    pub(crate) states: BTreeMap<String, Share>,
    pub(crate) fields: BTreeMap<String, Share>,
}

impl Tally {
    /// Each mistake is said.
    pub(crate) fn say(&self, text: &str) {
        println!("{text}");
    }

    pub(crate) fn score(&mut self, agent: &str, kind: EventKind) -> &mut Score {
        self.scores.entry((agent.to_owned(), kind)).or_default()
    }

    /// One screen, looked at once.
    pub(crate) fn add(&mut self, sample: &Sample, seen: &Observation) {
        for kind in EventKind::ALL.iter().copied() {
            let event = seen.events.iter().find(|event| event.kind == kind);
            let (agent, expected) = (sample.agent.as_str(), sample.expect.contains(kind.as_str()));
            match (event, expected) {
                (Some(event), true) => {
                    self.score(agent, kind).found += 1;
                    self.check_fields(sample, event);
                }
                (None, true) => {
                    self.score(agent, kind).missed += 1;
                    self.say(&format!("missed {kind} in {}", sample.file));
                }
                (Some(event), false) if !sample.visible.contains(kind.as_str()) => {
                    self.score(agent, kind).wrong += 1;
                    self.say(&format!("false  {kind} in {}: {}", sample.file, event.line));
                    assert!(
                        !sample.is_quotation() || kind == EventKind::AgentStarted,
                        "{}: a quotation fired {kind}: {}",
                        sample.file,
                        event.line
                    );
                }
                _ => {}
            }
        }
        if let Some(state) = &sample.state {
            let right = seen.state.as_str() == state;
            if !right {
                let (is, why) = (seen.state, &seen.detail.why);
                self.say(&format!("state  {} is {is} ({why}), not {state}", sample.file));
            }
            self.states.entry(sample.agent.clone()).or_default().count(right);
        }
    }

    /// The label names the fields of what happened last.
    pub(crate) fn check_fields(&mut self, sample: &Sample, event: &Detected) {
        if sample.expect.len() > 1 && sample.latest != event.kind.as_str() {
            return;
        }
        for (name, wanted) in wanted(sample) {
            if !belongs(&name, event.kind) || !is_shown(sample, &name, &wanted) {
                continue;
            }
            let found = event.fields.get(&name).or_else(|| event.secrets.get(&name));
            let right = found.is_some_and(|found| same(found, &wanted));
            if !right {
                let file = &sample.file;
                self.say(&format!("field  {} in {file}: {name} is {found:?}, not {wanted:?}", event.kind));
            }
            self.fields.entry(sample.agent.clone()).or_default().count(right);
        }
    }

    pub(crate) fn print(&self, title: &str) {
        println!("\n== {title}");
        println!("{:<9}{:<20} found missed false", "agent", "event");
        for ((agent, event), score) in &self.scores {
            if score.found + score.missed + score.wrong > 0 {
                let event = event.as_str();
                println!("{agent:<9}{event:<20} {:>5} {:>6} {:>5}", score.found, score.missed, score.wrong);
            }
        }
        let mut agents: Vec<&String> = self.scores.keys().map(|(agent, _)| agent).collect();
        agents.dedup();
        println!("{:<9} recall  precision  states         fields", "agent");
        for agent in agents {
            let of = |shares: &BTreeMap<String, Share>| shares.get(agent).copied().unwrap_or_default();
            line(agent, self.total(|name| name == agent), of(&self.states), of(&self.fields));
        }
        let (states, fields) = (self.but_claude(&self.states), self.but_claude(&self.fields));
        line("but claude", self.total(|name| name != "claude"), states, fields);
    }

    pub(crate) fn but_claude(&self, shares: &BTreeMap<String, Share>) -> Share {
        let ours = shares.iter().filter(|(agent, _)| *agent != "claude");
        let add = |a: Share, b: Share| Share { right: a.right + b.right, all: a.all + b.all };
        ours.fold(Share::default(), |all, (_, share)| add(all, *share))
    }

    pub(crate) fn total(&self, which: impl Fn(&str) -> bool) -> Score {
        let ours = self.scores.iter().filter(|((agent, _), _)| which(agent));
        ours.fold(Score::default(), |all, (_, one)| Score {
            found: all.found + one.found,
            missed: all.missed + one.missed,
            wrong: all.wrong + one.wrong,
        })
    }
}

impl Score {
    pub(crate) fn recall(self) -> f64 {
        Share { right: self.found, all: self.found + self.missed }.ratio()
    }

    pub(crate) fn precision(self) -> f64 {
        Share { right: self.found, all: self.found + self.wrong }.ratio()
    }
}

fn line(agent: &str, score: Score, states: Share, fields: Share) {
    println!(
        "{agent:<10}{:>6.1} % {:>8.1} % {:>4} of {:<4} {:>4} of {:<4}",
        score.recall() * 100.0,
        score.precision() * 100.0,
        states.right,
        states.all,
        fields.right,
        fields.all
    );
}

/// The fields that a screen tells; other labels tell how it was recorded.
fn wanted(sample: &Sample) -> Vec<(String, String)> {
    const TOLD: &[&str] = &[
        "percent_left",
        "percent_used",
        "window",
        "reset_at",
        "session_id",
        "session_name",
        "command",
        "cwd",
        "choices",
        "url",
        "user_code",
        "version",
        "kind",
        "status",
        "plan",
        "model",
    ];
    let mut all = Vec::new();
    for (name, value) in &sample.fields {
        match value {
            Value::String(text) if TOLD.contains(&name.as_str()) => all.push((name.clone(), text.clone())),
            Value::Number(number) if TOLD.contains(&name.as_str()) => {
                all.push((name.clone(), number.to_string()));
            }
            Value::Object(parts) if name == "tokens" => {
                let part = |(part, count): (&String, &Value)| (format!("tokens_{part}"), count.to_string());
                all.extend(parts.iter().map(part));
            }
            _ => {}
        }
    }
    all
}

/// Some labels are of the scenario that was played: what is nowhere on the screen cannot be read from it.
fn is_shown(sample: &Sample, name: &str, wanted: &str) -> bool {
    let bare = |text: &str| -> String {
        text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '│' | ',')).collect()
    };
    matches!(name, "kind" | "plan" | "window")
        || bare(&sample.text).contains(&bare(wanted.trim_end_matches("...")))
}

/// Labels stand beside a screen, and may be of another event than the one that is checked.
fn belongs(name: &str, kind: EventKind) -> bool {
    match name {
        "session_id" | "session_name" => kind == EventKind::SessionEnded,
        "version" => kind == EventKind::AgentStarted,
        "user_code" | "url" => matches!(kind, EventKind::AuthDeviceCode | EventKind::AuthRequired),
        // A banner's model is read from another line.
        "model" => kind == EventKind::LimitReached,
        _ => true,
    }
}

/// Thousands are printed with commas, and a long address may be labelled by its beginning.
fn same(found: &str, wanted: &str) -> bool {
    let beginning = wanted.strip_suffix("...").is_some_and(|wanted| found.starts_with(wanted));
    // A label may leave open which of several it is.
    let one_of = wanted.contains('/') && !wanted.contains(':') && wanted.split('/').any(|word| word == found);
    one_of || found == wanted || beginning || found.replace(',', "") == wanted
}
