//! A text as a prompt in an agent's transcript.
//!
//! Constraints: that a text was submitted, and nothing else with it, is proven by a prompt that is exactly the text; one that
//! only begins like it is none. Agents indent, wrap and box what they show, put notes at the right edge, and may fold what
//! is long; blanks are never compared.

use wa_match::ComposerView;
use wa_proto::{Frame, FrameRow};

use super::text::squeeze;

/// Characters by which the beginning of a prompt is found.
const HEAD: usize = 12;
/// Characters of it that an agent shows at least where it folds what is long.
const FOLDED: usize = 24;

/// How often the text stands on the screen outside of the composer, as a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prompts {
    pub(super) exact: usize,
    /// It begins like the text, and is not it.
    pub(super) longer: usize,
}

impl Prompts {
    pub(super) fn of(frame: &Frame, composer: &ComposerView, text: &str) -> Self {
        let wanted = squeeze(text);
        let head: String = wanted.chars().take(HEAD).collect();
        let mut prompts = Self { exact: 0, longer: 0 };
        if head.is_empty() {
            return prompts;
        }
        let rows: Vec<String> = frame.rows.iter().map(|row| squeeze(&row.text)).collect();
        // A note at the right edge stands apart.
        let noteless =
            |row: &FrameRow| squeeze(row.text.trim_end().rsplit_once("   ").map_or("", |(text, _)| text));
        for at in (0..rows.len()).filter(|at| !composer.rows.contains(at)) {
            let Some(from) = rows[at].find(&head) else { continue };
            // Before it stands a glyph or a border, not words.
            if rows[at][..from].chars().any(char::is_alphanumeric) {
                continue;
            }
            let end = if at < composer.rows.start { composer.rows.start } else { rows.len() };
            let alone = || noteless(&frame.rows[at]).get(from..).is_some_and(|text| text == wanted);
            match read(&rows[at..end], from, &wanted) {
                Found::Exact => prompts.exact += 1,
                Found::Longer if alone() => prompts.exact += 1,
                Found::Longer => prompts.longer += 1,
                Found::No => {}
            }
        }
        prompts
    }
}

/// What begins in a row like the text.
enum Found {
    /// It, or an end of it that was folded.
    Exact,
    /// It, and more behind it.
    Longer,
    No,
}

/// Reads the rows, from this byte of the first on.
fn read(rows: &[String], from: usize, wanted: &str) -> Found {
    let is_folded = |seen: &str| wanted.starts_with(seen) && seen.chars().count() >= FOLDED;
    let mut seen = String::new();
    for (at, row) in rows.iter().enumerate() {
        let row = if at == 0 { &row[from..] } else { row.as_str() };
        // The sides of a box.
        let row = row.trim_end_matches('│').trim_start_matches('│');
        if row.is_empty() {
            break;
        }
        seen.push_str(row);
        if seen == wanted {
            return Found::Exact;
        }
        if seen.starts_with(wanted) {
            return Found::Longer;
        }
        if !wanted.starts_with(&seen) {
            return if seen.strip_suffix('…').is_some_and(is_folded) { Found::Exact } else { Found::No };
        }
    }
    if is_folded(&seen) { Found::Exact } else { Found::No }
}

#[cfg(test)]
mod tests {
    use wa_match::composer;
    use wa_proto::AgentKind;

    use super::*;

    fn count(rows: &[&str], text: &str) -> (usize, usize) {
        let rule = "─".repeat(40);
        let below = [rule.as_str(), "❯ ", rule.as_str(), "  ? for shortcuts"];
        let all: Vec<&str> = rows.iter().copied().chain(below).collect();
        let frame = Frame::from_text(40, &all.join("\n"));
        let Prompts { exact, longer } =
            Prompts::of(&frame, &composer::read(&frame, &AgentKind::claude()), text);
        (exact, longer)
    }

    #[test]
    fn only_exactly_the_text_is_its_prompt() {
        assert_eq!(count(&["❯ go on", ""], "go on"), (1, 0));
        assert_eq!(count(&["│ > go on      │"], "go on"), (1, 0));
        assert_eq!(count(&["  ↳ go on"], "go on"), (1, 0));
        assert_eq!(count(&["❯ go on                     12:03"], "go on"), (1, 0), "a note at the edge");
        assert_eq!(count(&["❯ go onx", ""], "go on"), (0, 1), "somebody typed a letter more");
        assert_eq!(count(&["❯ go on", "  and stop", ""], "go on"), (1, 0), "an answer may follow at once");
        assert_eq!(count(&["● I will go on"], "go on"), (0, 0), "that is an answer");
        assert_eq!(count(&["● Done."], "go on"), (0, 0));
    }

    #[test]
    fn a_prompt_may_take_several_rows() {
        let text = "go on with the parser and\nthen with the tests of it";
        let shown = ["❯ go on with the parser and", "  then with the tests of it", ""];
        assert_eq!(count(&shown, text), (1, 0));
        assert_eq!(count(&["❯ go on with the parser and", "  then with the tests of itx", ""], text), (0, 1));
        assert_eq!(count(&["● go on with the parsing", ""], text), (0, 0));
        let long = "please read the rules of this project once more before you go on";
        assert_eq!(
            count(&["❯ please read the rules of this", "  project once more before you go on", ""], long),
            (1, 0)
        );
        assert_eq!(count(&["❯ please read the rules of this projec…", ""], long), (1, 0), "folded");
        assert_eq!(count(&["❯ please read…", ""], long), (0, 0));
    }
}
