//! `wa.accounts/1`: one account.

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, v1};

use super::{address, age, clock, facts, instant, known, or_dash};
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct AccountItem {
    pub(crate) alias: String,
    agent: String,
    pool: String,
    sign_in: String,
    provider: Option<String>,
    state: String,
    reason: Option<String>,
    until: Option<Timestamp>,
    max_panes: Option<u32>,
    default_on: Vec<String>,
    leases: Vec<Lease>,
    windows: Vec<Window>,
    /// Which the vault holds, never what they are.
    credentials: Vec<String>,
    homes: Vec<String>,
    last_used: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Lease {
    pane: Option<String>,
    generation: Option<String>,
    run: Option<String>,
    since: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Window {
    window: String,
    /// Null: of all models.
    model: Option<String>,
    percent_used: Option<f64>,
    resets: Option<Timestamp>,
    observed: Option<Timestamp>,
    reached: bool,
}

impl TryFrom<v1::Account> for AccountItem {
    type Error = Invalid;
    fn try_from(account: v1::Account) -> Result<Self, Invalid> {
        Ok(Self {
            alias: account.alias,
            agent: account.agent,
            pool: account.pool,
            sign_in: account.sign_in,
            provider: known(account.provider),
            state: account.state,
            reason: known(account.reason),
            until: instant("account.until_us", account.until_us)?,
            max_panes: Some(account.max_panes).filter(|most| *most > 0),
            default_on: account.default_hosts,
            leases: account.leases.into_iter().map(Lease::try_from).collect::<Result<_, _>>()?,
            windows: account.windows.into_iter().map(Window::try_from).collect::<Result<_, _>>()?,
            credentials: account.credentials,
            homes: account.homes,
            last_used: instant("account.last_used_us", account.last_used_us)?,
        })
    }
}

impl TryFrom<v1::Lease> for Lease {
    type Error = Invalid;
    fn try_from(lease: v1::Lease) -> Result<Self, Invalid> {
        let pane = lease.pane.as_ref().map(|pane| address(&lease.host, pane)).transpose()?;
        Ok(Self {
            pane: pane.map(|pane| pane.to_string()),
            generation: lease.pane.map(|pane| pane.generation),
            run: known(lease.run_id),
            since: instant("lease.since_us", lease.since_us)?,
        })
    }
}

impl TryFrom<v1::AccountWindow> for Window {
    type Error = Invalid;
    fn try_from(window: v1::AccountWindow) -> Result<Self, Invalid> {
        Ok(Self {
            window: window.window,
            model: known(window.model),
            percent_used: window.percent_used.filter(|percent| percent.is_finite()),
            resets: instant("window.resets_us", window.resets_us)?,
            observed: instant("window.observed_us", window.observed_us)?,
            reached: window.reached,
        })
    }
}

impl Window {
    /// `5h 85%`, `weekly of opus: reached, until …`
    fn words(&self) -> String {
        let mut text = self.window.clone();
        if let Some(model) = &self.model {
            text = format!("{text} of {model}");
        }
        match (self.reached, self.percent_used) {
            (true, _) => text.push_str(" reached"),
            (false, Some(percent)) => text = format!("{text} {percent:.0}%"),
            (false, None) => {}
        }
        match self.resets {
            Some(resets) if self.reached => format!("{text}, until {}", clock(resets)),
            _ => text,
        }
    }
}

fn joined(texts: impl IntoIterator<Item = String>, between: &str) -> String {
    let texts: Vec<String> = texts.into_iter().collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(between) }
}

impl AccountItem {
    fn state_style(&self) -> Style {
        let color = match self.state.as_str() {
            "exhausted" => AnsiColor::Red,
            "cooling" | "signed_out" => AnsiColor::Yellow,
            "ready" | "leased" => AnsiColor::Green,
            _ => return Style::new(),
        };
        color.on_default()
    }

    fn panes(&self) -> String {
        joined(self.leases.iter().filter_map(|lease| lease.pane.clone().or_else(|| lease.run.clone())), " ")
    }

    fn windows(&self) -> String {
        joined(self.windows.iter().map(Window::words), "; ")
    }
}

impl Shape for AccountItem {
    const SCHEMA: &'static str = "wa.accounts/1";

    fn name(&self) -> String {
        self.alias.clone()
    }

    fn columns(wide: bool) -> &'static [Column] {
        const TABLE: &[Column] = &[
            column("ALIAS", 8),
            column("AGENT", 6),
            column("POOL", 7),
            column("STATE", 10),
            column("UNTIL", 20),
            column("PANES", 8),
            column("WINDOWS", 8),
            column("REASON", 6),
        ];
        const WIDE: &[Column] = &[
            column("ALIAS", 8),
            column("AGENT", 6),
            column("POOL", 7),
            column("STATE", 10),
            column("UNTIL", 20),
            column("PANES", 8),
            column("MOST", 4),
            column("WINDOWS", 8),
            column("SIGN-IN", 11),
            column("CREDENTIALS", 11),
            column("DEFAULT ON", 10),
            column("HOMES", 5),
            column("LAST USED", 9),
            column("REASON", 6),
        ];
        if wide { WIDE } else { TABLE }
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let until = self.until.map_or_else(|| "-".to_owned(), clock);
        let mut row = vec![
            Cell::styled(&self.alias, Style::new().bold()),
            Cell::plain(&self.agent),
            Cell::plain(&self.pool),
            Cell::styled(&self.state, self.state_style()),
            Cell::plain(&until),
            Cell::plain(&self.panes()),
        ];
        if look.wide() {
            row.push(Cell::plain(&self.max_panes.map_or_else(|| "-".to_owned(), |most| most.to_string())));
        }
        row.push(Cell::plain(&self.windows()));
        if look.wide() {
            row.extend([
                Cell::plain(&self.sign_in),
                Cell::plain(&joined(self.credentials.iter().cloned(), " ")),
                Cell::plain(&joined(self.default_on.iter().cloned(), " ")),
                Cell::plain(&joined(self.homes.iter().cloned(), " ")),
                Cell::plain(&age(look.now, self.last_used)),
            ]);
        }
        row.push(Cell::plain(or_dash(self.reason.as_deref())));
        row
    }
}

/// One account: as JSON the same, as text a fact a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct AccountShown(pub(crate) AccountItem);

impl AccountShown {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let account = &self.0;
        let reason = account.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let until = account.until.map(|until| format!(", until {}", clock(until))).unwrap_or_default();
        let most = account.max_panes.map(|most| format!("at most {most}")).unwrap_or_default();
        let credentials =
            if account.credentials.is_empty() { "none".to_owned() } else { account.credentials.join(", ") };
        let mut facts = vec![
            ("account", account.alias.clone()),
            ("agent", account.agent.clone()),
            ("pool", account.pool.clone()),
            ("state", format!("{}{reason}{until}", account.state)),
            ("signs in", account.sign_in.clone()),
            ("provider", account.provider.clone().unwrap_or_default()),
            ("credentials", credentials),
            ("default on", account.default_on.join(", ")),
            ("homes", account.homes.join(", ")),
            ("panes", most),
            ("last used", account.last_used.map(clock).unwrap_or_default()),
        ];
        for lease in &account.leases {
            let pane = or_dash(lease.pane.as_deref());
            let since = lease.since.map(|since| format!(", since {}", clock(since))).unwrap_or_default();
            let run = lease.run.as_ref().map(|run| format!(", run {run}")).unwrap_or_default();
            facts.push(("leased to", format!("{pane}{since}{run}")));
        }
        for window in &account.windows {
            let resets = match window.resets {
                Some(resets) if !window.reached => format!(", resets {}", clock(resets)),
                _ => String::new(),
            };
            let seen = window.observed.map(|at| format!(", seen {}", clock(at))).unwrap_or_default();
            facts.push(("window", format!("{}{resets}{seen}", window.words())));
        }
        facts
    }
}

impl Shape for AccountShown {
    const SCHEMA: &'static str = AccountItem::SCHEMA;

    fn name(&self) -> String {
        self.0.name()
    }

    fn columns(_: bool) -> &'static [Column] {
        &[]
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![facts(self.facts())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, testing};

    const US: i64 = 1_788_264_000_000_000;

    fn wire() -> v1::Account {
        let at = v1::PaneRef { mux: "main".into(), generation: "ab12cd34-77-991".into(), pane_id: 3 };
        v1::Account {
            alias: "work-2".into(),
            agent: "codex".into(),
            pool: "default".into(),
            sign_in: "device_code".into(),
            provider: "openai".into(),
            state: "exhausted".into(),
            reason: "the 5h window is used up".into(),
            until_us: US + 3_600_000_000,
            max_panes: 2,
            default_hosts: vec!["web-1".into()],
            leases: vec![v1::Lease {
                host: "web-1".into(),
                pane: Some(at),
                run_id: String::new(),
                since_us: US,
            }],
            windows: vec![
                v1::AccountWindow {
                    window: "5h".into(),
                    percent_used: Some(100.0),
                    resets_us: US + 3_600_000_000,
                    observed_us: US,
                    reached: true,
                    ..Default::default()
                },
                v1::AccountWindow {
                    window: "weekly".into(),
                    model: "gpt-5.1-codex".into(),
                    percent_used: Some(f64::NAN),
                    ..Default::default()
                },
            ],
            credentials: vec!["username".into(), "password".into()],
            homes: vec!["web-2".into()],
            last_used_us: US,
        }
    }

    const PAGE: &str = r#"{
  "schema": "wa.accounts/1",
  "items": [
    {
      "alias": "work-2",
      "agent": "codex",
      "pool": "default",
      "sign_in": "device_code",
      "provider": "openai",
      "state": "exhausted",
      "reason": "the 5h window is used up",
      "until": "2026-09-01T13:00:00Z",
      "max_panes": 2,
      "default_on": [
        "web-1"
      ],
      "leases": [
        {
          "pane": "web-1/3",
          "generation": "ab12cd34-77-991",
          "run": null,
          "since": "2026-09-01T12:00:00Z"
        }
      ],
      "windows": [
        {
          "window": "5h",
          "model": null,
          "percent_used": 100.0,
          "resets": "2026-09-01T13:00:00Z",
          "observed": "2026-09-01T12:00:00Z",
          "reached": true
        },
        {
          "window": "weekly",
          "model": "gpt-5.1-codex",
          "percent_used": null,
          "resets": null,
          "observed": null,
          "reached": false
        }
      ],
      "credentials": [
        "username",
        "password"
      ],
      "homes": [
        "web-2"
      ],
      "last_used": "2026-09-01T12:00:00Z"
    }
  ]
}
"#;

    fn printed<T: Shape>(format: Format, item: &T) -> String {
        let (mut out, sink) = testing::out(format);
        out.list(std::slice::from_ref(item)).unwrap();
        sink.text()
    }

    #[test]
    fn the_document_is_as_on_the_page() {
        assert_eq!(printed(Format::Json, &AccountItem::try_from(wire()).unwrap()), PAGE);
        assert_eq!(printed(Format::Name, &AccountItem::try_from(wire()).unwrap()), "work-2\n");
    }

    #[test]
    fn the_table_says_it_in_a_line() {
        let item = AccountItem::try_from(wire()).unwrap();
        let table = printed(Format::Table, &item);
        assert_eq!(
            table.lines().nth(1).unwrap(),
            "work-2  codex  default  exhausted  2026-09-01T13:00:00Z  web-1/3  5h reached, until 2026-09-01T13:00:00Z; \
             weekly of gpt-5.1-codex  the 5h window is used up"
        );
        for format in [Format::Table, Format::Wide] {
            let (out, _) = testing::out(format);
            let titles = printed(format, &item);
            let titles = titles.lines().next().unwrap().split("  ").filter(|title| !title.trim().is_empty());
            assert_eq!(titles.count(), item.row(&out.look).len());
        }
    }

    #[test]
    fn one_account_is_a_fact_a_line() {
        let shown = AccountShown(AccountItem::try_from(wire()).unwrap());
        let text = printed(Format::Table, &shown);
        for fact in [
            "account      work-2",
            "state        exhausted: the 5h window is used up, until 2026-09-01T13:00:00Z",
            "credentials  username, password",
            "leased to    web-1/3, since 2026-09-01T12:00:00Z",
            "window       weekly of gpt-5.1-codex",
        ] {
            assert!(text.lines().any(|line| line == fact), "{fact}: {text}");
        }
        let bare = AccountShown(AccountItem::try_from(v1::Account::default()).unwrap());
        assert!(printed(Format::Table, &bare).contains("credentials  none"));
    }
}
