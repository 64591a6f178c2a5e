//! The shapes of `-o json`, and the same things as rows of tables.
//!
//! This is the door between the wire and what `wa` prints. Keys and their order are part of the interface: scripts
//! and agents read them, `wa schema` lists them, and the tests here hold them against JSON written by hand. What is not
//! known is null, never an empty string; only `title` and `text` may be empty. Words (states, events, outcomes) are
//! passed on as the controller sent them, so that an older `wa` still shows what a newer controller has to say.

mod accounts;
mod action;
mod event;
mod fleet;
mod hooks;
mod identity;
mod log;
mod notice;
mod oversight;
mod pane;
mod pools;
mod redact;
mod rules;
mod run;
mod said;
mod screen;
mod session;
mod workflow;

pub(crate) use accounts::{AccountItem, AccountShown};
pub(crate) use action::{Paused, Receipt, ReceiptKind, Token, kind};
pub(crate) use event::EventLine;
pub(crate) use fleet::HostStatus;
pub(crate) use hooks::HookFile;
pub(crate) use identity::{NewOperator, OperatorItem, RevokedItem};
pub(crate) use log::{Hit, LogEntry};
pub(crate) use notice::NoticeItem;
pub(crate) use oversight::{ApprovalItem, AuditCheck, AuditItem, PolicyAnswer};
pub(crate) use pane::{PaneStatus, Secret, Shown};
pub(crate) use pools::{CheckItem, PoolItem, Switch, VaultKey};
pub(crate) use redact::{Redacted, RedactedLine};
pub(crate) use rules::{Explained, PackItem, PackShown, PackTest, Pushed, RuleShown, Scanned, UnknownItem};
pub(crate) use run::{RunItem, RunShown};
pub(crate) use said::Conversed;
pub(crate) use screen::ScreenView;
pub(crate) use workflow::{RehearsedItem, WorkflowItem, WorkflowShown};

use action::exit_of;
use anstyle::{AnsiColor, Style};
use wa_proto::wire::{Invalid, from_us, v1};
use wa_proto::{PaneAddress, Timestamp};

use crate::output::table::Cell;
use crate::output::text;

/// `None` for an empty text.
fn known(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

/// `None` for the wire's 0.
fn instant(field: &'static str, us: i64) -> Result<Option<Timestamp>, Invalid> {
    if us == 0 { Ok(None) } else { from_us(field, us).map(Some) }
}

/// The pane as people write it.
pub(crate) fn address(host: &str, pane: &v1::PaneRef) -> Result<PaneAddress, Invalid> {
    v1::PaneAddress { host: host.to_owned(), mux: pane.mux.clone(), pane_id: pane.pane_id }.try_into()
}

fn need<T>(field: &'static str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or(Invalid::Missing(field))
}

/// An id of 16 bytes as text; `None` when there is none.
fn uuid(field: &'static str, bytes: &[u8]) -> Result<Option<String>, Invalid> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match uuid::Uuid::from_slice(bytes) {
        Ok(id) => Ok(Some(id.to_string())),
        Err(error) => Err(Invalid::Field { field, problem: error.to_string() }),
    }
}

/// How long ago, in the largest unit that says enough: `12s`, `5m`, `3h`, `9d`.
fn age(now: Timestamp, then: Option<Timestamp>) -> String {
    let Some(then) = then else { return "-".to_owned() };
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A time in a table: UTC, to the second.
fn clock(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn or_dash(text: Option<&str>) -> &str {
    text.unwrap_or("-")
}

/// A fact a line, those without a value left out: what `show` commands print.
fn facts(mut facts: Vec<(&'static str, String)>) -> Cell {
    facts.retain(|(_, value)| !value.is_empty());
    let longest = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let lines: Vec<(String, String)> = facts
        .into_iter()
        .enumerate()
        .map(|(at, (key, value))| {
            let newline = if at == 0 { "" } else { "\n" };
            // What stands in a fact may not begin a new one.
            (format!("{newline}{key:longest$}  "), text::printable(&value, text::Keep::Nothing))
        })
        .collect();
    let bold = Style::new().bold();
    let pieces: Vec<(&str, Style)> = lines
        .iter()
        .flat_map(|(key, value)| [(key.as_str(), bold), (value.as_str(), Style::new())])
        .collect();
    Cell::pieces(&pieces)
}

/// One colour language for all tables: red = stopped, yellow = wants somebody, green = at work.
fn state_style(state: &str) -> Style {
    let color = match state {
        "limited" | "crashed" | "failed" | "unknown outcome" => AnsiColor::Red,
        "waiting" | "limit_warning" | "authenticating" | "asking" => AnsiColor::Yellow,
        "working" | "starting" | "acting" | "preparing" | "succeeded" => AnsiColor::Green,
        _ => return Style::new(),
    };
    color.on_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let now: Timestamp = "2026-09-01T12:00:00Z".parse().unwrap();
        for (then, text) in [
            ("2026-09-01T11:59:48Z", "12s"),
            ("2026-09-01T11:55:00Z", "5m"),
            ("2026-09-01T09:00:00Z", "3h"),
            ("2026-08-23T12:00:00Z", "9d"),
            ("2026-09-01T12:00:07Z", "0s"),
        ] {
            assert_eq!(age(now, Some(then.parse().unwrap())), text);
        }
        assert_eq!(age(now, None), "-");
    }
}
