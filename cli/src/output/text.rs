//! Text from panes on its way to a terminal.
//!
//! A pane may hold anything that a program there wanted it to hold, so what is printed must not be able to drive the
//! reader's terminal: control characters (C0, DEL, C1) and the characters that turn the direction of text are shown
//! as escapes. Newline and tab stay where a whole text is printed and go where a table cell is. The one exception is
//! `wa screen --ansi`, which lets through the colours and attributes that our own node wrote, and nothing else.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

/// What besides printable characters may stand in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Newline and tab.
    Layout,
    /// Nothing: a cell of a table.
    Nothing,
}

/// Whether a terminal could take this character as an instruction.
fn drives_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

fn escape(out: &mut String, c: char) {
    // Writing to a String cannot fail.
    let _ = if (c as u32) < 0x100 {
        write!(out, "\\x{:02x}", c as u32)
    } else {
        write!(out, "\\u{{{:x}}}", c as u32)
    };
}

/// The text without anything that drives a terminal.
pub(crate) fn printable(text: &str, keep: Keep) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' if keep == Keep::Layout => out.push(c),
            '\t' => out.push(' '),
            c if drives_terminal(c) => escape(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

const RESET: &str = "\u{1b}[0m";

/// Length of the SGR sequence that begins here, in the form that our nodes write.
fn sgr_length(text: &str) -> Option<usize> {
    const MAX: usize = 96;
    let body = text.strip_prefix("\u{1b}[")?;
    let end = body.bytes().take(MAX).position(|b| !(b.is_ascii_digit() || b == b';'))?;
    (body.as_bytes()[end] == b'm').then_some(2 + end + 1)
}

/// A row with colours: SGR sequences stay, everything else that drives a terminal is escaped. Ends in a reset, so that
/// no row colours the next.
pub(crate) fn coloured_row(row: &str) -> String {
    let mut out = String::with_capacity(row.len() + 4);
    let mut rest = row;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = sgr_length(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if drives_terminal(c) {
            escape(&mut out, c)
        } else {
            out.push(c)
        }
        rest = &rest[c.len_utf8()..];
    }
    if out.contains('\u{1b}') && !out.ends_with(RESET) {
        out.push_str(RESET);
    }
    out
}

/// JSON text with the control characters escaped that JSON itself lets stand (DEL and C1). They can only occur in
/// strings, so the meaning stays.
pub(crate) fn quiet_json(json: String) -> String {
    if !json.contains(|c| matches!(c, '\u{7f}'..='\u{9f}')) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

/// Cells that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The part of the text that fits in so many cells.
pub(crate) fn clip(text: &str, cells: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > cells {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>().prop_map(String::from),
            (0_u32..0xa0).prop_filter_map("char", char::from_u32).prop_map(String::from),
            "\u{1b}\\[[0-9;:?<]{0,6}[@-~]",
            "\u{1b}\\]0;[a-z]{0,4}\u{7}",
            Just("\u{9b}31m".to_owned()),
            Just("\u{202e}".to_owned()),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_drives_the_terminal(text in hostile()) {
            prop_assert!(!printable(&text, Keep::Nothing).contains(drives_terminal));
            let kept = printable(&text, Keep::Layout);
            prop_assert!(!kept.contains(|c| drives_terminal(c) && c != '\n' && c != '\t'));
        }

        #[test]
        fn only_colours_come_through(text in hostile()) {
            let row = coloured_row(&text);
            for (at, _) in row.match_indices('\u{1b}') {
                let end = row[at..].find('m').unwrap();
                let codes = &row[at + 2..at + end];
                let opens = row[at..].starts_with("\u{1b}[");
                prop_assert!(opens);
                prop_assert!(codes.bytes().all(|b| b.is_ascii_digit() || b == b';'), "{codes:?}");
            }
            let quiet = !row.replace('\u{1b}', "").contains(drives_terminal);
            prop_assert!(quiet);
        }

        #[test]
        fn json_means_the_same(text in hostile()) {
            let quiet = quiet_json(serde_json::to_string(&text).unwrap());
            prop_assert!(!quiet.contains(char::is_control));
            prop_assert_eq!(serde_json::from_str::<String>(&quiet).unwrap(), text);
        }

        #[test]
        fn clipped_text_fits(text in any::<String>(), cells in 0_usize..20) {
            prop_assert!(width(clip(&text, cells)) <= cells);
        }
    }

    #[test]
    fn escapes_are_readable() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}b\tc\n", Keep::Nothing), "a\\x1b[2J\\x9bb c\\x0a");
        assert_eq!(printable("a\tb\nc", Keep::Layout), "a\tb\nc");
        assert_eq!(
            coloured_row("\u{1b}[1;38;5;9mé\u{1b}[0m\u{1b}]0;x\u{7}"),
            "\u{1b}[1;38;5;9mé\u{1b}[0m\\x1b]0;x\\x07\u{1b}[0m"
        );
    }
}
