//! Search over all lines and messages: words by the full-text index, regular expressions by looking at every line.
//!
//! Newest lines are looked at first, and the newest `limit` hits are given in order of arrival. Only the newest rev of a
//! line is in the log, hence only that is found. Regular expressions are case-sensitive unless they say `(?i)`, see one
//! line at a time, and are bounded in size; words are described in [`super::words`].

use regex::{Regex, RegexBuilder};
use rusqlite::Connection;
use wa_proto::Timestamp;

use super::log::{COLUMNS, LogEntry, SHOWN, entry};
use super::messages::{COLUMNS as MESSAGE_COLUMNS, NO_COLUMNS, NO_COPY};
use super::words::{InvalidQuery, Query};
use super::{StoreError, readable};

/// A hit, with the bytes of its text that matched.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub entry: LogEntry,
    pub spans: Vec<(usize, usize)>,
}

#[derive(Debug, Clone)]
pub enum Pattern {
    Words(Query),
    Regex(Regex),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    #[error(transparent)]
    Query(#[from] InvalidQuery),
    #[error("regular expression: {0}")]
    Regex(String),
    #[error("give words or a regular expression, not both")]
    Both,
}

/// Bytes that a compiled expression and its cache may take.
const REGEX_SIZE: usize = 1 << 20;
/// Lines between two looks at whether anybody still wants the answer.
const CHECK_EVERY: usize = 1024;
/// Text of all hits together: messages may be long.
const HITS_BYTES: usize = 64 * 1024 * 1024;
/// Spans of one line that are told.
const MAX_SPANS: usize = 256;

impl Pattern {
    pub fn parse(words: &str, regex: &str) -> Result<Self, InvalidPattern> {
        match (words.trim().is_empty(), regex.is_empty()) {
            (false, false) => Err(InvalidPattern::Both),
            (_, true) => Ok(Self::Words(Query::parse(words)?)),
            (true, false) => RegexBuilder::new(regex)
                .size_limit(REGEX_SIZE)
                .dfa_size_limit(REGEX_SIZE)
                .build()
                .map(Self::Regex)
                .map_err(|e| InvalidPattern::Regex(e.to_string())),
        }
    }

    /// Empty: no match.
    fn spans(&self, text: &str) -> Option<Vec<(usize, usize)>> {
        let mut spans = match self {
            Self::Words(query) => query.spans(text),
            // An expression may match the empty text, which has no bytes to show.
            Self::Regex(regex) => {
                let mut found = regex.find_iter(text).peekable();
                found.peek()?;
                let spans = found.map(|found| (found.start(), found.end()));
                return Some(spans.filter(|(start, end)| start < end).take(MAX_SPANS).collect());
            }
        };
        spans.truncate(MAX_SPANS);
        (!spans.is_empty()).then_some(spans)
    }
}

/// What to search and how much of it.
pub struct Search {
    pub pattern: Pattern,
    pub since: Option<Timestamp>,
    pub limit: usize,
    /// Which lines count; asked only for lines that match.
    pub filter: Box<dyn Fn(&LogEntry) -> bool + Send>,
    /// Whether to give up: the caller is gone.
    pub cancelled: Box<dyn Fn() -> bool + Send>,
}

pub(super) fn search(conn: &Connection, search: &Search) -> Result<Vec<Hit>, StoreError> {
    let since = search.since.map_or(i64::MIN, Timestamp::as_microsecond);
    let index_query = match &search.pattern {
        Pattern::Words(query) => query.index_query(),
        Pattern::Regex(_) => None,
    };
    let mut hits = Vec::new();
    match index_query {
        Some(question) => {
            let mut statement = conn.prepare_cached(&format!(
                "SELECT {} FROM log_words LEFT JOIN log ON log.id = log_words.rowid
                 LEFT JOIN messages ON log.id IS NULL AND messages.id = log_words.rowid
                 LEFT JOIN sessions ON sessions.id = messages.session
                 JOIN streams ON streams.id = coalesce(log.stream, messages.stream)
                 WHERE log_words MATCH ?1 AND coalesce(log.time_us, messages.at_us) >= ?2
                   AND (log.id IS NOT NULL OR {NO_COPY})
                 ORDER BY log_words.rowid DESC",
                either_columns()
            ))?;
            collect(statement.query((question, since))?, search, &mut hits)?;
        }
        None => {
            let mut statement = conn.prepare_cached(&format!(
                "SELECT {COLUMNS}, {NO_COLUMNS} FROM log JOIN streams ON streams.id = log.stream
                 WHERE log.text IS NOT NULL AND {SHOWN} AND log.time_us >= ?1
                 UNION ALL
                 SELECT {MESSAGE_COLUMNS} FROM messages JOIN sessions ON sessions.id = messages.session
                 JOIN streams ON streams.id = messages.stream WHERE messages.at_us >= ?1 AND {NO_COPY}
                 ORDER BY 1 DESC"
            ))?;
            collect(statement.query([since])?, search, &mut hits)?;
        }
    }
    hits.reverse();
    Ok(hits)
}

/// The columns of a row that is a line or a message.
fn either_columns() -> String {
    let mut messages = MESSAGE_COLUMNS.split(", ").map(str::trim);
    let lines = COLUMNS.split(", ").map(str::trim);
    let shared: Vec<String> = lines.zip(&mut messages).map(|(line, said)| either(line, said)).collect();
    shared.into_iter().chain(messages.map(str::to_owned)).collect::<Vec<_>>().join(", ")
}

fn either(line: &str, said: &str) -> String {
    if line == said {
        line.to_owned()
    } else {
        format!("CASE WHEN log.id IS NULL THEN {said} ELSE {line} END")
    }
}

fn collect(mut rows: rusqlite::Rows<'_>, search: &Search, hits: &mut Vec<Hit>) -> Result<(), StoreError> {
    const TEXT: usize = 10;
    let (mut seen, mut bytes) = (0_usize, 0_usize);
    while hits.len() < search.limit
        && bytes < HITS_BYTES
        && let Some(row) = rows.next()?
    {
        seen += 1;
        if seen.is_multiple_of(CHECK_EVERY) && (search.cancelled)() {
            break;
        }
        // What is no text holds no words.
        let text = row.get_ref(TEXT)?.as_str_or_null().ok().flatten().unwrap_or_default();
        let Some(spans) = search.pattern.spans(text) else { continue };
        let size = text.len();
        let Some(entry) = readable::one("log", row, entry)? else { continue };
        if (search.filter)(&entry) {
            bytes += size;
            hits.push(Hit { entry, spans });
        }
    }
    Ok(())
}
