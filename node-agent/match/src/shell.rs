//! A shell's prompt: the line that the cursor stands in, and whether a half-written command stands in it.
//!
//! Prompts are what people make of them; no list knows them all. What tells a command is that it ends in what prompts do not
//! end in, or that it follows what prompts end in. In doubt it is a command: typing behind it would run both as one.

use wa_proto::Frame;

/// The line of a shell that waits for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptRow {
    /// Frame row where the line begins.
    pub row: usize,
    /// Frame row and column of the cursor.
    pub cursor: (usize, u32),
    /// The whole line: prompt and what was typed.
    pub text: String,
}

/// The cursor's line, where a shell is in the foreground; soft-wrapped rows joined. `None` while the cursor is hidden or
/// outside of the frame.
pub fn prompt_row(frame: &Frame) -> Option<PromptRow> {
    let cursor = usize::try_from(frame.cursor.row)
        .ok()
        .filter(|row| frame.cursor.visible && *row < frame.rows.len())?;
    let mut row = cursor;
    while row > 0 && frame.rows[row - 1].wrapped {
        row -= 1;
    }
    let mut end = cursor;
    while frame.rows[end].wrapped && end + 1 < frame.rows.len() {
        end += 1;
    }
    let text = frame.rows[row..=end].iter().map(|row| row.text.as_str()).collect();
    Some(PromptRow { row, cursor: (cursor, frame.cursor.col), text })
}

/// What ends a prompt, with a blank behind it, and hardly ever stands within one.
const ENDS: &[char] = &['$', '#', '%', '❯', '›', '»', 'λ'];
/// What no prompt ends in, beside letters and digits.
const NO_END: &[char] = &[
    '"', '\'', '`', '/', '\\', '-', '_', '.', ',', ';', '=', '&', '|', '*', '?', '!', '~', '@', '+', '^',
    '(', '[', '{', '<',
];

/// Whether a command was begun on a prompt line: what stands there up to the cursor.
pub fn holds_draft(line: &str) -> bool {
    let text = line.trim_end();
    let Some(last) = text.chars().next_back() else { return false };
    let no_end = (last.is_alphanumeric() && !ENDS.contains(&last)) || NO_END.contains(&last);
    let mut ends = text.match_indices(ENDS).filter(|(at, end)| text[at + end.len()..].starts_with(' '));
    no_end || ends.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wa_proto::{Cursor, FrameRow};

    #[test]
    fn the_line_of_the_cursor_across_a_wrap() {
        let mut rows: Vec<FrameRow> = ["out", "$ echo a", "b", ""].into_iter().map(FrameRow::plain).collect();
        rows[1].wrapped = true;
        let mut frame =
            Frame { cols: 8, rows, cursor: Cursor { row: 2, col: 1, visible: true }, ..Frame::default() };
        let prompt = prompt_row(&frame).unwrap();
        assert_eq!((prompt.row, prompt.text.as_str()), (1, "$ echo ab"));
        frame.cursor.row = 9;
        assert_eq!(prompt_row(&frame), None);
    }

    #[test]
    fn a_command_that_was_begun_is_told_from_a_prompt() {
        let prompts = [
            "$ ",
            "dev@box:~/webapp$ ",
            "[dev@box ~]# ",
            "(venv) box% ",
            "➜  webapp git:(main) ✗ ",
            "❯ ",
            "~/webapp main ❯ ",
            "dev@box ~/webapp> ",
            "λ ",
            "\u{e0b0} ~/webapp \u{e0b0} ",
            "$",
            "[12:04] # ",
        ];
        for prompt in prompts {
            assert!(!holds_draft(prompt), "{prompt:?}");
            for begun in ["l", "ls ", "ls -", "cd ~/", "echo 'a", "make &&", "cat a | ", "git commit -m \""] {
                assert!(holds_draft(&format!("{prompt}{begun}")), "{prompt:?} {begun:?}");
            }
        }
        assert!(holds_draft("$ make > "), "it goes on behind the prompt");
        assert!(!holds_draft(""));
    }
}
