//! What `wezterm cli` prints, read. All of it is untrusted; keys that are not known here are passed over.

use serde::Deserialize;

/// One pane as `wezterm cli list --format json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CliPane {
    pub window_id: u64,
    pub tab_id: u64,
    pub pane_id: u64,
    #[serde(default)]
    pub workspace: String,
    pub size: CliSize,
    #[serde(default)]
    pub title: String,
    /// A URL; empty when it is not known.
    #[serde(default)]
    pub cwd: String,
    #[serde(default)]
    pub cursor_x: u64,
    /// Row of the viewport from 0; may lie outside.
    #[serde(default)]
    pub cursor_y: i64,
    #[serde(default)]
    pub tab_title: String,
    #[serde(default)]
    pub window_title: String,
    #[serde(default)]
    pub is_active: bool,
    #[serde(default)]
    pub tty_name: Option<String>,
}

/// The size of a pane in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct CliSize {
    pub rows: u64,
    pub cols: u64,
}

pub(super) fn list(output: &[u8]) -> Result<Vec<CliPane>, serde_json::Error> {
    serde_json::from_slice(output)
}

/// The rows of `get-text`, at most `rows` of them, without control characters.
pub(super) fn text(output: &[u8], rows: u64) -> Vec<String> {
    String::from_utf8_lossy(output)
        .lines()
        .take(usize::try_from(rows).unwrap_or(usize::MAX))
        .map(|line| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
        .collect()
}

/// The point of an error: without time stamp, program name and "terminating", in one line.
pub(super) fn failure(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let text = text.split_once("ERROR  wezterm > ").map_or(&*text, |(_, rest)| rest);
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ");
    let line = line.strip_suffix("; terminating").unwrap_or(&line);
    if line.is_empty() { "no message".to_owned() } else { line.to_owned() }
}
