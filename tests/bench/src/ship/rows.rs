//! What is shipped: rows as agents print them, half of them the recorded sessions' own screens, half the sources that
//! agents show, in turns of forty rows. Sessions that the compression dictionary was trained on are left out: the bytes on
//! the wire are those of text that it has not seen.
//!
//! Blocks are compressed one by one and hold 64 KiB: the material is larger by far, so that its repetition is not seen.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use wa_node::spool::{Group, NewRecord};
use wa_proto::wire::v1;
use wa_proto::{Lane, Timestamp};
use wa_screen::terminal::{Size, Terminal};

use crate::capture::sessions::{self, Session};
use crate::dictionary;

/// Rows of one kind in a turn.
const TURN: usize = 40;
/// Lines in one record: what a busy pane prints in the time that lines wait for company.
const LINES: usize = 16;
const RECORDS_IN_GROUP: usize = 16;
const SCROLLBACK: usize = 3500;

/// All there is to print.
pub(super) fn material(folder: &Path, sources: &Path) -> anyhow::Result<Vec<String>> {
    let screens = screens(folder)?;
    let sources = source_rows(sources)?;
    ensure!(!screens.is_empty() && !sources.is_empty(), "nothing to ship");
    let mut rows = Vec::new();
    for (turn, chunk) in sources.chunks(TURN).enumerate() {
        rows.extend_from_slice(chunk);
        rows.extend(screens.iter().cycle().skip(turn * TURN % screens.len()).take(TURN).cloned());
    }
    Ok(rows)
}

/// The rows of each recorded session as they last stood.
fn screens(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut rows = Vec::new();
    for session in sessions::all(folder)?.iter().filter(|session| !dictionary::is_trained_on(&session.name)) {
        rows.extend(screen(session)?);
    }
    Ok(rows)
}

/// The rows of a recorded session as they last stood.
pub(crate) fn screen(session: &Session) -> anyhow::Result<Vec<String>> {
    let mut terminal = Terminal::new(Size { cols: session.cols, rows: session.rows }, SCROLLBACK);
    terminal.advance(&sessions::read(&session.path)?);
    let mut rows = Vec::new();
    for range in terminal.changed_since(0) {
        rows.extend(terminal.rows(range).iter().map(|row| row.text().trim_end().to_owned()));
    }
    rows.retain(|row| !row.is_empty());
    Ok(rows)
}

pub(crate) fn source_rows(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        rows.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    }
    Ok(rows)
}

/// Rows in order, of so many bytes of text in all: the number of each and its text.
pub(super) fn rows(material: &[String], bytes: usize) -> impl Iterator<Item = (i64, &str)> {
    let mut left = bytes;
    (0_i64..).zip(material.iter().cycle()).map(|(row, text)| (row, text.as_str())).take_while(
        move |(_, text)| {
            let more = left > 0;
            left = left.saturating_sub(text.len());
            more
        },
    )
}

/// The same rows as groups for the spool, of one pane.
pub(super) fn groups(material: &[String], bytes: usize, layout: u64, now: Timestamp) -> Vec<Group> {
    let rows: Vec<(i64, &str)> = rows(material, bytes).collect();
    let record = |rows: &[(i64, &str)]| {
        let line = |(row, text): &(i64, &str)| v1::Line {
            row: *row,
            rev: 0,
            text: (*text).to_owned(),
            rows: 1,
            time_us: 0,
        };
        let lines = v1::Lines {
            pane: Some(v1::PaneRef { mux: "main".into(), generation: "g-1-1".into(), pane_id: 1 }),
            layout,
            agent: "codex".into(),
            lines: rows.iter().map(line).collect(),
        };
        let body = v1::record::Body::Lines(lines);
        NewRecord { lane: Lane::Bulk, time: now, trace_parent: String::new(), body }
    };
    rows.chunks(LINES * RECORDS_IN_GROUP)
        .map(|rows| Group { records: rows.chunks(LINES).map(record).collect(), positions: Vec::new() })
        .collect()
}
