//! What a dialog asks: its identity, its choices, the command it is about.

use std::collections::BTreeMap;

use crate::composer::{Composer, ComposerView, is_option};
use crate::hash;
use crate::rules::text::Sheet;

pub(crate) struct Dialog {
    /// The same while the selection moves or the pane is re-wrapped.
    pub(crate) key: u64,
    pub(crate) fields: BTreeMap<String, String>,
    /// It has numbered choices, at least two: one alone is a notice.
    pub(crate) choices: bool,
    pub(crate) row: usize,
    pub(crate) line: String,
}

/// Choices and commands longer than this are cut.
const FIELD_CHARS: usize = 400;

pub(crate) fn read(sheet: &Sheet, view: &ComposerView, cols: u32) -> Option<Dialog> {
    if view.content != Composer::Dialog {
        return None;
    }
    let rows = view.rows.clone();
    let moving = |c: &char| {
        !matches!(c, '›' | '❯' | '●' | '·' | '◦' | '>' | '│') && !('\u{2800}'..='\u{28ff}').contains(c)
    };
    let text: String = rows.clone().flat_map(|row| sheet.text(row).chars()).filter(moving).collect();
    let labels: Vec<String> =
        rows.clone().filter(|row| is_option(sheet.text(*row))).map(|row| label(sheet, row, cols)).collect();
    let mut fields = BTreeMap::new();
    if !labels.is_empty() {
        fields.insert("choices".to_owned(), cut(&labels.join(" | ")));
    }
    if let Some(command) = command(sheet, view) {
        fields.insert("command".to_owned(), cut(&command));
    }
    if let Some(cwd) = cwd(sheet, view) {
        fields.insert("cwd".to_owned(), cut(&cwd));
    }
    let row = rows
        .clone()
        .find(|row| !sheet.is_blank(*row) && !sheet.text(*row).starts_with(['─', '╭']))
        .unwrap_or(rows.start);
    let line = sheet.text(row).trim().to_owned();
    // A setting that somebody opens to change it shows which choice holds now: nobody waits for the answer.
    let setting = labels.iter().any(|label| label.ends_with('✔'));
    let choices = labels.len() > 1 && !setting;
    Some(Dialog { key: hash::squeezed(&text), fields, choices, row, line })
}

fn cut(text: &str) -> String {
    text.chars().take(FIELD_CHARS).collect()
}

/// `› 1. Yes, proceed (y)` without glyph and number. What stands in a column of its own behind it explains it; what did not
/// fit into the row goes on in the next, under the label.
pub(crate) fn label(sheet: &Sheet, row: usize, cols: u32) -> String {
    let part = |text: &str| {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '│');
        text.split_once("  ").map_or(text, |(label, _)| label).to_owned()
    };
    let text = sheet.text(row);
    let bare = text.trim_start_matches(['›', '❯', '●', '·', '>', ' ', '│']);
    let rest = bare.split_once(". ").map_or(bare, |(_, label)| label).trim_start();
    let mut label = part(rest);
    let indent = |row: usize| sheet.rows.get(row).map_or(0, |row| row.column);
    let under = indent(row) + text[..text.len() - rest.len()].chars().count();
    let mut width = indent(row) + text.trim_end_matches([' ', '│']).chars().count();
    for next in row + 1..row + 4 {
        let more = sheet.text(next);
        let word = more.split_whitespace().next().map_or(0, |word| word.chars().count());
        let wrapped = indent(next) == under && width + 1 + word + EDGE > cols as usize;
        if more.is_empty() || is_option(more) || !wrapped {
            break;
        }
        width = under + more.chars().count();
        label = format!("{label} {}", part(more));
    }
    label
}

/// Columns that agents leave free at the right edge, border and all.
const EDGE: usize = 3;

/// Where the command would run, where the dialog says so.
fn cwd(sheet: &Sheet, view: &ComposerView) -> Option<String> {
    let inside = |text: &str, mark: &str| {
        let (_, rest) = text.split_once(mark)?;
        let end = rest.find(']').unwrap_or(rest.len());
        Some(rest[..end].trim().to_owned())
    };
    let named = |text: &str| {
        let (name, path) = text.split_once(':')?;
        matches!(name, "Directory" | "Working directory" | "cwd" | "Cwd").then(|| path.trim().to_owned())
    };
    let texts = view.rows.clone().map(|row| sheet.text(row));
    let mut found =
        texts.filter_map(|text| inside(text, "[current working directory ").or_else(|| named(text)));
    // A path that the edge has cut is no path.
    found.next().filter(|path| !path.contains('…') && !path.is_empty())
}

/// Codex writes `$ command`; Claude Code under a heading; Gemini CLI and aider right above their question.
fn command(sheet: &Sheet, view: &ComposerView) -> Option<String> {
    let rows = view.rows.clone();
    let end = rows.end;
    let block = |row: usize| {
        let (mut text, mut starts) = (String::new(), Vec::new());
        sheet.block(row, end, &mut text, &mut starts);
        text
    };
    let clean = |text: &str| text.trim_matches(|c: char| c.is_whitespace() || c == '│').to_owned();
    for row in rows.clone() {
        let text = sheet.text(row);
        if let Some(_shell) = text.strip_prefix("$ ") {
            return Some(clean(block(row).strip_prefix("$ ").unwrap_or_default()));
        }
        if text.starts_with("Bash command") {
            let first = (row + 1..end).find(|row| !sheet.is_blank(*row))?;
            return Some(clean(sheet.text(first)));
        }
        if text.starts_with("Allow execution of") || text.starts_with("Run shell command") {
            let above = (rows.start..row).rev().find(|row| {
                let text = clean(sheet.text(*row));
                !text.is_empty() && !text.starts_with(['╭', '╰', '─'])
            })?;
            return Some(clean(sheet.text(above)));
        }
    }
    None
}
