//! Text cut into rows, as agents do it: between words where that is possible.

use unicode_segmentation::UnicodeSegmentation as _;
use wa_mux::codec::cell_width;

/// The rows of a text, each made by `row`, which is told whether it is the first.
pub(super) fn hang(text: &str, width: usize, mut row: impl FnMut(bool, &str) -> String) -> Vec<String> {
    wrap(text, width).iter().enumerate().map(|(at, line)| row(at == 0, line)).collect()
}

/// Cuts a text into rows, between words where that is possible. At least one row.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.split('\n') {
        let mut row = String::new();
        let mut used = 0;
        for word in line.split_inclusive(' ') {
            let wanted = columns(word.trim_end());
            if used > 0 && used + wanted > width {
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
            for grapheme in word.graphemes(true).filter(|g| !g.chars().any(char::is_control)) {
                let wide = cell_width(grapheme) as usize;
                if used + wide > width {
                    if grapheme == " " {
                        continue;
                    }
                    rows.push(std::mem::take(&mut row));
                    used = 0;
                }
                row.push_str(grapheme);
                used += wide;
            }
        }
        rows.push(row);
    }
    rows
}

/// Cells that a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.graphemes(true).map(|g| cell_width(g) as usize).sum()
}

/// The text with blanks up to this many cells; a longer one stays as it is.
pub(super) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// As much of the text as fits into so many cells.
pub(super) fn cut(text: &str, width: usize) -> String {
    let mut used = 0;
    let fits = |grapheme: &&str| {
        used += cell_width(grapheme) as usize;
        used <= width
    };
    text.graphemes(true).take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_between_words() {
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("one two three", 8), ["one two ", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("漢字漢字", 5), ["漢字", "漢字"]);
        assert_eq!(wrap("a\n\nb", 5), ["a", "", "b"]);
        assert_eq!((pad("漢", 4), pad("long", 2)), ("漢  ".to_owned(), "long".to_owned()));
        assert_eq!((cut("a漢字", 3), cut("ab", 9), cut("a", 0)), ("a漢".into(), "ab".into(), String::new()));
    }
}
