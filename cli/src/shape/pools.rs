//! `wa.pools/1`, `wa.account_test/1`, `wa.vault_key/1`, `wa.account_switch/1`: pools, what a sign-in needs, and the choice
//! of another account.

use anstyle::AnsiColor;
use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, v1};

use super::{clock, facts, instant, known, or_dash};
use crate::failure::Exit;
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PoolItem {
    name: String,
    switching: bool,
    accounts: u32,
}

impl From<v1::Pool> for PoolItem {
    fn from(pool: v1::Pool) -> Self {
        Self { name: pool.name, switching: pool.switching, accounts: pool.accounts }
    }
}

impl Shape for PoolItem {
    const SCHEMA: &'static str = "wa.pools/1";

    fn name(&self) -> String {
        self.name.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[column("POOL", 8), column("SWITCHING", 9), column("ACCOUNTS", 8)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![
            Cell::plain(&self.name),
            Cell::plain(if self.switching { "on" } else { "off" }),
            Cell::plain(&self.accounts.to_string()),
        ]
    }
}

/// One thing that a sign-in needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct CheckItem {
    check: String,
    /// Null: a note, which a sign-in does not need.
    pub(crate) ok: Option<bool>,
    detail: Option<String>,
}

impl From<v1::AccountCheck> for CheckItem {
    fn from(check: v1::AccountCheck) -> Self {
        let ok = (!check.note).then_some(check.ok);
        Self { check: check.name, ok, detail: known(check.detail) }
    }
}

impl Shape for CheckItem {
    const SCHEMA: &'static str = "wa.account_test/1";

    fn name(&self) -> String {
        self.check.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[column("CHECK", 12), column("OK", 3), column("DETAIL", 6)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let ok = self.ok.map_or_else(|| Cell::plain("-"), yes_or_no);
        vec![Cell::plain(&self.check), ok, Cell::plain(or_dash(self.detail.as_deref()))]
    }
}

/// The key that seals the vault from now on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct VaultKey {
    key: String,
    /// What was sealed anew.
    entries: u32,
}

impl From<v1::RotateVaultKeyResponse> for VaultKey {
    fn from(answer: v1::RotateVaultKeyResponse) -> Self {
        Self { key: answer.key_id, entries: answer.entries }
    }
}

impl Shape for VaultKey {
    const SCHEMA: &'static str = "wa.vault_key/1";

    fn name(&self) -> String {
        self.key.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[column("KEY", 16), column("SEALED ANEW", 11)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![Cell::plain(&self.key), Cell::plain(&self.entries.to_string())]
    }
}

fn yes_or_no(yes: bool) -> Cell {
    match yes {
        true => Cell::styled("yes", AnsiColor::Green.on_default()),
        false => Cell::styled("no", AnsiColor::Red.on_default()),
    }
}

/// Which account a pane goes on with, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Switch {
    pane: String,
    /// Null: none can be used now.
    account: Option<String>,
    reason: Option<String>,
    /// Where none can be used: when the first will be.
    earliest: Option<Timestamp>,
    considered: Vec<Verdict>,
    /// Null: nothing was begun.
    run: Option<String>,
    #[serde(skip)]
    dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Verdict {
    account: String,
    usable: bool,
    reason: Option<String>,
}

impl Switch {
    pub(crate) fn of(
        pane: String,
        dry_run: bool,
        answer: v1::SwitchAccountResponse,
    ) -> Result<Self, Invalid> {
        let choice = answer.choice.unwrap_or_default();
        let verdict = |one: v1::AccountVerdict| Verdict {
            account: one.alias,
            usable: one.usable,
            reason: known(one.reason),
        };
        Ok(Self {
            pane,
            account: known(choice.alias),
            reason: known(choice.reason),
            earliest: instant("choice.earliest_us", choice.earliest_us)?,
            considered: choice.considered.into_iter().map(verdict).collect(),
            run: answer.run.map(|run| run.run_id),
            dry_run,
        })
    }

    /// Done where an account was found, and, unless only that was asked, the switch begun.
    pub(crate) fn exit(&self) -> Exit {
        let done = self.account.is_some() && (self.dry_run || self.run.is_some());
        if done { Exit::Done } else { Exit::Refused }
    }

    /// What is to be said beside the facts.
    pub(crate) fn problem(&self) -> Option<String> {
        match (&self.account, &self.run) {
            (None, _) => {
                let until = self.earliest.map(|at| format!("; the first will be at {}", clock(at)));
                Some(format!("no account can be used now{}", until.unwrap_or_default()))
            }
            (Some(_), None) if !self.dry_run => Some(format!(
                "nothing was begun: another run acts on {}; see `wa run list {}`",
                self.pane, self.pane
            )),
            _ => None,
        }
    }
}

impl Shape for Switch {
    const SCHEMA: &'static str = "wa.account_switch/1";

    fn name(&self) -> String {
        self.account.clone().unwrap_or_default()
    }

    fn columns(_: bool) -> &'static [Column] {
        &[]
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let mut all = vec![
            ("pane", self.pane.clone()),
            ("account", or_dash(self.account.as_deref()).to_owned()),
            ("why", self.reason.clone().unwrap_or_default()),
            ("earliest", self.earliest.map(clock).unwrap_or_default()),
        ];
        for verdict in &self.considered {
            let word = if verdict.usable { "can be used" } else { "no" };
            let reason = verdict.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            all.push(("considered", format!("{}: {word}{reason}", verdict.account)));
        }
        all.push(("run", self.run.clone().unwrap_or_default()));
        vec![facts(all)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, testing};

    const US: i64 = 1_788_264_000_000_000;

    fn printed(item: &Switch) -> String {
        let (mut out, sink) = testing::out(Format::Table);
        out.one(item).unwrap();
        sink.text()
    }

    #[test]
    fn a_choice_is_explained_and_has_its_exit_code() {
        let verdict = |alias: &str, usable: bool, reason: &str| v1::AccountVerdict {
            alias: alias.into(),
            usable,
            reason: reason.into(),
        };
        let answer = |alias: &str, run: bool| v1::SwitchAccountResponse {
            run: run.then(|| v1::Run { run_id: "0199".into(), ..Default::default() }),
            choice: Some(v1::AccountChoice {
                alias: alias.into(),
                reason: "most is left".into(),
                earliest_us: if alias.is_empty() { US } else { 0 },
                considered: vec![
                    verdict("work-1", false, "disabled"),
                    verdict("work-2", true, "most is left"),
                ],
            }),
        };
        let of = |dry_run: bool, answer| Switch::of("web-1/3".into(), dry_run, answer).unwrap();
        let begun = of(false, answer("work-2", true));
        assert_eq!((begun.exit(), begun.problem()), (Exit::Done, None));
        assert_eq!(
            printed(&begun),
            "pane        web-1/3\naccount     work-2\nwhy         most is left\n\
             considered  work-1: no: disabled\nconsidered  work-2: can be used: most is left\nrun         0199\n"
        );
        assert_eq!(of(true, answer("work-2", false)).exit(), Exit::Done);
        let held = of(false, answer("work-2", false));
        assert!(held.exit() == Exit::Refused && held.problem().unwrap().contains("another run"));
        let none = of(true, answer("", false));
        assert_eq!(none.exit(), Exit::Refused);
        assert!(none.problem().unwrap().contains("2026-09-01T12:00:00Z"));
        assert!(printed(&none).contains("earliest    2026-09-01T12:00:00Z"));
    }
}
