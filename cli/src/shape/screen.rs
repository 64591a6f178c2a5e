//! `wa.screen/1`: what a pane shows now.

use serde::Serialize;
use wa_proto::PaneAddress;
use wa_proto::wire::{Invalid, v1};

use super::need;
use crate::output::text::{Keep, coloured_row, printable};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ScreenView {
    schema: &'static str,
    pane: String,
    generation: String,
    title: String,
    cols: u32,
    /// Stable number of the first row.
    first_row: i64,
    cursor: Cursor,
    rows: Vec<String>,
    /// The rows with SGR escapes; only with `--ansi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ansi: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Cursor {
    /// Index into `rows`.
    row: u32,
    col: u32,
    visible: bool,
}

impl ScreenView {
    pub(crate) const SCHEMA: &'static str = "wa.screen/1";

    pub(crate) fn of(
        pane: &PaneAddress,
        response: v1::GetScreenResponse,
        ansi: bool,
    ) -> Result<Self, Invalid> {
        let screen = need("screen", response.screen)?;
        let at = need("screen.ref", screen.r#ref)?;
        let coloured = ansi.then(|| screen.rows.iter().map(|row| coloured_row(&row.ansi)).collect());
        Ok(Self {
            schema: Self::SCHEMA,
            pane: pane.to_string(),
            generation: at.generation,
            title: screen.title,
            cols: screen.cols,
            first_row: screen.first_row,
            cursor: Cursor { row: screen.cursor_row, col: screen.cursor_col, visible: screen.cursor_visible },
            rows: screen.rows.into_iter().map(|row| row.text).collect(),
            ansi: coloured,
        })
    }

    /// As a person sees it, row by row; blank rows at the end are left out.
    pub(crate) fn lines(&self) -> Vec<String> {
        let last = self.rows.iter().rposition(|row| !row.trim().is_empty()).map_or(0, |at| at + 1);
        match &self.ansi {
            Some(rows) => rows.iter().take(last).cloned().collect(),
            None => self.rows.iter().take(last).map(|row| printable(row, Keep::Nothing)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_colours_reach_the_terminal() {
        let row =
            |text: &str, ansi: &str| v1::ScreenRow { text: text.into(), wrapped: false, ansi: ansi.into() };
        let screen = v1::Screen {
            r#ref: Some(v1::PaneRef { mux: "main".into(), generation: "g".into(), pane_id: 1 }),
            rows: vec![row("hi\u{9b}2J", "\u{1b}[1mhi\u{1b}[0m\u{1b}[2J"), row("", "")],
            ..Default::default()
        };
        let response = v1::GetScreenResponse { screen: Some(screen), ..Default::default() };
        let pane = "web-1/1".parse().unwrap();
        let plain = ScreenView::of(&pane, response.clone(), false).unwrap();
        assert_eq!(plain.lines(), ["hi\\x9b2J"]);
        assert!(!serde_json::to_string(&plain).unwrap().contains("ansi"));
        let ansi = ScreenView::of(&pane, response, true).unwrap();
        assert_eq!(ansi.lines(), ["\u{1b}[1mhi\u{1b}[0m\\x1b[2J\u{1b}[0m"]);
    }
}
