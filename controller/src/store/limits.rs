//! What was seen of the accounts' limits.
//!
//! Constraints: what nodes say counts only for accounts that are at home on their host; a newer observation is never
//! undone by an older one; times and names come from nodes, so they are clamped and bounded.
//!
//! Operation: panes tell the figures of their session files, events tell limits that were reached and lifted; both are
//! noted in the commit that takes them in, for the account that the pane was on. A session that was resumed with
//! another account still shows the figures of the one before: what was observed before the lease is not noted.

use jiff::SignedDuration;
use rusqlite::{Connection, params};
use wa_proto::wire::to_us;
use wa_proto::{AccountAlias, Event, EventKind, Host, Pane, PaneRef, Timestamp};

use super::accounts::{AccountRow, read_time};
use super::leases::{LeaseRow, account_of, default_account, is_at_home, leases};
use super::readable::readable;
use super::{StoreError, Tx};
use crate::accounts::choice::Window;

/// Windows of one account.
const MOST_WINDOWS: usize = 32;
/// Bytes of the name of a window or model.
const MOST_NAME: usize = 80;
/// No window of any provider resets later than that.
const LATEST_RESET: SignedDuration = SignedDuration::from_hours(24 * 400);

pub(super) fn windows(conn: &Connection, alias: &AccountAlias) -> Result<Vec<Window>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT window, model, percent_used, resets_us, observed_us, reached FROM account_windows
         WHERE alias = ?1 ORDER BY window, model",
    )?;
    readable("account_windows", statement.query([alias.as_str()])?, |row| {
        Ok(Window {
            window: row.get(0)?,
            model: row.get(1)?,
            percent_used: row.get(2)?,
            resets: read_time(row.get(3)?)?,
            observed: read_time(row.get(4)?)?.unwrap_or(Timestamp::UNIX_EPOCH),
            reached: row.get(5)?,
        })
    })
}

impl Tx<'_> {
    /// What panes of a host told: figures of their accounts, and which leases are over.
    pub(super) fn note_panes(&self, host: &Host, panes: &[Pane]) -> Result<(), StoreError> {
        if !self.conn.prepare_cached("SELECT 1 FROM accounts LIMIT 1")?.exists([])? {
            return Ok(());
        }
        for pane in panes {
            self.note_figures(host, pane)?;
        }
        self.tidy_leases(Some(host))
    }

    fn note_figures(&self, host: &Host, pane: &Pane) -> Result<(), StoreError> {
        let Some(session) = pane.session.as_ref().filter(|session| !session.rate_limits.is_empty()) else {
            return Ok(());
        };
        let Some(account) = account_of(self.conn, host, pane)? else { return Ok(()) };
        if !is_at_home(self.conn, &account, host)? {
            return Ok(());
        }
        let leased = leases(self.conn, Some(&account.alias), Some(host))?;
        let leased = leased.iter().filter(|lease| lease.pane == pane.pane);
        let since = leased.map(|lease| lease.since).max();
        for limit in &session.rate_limits {
            if since.is_some_and(|since| limit.observed_at <= since) {
                continue;
            }
            let seen = Window {
                window: limit.window.clone(),
                model: String::new(),
                percent_used: Some(limit.percent_used),
                resets: limit.resets_at,
                observed: limit.observed_at,
                reached: false,
            };
            self.note_window(&account.alias, seen)?;
        }
        Ok(())
    }

    /// What an event says of the account that its pane was on.
    pub(super) fn note_account_event(
        &self,
        host: &Host,
        event: &Event,
        time: Timestamp,
    ) -> Result<(), StoreError> {
        use EventKind::{AuthSignedOut, AuthSucceeded, LimitLifted, LimitReached, LimitWarning};
        if !matches!(event.kind, LimitReached | LimitLifted | LimitWarning | AuthSignedOut | AuthSucceeded) {
            return Ok(());
        }
        let Some(pane) = &event.pane else { return Ok(()) };
        let Some(account) = self.account_of_event(host, pane, event)? else { return Ok(()) };
        if !is_at_home(self.conn, &account, host)? {
            return Ok(());
        }
        let field = |name: &str| event.fields.get(name).map(String::as_str).unwrap_or_default();
        let alias = &account.alias;
        match event.kind {
            AuthSignedOut => self.note_signed_in(alias, host, false),
            AuthSucceeded => self.note_sign_in_done(alias, host),
            LimitLifted => self.note_lifted(alias, field("window"), field("model"), time),
            kind => {
                let used = field("percent_used").parse().ok();
                let used =
                    used.or_else(|| field("percent_left").parse::<f64>().ok().map(|left| 100.0 - left));
                let seen = Window {
                    window: field("window").to_owned(),
                    model: field("model").to_owned(),
                    percent_used: used,
                    resets: field("reset_time").parse().ok(),
                    observed: time,
                    reached: kind == LimitReached,
                };
                self.note_window(alias, seen)
            }
        }
    }

    /// The account of the process that an event is about. What is stored of the pane may be of the process before it.
    fn account_of_event(
        &self,
        host: &Host,
        pane: &PaneRef,
        event: &Event,
    ) -> Result<Option<AccountRow>, StoreError> {
        let stored = self.stored_pane(host, pane)?.filter(|stored| stored.pane == *pane);
        if let Some(stored) = stored.as_ref().filter(|stored| stored.agent_pid == event.agent_pid) {
            return account_of(self.conn, host, stored);
        }
        let of_pane = |lease: &&LeaseRow| lease.pane == *pane;
        if let Some(lease) = leases(self.conn, None, Some(host))?.iter().rfind(of_pane) {
            return self.account(&lease.alias);
        }
        match (stored, &event.agent) {
            (Some(stored), _) => account_of(self.conn, host, &stored),
            (None, Some(agent)) => default_account(self.conn, host, agent),
            (None, None) => Ok(None),
        }
    }

    /// Notes what was seen of a window, unless something newer is known.
    fn note_window(&self, alias: &AccountAlias, seen: Window) -> Result<(), StoreError> {
        let Window { mut window, mut model, percent_used, resets, observed, reached } = seen;
        for name in [&mut window, &mut model] {
            name.truncate(name.floor_char_boundary(MOST_NAME));
        }
        let latest = self.now.saturating_add(LATEST_RESET).unwrap_or(self.now);
        let resets = resets.filter(|resets| *resets <= latest);
        let observed = observed.min(self.now);
        let used = percent_used.filter(|used| used.is_finite()).map(|used| used.clamp(0.0, 100.0));
        let known = windows(self.conn, alias)?;
        let before = known.iter().find(|known| known.window == window && known.model == model);
        if before.is_some_and(|before| before.observed >= observed) {
            return Ok(());
        }
        if before.is_none() && known.len() >= MOST_WINDOWS {
            self.forget_oldest(alias)?;
        }
        // A limit that was reached stands until its reset, or until a figure says that there is something left.
        let stands = before.is_some_and(|b| b.blocked_until(observed).is_some() && b.reached);
        let reached = reached || (stands && used.is_none_or(|used| used >= 100.0));
        let resets = resets.or_else(|| before?.resets.filter(|resets| *resets > observed));
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO account_windows
                 (alias, window, model, percent_used, resets_us, observed_us, reached)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                alias.as_str(),
                window,
                model,
                used,
                resets.map(to_us),
                to_us(observed),
                reached
            ])?;
        Ok(())
    }

    fn forget_oldest(&self, alias: &AccountAlias) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "DELETE FROM account_windows WHERE alias = ?1 AND (window, model) = (SELECT window, model
                 FROM account_windows WHERE alias = ?1 ORDER BY observed_us LIMIT 1)",
            )?
            .execute([alias.as_str()])?;
        Ok(())
    }

    /// The limit of this window holds no more; where none is named, none does.
    fn note_lifted(
        &self,
        alias: &AccountAlias,
        window: &str,
        model: &str,
        time: Timestamp,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "UPDATE account_windows SET reached = 0, observed_us = max(observed_us, ?4),
                 percent_used = CASE WHEN percent_used < 100 THEN percent_used END
                 WHERE alias = ?1 AND (?2 = '' OR window = ?2) AND (?3 = '' OR model = ?3) AND observed_us <= ?4",
            )?
            .execute(params![alias.as_str(), window, model, to_us(time.min(self.now))])?;
        Ok(())
    }
}
