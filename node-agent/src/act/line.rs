//! A text on a shell's line: before Enter, and as the echo of what ran.
//!
//! Constraints: what runs is exactly the text, behind a prompt that was seen before; rows count as one line only while each
//! is filled to the edge, for one more Enter would be the input of a command that prints nothing yet.

use wa_proto::{Frame, FrameRow};

use super::text::{Seen, squeeze};

/// Whether a shell that shows this waits for the rest of a command, or a command of its own (`read`) for an answer. A bare `>`
/// may be somebody's prompt; mostly it says that a quote or a document was not closed, and what is typed there runs with it.
pub(super) fn asks_for_more(prompt: &str) -> bool {
    let text = prompt.trim();
    // zsh names what is open: `dquote> `, `pipe quote> `, `heredoc> `.
    let named = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == ' ');
    text.strip_suffix('>').is_some_and(named) || text.ends_with([':', ']', '?'])
}

/// What the line that began at stable row `row` with this prompt says of the text; `cursor`: the stable row that the cursor
/// stood in.
pub(super) fn read(frame: &Frame, row: i64, prompt: &str, cursor: i64, text: &str) -> Seen {
    let Ok(at) = usize::try_from(frame.cursor.row) else {
        return Seen::Other("the cursor has left the screen");
    };
    let on_the_line = row_index(frame, row).is_none_or(|start| is_one_line(frame, start, at));
    let wanted = squeeze(prompt) + &squeeze(text);
    let now = squeeze(&up_to_cursor(frame, row));
    if on_the_line && now == wanted {
        return Seen::Whole;
    }
    if now == squeeze(prompt) && stable(frame, at) == cursor {
        return Seen::Nothing;
    }
    if stable(frame, at) == cursor {
        return Seen::Other("the prompt line holds something else");
    }
    // The cursor stands below the line that holds the text, or a command has cleared the screen and it stands above.
    let line = row_index(frame, row).filter(|start| *start <= at);
    match line.map(|start| echo(&frame.rows[start..at.min(frame.rows.len())], &squeeze(text))) {
        None => Seen::Cleared,
        Some(Echo::Alone) => Seen::Gone,
        Some(Echo::Longer) => Seen::Other("the line that ran is not exactly the text"),
        Some(Echo::Missing) if frame.alternate => Seen::Gone,
        Some(Echo::Missing) => Seen::Other("the prompt line holds something else"),
    }
}

/// How a text stands in the line that a shell has taken.
enum Echo {
    /// It ends its row, but for a note at the right edge.
    Alone,
    Longer,
    Missing,
}

fn echo(rows: &[FrameRow], wanted: &str) -> Echo {
    let mut line = String::new();
    for row in rows {
        line.push_str(&squeeze(&row.text));
        let Some(at) = line.find(wanted) else { continue };
        let more = &line[at + wanted.len()..];
        let note = row.text.trim_end().rsplit_once("   ").map_or("", |(_, note)| note);
        return if more.is_empty() || squeeze(note) == more { Echo::Alone } else { Echo::Longer };
    }
    Echo::Missing
}

/// Whether the rows before the cursor's are filled to the edge, so that all of them are one line that goes on. The
/// cursor below a row that ends early stands on another line: a command that prints nothing yet has been taken, and one
/// more Enter would go to it.
fn is_one_line(frame: &Frame, start: usize, at: usize) -> bool {
    let cells = |row: &FrameRow| -> u32 {
        row.text.chars().map(|c| wa_mux::codec::cell_width(c.encode_utf8(&mut [0; 4]))).sum()
    };
    let mut before = frame.rows.get(start..at.min(frame.rows.len())).into_iter().flatten();
    before.all(|row| row.wrapped || cells(row) >= frame.cols)
}

/// What stands from a stable row to the cursor.
pub(super) fn up_to_cursor(frame: &Frame, row: i64) -> String {
    let Ok(at) = usize::try_from(frame.cursor.row) else { return String::new() };
    let start = row_index(frame, row).unwrap_or(0);
    if start > at {
        return String::new();
    }
    let mut text = join(frame, start, at);
    let Some(last) = frame.rows.get(at) else { return text };
    let mut cells = 0_u32;
    for c in last.text.chars() {
        if cells >= frame.cursor.col {
            break;
        }
        text.push(c);
        cells += wa_mux::codec::cell_width(c.encode_utf8(&mut [0; 4]));
    }
    text
}

/// The rows `start..end`, joined.
fn join(frame: &Frame, start: usize, end: usize) -> String {
    frame
        .rows
        .get(start..end.min(frame.rows.len()))
        .into_iter()
        .flatten()
        .map(|row| row.text.as_str())
        .collect()
}

pub(super) fn stable(frame: &Frame, row: usize) -> i64 {
    frame.first_row.saturating_add(i64::try_from(row).unwrap_or(i64::MAX))
}

fn row_index(frame: &Frame, row: i64) -> Option<usize> {
    usize::try_from(row.checked_sub(frame.first_row)?).ok().filter(|at| *at < frame.rows.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wa_proto::Cursor;

    fn frame(first_row: i64, rows: &[&str], cursor: (i64, u32)) -> Frame {
        Frame {
            cols: 20,
            rows: rows.iter().map(|row| FrameRow::plain(*row)).collect(),
            first_row,
            cursor: Cursor { row: cursor.0, col: cursor.1, visible: true },
            alternate: false,
        }
    }

    #[test]
    fn a_command_that_is_not_complete_and_a_question_are_no_prompts() {
        for asks in [
            "> ",
            ">",
            "dquote> ",
            "pipe quote> ",
            "heredoc> ",
            "Go on? [Y/n] ",
            "Password: ",
            "#? ",
            "Sure (y/N)? ",
        ] {
            assert!(asks_for_more(asks), "{asks:?}");
        }
        for prompt in [
            "$ ",
            "dev@box ~/webapp> ",
            "[12:04] # ",
            "PS /srv> ",
            "~/webapp main ❯ ",
            "➜  webapp git:(main) ✗ ",
        ] {
            assert!(!asks_for_more(prompt), "{prompt:?}");
        }
    }

    #[test]
    fn a_shell_line_is_followed_from_prompt_to_output() {
        // A right-hand prompt stands behind the cursor all the time.
        let before = frame(10, &["out", "$       12:00"], (1, 2));
        let prompt = up_to_cursor(&before, 11);
        assert_eq!(prompt, "$ ");
        let look = |frame: &Frame| read(frame, 11, &prompt, 11, "echo hi");
        assert_eq!(look(&before), Seen::Nothing);
        assert_eq!(
            look(&frame(10, &["out", "$ echo"], (1, 6))),
            Seen::Other("the prompt line holds something else")
        );
        assert_eq!(look(&frame(10, &["out", "$ echo hi   12:00"], (1, 9))), Seen::Whole);
        assert_eq!(look(&frame(10, &["out", "$ echo hi", "hi", "$ "], (3, 2))), Seen::Gone);
        // Scrolled: the prompt line has left the screen.
        assert_eq!(look(&frame(14, &["hi", "$ "], (1, 2))), Seen::Cleared);
    }

    #[test]
    fn a_command_that_prints_nothing_yet_was_taken() {
        let quiet = frame(10, &["$ sleep 5", ""], (1, 0));
        assert_eq!(read(&quiet, 10, "$ ", 10, "sleep 5"), Seen::Gone);
        // Right at the edge the cursor waits on the next row before Enter, and on the one after that behind it.
        let edge = frame(10, &["$ 0123456789abcdefgh", ""], (1, 0));
        assert_eq!(read(&edge, 10, "$ ", 10, "0123456789abcdefgh"), Seen::Whole);
        let taken = frame(10, &["$ 0123456789abcdefgh", "", ""], (2, 0));
        assert_eq!(read(&taken, 10, "$ ", 10, "0123456789abcdefgh"), Seen::Gone);
    }

    #[test]
    fn a_command_that_clears_the_screen_was_taken() {
        let cleared = frame(10, &["$ ", "", ""], (0, 2));
        assert_eq!(read(&cleared, 12, "$ ", 12, "clear"), Seen::Cleared);
    }

    #[test]
    fn a_wrapped_command_is_read_over_its_rows() {
        let long = "0123456789abcdefghij-and-more";
        let after = frame(10, &["$ 0123456789abcdefgh", "ij-and-more"], (1, 11));
        assert_eq!(read(&after, 10, "$ ", 10, long), Seen::Whole);
        let changed = frame(10, &["$ 0123456789abcdefgh", "ij-and-mor"], (1, 10));
        assert_ne!(read(&changed, 10, "$ ", 10, long), Seen::Whole);
    }

    #[test]
    fn a_line_that_ran_with_more_on_it_was_not_the_text() {
        let ran = |line: &str| read(&frame(10, &[line, "hi", "$ "], (2, 2)), 10, "$ ", 10, "echo hi");
        assert_eq!(ran("$ echo hi"), Seen::Gone);
        assert_eq!(ran("$ echo hi   12:00"), Seen::Gone);
        assert_eq!(ran("❯ echo hi"), Seen::Gone, "prompts may change once they are history");
        assert_eq!(ran("$ echo hix"), Seen::Other("the line that ran is not exactly the text"));
    }
}
