//! What a search for words means, in one place for the index and for the check of each hit.
//!
//! A query is a list of terms, separated by blanks; "double quotes" make one term of several words. A line matches when
//! it holds every term. Nothing in a query is syntax: `AND`, `*`, `-`, `:` and `/` stand for themselves.
//!
//! - Case does not matter, and neither do the accents of Latin letters (`cafe` finds `Café`).
//! - A term begins and ends at the edge of a word: `main` does not find `maintain`; but it finds `src/main.rs`, for
//!   only letters and digits make words.
//! - Punctuation inside a term must stand in the line as it was typed: `src/main.rs`, `foo_bar`, `--resume`. Blanks
//!   inside a quoted term stand for any run of blanks and punctuation, so `"exit code 1"` finds `exit code: 1`.
//! - Chinese, Japanese and Korean are written without blanks: there each character counts as a word.
//!
//! The full-text index holds the same folding: [`index_text`] is what it is given, [`Query::index_query`] what it is
//! asked. It yields candidates; [`Query::spans`] decides, and says where.

/// One character of a folded text and the bytes of the original that it stands for.
#[derive(Debug, Clone, Copy)]
struct Folded {
    c: char,
    start: usize,
    end: usize,
}

/// Ideographs, kana and hangul syllables: each is a word of its own.
fn is_cjk(c: char) -> bool {
    matches!(u32::from(c),
        0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff | 0xff66..=0xff9f
        | 0x20000..=0x323af)
}

/// Part of a word that is written with others.
fn is_joined(c: char) -> bool {
    c.is_alphanumeric() && !is_cjk(c)
}

/// Latin-1 and Latin Extended-A from U+00C0 to U+017F without their marks; a blank keeps the letter.
const LATIN: &str = concat!(
    "aaaaaa ceeeeiiii nooooo  uuuuy  aaaaaa ceeeeiiii nooooo  uuuuy y",
    "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiii  jjkk lllllll",
    "lllnnnnnnnnnoooooo  rrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzz "
);

/// Adds the folded form of one character; combining marks vanish.
fn fold_char(c: char, mut add: impl FnMut(char)) {
    if c.is_ascii() {
        return add(c.to_ascii_lowercase());
    }
    let code = u32::from(c);
    if (0x300..=0x36f).contains(&code) {
        return;
    }
    if let Some(at) = code.checked_sub(0xc0)
        && let Some(&letter) = usize::try_from(at).ok().and_then(|at| LATIN.as_bytes().get(at))
        && letter != b' '
    {
        return add(char::from(letter));
    }
    for lower in c.to_lowercase().filter(|lower| !(0x300..=0x36f).contains(&u32::from(*lower))) {
        add(lower);
    }
}

fn fold(text: &str) -> Vec<Folded> {
    let mut out = Vec::with_capacity(text.len());
    for (start, c) in text.char_indices() {
        let end = start + c.len_utf8();
        let before = out.len();
        fold_char(c, |c| out.push(Folded { c, start, end }));
        // A mark belongs to the letter before it.
        if out.len() == before
            && let Some(last) = out.last_mut()
        {
            last.end = end;
        }
    }
    out
}

/// What the full-text index is given for a line: folded words, one blank between them, empty if there is none.
pub(crate) fn index_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    index_text_into(text, &mut out);
    out
}

/// The same, in the place of what `out` held. Every line that is logged goes through here, and nearly all of it is ASCII:
/// runs of that are copied whole.
pub(crate) fn index_text_into(text: &str, out: &mut String) {
    out.clear();
    let mut in_word = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let run = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        if run > 0 {
            if !out.is_empty() && !in_word {
                out.push(' ');
            }
            let from = out.len();
            out.push_str(&rest[..run]);
            out[from..].make_ascii_lowercase();
            in_word = true;
            rest = &rest[run..];
            continue;
        }
        fold_char(c, |c| {
            if !c.is_alphanumeric() {
                in_word = false;
                return;
            }
            if !out.is_empty() && (!in_word || is_cjk(c)) {
                out.push(' ');
            }
            out.push(c);
            in_word = !is_cjk(c);
        });
        rest = &rest[c.len_utf8()..];
    }
}

/// The letters and digits of a text, folded, with nothing between them: what stays of it however it is wrapped, framed or
/// marked up.
pub(crate) fn squeeze(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        fold_char(c, |c| {
            if c.is_alphanumeric() {
                out.push(c);
            }
        });
    }
    out
}

/// How much a squeezed text tells: 1 for a letter or digit, 3 for a character that is a word of its own.
pub(crate) fn weight(squeezed: &str) -> usize {
    squeezed.chars().map(|c| if is_cjk(c) { 3 } else { 1 }).sum()
}

/// A checked query of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    terms: Vec<Vec<char>>,
}

/// No line is searched for more than this.
const MAX_TERMS: usize = 32;
const MAX_BYTES: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    #[error("the query is empty: give a word, a \"phrase\", a path, or a regular expression with -e")]
    Empty,
    #[error("the query is too long: at most {MAX_TERMS} terms and {MAX_BYTES} bytes")]
    TooLong,
}

impl Query {
    pub fn parse(text: &str) -> Result<Self, InvalidQuery> {
        if text.len() > MAX_BYTES {
            return Err(InvalidQuery::TooLong);
        }
        let mut terms = Vec::new();
        for (at, part) in text.split('"').enumerate() {
            // Every second part stands between quotes; a quote without its partner counts for nothing.
            if at % 2 == 1 {
                terms.push(part);
            } else {
                terms.extend(part.split_whitespace());
            }
        }
        let fold_term = |term: &str| fold(term.trim()).into_iter().map(|folded| folded.c).collect::<Vec<_>>();
        let terms: Vec<_> = terms.into_iter().map(fold_term).filter(|term| !term.is_empty()).collect();
        match terms.len() {
            0 => Err(InvalidQuery::Empty),
            1..=MAX_TERMS => Ok(Self { terms }),
            _ => Err(InvalidQuery::TooLong),
        }
    }

    /// The question for the index: one quoted phrase per term. `None` when no term has a word in it; then every line is
    /// a candidate.
    pub(crate) fn index_query(&self) -> Option<String> {
        let phrases: Vec<String> = self
            .terms
            .iter()
            .map(|term| index_text(&term.iter().collect::<String>()))
            .filter(|words| !words.is_empty())
            .map(|words| format!("\"{words}\""))
            .collect();
        if phrases.is_empty() { None } else { Some(phrases.join(" AND ")) }
    }

    /// Where the terms stand, as byte ranges of `text`, in order and not overlapping. Empty: the line does not match.
    pub fn spans(&self, text: &str) -> Vec<(usize, usize)> {
        let folded = fold(text);
        let mut spans = Vec::new();
        for term in &self.terms {
            let before = spans.len();
            let mut at = 0;
            while at < folded.len() {
                match match_at(term, &folded, at) {
                    Some(end) => {
                        spans.push((folded[at].start, folded[end - 1].end));
                        at = end;
                    }
                    None => at += 1,
                }
            }
            if spans.len() == before {
                return Vec::new();
            }
        }
        spans.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::with_capacity(spans.len());
        for (start, end) in spans {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged
    }
}

/// Where a match of the term that begins at `at` ends; never empty.
fn match_at(term: &[char], text: &[Folded], at: usize) -> Option<usize> {
    let first = *term.first()?;
    if is_joined(first) && at > 0 && is_joined(text[at - 1].c) {
        return None;
    }
    let (mut want, mut end) = (0, at);
    while let Some(&c) = term.get(want) {
        if c.is_whitespace() {
            let blanks = term[want..].iter().take_while(|c| c.is_whitespace()).count();
            let skipped = text[end..].iter().take_while(|folded| !folded.c.is_alphanumeric()).count();
            // Punctuation after the blank is matched by itself, so stop before it.
            let next = term.get(want + blanks).copied();
            let run = match next.filter(|next| !next.is_alphanumeric()) {
                Some(next) => text[end..end + skipped].iter().position(|folded| folded.c == next)?,
                None => skipped,
            };
            if run == 0 {
                return None;
            }
            want += blanks;
            end += run;
        } else {
            if text.get(end)?.c != c {
                return None;
            }
            want += 1;
            end += 1;
        }
    }
    let last = *term.last()?;
    if is_joined(last) && text.get(end).is_some_and(|next| is_joined(next.c)) {
        return None;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(query: &str, text: &str) -> Vec<String> {
        let spans = Query::parse(query).unwrap().spans(text);
        spans.into_iter().map(|(start, end)| text[start..end].to_owned()).collect()
    }

    #[test]
    fn the_table_is_as_long_as_its_range() {
        assert_eq!(LATIN.len(), 0x180 - 0xc0);
        for (from, to) in
            [('é', 'e'), ('Ü', 'u'), ('ñ', 'n'), ('ÿ', 'y'), ('Ł', 'l'), ('ž', 'z'), ('ő', 'o'), ('ğ', 'g')]
        {
            let mut out = Vec::new();
            fold_char(from, |c| out.push(c));
            assert_eq!(out, [to], "{from}");
        }
        for kept in ['æ', 'ø', 'ß', '×', 'þ'] {
            let mut out = Vec::new();
            fold_char(kept, |c| out.push(c));
            assert_eq!(out, [kept], "{kept}");
        }
    }

    #[test]
    fn finds_what_people_type() {
        assert_eq!(found("main", "src/main.rs: maintain Main"), ["main", "Main"]);
        assert_eq!(found("src/main.rs", "open SRC/Main.rs now, not src main rs"), ["SRC/Main.rs"]);
        assert_eq!(found("foo_bar", "foo_bar foo-bar foo_bars"), ["foo_bar"]);
        assert_eq!(found("\"exit code 1\"", "exit  code: 1, exit code 12"), ["exit  code: 1"]);
        assert_eq!(found("--resume", "codex --resume x"), ["--resume"]);
        assert_eq!(found("cafe", "Café CAFE\u{301} cafés"), ["Café", "CAFE\u{301}"]);
        assert_eq!(found("019bcea5-acb4", "id 019bcea5-acb4-77"), ["019bcea5-acb4"]);
        assert_eq!(found("限制", "已达到使用限制。"), ["限制"]);
        assert_eq!(found("a b", "b, then a"), ["b", "a"]);
        assert_eq!(found("a b", "only a"), Vec::<String>::new());
        assert_eq!(found("|", "a | b"), ["|"]);
        assert_eq!(found("\"open quote", "an open quote"), ["open quote"]);
    }

    #[test]
    fn nothing_is_syntax() {
        for (query, text) in [
            ("AND", "this and that"),
            ("a*", "a* star"),
            ("NEAR(a b)", "near(a b)"),
            ("words:x", "words:x"),
            ("x OR y", "x or y"),
            ("{a} ^b", "{a} ^b"),
            ("';DROP", "'; ';drop"),
        ] {
            assert!(!found(query, text).is_empty(), "{query}");
        }
        for query in ["", "  ", "\"\"", "\" \""] {
            assert_eq!(Query::parse(query), Err(InvalidQuery::Empty), "{query:?}");
        }
    }

    /// Character by character, as it is meant.
    fn index_text_slowly(text: &str) -> String {
        let mut words = String::new();
        let mut in_word = false;
        for folded in fold(text) {
            if folded.c.is_alphanumeric() && !words.is_empty() && (!in_word || is_cjk(folded.c)) {
                words.push(' ');
            }
            words.extend(folded.c.is_alphanumeric().then_some(folded.c));
            in_word = is_joined(folded.c);
        }
        words
    }

    proptest! {
        #[test]
        fn runs_are_indexed_as_their_characters_are(text in "[a-cX-Z0-9 ./_\u{301}éß限İ語-]{0,40}|\\PC{0,40}") {
            prop_assert_eq!(index_text(&text), index_text_slowly(&text));
        }

        #[test]
        fn a_piece_between_blanks_is_found_in_its_text(
            head in "\\PC{0,20}", term in "[a-z0-9_./:äéß限-]{1,12}", tail in "\\PC{0,20}",
        ) {
            let text = format!("{head} {term} {tail}");
            let spans = Query::parse(&term).unwrap().spans(&text);
            prop_assert!(spans.iter().any(|(start, end)| text[*start..*end].contains(&term)), "{term:?} in {text:?}");
        }

        #[test]
        fn any_query_on_any_text_gives_ordered_spans(query in "\\PC{1,30}", text in "\\PC{0,60}") {
            if let Ok(query) = Query::parse(&query) {
                let mut last = 0;
                for (start, end) in query.spans(&text) {
                    prop_assert!(start >= last && end > start && text.get(start..end).is_some());
                    last = end;
                }
            }
        }
    }
}
