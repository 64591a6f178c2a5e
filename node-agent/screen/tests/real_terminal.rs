//! The terminal against the real one: same bytes, same sizes; then dimensions, cursor, and every
//! row's text and wrap. `testdata/model` holds the real terminal's answers.
//!
//! Trailing blanks are not compared: the real terminal keeps blanks where a program cleared, ours
//! only where it wrote. Everything else that differs is listed in `known-differences.txt`, item by item,
//! so that a new difference fails, and so does one that goes away.
//!
//! Not covered for their size: the 1.3 MB recording of Gemini CLI 0.24 at 120x40.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use wa_screen::terminal::{Row, Size, Terminal};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/model")
}

/// One difference a line; lines that begin with `#` say why.
const KNOWN: &str = include_str!("../testdata/model/known-differences.txt");

/// The row's text as the real terminal counts cells: a blank behind each wide character.
fn with_fillers(row: &Row) -> String {
    let mut out = String::new();
    for cell in row.cells() {
        out.push_str(cell.text);
        if cell.width == 2 {
            out.push(' ');
        }
    }
    out.truncate(out.trim_end_matches(' ').len());
    out
}

fn compare(terminal: &mut Terminal, step: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: &str, ours: Value, theirs: &Value| {
        if &ours != theirs {
            found.push(format!("{what}: {ours}, real {theirs}"));
        }
    };
    let dims = terminal.dimensions();
    check("scrollback_top", dims.scrollback_top.into(), &step["scrollback_top"]);
    check("physical_top", dims.physical_top.into(), &step["physical_top"]);
    check("scrollback_rows", dims.scrollback_rows.into(), &step["scrollback_rows"]);
    let cursor = terminal.cursor();
    check("cursor", serde_json::json!([cursor.x, cursor.y]), &step["cursor"]);
    let rows = terminal.rows(dims.retained());
    let theirs = step["rows"].as_array().unwrap();
    for at in 0..rows.len().max(theirs.len()) {
        let ours = rows.get(at).map(|row| (row.index, with_fillers(row), row.wrapped));
        let theirs = theirs.get(at).map(|row| {
            let text = row[1].as_str().unwrap().trim_end_matches(' ').to_owned();
            (row[0].as_i64().unwrap(), text, row[2].as_bool().unwrap())
        });
        if ours != theirs {
            found.push(format!("row: {ours:?}, real {theirs:?}"));
        }
    }
    found
}

fn lines(differences: &[&String]) -> String {
    differences.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn shows_what_the_real_terminal_shows() {
    let mut found = BTreeSet::new();
    let mut scenarios = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        scenarios += 1;
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let scenario: Value = serde_json::from_str(&text).unwrap();
        let size = |v: &Value| Size {
            rows: v[0].as_u64().unwrap().try_into().unwrap(),
            cols: v[1].as_u64().unwrap().try_into().unwrap(),
        };
        let input = [path.with_extension("bin"), path.with_extension("raw")]
            .iter()
            .find_map(|p| std::fs::read(p).ok())
            .unwrap();
        let mut terminal = Terminal::new(size(&scenario["size"]), 3500);
        terminal.advance(&input);
        for (number, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            if !step["resize"].is_null() {
                terminal.resize(size(&step["resize"]));
            }
            for difference in compare(&mut terminal, step) {
                found.insert(format!("{name} step {number} {difference}"));
            }
        }
    }
    assert_eq!(scenarios, 20);
    let known: BTreeSet<_> = KNOWN.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&known).collect();
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(new.is_empty() && gone.is_empty(), "new:\n{}\ngone:\n{}", lines(&new), lines(&gone));
}
