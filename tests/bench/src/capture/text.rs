//! The lines that the panes print, and what of them is on which row.
//!
//! Every row of every line carries a mark, `#PANE:LINE.PART`, so that each row can be looked for in the log by itself,
//! also when a line that wraps was caught only in part. The text follows from pane and number alone: the judge makes it
//! again and compares. Lines look like what builds, tests, servers and agents print: long and short ones, coloured ones,
//! wide characters, lines that wrap, blank rows in between.

use std::fmt::Write as _;

/// Columns of the panes that print these lines.
pub(crate) const COLS: usize = 80;
/// The last line of every workload but the recorded sessions.
pub(crate) const END: &str = "wa-bench: end of the workload";

/// What one row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A row of a numbered line.
    Mark { line: u32, part: u8 },
    /// A line of `seq`.
    Number(u32),
    /// [`END`].
    End,
}

const PHRASES: &[&str] = &[
    "   Compiling serde v1.0.229",
    "test observer::tests::a_restarted_node_goes_on_where_it_was ... ok",
    "error[E0308]: mismatched types: expected `usize`, found `Option<usize>`",
    "    let mut reader = BufReader::with_capacity(1 << 16, file);",
    "diff --git a/src/main.rs b/src/main.rs",
    "GET /api/v1/packages?page=3 200 in 41 ms",
    "    at Object.<anonymous> (/app/src/index.ts:42:13)",
    "warning: unused variable: `stage` (help: prefix it with an underscore)",
    "  ✓ wrote notes.txt → 3 lines",
    "• Ran cargo test -p parser (118 passed; 0 failed; finished in 2.31s)",
    "README.md                 | 14 ++++++--------",
    "日本語の行 and then some ascii",
];

/// Spreads the bits of a number (splitmix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// As a person reads it.
    pub(crate) plain: String,
    /// Around its text, for a coloured line.
    colour: Option<u8>,
    /// Screen rows that it takes.
    pub(crate) rows: u8,
    /// A blank row follows.
    pub(crate) blank_after: bool,
}

fn mark(pane: u32, line: u32, part: u8) -> String {
    format!("#{pane:03}:{line:07}.{part} ")
}

impl Line {
    /// Line `line` of a pane that prints as fast as it may.
    pub(crate) fn numbered(pane: u32, line: u32) -> Self {
        let dice = mix(u64::from(pane) << 32 | u64::from(line));
        let blank_after = dice >> 40 & 31 == 0;
        let colour = (dice >> 32 & 7 == 0).then(|| 31 + (dice >> 48) as u8 % 6);
        if dice.is_multiple_of(10) {
            let rows = 2 + (dice >> 8) as u8 % 3;
            return Self { plain: wrapping(pane, line, rows, dice), colour, rows, blank_after };
        }
        let phrase = PHRASES[(dice >> 16) as usize % PHRASES.len()];
        let room = COLS - mark(pane, line, 0).len() - 1;
        // Wide characters take two columns: at worst half of the room is used.
        let count = if phrase.is_ascii() { room } else { room / 2 };
        let text: String = phrase.chars().take(count).collect();
        Self { plain: format!("{}{text}", mark(pane, line, 0)), colour, rows: 1, blank_after }
    }

    /// As it is written to the terminal, its end included.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self.colour {
            Some(colour) => out.extend(format!("\x1b[{colour}m{}\x1b[0m", self.plain).bytes()),
            None => out.extend(self.plain.bytes()),
        }
        out.extend(if self.blank_after { b"\n\n".as_slice() } else { b"\n" });
    }
}

/// A line of so many rows, ASCII, with a mark at the beginning of each row.
fn wrapping(pane: u32, line: u32, rows: u8, dice: u64) -> String {
    let mut plain = String::new();
    for part in 0..rows {
        let width = if part + 1 < rows { COLS } else { 30 + (dice >> 24) as usize % 45 };
        let end = plain.len() + width;
        plain.push_str(&mark(pane, line, part));
        let mut word = 0;
        while plain.len() < end {
            // Writing to a String does not fail.
            write!(plain, "w{} ", (dice >> word) & 0xfff).ok();
            word = (word + 5) % 50;
        }
        plain.truncate(end);
    }
    // A blank at the end would be cut.
    plain.pop();
    plain.push('.');
    plain
}

/// What a pane prints, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    Numbered { pane: u32 },
    Seq,
}

impl Script {
    /// What stands on each row after so many lines and [`END`]; `None`: nothing.
    pub(crate) fn rows(self, lines: u32) -> Vec<Option<Key>> {
        let mut rows = Vec::with_capacity(lines as usize + 1);
        for line in 0..lines {
            match self {
                Self::Seq => rows.push(Some(Key::Number(line + 1))),
                Self::Numbered { pane } => {
                    let text = Line::numbered(pane, line);
                    rows.extend((0..text.rows).map(|part| Some(Key::Mark { line, part })));
                    rows.extend(text.blank_after.then_some(None));
                }
            }
        }
        rows.push(Some(Key::End));
        rows
    }

    /// The rows that a text of the log holds.
    pub(crate) fn keys(self, text: &str) -> Vec<Key> {
        if text.trim() == END {
            return vec![Key::End];
        }
        match self {
            Self::Seq => text.trim().parse().map(Key::Number).into_iter().collect(),
            Self::Numbered { pane } => marks(text, pane),
        }
    }

    /// Whether a text of the log that holds whole lines says what was printed; `None`: it holds a part of one.
    pub(crate) fn is_unaltered(self, text: &str, keys: &[Key]) -> Option<bool> {
        match (self, keys) {
            (Self::Numbered { pane }, [Key::Mark { line, part: 0 }, rest @ ..]) => {
                let expected = Line::numbered(pane, *line);
                (rest.len() + 1 == usize::from(expected.rows)).then(|| text == expected.plain.trim_end())
            }
            _ => None,
        }
    }
}

/// The marks of this pane in a text.
fn marks(text: &str, pane: u32) -> Vec<Key> {
    let own = format!("#{pane:03}:");
    let key = |(at, _): (usize, &str)| {
        let (line, part) = text.get(at + own.len()..at + own.len() + 9)?.split_once('.')?;
        Some(Key::Mark { line: line.parse().ok()?, part: part.parse().ok()? })
    };
    text.match_indices(&own).filter_map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_every_line_is_found_again() {
        let script = Script::Numbered { pane: 7 };
        for number in 0..5000 {
            let line = Line::numbered(7, number);
            let keys = script.keys(&line.plain);
            let wanted: Vec<_> = (0..line.rows).map(|part| Key::Mark { line: number, part }).collect();
            assert_eq!(keys, wanted, "{}", line.plain);
            assert_eq!(script.is_unaltered(line.plain.trim_end(), &keys), Some(true));
            assert!(line.plain.chars().count() <= COLS * usize::from(line.rows));
            assert!(line.plain.chars().count() > COLS * usize::from(line.rows - 1));
        }
    }

    #[test]
    fn lines_are_of_every_kind() {
        let lines: Vec<_> = (0..1000).map(|number| Line::numbered(1, number)).collect();
        assert!(lines.iter().any(|line| line.rows == 4) && lines.iter().any(|line| line.blank_after));
        assert!(lines.iter().any(|line| line.colour.is_some()));
        assert_ne!(Line::numbered(1, 5).plain, Line::numbered(2, 5).plain);
    }

    #[test]
    fn a_piece_of_a_line_holds_its_own_rows_only() {
        let line = (0..).map(|n| (n, Line::numbered(1, n))).find(|(_, line)| line.rows == 3).unwrap();
        let script = Script::Numbered { pane: 1 };
        let keys = script.keys(&line.1.plain[COLS..]);
        assert_eq!(keys.len(), 2);
        assert_eq!(script.is_unaltered(&line.1.plain[COLS..], &keys), None);
        assert!(Script::Numbered { pane: 2 }.keys(&line.1.plain).is_empty());
    }
}
