//! Recorded sessions of known versions: how often a screen is taken for one that nothing knows.

#![allow(clippy::unwrap_used)]

#[path = "../screen/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use support::Node;
use support::node::Eye;
use support::session::{Cut, Pace, Session, sessions};
use wa_match::{Engine, Facts, Foreground, PaneMatcher};
use wa_proto::{AgentKind, Frame, Timestamp};

/// A matcher that is told which agent runs, as by a process table, and notes what it does not know.
struct Watcher {
    matcher: PaneMatcher,
    facts: Facts,
    looks: usize,
    unknown: BTreeMap<u64, (usize, String)>,
}

impl Watcher {
    fn of(session: &Session) -> Self {
        let (agent, version) = session.agent.split_once(' ').unwrap();
        let foreground = if agent == "shell" {
            Foreground::Shell { name: "bash".into() }
        } else {
            Foreground::Agent { kind: AgentKind::new(agent), version: version.to_owned(), pid: 1 }
        };
        let facts = Facts { foreground, ..Facts::default() };
        Self { matcher: PaneMatcher::new(), facts, looks: 0, unknown: BTreeMap::new() }
    }
}

impl Eye for Watcher {
    fn look(&mut self, frame: &Frame, now: Timestamp) -> (Option<usize>, Option<u64>) {
        let seen = self.matcher.observe(Engine::builtin(), frame, &self.facts, now);
        self.looks += 1;
        for look in &seen.unknown {
            let rows: Vec<&str> =
                frame.rows[look.rows.clone()].iter().map(|row| row.text.trim_end()).collect();
            let text = format!("{}\n{}", look.kind.as_str(), rows.join("\n"));
            self.unknown.entry(look.key).or_insert((0, text)).0 += 1;
        }
        (seen.live_top, seen.agent.is_some().then_some(1))
    }
}

#[test]
fn known_versions_are_known() {
    let (mut looks, mut unknown) = (0, 0);
    for session in sessions() {
        let (mut node, mut eye) = (Node::new(), Watcher::of(&session));
        session.play(Pace { cut: Cut::Frames, pause: 100, still: 2000 }, &mut node, &mut eye, |_, _, _| {});
        looks += eye.looks;
        unknown += eye.unknown.values().map(|(times, _)| times).sum::<usize>();
        for (times, text) in eye.unknown.values() {
            println!("{} {times} times: {text}\n", session.name);
        }
    }
    println!("{unknown} unknown screens in {looks} looks");
    assert!(looks > 1000, "{looks}");
    assert_eq!(unknown, 0);
}
