//! How well a log tells a session.
//!
//! - *Exactness*, in screen rows of the primary screen: every row that ever left the viewport is in a line of the log
//!   that reads as the row last did, or in a gap, or in a repaint whose text the log has.
//! - *Doubled*: a row was stored with the same text more often than it came to read so.
//! - *Stood*: what stood for a second outside the live area, on either screen, and whether the log a reader sees has it.
//! - *Lines a person would have read*. On the primary screen: every logical line that was ever printed, as it last read,
//!   and beside it what stood in its place for a second (a screen that was cleared later). On an
//!   alternate screen, which has no history: the rows that stood for a fifth of a second (text
//!   scrolls away there), frame by frame, of each frame those that
//!   follow what the frames before it showed, or are not in it at all. Blank lines are no lines, and neither is what stands from the agent's live area or the
//!   cursor on.
//! - *Present*: how many of the lines of the final history and the final screen are in the log, in order (longest common
//!   subsequence); of rows that were recorded as a repaint, whether the log has the text.
//! - *Stored*: all lines and revisions that were stored, blank ones left out, lines that were taken back counted.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use wa_proto::Line;

/// Rows that a frame of an alternate screen is compared with.
const RECENT: usize = 400;

use super::node::{Node, Stored};
use super::pane::Pane;

#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Figures {
    /// Rows that left the viewport.
    pub(crate) printed: i64,
    pub(crate) captured: i64,
    pub(crate) gapped: i64,
    pub(crate) repainted: i64,
    /// Rows that are nowhere, with what they read.
    pub(crate) missing: Vec<(i64, String)>,
    pub(crate) doubled: Vec<(i64, String)>,
    /// Rows whose log reads differently: row, log, truth.
    pub(crate) wrong: Vec<(i64, String, String)>,
}

/// The text of an alternate screen: its frames, put together.
#[derive(Debug, Default)]
pub(crate) struct Stood {
    /// Rows of the last frame outside the live area, and since when they stood.
    rows: Vec<(String, i64)>,
    text: Vec<String>,
    /// How many of a text stood there for a second at the same time, at most.
    long: BTreeMap<String, usize>,
}

impl Stood {
    /// The rows of an alternate screen outside the live area at this moment, in milliseconds. They may have scrolled.
    pub(crate) fn note(&mut self, rows: Vec<String>, now: i64) {
        let mut before: HashMap<String, VecDeque<i64>> = HashMap::new();
        for (text, since) in std::mem::take(&mut self.rows) {
            before.entry(text).or_default().push_back(since);
        }
        let (mut stood, mut long) = (Vec::new(), BTreeMap::<String, usize>::new());
        for text in rows.into_iter().filter(|text| !text.trim().is_empty()) {
            let since = before.get_mut(&text).and_then(VecDeque::pop_front).unwrap_or(now);
            if now - since >= 200 {
                stood.push(text.clone());
            }
            if now - since >= 1000 {
                *long.entry(text.clone()).or_default() += 1;
            }
            self.rows.push((text, since));
        }
        for (text, count) in long {
            let most = self.long.entry(text).or_default();
            *most = (*most).max(count);
        }
        let recent = &self.text[self.text.len().saturating_sub(RECENT)..];
        let there = in_order(&stood, recent);
        let end = there.iter().rposition(|there| *there).map_or(0, |last| last + 1);
        let is_new = |at: usize| !there[at] && (at >= end || !recent.contains(&stood[at]));
        let new: Vec<String> =
            (0..stood.len()).filter(|at| is_new(*at)).map(|at| stood[at].clone()).collect();
        self.text.extend(new);
    }

    pub(crate) fn read(&self) -> usize {
        self.text.len()
    }

    /// How many stood for a second, and those that the log lacks.
    pub(crate) fn unlogged(&self, node: &Node) -> (usize, Vec<String>) {
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for line in node.texts() {
            *told.entry(line).or_default() += 1;
        }
        let lacks = |(text, count): (&String, &usize)| {
            let lacking = count.saturating_sub(told.get(text).copied().unwrap_or(0));
            std::iter::repeat_n(text.clone(), lacking)
        };
        (self.long.values().sum(), self.long.iter().flat_map(lacks).collect())
    }
}

/// What stood on the primary screen, by first row of the line.
#[derive(Debug, Default)]
pub(crate) struct Printed {
    lines: BTreeMap<i64, BTreeSet<String>>,
    /// What stands there now, and since when.
    shown: BTreeMap<i64, (String, i64)>,
}

impl Printed {
    /// The lines above row `end` at this moment, in milliseconds.
    pub(crate) fn note(&mut self, pane: &Pane, end: i64, now: i64) {
        let top = pane.terminal.dimensions().physical_top;
        let mut before = std::mem::take(&mut self.shown);
        for (row, text) in pane.lines_between(top, end) {
            let since = before.remove(&row).filter(|(was, _)| *was == text).map_or(now, |(_, since)| since);
            if now - since >= 1000 {
                self.lines.entry(row).or_default().insert(text.clone());
            }
            self.shown.insert(row, (text, since));
        }
    }

    /// How many stood for a second so far, and those that the log lacks.
    pub(crate) fn unlogged(&self, node: &Node) -> (usize, Vec<String>) {
        let told: BTreeSet<String> = node.texts().into_iter().collect();
        let texts: Vec<&String> = self.lines.values().flatten().collect();
        (texts.len(), texts.into_iter().filter(|text| !told.contains(*text)).cloned().collect())
    }

    /// The session is over: everything above row `end`.
    pub(crate) fn note_all(&mut self, pane: &Pane, end: i64) {
        for (row, text) in pane.lines_between(0, end) {
            self.lines.entry(row).or_default().insert(text);
        }
    }

    /// How many they are. What the log records as printed again a person has read once.
    pub(crate) fn read(&self, node: &Node) -> usize {
        let (owners, _) = owners(node, None);
        let again = |row: &i64| matches!(owners.get(row), Some(Owner::Repaint));
        self.lines.iter().map(|(row, texts)| texts.len() - usize::from(again(row))).sum()
    }
}

/// Who has each row of the primary screen in the end.
enum Owner {
    Line,
    Gap,
    Repaint,
}

/// `pane`: where a page came back, its lines count as they were logged before.
fn owners(node: &Node, pane: Option<&Pane>) -> (BTreeMap<i64, Owner>, BTreeMap<i64, Line>) {
    let mut owners = BTreeMap::new();
    let mut lines: BTreeMap<i64, Line> = BTreeMap::new();
    let mut layouts: BTreeMap<i64, u64> = BTreeMap::new();
    for stored in &node.store {
        match stored {
            Stored::Line(layout, line) if !node.alternates.contains(layout) => {
                let rows = line.row..line.row + i64::from(line.rows.max(1));
                for row in rows.skip(1) {
                    // A line of the page before.
                    if layouts.get(&row).is_some_and(|other| other != layout) {
                        lines.remove(&row);
                    }
                }
                let before = lines.get(&line.row).filter(|_| layouts.get(&line.row) != Some(layout));
                let back = before.zip(pane).is_some_and(|(before, pane)| {
                    before.text == pane.line_at(line.row).0 && before.text != line.text
                });
                if !back {
                    layouts.insert(line.row, *layout);
                    lines.insert(line.row, line.clone());
                }
                owners.extend((line.row..line.row + i64::from(line.rows)).map(|row| (row, Owner::Line)));
            }
            Stored::Gap(gap) => {
                if let (Some(first), Some(rows)) = (gap.first_row, gap.rows) {
                    owners.extend((first..first + i64::try_from(rows).unwrap()).map(|row| (row, Owner::Gap)));
                }
            }
            Stored::Repaint(repaint) => {
                let rows = repaint.first_row..repaint.first_row + i64::from(repaint.rows);
                rows.clone().for_each(|row| drop(lines.remove(&row)));
                owners.extend(rows.map(|row| (row, Owner::Repaint)));
            }
            Stored::Line(..) => {}
        }
    }
    (owners, lines)
}

/// Lines stored more often than their row came to read so: what was wiped and printed again stands there twice.
fn doubled(node: &Node, pane: &Pane) -> Vec<(i64, String)> {
    let mut stored: BTreeMap<(i64, &str), usize> = BTreeMap::new();
    for line in &node.store {
        let Stored::Line(layout, line) = line else { continue };
        if line.rows > 0 && !line.text.trim().is_empty() && !node.alternates.contains(layout) {
            *stored.entry((line.row, &line.text)).or_default() += 1;
        }
    }
    let came = |row: i64, text: &str| {
        let begins = |(_, head): &&(i64, String)| text.starts_with(head.as_str()) && !head.is_empty();
        let heads = pane.times.range((row, String::new())..(row + 1, String::new()));
        heads.filter(|(key, _)| begins(key)).map(|(_, times)| *times).max().unwrap_or(0)
    };
    let often = stored.into_iter().filter(|((row, text), times)| {
        let came = came(*row, text);
        // What was never there is the text of an alternate screen.
        *times > came && came > 0
    });
    often.map(|((row, text), _)| (row, text.to_owned())).collect()
}

/// The rows of the primary screen, each once?
pub(crate) fn exactness(node: &Node, pane: &Pane) -> Figures {
    let mut figures = Figures { printed: pane.printed, ..Figures::default() };
    figures.doubled = doubled(node, pane);
    let (owners, lines) = owners(node, Some(pane));
    for (row, line) in &lines {
        let truth = pane.line_at(*row).0;
        let owned = matches!(owners.get(row), Some(Owner::Line));
        // A page began within it.
        let cut = lines.range(*row + 1..*row + i64::from(line.rows.max(1))).next().is_some();
        if owned && !cut && line.rows > 0 && *row < pane.printed && line.text != truth {
            figures.wrong.push((*row, line.text.clone(), truth));
        }
    }
    let told: BTreeSet<&str> = all_texts(node).collect();
    for row in 0..pane.printed {
        let text = || pane.truth.get(&row).map_or(String::new(), |(text, _)| text.trim_end().to_owned());
        match owners.get(&row) {
            Some(Owner::Line) => figures.captured += 1,
            Some(Owner::Gap) => figures.gapped += 1,
            Some(Owner::Repaint) => {
                figures.repainted += 1;
                let text = pane.line_at(row).0;
                let head = row == 0 || !pane.truth.get(&(row - 1)).is_some_and(|(_, wrapped)| *wrapped);
                if head && !text.trim().is_empty() && !told.contains(text.as_str()) {
                    figures.wrong.push((row, "(repaint)".into(), text));
                }
            }
            None => figures.missing.push((row, text())),
        }
    }
    figures
}

/// The lines of the final history and screen above row `end` that the log lacks.
pub(crate) fn lacking(node: &Node, pane: &Pane, end: i64) -> (usize, Vec<String>) {
    let (owners, _) = owners(node, Some(pane));
    let told: BTreeSet<&str> = all_texts(node).collect();
    let wanted = pane.lines_between(0, end);
    let is_repaint = |row: &i64| matches!(owners.get(row), Some(Owner::Repaint));
    let mut lacking: Vec<String> = wanted
        .iter()
        .filter(|(row, text)| is_repaint(row) && !told.contains(text.as_str()))
        .map(|(_, text)| text.clone())
        .collect();
    let in_order: Vec<String> =
        wanted.iter().filter(|(row, _)| !is_repaint(row)).map(|(_, text)| text.clone()).collect();
    lacking.extend(absent(&in_order, &read_in_order(node, pane)));
    (wanted.len(), lacking)
}

fn all_texts(node: &Node) -> impl Iterator<Item = &str> {
    node.store.iter().filter_map(|stored| match stored {
        Stored::Line(_, line) => Some(line.text.as_str()),
        _ => None,
    })
}

/// Texts of the log of the primary screen in the order of their rows, blank ones left out. Repaints are not in it.
fn read_in_order(node: &Node, pane: &Pane) -> Vec<String> {
    let (_, lines) = owners(node, Some(pane));
    let shown = lines.into_values().filter(|line| line.rows > 0 && !line.text.trim().is_empty());
    shown.map(|line| line.text).collect()
}

/// Stored lines: every revision that shows something or takes one back.
pub(crate) fn stored_lines(node: &Node) -> usize {
    let counts = |stored: &&Stored| matches!(stored, Stored::Line(_, line) if line.rows == 0 || !line.text.trim().is_empty());
    node.store.iter().filter(counts).count()
}

fn absent(wanted: &[String], log: &[String]) -> Vec<String> {
    let there = in_order(wanted, log);
    wanted.iter().zip(there).filter(|(_, there)| !there).map(|(text, _)| text.clone()).collect()
}

/// Which of `wanted` are in `log` in order: the longest common subsequence.
fn in_order(wanted: &[String], log: &[String]) -> Vec<bool> {
    let (rows, cols) = (wanted.len(), log.len());
    let mut best = vec![vec![0_u32; cols + 1]; rows + 1];
    for i in (0..rows).rev() {
        for j in (0..cols).rev() {
            best[i][j] =
                if wanted[i] == log[j] { best[i + 1][j + 1] + 1 } else { best[i + 1][j].max(best[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, vec![false; rows]);
    while i < rows && j < cols {
        if wanted[i] == log[j] {
            out[i] = true;
            (i, j) = (i + 1, j + 1);
        } else if best[i][j + 1] > best[i + 1][j] {
            j += 1;
        } else {
            i += 1;
        }
    }
    out
}
