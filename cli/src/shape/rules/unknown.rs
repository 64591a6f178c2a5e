//! `wa.unknown_screens/1`: a screen that no rule knows.

use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, v1};

use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};
use crate::shape::{address, age, instant, known, or_dash};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UnknownItem {
    host: String,
    /// Where it was seen last.
    pane: Option<String>,
    agent: Option<String>,
    agent_version: Option<String>,
    /// `dialog` or `footer`.
    kind: String,
    pub(crate) count: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    pub(crate) text: String,
}

impl UnknownItem {
    pub(crate) fn of(host: &str, screen: v1::UnknownScreen) -> Result<Self, Invalid> {
        let pane = screen.pane.map(|pane| address(host, &pane)).transpose()?;
        Ok(Self {
            host: host.to_owned(),
            pane: pane.map(|pane| pane.to_string()),
            agent: known(screen.agent),
            agent_version: known(screen.agent_version),
            kind: screen.kind,
            count: screen.count,
            first: instant("screen.first_us", screen.first_us)?,
            last: instant("screen.last_us", screen.last_us)?,
            text: screen.text,
        })
    }

    /// All but the text, on one line.
    pub(crate) fn words(&self) -> String {
        let last = self.last.map(crate::shape::clock).unwrap_or_default();
        format!(
            "{}: {} {} {}, {} times, last {last}",
            self.pane.as_ref().unwrap_or(&self.host),
            or_dash(self.agent.as_deref()),
            or_dash(self.agent_version.as_deref()),
            self.kind,
            self.count,
        )
    }
}

impl Shape for UnknownItem {
    const SCHEMA: &'static str = "wa.unknown_screens/1";
    const CUT: bool = true;

    fn name(&self) -> String {
        self.pane.clone().unwrap_or_else(|| self.host.clone())
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            column("HOST", 12),
            column("AGENT", 7),
            column("VERSION", 8),
            column("KIND", 6),
            column("COUNT", 5),
            column("LAST", 4),
            column("TEXT", 4),
        ];
        COLUMNS
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let first = self.text.lines().map(str::trim).find(|line| line.chars().any(char::is_alphanumeric));
        vec![
            Cell::plain(&self.host),
            Cell::plain(or_dash(self.agent.as_deref())),
            Cell::plain(or_dash(self.agent_version.as_deref())),
            Cell::plain(&self.kind),
            Cell::plain(&self.count.to_string()),
            Cell::plain(&age(look.now, self.last)),
            Cell::plain(first.unwrap_or("-")),
        ]
    }
}
