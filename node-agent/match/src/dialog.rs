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

pub(crate) fn read(sheet: &Sheet, view: &ComposerView) -> Option<Dialog> {
    if view.content != Composer::Dialog {
        return None;
    }
    let rows = view.rows.clone();
    let moving = |c: &char| {
        !matches!(c, '›' | '❯' | '●' | '·' | '◦' | '>' | '│') && !('\u{2800}'..='\u{28ff}').contains(c)
    };
    let text: String = rows.clone().flat_map(|row| sheet.text(row).chars()).filter(moving).collect();
    let options: Vec<&str> =
        rows.clone().map(|row| sheet.text(row)).filter(|text| is_option(text)).map(label).collect();
    let mut fields = BTreeMap::new();
    if !options.is_empty() {
        fields.insert("options".to_owned(), cut(&options.join(" | ")));
    }
    if let Some(command) = command(sheet, view) {
        fields.insert("command".to_owned(), cut(&command));
    }
    let row = rows
        .clone()
        .find(|row| !sheet.is_blank(*row) && !sheet.text(*row).starts_with(['─', '╭']))
        .unwrap_or(rows.start);
    let line = sheet.text(row).trim().to_owned();
    Some(Dialog { key: hash::squeezed(&text), fields, choices: options.len() > 1, row, line })
}

fn cut(text: &str) -> String {
    text.chars().take(FIELD_CHARS).collect()
}

/// `› 1. Yes, proceed (y)` without glyph and number.
fn label(text: &str) -> &str {
    let text = text.trim_start_matches(['›', '❯', '●', '·', '>', ' ', '│']);
    text.split_once(". ").map_or(text, |(_, label)| label).trim()
}

/// Codex writes `$ command`; Claude Code under a heading; Gemini CLI right above its question.
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
        if text.starts_with("Allow execution of") {
            let above = (rows.start..row).rev().find(|row| {
                let text = clean(sheet.text(*row));
                !text.is_empty() && !text.starts_with(['╭', '╰', '─'])
            })?;
            return Some(clean(sheet.text(above)));
        }
    }
    None
}
