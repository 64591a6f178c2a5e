//! `wa.status/1`: one pane.

use std::collections::BTreeMap;

use anstyle::Style;
use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, v1};

use super::session::Session;
use super::{address, age, clock, instant, known, need, or_dash, state_style};
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PaneStatus {
    pub(crate) pane: String,
    pub(crate) host: String,
    mux: String,
    pane_id: u64,
    generation: String,
    pub(crate) title: String,
    cwd: Option<String>,
    project: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) agent_version: Option<String>,
    pub(crate) state: String,
    pub(crate) state_detail: Detail,
    session_id: Option<String>,
    account: Option<String>,
    labels: BTreeMap<String, String>,
    last_output: Option<Timestamp>,
    pub(crate) session: Option<Session>,
    /// Why not all that it prints is logged.
    not_logged: Option<String>,
    #[serde(skip)]
    notes: Notes,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Detail {
    since: Option<Timestamp>,
    pub(crate) why: Option<String>,
    kind: Option<String>,
    pub(crate) percent_left: Option<f64>,
    window: Option<String>,
    pub(crate) until: Option<Timestamp>,
    code: Option<i32>,
}

/// What tables add to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Notes {
    paused: bool,
    away: bool,
    mirror: bool,
}

impl TryFrom<v1::StateDetail> for Detail {
    type Error = Invalid;
    fn try_from(detail: v1::StateDetail) -> Result<Self, Invalid> {
        Ok(Self {
            since: instant("detail.since_us", detail.since_us)?,
            why: known(detail.why),
            kind: known(detail.kind),
            percent_left: detail.percent_left.filter(|percent| percent.is_finite()),
            window: known(detail.window),
            until: instant("detail.until_us", detail.until_us)?,
            code: detail.code,
        })
    }
}

impl TryFrom<v1::PaneItem> for PaneStatus {
    type Error = Invalid;
    fn try_from(item: v1::PaneItem) -> Result<Self, Invalid> {
        let pane = need("pane", item.pane)?;
        let at = need("pane.ref", pane.r#ref)?;
        let labels: BTreeMap<String, String> = item.labels.into_iter().collect();
        Ok(Self {
            pane: address(&item.host, &at)?.to_string(),
            host: item.host,
            mux: at.mux,
            pane_id: at.pane_id,
            generation: at.generation,
            title: pane.title,
            cwd: known(pane.cwd),
            project: known(pane.project),
            agent: known(pane.agent),
            agent_version: known(pane.agent_version),
            state: pane.state,
            state_detail: pane.detail.unwrap_or_default().try_into()?,
            session_id: known(pane.session_id),
            account: known(pane.account),
            labels,
            last_output: instant("pane.last_output_us", pane.last_output_us)?,
            session: pane.session.map(Session::try_from).transpose()?,
            not_logged: known(pane.not_logged),
            notes: Notes { paused: item.paused, away: !item.connected, mirror: pane.mirror },
        })
    }
}

impl Detail {
    /// In a few words: what a person wants to know of this state.
    pub(crate) fn words(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.kind.clone());
        words.extend(self.percent_left.map(|percent| format!("{percent}% left")));
        words.extend(self.window.clone());
        words.extend(self.until.map(|until| format!("until {}", super::clock(until))));
        words.extend(self.code.map(|code| format!("exit {code}")));
        if words.is_empty() {
            words.extend(self.why.clone());
        }
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    }
}

impl PaneStatus {
    fn state_cell(&self) -> Cell {
        let notes = [
            (self.notes.paused, "paused"),
            (self.notes.away, "node away"),
            (self.notes.mirror, "mirror"),
            (self.not_logged.is_some(), "not all logged"),
        ];
        let notes: Vec<&str> = notes.iter().filter(|(on, _)| *on).map(|(_, note)| *note).collect();
        let text = match notes.as_slice() {
            [] => self.state.clone(),
            notes => format!("{} ({})", self.state, notes.join(", ")),
        };
        Cell::styled(&text, state_style(&self.state))
    }

    /// Where it stands in a list.
    pub(crate) fn place(&self) -> (&str, &str, u64) {
        (&self.host, &self.mux, self.pane_id)
    }

    /// Whether two sightings differ in what `--watch` shows; a new byte of output, or token, alone is no change.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let still = Self { last_output: None, session: None, ..self.clone() };
        still != Self { last_output: None, session: None, ..other.clone() }
    }

    /// The same pane, no longer there.
    pub(crate) fn gone(mut self) -> Self {
        "gone".clone_into(&mut self.state);
        self
    }
}

/// One pane with all that is known of it: as JSON the same, as text a fact a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    pub(crate) pane: PaneStatus,
    /// Only where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secrets: Option<Vec<Secret>>,
}

/// A code or an address of a sign-in that waits in the pane.
#[derive(Clone, PartialEq, Serialize)]
pub(crate) struct Secret {
    handle: String,
    kind: String,
    value: String,
    left_seconds: u32,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("handle", &self.handle)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl From<v1::Secret> for Secret {
    fn from(secret: v1::Secret) -> Self {
        let v1::Secret { handle, kind, value, left_seconds } = secret;
        Self { handle, kind, value, left_seconds }
    }
}

impl Shown {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let pane = &self.pane;
        let agent = [&pane.agent, &pane.agent_version].into_iter().flatten().cloned().collect::<Vec<_>>();
        let mut facts = vec![
            ("pane", format!("{} ({})", pane.pane, pane.generation)),
            ("title", pane.title.clone()),
            ("agent", agent.join(" ")),
            ("directory", pane.cwd.clone().unwrap_or_default()),
            ("project", pane.project.clone().unwrap_or_default()),
            ("account", pane.account.clone().unwrap_or_default()),
            ("last output", pane.last_output.map(clock).unwrap_or_default()),
        ];
        let detail = pane.state_detail.words();
        let state = if detail == "-" { pane.state.clone() } else { format!("{}: {detail}", pane.state) };
        let since = pane.state_detail.since.map(|since| format!(", since {}", clock(since)));
        facts.insert(3, ("state", state + &since.unwrap_or_default()));
        facts.extend([
            ("paused", if pane.notes.paused { "yes".to_owned() } else { String::new() }),
            ("node", if pane.notes.away { "away".to_owned() } else { String::new() }),
            ("not logged", pane.not_logged.clone().unwrap_or_default()),
        ]);
        match &pane.session {
            Some(session) => facts.extend(session.facts()),
            None => {
                let id = pane.session_id.as_ref().map(|id| format!("{id}, no session file is known"));
                facts.push(("session", id.unwrap_or_else(|| "no session file is known".to_owned())));
            }
        }
        for secret in self.secrets.iter().flatten() {
            let name = match secret.kind.as_str() {
                "user_code" => "code",
                "url" => "address",
                _ => "secret",
            };
            facts.push((name, format!("{} ({} s left)", secret.value, secret.left_seconds)));
        }
        facts
    }
}

impl Shape for Shown {
    const SCHEMA: &'static str = PaneStatus::SCHEMA;

    fn name(&self) -> String {
        self.pane.name()
    }

    fn columns(_: bool) -> &'static [Column] {
        &[]
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![super::facts(self.facts())]
    }
}

impl Shape for PaneStatus {
    const SCHEMA: &'static str = "wa.status/1";
    const CUT: bool = true;

    fn name(&self) -> String {
        self.pane.clone()
    }

    fn columns(wide: bool) -> &'static [Column] {
        const TABLE: &[Column] = &[
            column("PANE", 12),
            column("AGENT", 8),
            column("STATE", 14),
            column("DETAIL", 20),
            column("LAST", 5),
            column("TITLE", 5),
        ];
        const WIDE: &[Column] = &[
            column("PANE", 12),
            column("AGENT", 8),
            column("VERSION", 8),
            column("STATE", 14),
            column("DETAIL", 20),
            column("LAST", 5),
            column("PROJECT", 8),
            column("SESSION", 8),
            column("ACCOUNT", 7),
            column("GENERATION", 20),
            column("CWD", 16),
            column("NOT LOGGED", 10),
            column("TITLE", 5),
        ];
        if wide { WIDE } else { TABLE }
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let plain = |text: Option<&str>| Cell::plain(or_dash(text));
        let pane = Cell::styled(&self.pane, Style::new().bold());
        let agent = plain(self.agent.as_deref());
        let detail = Cell::plain(&self.state_detail.words());
        let last = Cell::plain(&age(look.now, self.last_output));
        let title = Cell::plain(&self.title);
        if !look.wide() {
            return vec![pane, agent, self.state_cell(), detail, last, title];
        }
        vec![
            pane,
            agent,
            plain(self.agent_version.as_deref()),
            self.state_cell(),
            detail,
            last,
            plain(self.project.as_deref()),
            plain(self.session_id.as_deref()),
            plain(self.account.as_deref()),
            Cell::plain(&self.generation),
            plain(self.cwd.as_deref()),
            plain(self.not_logged.as_deref()),
            title,
        ]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::output::{Format, testing};

    pub(crate) fn wire() -> v1::PaneItem {
        let at = v1::PaneRef { mux: "main".into(), generation: "ab12cd34-77-991".into(), pane_id: 3 };
        v1::PaneItem {
            host: "web-1".into(),
            pane: Some(v1::Pane {
                r#ref: Some(at),
                title: "✳ fix \u{1b}]0;x\u{7}".into(),
                cwd: "/home/u/shop".into(),
                project: "shop".into(),
                agent: "codex".into(),
                agent_version: "0.44.0".into(),
                state: "limit_warning".into(),
                detail: Some(v1::StateDetail {
                    since_us: 1_788_264_000_000_000,
                    why: "codex.limit.warning".into(),
                    percent_left: Some(25.0),
                    window: "5h".into(),
                    ..Default::default()
                }),
                last_output_us: 1_788_264_001_500_000,
                ..Default::default()
            }),
            labels: [("agent".to_owned(), "codex".to_owned()), ("host".to_owned(), "web-1".to_owned())]
                .into(),
            paused: true,
            connected: true,
        }
    }

    const PAGE: &str = r#"{
  "schema": "wa.status/1",
  "items": [
    {
      "pane": "web-1/3",
      "host": "web-1",
      "mux": "main",
      "pane_id": 3,
      "generation": "ab12cd34-77-991",
      "title": "✳ fix \u001b]0;x\u0007",
      "cwd": "/home/u/shop",
      "project": "shop",
      "agent": "codex",
      "agent_version": "0.44.0",
      "state": "limit_warning",
      "state_detail": {
        "since": "2026-09-01T12:00:00Z",
        "why": "codex.limit.warning",
        "kind": null,
        "percent_left": 25.0,
        "window": "5h",
        "until": null,
        "code": null
      },
      "session_id": null,
      "account": null,
      "labels": {
        "agent": "codex",
        "host": "web-1"
      },
      "last_output": "2026-09-01T12:00:01.5Z",
      "session": null,
      "not_logged": null
    }
  ]
}
"#;

    #[test]
    fn the_document_is_as_on_the_page() {
        let (mut out, sink) = testing::out(Format::Json);
        out.list(&[PaneStatus::try_from(wire()).unwrap()]).unwrap();
        assert_eq!(sink.text(), PAGE);
    }

    #[test]
    fn the_table_says_it_in_a_line_and_nothing_drives_the_terminal() {
        let (mut out, sink) = testing::out(Format::Table);
        out.list(&[PaneStatus::try_from(wire()).unwrap()]).unwrap();
        assert_eq!(
            sink.text(),
            "PANE     AGENT  STATE                   DETAIL        LAST  TITLE\n\
             web-1/3  codex  limit_warning (paused)  25% left, 5h  0s    ✳ fix \\x1b]0;x\\x07\n"
        );
    }

    #[test]
    fn the_account_is_there_for_who_looks_closer() {
        let mut item = wire();
        item.pane.as_mut().unwrap().account = "work-2".into();
        let pane = PaneStatus::try_from(item).unwrap();
        let (mut out, sink) = testing::out(Format::Wide);
        out.list(std::slice::from_ref(&pane)).unwrap();
        out.one(&Shown { pane, secrets: None }).unwrap();
        let text = sink.text();
        let column = text.lines().next().unwrap().find("ACCOUNT").unwrap();
        assert!(text.lines().nth(1).unwrap()[column..].starts_with("work-2"), "{text}");
        assert!(text.lines().any(|line| line == "account      work-2"), "{text}");
    }

    #[test]
    fn a_watcher_sees_changes_of_state_only() {
        let before = PaneStatus::try_from(wire()).unwrap();
        let mut item = wire();
        item.pane.as_mut().unwrap().last_output_us += 9_000_000;
        assert!(!before.differs(&PaneStatus::try_from(item.clone()).unwrap()));
        item.paused = false;
        assert!(before.differs(&PaneStatus::try_from(item).unwrap()));
    }

    fn with_session() -> v1::PaneItem {
        let mut item = wire();
        let pane = item.pane.as_mut().unwrap();
        pane.not_logged = "excluded by\nits title".into();
        pane.session = Some(v1::AgentSession {
            session_id: "01a2".into(),
            path: "/home/u/.codex/sessions/x.jsonl".into(),
            reason: "opened by the process 77".into(),
            model: "gpt-5.1-codex".into(),
            usage: Some(v1::TokenUsage {
                input: 12_000,
                cached_input: 1024,
                output: 900,
                context: 64_600,
                context_window: 258_400,
            }),
            rate_limits: vec![v1::RateLimitWindow {
                window: "5h".into(),
                percent_used: 75.5,
                resets_us: 1_788_264_600_000_000,
                observed_us: 1_788_264_000_000_000,
            }],
            compactions: 2,
            problem: "12 lines were no JSON".into(),
        });
        item
    }

    #[test]
    fn one_pane_is_shown_with_its_session() {
        let (mut out, sink) = testing::out(Format::Table);
        out.one(&Shown { pane: PaneStatus::try_from(with_session()).unwrap(), secrets: None }).unwrap();
        assert_eq!(
            sink.text(),
            "pane          web-1/3 (ab12cd34-77-991)
title         ✳ fix \\x1b]0;x\\x07
agent         codex 0.44.0
state         limit_warning: 25% left, 5h, since 2026-09-01T12:00:00Z
directory     /home/u/shop
project       shop
last output   2026-09-01T12:00:01Z
paused        yes
not logged    excluded by\\x0aits title
session       01a2
session file  /home/u/.codex/sessions/x.jsonl
because       opened by the process 77
model         gpt-5.1-codex
tokens        12000 in, 1024 from cache, 900 out
context       64600 of 258400 (25% full)
limit         5h: 75.5% used, resets 2026-09-01T12:10:00Z (seen 2026-09-01T12:00:00Z)
compacted     2 times
problem       12 lines were no JSON
"
        );
        let (mut out, sink) = testing::out(Format::Json);
        out.one(&Shown { pane: PaneStatus::try_from(with_session()).unwrap(), secrets: None }).unwrap();
        let value: serde_json::Value = serde_json::from_str(&sink.text()).unwrap();
        assert_eq!(value["schema"], "wa.status/1");
        let session = serde_json::json!({
            "session_id": "01a2",
            "path": "/home/u/.codex/sessions/x.jsonl",
            "reason": "opened by the process 77",
            "model": "gpt-5.1-codex",
            "usage": {"input": 12000, "cached_input": 1024, "output": 900, "context": 64600, "context_window": 258_400},
            "context_percent": 25.0,
            "rate_limits": [{
                "window": "5h",
                "percent_used": 75.5,
                "resets_at": "2026-09-01T12:10:00Z",
                "observed_at": "2026-09-01T12:00:00Z"
            }],
            "compactions": 2,
            "problem": "12 lines were no JSON"
        });
        assert_eq!(value["session"], session);
    }

    #[test]
    fn what_is_not_logged_is_seen_in_lists() {
        for format in [Format::Table, Format::Wide] {
            let (mut out, sink) = testing::out(format);
            out.list(&[PaneStatus::try_from(with_session()).unwrap()]).unwrap();
            let text = sink.text();
            assert!(text.contains("limit_warning (paused, not all logged)"), "{text}");
            assert_eq!(text.contains("excluded by\\x0aits title"), format == Format::Wide, "{text}");
        }
    }

    #[test]
    fn tokens_alone_are_no_change() {
        let before = PaneStatus::try_from(with_session()).unwrap();
        let mut item = with_session();
        item.pane.as_mut().unwrap().session.as_mut().unwrap().usage.as_mut().unwrap().output += 1;
        assert!(!before.differs(&PaneStatus::try_from(item).unwrap()));
        assert!(before.differs(&PaneStatus::try_from(wire()).unwrap()), "that it is not logged is news");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = PaneStatus::try_from(v1::PaneItem::default()).unwrap_err();
        assert_eq!(error.to_string(), "pane is missing");
    }
}
