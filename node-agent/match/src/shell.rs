//! A shell's prompt: the line that the cursor stands in.

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
}
