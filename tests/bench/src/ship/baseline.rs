//! The same rows put into SQLite by hand: one thread, one prepared statement for the row and one for the index, the same
//! table, the same full-text index, a write-ahead log with `synchronous = FULL`, and as many rows in a commit as the
//! controller had on average. Everything else is SQLite's default.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use wa_proto::Timestamp;

use super::rows;

const SCHEMA: &str = r#"
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE log (
    id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, layout INTEGER NOT NULL, row INTEGER NOT NULL,
    ord INTEGER NOT NULL, sub INTEGER NOT NULL, rev INTEGER NOT NULL, rows INTEGER, time_us INTEGER NOT NULL,
    agent TEXT, text TEXT, cause TEXT
);
CREATE UNIQUE INDEX log_place ON log (stream, layout, row, ord, sub);
CREATE VIRTUAL TABLE log_words USING fts5 (
    words, content='', contentless_delete=1, tokenize="unicode61 remove_diacritics 2"
);
"#;

/// Time for all rows.
pub(super) fn run(
    path: &Path,
    material: &[String],
    bytes: usize,
    rows_in_commit: usize,
    now: Timestamp,
) -> anyhow::Result<Duration> {
    let conn = Connection::open(path)?;
    conn.execute_batch(SCHEMA)?;
    let mut insert = conn.prepare(
        "INSERT INTO log (id, stream, layout, row, ord, sub, rev, rows, time_us, agent, text)
         VALUES (?1, 1, 1, ?2, 1, 0, 0, 1, ?3, 'codex', ?4)",
    )?;
    let mut index = conn.prepare("INSERT INTO log_words (rowid, words) VALUES (?1, ?2)")?;
    let rows: Vec<(i64, &str)> = rows::rows(material, bytes).collect();
    let begin = Instant::now();
    for batch in rows.chunks(rows_in_commit.max(1)) {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        for (row, text) in batch {
            insert.execute(params![row + 1, row, now.as_microsecond(), text])?;
            index.execute(params![row + 1, text])?;
        }
        conn.execute_batch("COMMIT")?;
    }
    Ok(begin.elapsed())
}
