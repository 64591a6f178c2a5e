//! Private keys: blocks of many lines.
//!
//! Constraints. A block may stand in a box, behind line numbers or the signs of a diff, in a string of a program; its
//! head may have been wrapped, its end may never come, and a screen may show a part of it only. Being inside a block
//! must therefore take nothing on trust: a row goes only when it looks like key material, and text closes the block.

use std::ops::Range;

use super::shape::simple_words;

/// A block is given up after this many rows: an RSA key of 16,384 bits has 200 lines, a narrow box makes many rows of it.
pub(super) const ROWS: u16 = 1024;
/// Bytes before `PRIVATE KEY` in which its head begins.
const LABEL: usize = 48;
/// Rows in sequence that could be material or a word.
const DOUBTS: u8 = 3;

/// An open block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Block {
    rows: u16,
    doubts: u8,
    /// A placeholder with the kind's length has been put.
    pub(super) named: bool,
    /// Bytes of the last two rows of material that differed: of whole rows and of what a wrap leaves of a line.
    widths: [usize; 2],
}

/// What a row is to an open block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    Material(Range<usize>),
    /// Nothing to take, the block goes on.
    Nothing,
    /// The end, with what stands before it; the block is over.
    End(Range<usize>),
    Outside,
}

impl Block {
    pub(super) fn read(&mut self, text: &str, body: &Range<usize>) -> Row {
        self.rows += 1;
        let mut row = row(text, body);
        if row == Row::Nothing
            && let Some(word) = last_word(&text[body.clone()])
            && self.is_of_it(&text[body.clone()][word.clone()])
        {
            row = Row::Material(body.start + word.start..body.start + word.end);
        }
        match &row {
            Row::Material(range) => {
                self.doubts = 0;
                if !self.widths.contains(&range.len()) {
                    self.widths = [range.len(), self.widths[0]];
                }
            }
            Row::Nothing if text[body.clone()].contains(char::is_alphanumeric) => self.doubts += 1,
            _ => {}
        }
        if self.rows > ROWS || self.doubts > DOUBTS { Row::Outside } else { row }
    }

    /// Of a narrow column of material some rows read as words: those of its widths are of it.
    fn is_of_it(&self, word: &str) -> bool {
        let width = word.len() >= 8 && self.widths.contains(&word.len());
        width && word.chars().all(base64) && !word.ends_with("--")
    }
}

/// Where the last word of a row stands.
fn last_word(content: &str) -> Option<Range<usize>> {
    let word = content.split(apart).rfind(|word| word.contains(char::is_alphanumeric))?;
    let word = word.trim_matches(['"', '\'', ',']);
    let at = content.rfind(word)?;
    Some(at..at + word.len())
}

fn row(text: &str, body: &Range<usize>) -> Row {
    let content = &text[body.clone()];
    if let Some(end) = end(content) {
        // What adjoins the end belongs to the key; so does a word of material before it.
        let start = content[..end.start].trim_end_matches(base64).len();
        let start = material(&content[..end.start]).map_or(start, |range| range.start.min(start));
        return Row::End(body.start + start..body.start + end.end);
    }
    if let Some(range) = material(content) {
        return Row::Material(body.start + range.start..body.start + range.end);
    }
    if !content.contains(char::is_alphanumeric) {
        return Row::Nothing;
    }
    let head =
        content.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, ' ' | '-'));
    let words = content.split(apart).filter(|word| word.contains(char::is_alphanumeric));
    let short = words.clone().count() <= 3
        && words.reduce(|_, last| last).is_some_and(|word| {
            word.len() < 16 && word.trim_matches(['"', '\'', ',', '\\']).chars().all(base64)
        });
    if head || short { Row::Nothing } else { Row::Outside }
}

/// What stands between words; editors put a line number and an arrow in front of a line.
fn apart(c: char) -> bool {
    c.is_whitespace() || matches!(c, '→' | '│' | '┃' | '|' | ':')
}

fn base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_' | '\\')
}

/// Reads as a word or a name. Key material of some length has signs, or both cases and digits in disorder; twelve
/// characters of it may still be capitals with a number behind, which nobody writes in the middle of a key.
fn a_word(word: &str) -> bool {
    let small = |part: &str| {
        let rest = part.strip_prefix(|c: char| c.is_ascii_uppercase()).unwrap_or(part);
        rest.bytes().all(|b| b.is_ascii_lowercase())
    };
    !word.contains(['+', '/', '=', '\\'])
        && simple_words(word)
        && (word.len() < 12 || word.split(['-', '_']).all(small))
}

/// The longest word, if it is key material; or a whole header line.
fn material(content: &str) -> Option<Range<usize>> {
    const HEADERS: &[&str] = &[
        "Proc-Type:",
        "DEK-Info:",
        "Version:",
        "Comment:",
        "Encryption:",
        "Private-MAC:",
        "Public-Lines:",
        "Private-Lines:",
    ];
    if let Some(at) = HEADERS.iter().find_map(|word| content.find(word)) {
        return Some(at..content.len());
    }
    let quotes = ['"', '\'', '`', ',', ';', ')'];
    let words = content.split(apart).filter(|word| word.contains(char::is_alphanumeric));
    let count = words.clone().count();
    let word = words.max_by_key(|word| word.len())?;
    let word = word.trim_start_matches(['"', '\'', '`', '(', '-']).trim_end_matches(quotes);
    let long = word.len() >= 32 || (word.len() >= 8 && count <= 3);
    let good = long && word.chars().all(base64) && !a_word(word);
    // What stands before it, a line number or a sign of a diff, stays.
    let at = content.find(word)?;
    good.then_some(at..at + word.len())
}

/// The line that ends a block, or its beginning.
fn end(content: &str) -> Option<Range<usize>> {
    let at = ["-----END", "---- END", "----END"].iter().find_map(|word| content.find(word))?;
    let from = at + 8;
    let rest = content.get(from..)?;
    let label = rest
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' '))
        .unwrap_or(rest.len());
    let dashes = rest[label..].bytes().take_while(|b| *b == b'-').count();
    Some(at..from + label + dashes)
}

/// The end of a private key, not of a certificate.
pub(super) fn ends(content: &str) -> bool {
    end(content).is_some_and(|range| content[range].contains("PRIVATE KEY"))
}

/// The line that begins a block: where it stands, and whether the text goes on as a string in a program does.
pub(super) fn head(text: &str, body: &Range<usize>) -> Option<Range<usize>> {
    let content = &text[body.clone()];
    if content.starts_with("PuTTY-User-Key-File") {
        return Some(body.clone());
    }
    if let Some(at) = content.find("b3BlbnNzaC1rZXktdjE") {
        return Some(body.start + at..body.start + at);
    }
    let words = content.rmatch_indices("PRIVATE KEY");
    words
        .into_iter()
        .find_map(|(at, word)| {
            let label = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
            let near = content.floor_char_boundary(at.saturating_sub(LABEL));
            let start = near + content[near..at].trim_end_matches(label).len();
            let before = &content[start..at];
            let begin = before.find("BEGIN");
            let dashes = content[..start].bytes().rev().take(5).take_while(|b| *b == b'-').count();
            let from = start - dashes;
            let mut stop = at + word.len();
            let rest = &content[stop..];
            if rest.starts_with(" BLOCK") || " BLOCK".starts_with(rest) {
                // Whole, or cut by the row's end.
                stop += rest.len().min(6);
            }
            stop += usize::from(content[stop..].starts_with(" --"));
            let dashes = content[stop..].bytes().take(5).take_while(|b| *b == b'-').count();
            let wrapped = from == 0 && dashes >= 2 && !before.contains("END");
            let whole = begin.is_some() && (dashes >= 1 || stop == content.len());
            let from = begin.filter(|_| from == start).map_or(from, |at| start + at);
            (whole || wrapped).then_some(body.start + from..body.start + stop + dashes)
        })
        .or_else(|| {
            // A head that the row's end cut.
            let at = content.rfind("-----BEGIN")?;
            let label = content[at + 10..].trim_start();
            let known = ["RSA ", "OPENSSH ", "EC ", "DSA ", "ENCRYPTED ", "PGP ", "PRIVATE KEY", ""];
            let fits = known.iter().any(|name| format!("{name}PRIVATE KEY").starts_with(label));
            fits.then_some(body.end..body.end)
        })
}

/// What of a whole block on one line goes: from the head to the end, if there is material between.
pub(super) fn inline(text: &str, head: &Range<usize>) -> Option<Range<usize>> {
    let rest = &text[head.end..];
    let stop = end(rest).map_or(rest.len(), |range| range.end);
    let between = &rest[..end(rest).map_or(rest.len(), |range| range.start)];
    // In a string of a program the lines end with a written `\n`.
    let lines = between.split(|c: char| !base64(c)).flat_map(|run| run.split("\\n"));
    let mut words = lines.map(|line| line.trim_matches('\\').trim_end_matches("\\r"));
    if !words.any(|word| word.len() >= 8 && !a_word(word)) {
        return None;
    }
    if stop < rest.len() || end(rest).is_some() {
        return Some(head.start..head.end + stop);
    }
    // No end on this line: as far as it looks like a key.
    let inside = |c: char| base64(c) || c == ' ';
    let length = between.find(|c| !inside(c)).unwrap_or(between.len());
    let length = between[..length].trim_end().len();
    Some(head.start..head.end + length)
}

/// A row of nothing but key material of a usual width.
pub(super) fn full_row(content: &str) -> bool {
    matches!(content.len(), 64 | 70 | 76) && content.chars().all(base64) && !simple_words(content)
}

/// Could be a row of key material above an end whose head is not seen.
pub(super) fn upward(text: &str, body: &Range<usize>) -> Option<Range<usize>> {
    match row(text, body) {
        Row::Material(range) => Some(range),
        Row::Nothing => Some(body.end..body.end),
        Row::End(_) | Row::Outside => None,
    }
}
