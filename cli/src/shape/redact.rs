//! `wa.redacted/1` and `wa.redactions/1`: a line without its secrets, and what was taken from it.

use serde::Serialize;
use wa_match::Finding;

use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RedactedLine {
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: u64,
    pub(crate) text: String,
}

impl Shape for RedactedLine {
    const SCHEMA: &'static str = "wa.redacted/1";

    fn name(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    fn columns(_: bool) -> &'static [Column] {
        &[]
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![Cell::plain(&self.text)]
    }
}

/// One finding; never the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Redacted {
    file: String,
    /// From 1.
    line: u64,
    kind: String,
    /// Bytes of the line.
    start: usize,
    end: usize,
    replacement: String,
    why: String,
}

impl Redacted {
    pub(crate) fn of(file: &str, line: u64, finding: Finding) -> Self {
        let Finding { kind, start, end, replacement, why } = finding;
        Self { file: file.to_owned(), line, kind, start, end, replacement, why }
    }
}

impl Shape for Redacted {
    const SCHEMA: &'static str = "wa.redactions/1";

    fn name(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            column("FILE", 12),
            column("LINE", 5),
            column("KIND", 16),
            column("SPAN", 9),
            column("REPLACEMENT", 30),
            column("WHY", 6),
        ];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![
            Cell::plain(&self.file),
            Cell::plain(&self.line.to_string()),
            Cell::plain(&self.kind),
            Cell::plain(&format!("{}-{}", self.start, self.end)),
            Cell::plain(&self.replacement),
            Cell::plain(&self.why),
        ]
    }
}
