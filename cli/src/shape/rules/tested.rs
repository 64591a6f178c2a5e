//! `wa.rules_test/1`: a pack that was tried, and its first mistake.

use anstyle::AnsiColor;
use serde::Serialize;
use wa_match::{Engine, PackError, PackInfo};

use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};
use crate::shape::or_dash;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PackTest {
    /// Null for a built-in pack.
    file: Option<String>,
    /// Null where packs failed together.
    pack: Option<String>,
    pub(crate) ok: bool,
    /// Null where it does not load.
    rules: Option<usize>,
    examples: Option<usize>,
    counters: Option<usize>,
    /// Of the mistake.
    line: Option<usize>,
    rule: Option<String>,
    problem: Option<String>,
}

impl PackTest {
    pub(crate) fn passed(file: Option<&str>, pack: &PackInfo, engine: &Engine) -> Self {
        let rules = || engine.rules().filter(|rule| rule.pack == pack.name && rule.shadow == pack.shadow);
        Self {
            ok: true,
            rules: Some(pack.rules),
            examples: Some(rules().map(|rule| rule.examples).sum()),
            counters: Some(rules().map(|rule| rule.counters).sum()),
            ..Self::empty(file, &pack.name)
        }
    }

    pub(crate) fn failed(file: Option<&str>, pack: &str, error: &PackError) -> Self {
        // A pack may break one that is built in: then that is the one to name.
        let in_other = |other: &str| if other == pack { String::new() } else { format!("in pack {other}: ") };
        let (line, rule, problem) = match error {
            PackError::Syntax { pack, line, path, problem } => {
                (*line, None, format!("{}{path}: {problem}", in_other(pack)))
            }
            PackError::Rule { pack, line, rule, problem } => {
                (*line, Some(rule.clone()), format!("{}{problem}", in_other(pack)))
            }
            PackError::Set { problem } => (None, None, problem.clone()),
        };
        Self { line, rule, problem: Some(problem), ..Self::empty(file, pack) }
    }

    /// Packs that are good alone.
    pub(crate) fn together(packs: &[String], error: &PackError) -> Self {
        let problem = format!("{} together: {error}", packs.join(", "));
        Self { pack: None, problem: Some(problem), ..Self::empty(None, "") }
    }

    /// It loaded, and is not there.
    pub(crate) fn unknown(file: &str, pack: &str) -> Self {
        Self { problem: Some("it is not in force".to_owned()), ..Self::empty(Some(file), pack) }
    }

    fn empty(file: Option<&str>, pack: &str) -> Self {
        Self {
            file: file.map(str::to_owned),
            pack: Some(pack.to_owned()).filter(|pack| !pack.is_empty()),
            ok: false,
            rules: None,
            examples: None,
            counters: None,
            line: None,
            rule: None,
            problem: None,
        }
    }

    fn result(&self) -> Cell {
        let Some(problem) = &self.problem else {
            return Cell::styled("ok", AnsiColor::Green.on_default());
        };
        let mut words = String::new();
        words.extend(self.line.map(|line| format!("line {line}: ")));
        words.extend(self.rule.iter().map(|rule| format!("rule {rule}: ")));
        Cell::styled(&(words + problem), AnsiColor::Red.on_default())
    }
}

impl Shape for PackTest {
    const SCHEMA: &'static str = "wa.rules_test/1";

    fn name(&self) -> String {
        self.file.clone().or_else(|| self.pack.clone()).unwrap_or_default()
    }

    fn columns(_: bool) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            column("PACK", 8),
            column("RULES", 5),
            column("EXAMPLES", 8),
            column("COUNTERS", 8),
            column("FILE", 8),
            column("RESULT", 6),
        ];
        COLUMNS
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        let count = |count: Option<usize>| Cell::plain(or_dash(count.map(|n| n.to_string()).as_deref()));
        vec![
            Cell::plain(or_dash(self.pack.as_deref())),
            count(self.rules),
            count(self.examples),
            count(self.counters),
            Cell::plain(or_dash(self.file.as_deref())),
            self.result(),
        ]
    }
}
