//! The audit trail: every decision and every action, append-only, each row chained to the one before by a hash.
//!
//! A row's hash is SHA-256 over the hash of the row before it and over the row's own fields, each with its length in
//! front, so that no two different rows hash alike. Texts that come in are redacted by the caller. Triggers refuse to change,
//! remove or replace a row; whoever gets around them breaks the chain, and [`Chain`] finds the first row that does not follow.
//! How far the trail has come is remembered in a table of its own, in the same commit: rows that are cut off at the end leave it
//! behind, and what is written then follows from what is remembered, so the gap stays. Who changes that table as well is found
//! only by a row's number and hash that were kept elsewhere: [`TrailMark`].
//!
//! The trail is kept for good and may be long: it is read in pages, each of bounded size.

use std::fmt::Display;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use wa_proto::wire::{from_us, to_us};
use wa_proto::{Host, PaneAddress, PaneRef, Timestamp};

use super::aside::of_row;
use super::readable::readable;
use super::{Store, StoreError, Tx};
use crate::identity::ca::hex;

/// What is written down.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// `operator:NAME`, `agent:HOST`, `workflow:NAME`, `node:NAME`, `controller` or `anonymous`.
    pub who: &'a str,
    pub what: &'a str,
    pub target: &'a str,
    /// `queued`, `granted`, `refused`, `made`, an outcome …
    pub decision: &'a str,
    pub detail: &'a str,
}

/// How rows name a pane.
pub(crate) fn on_pane(host: impl Display, pane: &PaneRef) -> String {
    format!("{host} {} {}", pane.mux, pane.pane_id)
}

/// A row of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub n: i64,
    pub time: Timestamp,
    pub who: String,
    pub what: String,
    pub target: String,
    pub decision: String,
    pub detail: String,
    pub hash: Vec<u8>,
}

/// A row as somebody remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailMark {
    pub n: i64,
    /// In hexadecimal.
    pub hash: String,
}

/// Where the trail ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailEnd {
    /// The last row that is there; `None`: there is none.
    pub last: Option<TrailMark>,
    /// The last row that was written, as the controller remembers it.
    pub remembered: Option<TrailMark>,
}

impl TrailEnd {
    /// What is wrong with it, in words.
    pub fn problem(&self) -> Option<String> {
        let there = self.last.as_ref().map_or(0, |last| last.n);
        match (&self.last, &self.remembered) {
            (_, Some(remembered)) if remembered.n > there => {
                Some(format!("{} rows were written, and the last that is there is row {there}", remembered.n))
            }
            (Some(last), Some(remembered)) if last == remembered => None,
            (None, None) => None,
            _ => Some(format!("row {there} is not the one that was written last")),
        }
    }
}

impl std::fmt::Display for TrailMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.n, self.hash)
    }
}

fn hash(before: &[u8], n: i64, time_us: i64, words: [&str; 5]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&n.to_be_bytes());
    context.update(&time_us.to_be_bytes());
    for word in words {
        context.update(&(word.len() as u64).to_be_bytes());
        context.update(word.as_bytes());
    }
    context.finish().as_ref().to_vec()
}

impl Tx<'_> {
    /// Appends what a workflow did on a pane, or left.
    pub(crate) fn audit_workflow(
        &self,
        workflow: &str,
        target: &str,
        what: &str,
        decision: &str,
        detail: &str,
    ) -> Result<(), StoreError> {
        self.audit(&Entry { who: &format!("workflow:{workflow}"), what, target, decision, detail })
    }

    /// Appends to the trail.
    pub fn audit(&self, entry: &Entry<'_>) -> Result<(), StoreError> {
        let last: Option<(i64, Vec<u8>)> = self
            .conn
            .prepare_cached(
                "SELECT n, CAST(hash AS BLOB) FROM (SELECT n, hash FROM audit_head UNION ALL
                 SELECT n, hash FROM (SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1))
                 ORDER BY n DESC LIMIT 1",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (last, before) = last.unwrap_or_default();
        let follows = || StoreError::Damaged(format!("audit: no number follows that of row {last}").into());
        let n = last.checked_add(1).ok_or_else(follows)?;
        let time_us = to_us(self.now);
        let words = [entry.who, entry.what, entry.target, entry.decision, entry.detail];
        let hash = hash(&before, n, time_us, words);
        self.conn
            .prepare_cached(
                "INSERT INTO audit (n, time_us, who, what, target, decision, detail, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![n, time_us, words[0], words[1], words[2], words[3], words[4], hash])?;
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO audit_head (one, n, hash) VALUES (1, ?1, ?2)")?
            .execute(params![n, hash])?;
        Ok(())
    }
}

impl Store {
    /// The newest rows of the audit trail, at most a few thousand, the oldest of them first.
    pub async fn audit_trail(&self) -> Result<Vec<AuditRow>, StoreError> {
        const MOST: u32 = 5000;
        let (filter, last) = (AuditFilter::default(), self.audit_head().await?);
        let mut after = self.audit_tail(filter.clone(), last, MOST).await?;
        let mut out = Vec::new();
        while after < last {
            let (rows, next) = self.audit_page(filter.clone(), after, last).await?;
            out.extend(rows);
            after = next;
        }
        Ok(out)
    }

    /// Number of the last row of the audit trail; 0: there is none.
    pub async fn audit_head(&self) -> Result<i64, StoreError> {
        self.readers.read(head).await
    }

    /// Where to begin to read for the last `count` rows that are wanted, up to row `last`: the number before the first.
    pub async fn audit_tail(
        &self,
        filter: AuditFilter,
        mut last: i64,
        mut count: u32,
    ) -> Result<i64, StoreError> {
        while last > 0 && count > 0 {
            let wanted = filter.clone();
            let look = move |conn: &Connection| count_back(conn, &wanted, last, count);
            let (found, first) = self.readers.read_long(look).await?;
            count -= found.min(count);
            last = first;
        }
        Ok(last)
    }

    /// Where to begin to read for what is not older: the number before the first row.
    pub async fn audit_before(&self, since: Timestamp) -> Result<i64, StoreError> {
        self.readers.read_long(move |conn| before(conn, since)).await
    }

    /// A page of the rows that are wanted, after row `after` and up to row `last`, and after which row the next page begins:
    /// `last` when there is none. A page may be empty.
    pub async fn audit_page(
        &self,
        filter: AuditFilter,
        after: i64,
        last: i64,
    ) -> Result<(Vec<AuditRow>, i64), StoreError> {
        self.readers.read_long(move |conn| page(conn, &filter, after, last)).await
    }

    /// Where the trail ends, and whether that is where the controller left it.
    pub async fn audit_end(&self) -> Result<TrailEnd, StoreError> {
        self.readers.read(end).await
    }

    /// Follows the chain of hashes from the first row to the one that was written last, and looks whether the row that is
    /// remembered elsewhere is in it.
    pub async fn verify_audit(&self, kept: Option<TrailMark>) -> Result<Chain, StoreError> {
        let end = self.audit_end().await?;
        let marks: Arc<[TrailMark]> = kept.into_iter().chain(end.remembered).collect();
        let last = marks.iter().chain(&end.last).map(|mark| mark.n).max().unwrap_or(0);
        let mut chain = Chain::default();
        loop {
            let (mut followed, marks) = (std::mem::take(&mut chain), Arc::clone(&marks));
            let more;
            (chain, more) = self
                .readers
                .read_long(move |conn| {
                    let more = followed.follow(conn, last, &marks)?;
                    Ok((followed, more))
                })
                .await?;
            if !more {
                return Ok(chain);
            }
        }
    }
}

/// Rows that one read looks at: other readers have their turn in between, and memory is bounded.
const SLICE: i64 = 10_000;
/// Rows that one read gives.
const PAGE: usize = 500;

/// Which rows are wanted; `None`: any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub who: Option<String>,
    /// Of a host all that is on it, of a pane it in any of the ways in which rows name one, else the very words.
    pub target: Option<String>,
    pub since: Option<Timestamp>,
}

impl AuditFilter {
    /// The target's other form, and how targets begin that are on it.
    fn forms(&self) -> (Option<String>, Option<String>) {
        let Some(target) = &self.target else { return (None, None) };
        if let Ok(pane) = target.parse::<PaneAddress>() {
            return (Some(format!("{} {} {}", pane.host, pane.mux, pane.pane_id)), None);
        }
        (None, Host::new(target.as_str()).is_ok().then(|| format!("{target} ")))
    }
}

/// The filter as a condition: parameters 1 to 5.
const WANTED: &str = "(?1 IS NULL OR who = ?1) AND (?2 IS NULL OR target IN (?2, ?3) OR \
                      substr(target, 1, length(?4)) IN (?4, substr(?4, 1, length(?4) - 1) || '/')) \
                      AND (?5 IS NULL OR time_us >= ?5)";

fn read(row: &Row<'_>) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        n: row.get(0)?,
        time: from_us("audit.time_us", row.get(1)?)?,
        who: row.get(2)?,
        what: row.get(3)?,
        target: row.get(4)?,
        decision: row.get(5)?,
        detail: row.get(6)?,
        hash: row.get(7)?,
    })
}

/// What is told of a row that cannot be read. The chain does not hold there either.
fn unreadable(row: &Row<'_>, error: StoreError) -> Result<AuditRow, StoreError> {
    let detail = format!(
        "this row cannot be read: {}; `wa audit verify` says whether the trail holds",
        of_row(error)?
    );
    let text = |at: usize| row.get::<_, String>(at).unwrap_or_default();
    Ok(AuditRow {
        n: row.get(0)?,
        time: row
            .get(1)
            .ok()
            .and_then(|us| from_us("audit.time_us", us).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH),
        who: text(2),
        what: text(3),
        target: text(4),
        decision: "unreadable".to_owned(),
        detail,
        hash: row.get(7).unwrap_or_default(),
    })
}

/// The number of the last row; 0: there is none.
fn head(conn: &Connection) -> Result<i64, StoreError> {
    Ok(conn.prepare_cached("SELECT coalesce(max(n), 0) FROM audit")?.query_row([], |row| row.get(0))?)
}

fn end(conn: &Connection) -> Result<TrailEnd, StoreError> {
    // What is remembered first: what is written in between must not look as if it were missing.
    let mark = |sql: &str| {
        let mark = |row: &Row<'_>| Ok(TrailMark { n: row.get(0)?, hash: hex(&row.get::<_, Vec<u8>>(1)?) });
        conn.prepare_cached(sql)?.query_row([], mark).optional()
    };
    let remembered = mark("SELECT n, CAST(hash AS BLOB) FROM audit_head")?;
    let last = mark("SELECT n, CAST(hash AS BLOB) FROM audit ORDER BY n DESC LIMIT 1")?;
    Ok(TrailEnd { last, remembered })
}

/// The number before the first row that is not older than `since`.
fn before(conn: &Connection, since: Timestamp) -> Result<i64, StoreError> {
    let first: Option<i64> = conn
        .prepare_cached("SELECT min(n) FROM audit INDEXED BY audit_time WHERE time_us >= ?1")?
        .query_row([to_us(since)], |row| row.get(0))?;
    first.map_or_else(|| head(conn), |first| Ok(first - 1))
}

/// A page of the rows that are wanted, after `after` and up to `last`; where the next one begins.
fn page(
    conn: &Connection,
    filter: &AuditFilter,
    after: i64,
    last: i64,
) -> Result<(Vec<AuditRow>, i64), StoreError> {
    let end = after.saturating_add(SLICE).min(last);
    let (form, under) = filter.forms();
    let mut statement = conn.prepare_cached(&format!(
        "SELECT n, time_us, who, what, target, decision, detail, hash FROM audit
         WHERE {WANTED} AND n > ?6 AND n <= ?7 ORDER BY n LIMIT ?8"
    ))?;
    let since = filter.since.map(to_us);
    let limit = super::int(PAGE as u64)?;
    let rows = statement.query(params![filter.who, filter.target, form, under, since, after, end, limit])?;
    // One that cannot be read is told as such: a row that is left out would look like a row that was never written.
    let rows = readable("audit", rows, |row| read(row).or_else(|error| unreadable(row, error)))?;
    if let Some(full) = rows.last().filter(|_| rows.len() == PAGE) {
        let next = full.n;
        return Ok((rows, next));
    }
    // What nobody numbered is passed over at once: a number may have been changed to one far beyond.
    let further: Option<i64> = conn
        .prepare_cached("SELECT min(n) FROM audit WHERE n > ?1 AND n <= ?2")?
        .query_row([end, last], |row| row.get(0))?;
    Ok((rows, further.map_or(last, |n| n - 1)))
}

/// Counts back from `last` until `count` rows were found that are wanted, or a slice is looked through: how many there are,
/// and the number before the first of them.
fn count_back(
    conn: &Connection,
    filter: &AuditFilter,
    last: i64,
    count: u32,
) -> Result<(u32, i64), StoreError> {
    let start = last.saturating_sub(SLICE).max(0);
    let (form, under) = filter.forms();
    let mut statement = conn.prepare_cached(&format!(
        "SELECT n FROM audit WHERE {WANTED} AND n > ?6 AND n <= ?7 ORDER BY n DESC LIMIT ?8"
    ))?;
    let since = filter.since.map(to_us);
    let found = statement
        .query_map(params![filter.who, filter.target, form, under, since, start, last, count], |row| {
            row.get(0)
        })?
        .collect::<Result<Vec<i64>, _>>()?;
    let full = found.len() == count as usize;
    let first = match found.last().filter(|_| full) {
        Some(n) => n - 1,
        // As in `page`.
        None => conn
            .prepare_cached("SELECT coalesce(max(n), 0) FROM audit WHERE n <= ?1")?
            .query_row([start], |row| row.get(0))?,
    };
    Ok((u32::try_from(found.len()).unwrap_or(u32::MAX), first))
}

/// How far the chain of hashes has been followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Rows that follow from each other, from the first.
    pub rows: u64,
    /// Hash of the last of them; empty: there is none.
    pub head: Vec<u8>,
    /// The first that does not, and why.
    pub broken: Option<(u64, String)>,
}

impl Chain {
    /// Follows the chain through one more page, up to row `last`; whether there is more to follow.
    fn follow(&mut self, conn: &Connection, last: i64, marks: &[TrailMark]) -> Result<bool, StoreError> {
        let done = super::int(self.rows)?;
        let end = done.saturating_add(SLICE).min(last);
        let mut statement = conn.prepare_cached(
            "SELECT n, time_us, who, what, target, decision, detail, hash FROM audit
             WHERE n > ?1 AND n <= ?2 ORDER BY n",
        )?;
        let mut rows = statement.query([done, end])?;
        while let Some(row) = rows.next()? {
            if let Err(problem) = self.add(row, marks) {
                self.broken = Some((self.rows + 1, problem));
                return Ok(false);
            }
        }
        if super::int(self.rows)? < end {
            let problem = format!("it is missing; the trail went up to row {last} once");
            self.broken = Some((self.rows + 1, problem));
        }
        Ok(self.broken.is_none() && end < last)
    }

    /// Takes the next row, or says why it cannot be the next.
    fn add(&mut self, row: &Row<'_>, marks: &[TrailMark]) -> Result<(), String> {
        let foreign = |error: rusqlite::Error| format!("it holds what was never written there: {error}");
        let n: i64 = row.get(0).map_err(foreign)?;
        if n.cast_unsigned() != self.rows + 1 {
            return Err("it is missing".to_owned());
        }
        let time_us = row.get(1).map_err(foreign)?;
        let mut words = [const { String::new() }; 5];
        for (at, word) in words.iter_mut().enumerate() {
            *word = row.get(at + 2).map_err(foreign)?;
        }
        let stored: Vec<u8> = row.get(7).map_err(foreign)?;
        if hash(&self.head, n, time_us, words.each_ref().map(String::as_str)) != stored {
            return Err("it was changed, or one before it".to_owned());
        }
        if marks.iter().any(|mark| mark.n == n && mark.hash != hex(&stored)) {
            return Err(
                "its hash is not the one that is remembered: it was changed, or one before it, and the \
                        hashes with it"
                    .to_owned(),
            );
        }
        self.rows += 1;
        self.head = stored;
        Ok(())
    }
}
