//! Receipts of what changes something: `wa.send/1`, `wa.keys/1`, `wa.kill/1`, `wa.spawn/1`, `wa.pause/1`,
//! `wa.token/1`.

use std::path::Path;

use serde::Serialize;
use wa_proto::wire::{Invalid, from_us, v1};
use wa_proto::{OutcomeKind, PaneAddress, Timestamp};

use super::{or_dash, uuid};
use crate::failure::Exit;
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

/// Which command a receipt is of; only the schema differs.
pub(crate) trait ReceiptKind {
    const SCHEMA: &'static str;
}

macro_rules! receipts {
    ($($kind:ident = $schema:literal),+) => { $(
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $kind;
        impl ReceiptKind for $kind {
            const SCHEMA: &'static str = $schema;
        }
    )+ };
}

pub(crate) mod kind {
    use super::ReceiptKind;
    receipts!(
        Send = "wa.send/1",
        Keys = "wa.keys/1",
        Kill = "wa.kill/1",
        Spawn = "wa.spawn/1",
        Decide = "wa.decide/1"
    );
}

#[derive(Debug, Clone, Serialize)]
#[serde(bound = "")]
pub(crate) struct Receipt<K> {
    /// Null where nothing was begun: a refusal at the door, or `--dry-run`.
    action: Option<String>,
    pane: Option<String>,
    outcome: String,
    reason: Option<String>,
    #[serde(skip)]
    exit: Exit,
    #[serde(skip)]
    kind: std::marker::PhantomData<fn(K)>,
}

/// The exit code that an outcome has.
pub(super) fn exit_of(outcome: &str) -> Exit {
    match outcome.parse() {
        Ok(OutcomeKind::Submitted | OutcomeKind::Placed) => Exit::Done,
        Ok(OutcomeKind::Refused) => Exit::Refused,
        // A word that this version does not know is no proof that it was done.
        Ok(OutcomeKind::Expired | OutcomeKind::Unknown) | Err(_) => Exit::TimedOut,
    }
}

impl<K> Receipt<K> {
    /// `asked`: the pane as the user named it; an answer without a pane is about that one.
    pub(crate) fn of(response: v1::ActResponse, asked: Option<&PaneAddress>) -> Result<Self, Invalid> {
        let pane = response.pane.map(PaneAddress::try_from).transpose()?;
        Ok(Self {
            action: uuid("action_id", &response.action_id)?,
            pane: pane.as_ref().or(asked).map(ToString::to_string),
            exit: exit_of(&response.outcome),
            outcome: response.outcome,
            reason: super::known(response.reason),
            kind: std::marker::PhantomData,
        })
    }

    /// Of several: one where the call itself failed.
    pub(crate) fn failed(pane: &PaneAddress, exit: Exit, reason: String) -> Self {
        // Where the door said no, nothing was begun; in every other case nobody knows.
        let outcome = match exit {
            Exit::Refused | Exit::NotFound | Exit::Usage => OutcomeKind::Refused,
            _ => OutcomeKind::Unknown,
        };
        Self {
            action: None,
            pane: Some(pane.to_string()),
            outcome: outcome.as_str().to_owned(),
            reason: Some(reason),
            exit,
            kind: std::marker::PhantomData,
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    pub(crate) fn outcome(&self) -> &str {
        &self.outcome
    }
}

impl<K: ReceiptKind> Shape for Receipt<K> {
    const SCHEMA: &'static str = K::SCHEMA;

    fn name(&self) -> String {
        self.pane.clone().unwrap_or_default()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] =
            &[column("PANE", 12), column("OUTCOME", 9), column("ACTION", 36), column("REASON", 6)];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![
            Cell::plain(or_dash(self.pane.as_deref())),
            Cell::plain(&self.outcome),
            Cell::plain(or_dash(self.action.as_deref())),
            Cell::plain(or_dash(self.reason.as_deref())),
        ]
    }
}

/// What `pause` and `unpause` did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Paused {
    paused: bool,
    everything: bool,
    panes: Vec<String>,
    /// Only what this workflow does, on every pane.
    workflow: Option<String>,
}

impl Paused {
    pub(crate) fn of(
        paused: bool,
        workflow: Option<String>,
        response: v1::PauseResponse,
    ) -> Result<Self, Invalid> {
        let panes = response.panes.into_iter().map(|pane| PaneAddress::try_from(pane).map(|p| p.to_string()));
        let panes = panes.collect::<Result<_, _>>()?;
        Ok(Self { paused, everything: response.everything, panes, workflow })
    }

    pub(crate) fn is_nothing(&self) -> bool {
        !self.everything && self.panes.is_empty() && self.workflow.is_none()
    }

    fn what(&self, between: &str) -> String {
        match &self.workflow {
            Some(name) => format!("workflow {name}"),
            None => self.panes.join(between),
        }
    }
}

impl Shape for Paused {
    const SCHEMA: &'static str = "wa.pause/1";

    fn name(&self) -> String {
        if self.everything && self.workflow.is_none() { "*".to_owned() } else { self.what("\n") }
    }

    fn columns(_: bool) -> &'static [Column] {
        &[]
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let word = if self.paused { "paused" } else { "unpaused" };
        let everything = self.everything && self.workflow.is_none();
        let what = if everything { "everything".to_owned() } else { self.what(" ") };
        vec![Cell::plain(&format!("{word}: {what}"))]
    }
}

/// A join token.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Token {
    /// Null: it is in `file`.
    token: Option<String>,
    name: String,
    pub(crate) expires: Timestamp,
    /// Where it was written.
    file: Option<String>,
}

impl Token {
    pub(crate) fn of(name: String, response: v1::CreateTokenResponse) -> Result<Self, Invalid> {
        let expires = from_us("expires_us", response.expires_us)?;
        Ok(Self { token: Some(response.token), name, expires, file: None })
    }

    /// Takes the secret out: it will stand in this file alone.
    pub(crate) fn move_to(&mut self, path: &Path) -> String {
        self.file = Some(path.display().to_string());
        self.token.take().unwrap_or_default()
    }

    fn where_it_is(&self) -> &str {
        self.token.as_deref().or(self.file.as_deref()).unwrap_or_default()
    }
}

impl Shape for Token {
    const SCHEMA: &'static str = "wa.token/1";

    fn name(&self) -> String {
        self.where_it_is().to_owned()
    }

    fn columns(_: bool) -> &'static [Column] {
        &[]
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![Cell::plain(self.where_it_is())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, testing};

    fn response(outcome: &str) -> v1::ActResponse {
        v1::ActResponse {
            action_id: (0..16).collect(),
            pane: Some(v1::PaneAddress { host: "web-1".into(), mux: "main".into(), pane_id: 3 }),
            outcome: outcome.into(),
            reason: String::new(),
        }
    }

    #[test]
    fn outcomes_and_their_exit_codes_are_as_on_the_page() {
        let codes = ["submitted", "placed", "refused", "expired", "unknown", "something new"]
            .map(|outcome| Receipt::<kind::Send>::of(response(outcome), None).unwrap().exit().code());
        assert_eq!(codes, [0, 0, 4, 5, 5, 5]);
    }

    #[test]
    fn a_receipt_is_as_on_the_page() {
        let (mut out, sink) = testing::out(Format::Jsonl);
        out.one(&Receipt::<kind::Send>::of(response("submitted"), None).unwrap()).unwrap();
        assert_eq!(
            sink.text(),
            concat!(
                r#"{"schema":"wa.send/1","action":"00010203-0405-0607-0809-0a0b0c0d0e0f","pane":"web-1/3","#,
                r#""outcome":"submitted","reason":null}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_call_that_broke_off_is_unknown_not_refused() {
        let pane: PaneAddress = "web-1/3".parse().unwrap();
        let outcome = |exit| Receipt::<kind::Send>::failed(&pane, exit, "x".into()).outcome;
        assert_eq!(outcome(Exit::Unreachable), "unknown");
        assert_eq!(outcome(Exit::TimedOut), "unknown");
        assert_eq!(outcome(Exit::NotFound), "refused");
    }
}
