//! The ends of a shell's commands, told from its prompt marks.
//!
//! A shell that marks its prompts (OSC 133: `A` prompt, `B` input, `C` output) leaves in every cell what it is. A command
//! has finished when, after a prompt with input on it, there was output, and then a prompt further down.
//!
//! Constraints. What stands on the screen when it is first seen, after a connection was lost or after a column change, is
//! history: only a prompt that appears later ends anything. A prompt further down without output between may follow a
//! line that was thrown away (Ctrl-C) or a list of completions; it ends nothing, so commands that print nothing are not
//! told by marks. A command that was typed and flooded the screen in one go is read when its row is fetched. Nothing of
//! this grows: one prompt is remembered.

use std::collections::BTreeMap;

use wa_mux::codec::{RenderChanges, Row, Zone};

/// Rows of input that are remembered.
const MAX_INPUT_ROWS: usize = 32;

/// Follows the prompts of one pane.
#[derive(Debug, Default)]
pub(super) struct Prompts {
    /// Columns of the last push; `None` = nothing was seen yet.
    cols: Option<u64>,
    prompt: Option<Prompt>,
    /// The row of a command that has finished and was not seen: it was out of sight before it was shown.
    unread: Option<i64>,
}

/// The last prompt, and what came after it.
#[derive(Debug)]
struct Prompt {
    /// Its last row.
    row: i64,
    /// What was typed, by row, with whether the next row continues it.
    input: BTreeMap<i64, (String, bool)>,
    output: bool,
    /// Its command was told already.
    told: bool,
}

/// What the cells of a row are.
#[derive(Debug, Default)]
struct Parts {
    prompt: bool,
    input: String,
    /// Something was printed in it, …
    output: bool,
    /// … also before its prompt.
    output_first: bool,
}

fn parts(row: &Row) -> Parts {
    let mut parts = Parts::default();
    let mut at = 0;
    let printed = |parts: &mut Parts, range: std::ops::Range<usize>| {
        if row.text.get(range).is_some_and(|text| !text.trim().is_empty()) {
            parts.output = true;
            parts.output_first |= !parts.prompt;
        }
    };
    for run in &row.runs {
        let (start, end) = (run.start as usize, run.end as usize);
        printed(&mut parts, at..start);
        match run.zone {
            Zone::Prompt => parts.prompt = true,
            Zone::Input => parts.input.push_str(row.text.get(start..end).unwrap_or_default()),
            Zone::Output => printed(&mut parts, start..end),
        }
        at = end;
    }
    printed(&mut parts, at..row.text.len());
    parts
}

impl Prompts {
    /// Takes in a push. Returns the command that has finished.
    pub(super) fn changes(&mut self, changes: &RenderChanges) -> Option<String> {
        let history = self.cols.replace(changes.dims.cols) != Some(changes.dims.cols);
        if history {
            (self.prompt, self.unread) = (None, None);
        }
        let top = changes.dims.physical_top;
        let height = i64::try_from(changes.dims.viewport_rows).unwrap_or(i64::MAX);
        let viewport = top..top.saturating_add(height);
        // The cursor's row may come twice; the last counts.
        let rows: BTreeMap<i64, &Row> = changes
            .rows
            .iter()
            .filter(|row| viewport.contains(&row.index))
            .map(|row| (row.index, row))
            .collect();
        let mut finished = None;
        for (&index, &row) in &rows {
            let parts = parts(row);
            if parts.prompt {
                let again = self.prompt.as_ref().is_some_and(|prompt| rows.contains_key(&prompt.row));
                let ended = self.at_prompt(index, &parts, height, again);
                // Of several in one push, the last.
                finished = ended.filter(|_| !history).or(finished);
            }
            self.below_prompt(index, row, parts);
        }
        finished
    }

    /// A row with a prompt on it. `again`: the row of the last prompt is in the same push.
    fn at_prompt(&mut self, index: i64, parts: &Parts, height: i64, again: bool) -> Option<String> {
        let mut ended = None;
        if let Some(before) = &self.prompt {
            // The same again, or the upper row of a prompt that has two.
            if before.row == index || (index < before.row && !again) {
                return None;
            }
            let flood = index.saturating_sub(before.row) > height.saturating_add(1);
            let output = before.output || flood || parts.output_first;
            if index > before.row && output {
                ended = before.command();
                self.unread = Some(before.row).filter(|_| flood && before.input.is_empty() && !before.told);
            }
        }
        self.prompt = Some(Prompt { row: index, input: BTreeMap::new(), output: false, told: false });
        ended
    }

    /// What was typed or printed on the prompt's row and below it.
    fn below_prompt(&mut self, index: i64, row: &Row, parts: Parts) {
        let Some(prompt) = self.prompt.as_mut().filter(|prompt| prompt.row <= index) else { return };
        prompt.output |= parts.output && index > prompt.row;
        if prompt.output {
            return;
        }
        if parts.input.is_empty() {
            prompt.input.remove(&index);
        } else if prompt.input.len() < MAX_INPUT_ROWS || prompt.input.contains_key(&index) {
            prompt.input.insert(index, (parts.input, row.wrapped));
        }
    }

    /// Takes in rows that were fetched. Returns the command that has finished.
    pub(super) fn fetched(&mut self, rows: &[Row]) -> Option<String> {
        // A command that still floods the screen: its row comes once, and not again when the next prompt shows.
        if let Some(prompt) = self.prompt.as_mut().filter(|prompt| prompt.input.is_empty())
            && let Some(row) = rows.iter().find(|row| row.index == prompt.row)
        {
            let input = parts(row).input;
            if !input.is_empty() {
                prompt.input.insert(row.index, (input, row.wrapped));
            }
        }
        let unread = self.unread?;
        let row = rows.iter().find(|row| row.index == unread)?;
        self.unread = None;
        Some(parts(row).input.trim().to_owned()).filter(|command| !command.is_empty())
    }

    /// The command that runs, which is told by somebody else.
    pub(super) fn told(&mut self) -> Option<String> {
        let prompt = self.prompt.as_mut()?;
        let command = prompt.command();
        prompt.told = true;
        command
    }
}

impl Prompt {
    fn command(&self) -> Option<String> {
        let mut text = String::new();
        for (line, wrapped) in self.input.values() {
            text.push_str(if *wrapped { line } else { line.trim_end() });
            if !wrapped {
                text.push('\n');
            }
        }
        let text = text.trim();
        (!text.is_empty() && !self.told).then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wa_mux::codec::{Cell, CursorPosition, Dimensions, Style};

    /// A row of `P` prompt, `I` input and `O` output pieces.
    fn row(index: i64, pieces: &[(char, &str)]) -> Row {
        let mut buffers: Vec<(Zone, String)> = Vec::new();
        for (kind, text) in pieces {
            let zone = match kind {
                'P' => Zone::Prompt,
                'I' => Zone::Input,
                _ => Zone::Output,
            };
            buffers.extend(text.chars().map(|c| (zone, c.to_string())));
        }
        let cells = buffers.iter().map(|(zone, text)| Cell { text, style: Style::default(), zone: *zone });
        Row::from_cells(index, 1, false, cells)
    }

    fn push(top: i64, rows: Vec<Row>) -> RenderChanges {
        RenderChanges {
            pane_id: 0,
            mouse_grabbed: false,
            cursor: CursorPosition::default(),
            dims: Dimensions { cols: 80, viewport_rows: 5, physical_top: top, ..Dimensions::default() },
            dirty: Vec::new(),
            title: String::new(),
            working_dir: None,
            rows,
            input_serial: None,
            seqno: 1,
        }
    }

    fn prompt(index: i64, input: &str) -> Row {
        row(index, &[('P', "$ "), ('I', input)])
    }

    #[test]
    fn a_command_with_output_ends_at_the_next_prompt() {
        let mut prompts = Prompts::default();
        let mut see = |rows| prompts.changes(&push(0, rows));
        assert_eq!(see(vec![prompt(0, "")]), None);
        assert_eq!(see(vec![prompt(0, "ls")]), None);
        assert_eq!(see(vec![prompt(0, "ls -l")]), None);
        assert_eq!(see(vec![row(1, &[('O', "total 0")])]), None);
        assert_eq!(see(vec![prompt(2, "")]), Some("ls -l".into()));
        assert_eq!(see(vec![prompt(2, "")]), None, "once");
        // Output and prompt in one push; output without a newline.
        assert_eq!(see(vec![prompt(2, "pwd")]), None);
        assert_eq!(see(vec![row(3, &[('O', "/srv")]), prompt(4, "")]), Some("pwd".into()));
        assert_eq!(see(vec![prompt(4, "printf x")]), None);
        assert_eq!(see(vec![row(5, &[('O', "x"), ('P', "$ ")])]), None, "below the viewport");
    }

    #[test]
    fn what_is_there_at_first_sight_is_history_and_what_ends_later_is_not() {
        let mut prompts = Prompts::default();
        let old =
            vec![prompt(0, "make"), row(1, &[('O', "cc")]), prompt(2, "sleep 9"), row(3, &[('O', "..")])];
        assert_eq!(prompts.changes(&push(0, old)), None);
        assert_eq!(prompts.changes(&push(0, vec![prompt(4, "")])), Some("sleep 9".into()));
    }

    #[test]
    fn a_line_thrown_away_or_a_list_of_completions_is_no_command() {
        let mut prompts = Prompts::default();
        let mut see = |rows| prompts.changes(&push(0, rows));
        see(vec![prompt(0, "rm -rf")]);
        assert_eq!(see(vec![prompt(0, "rm -rf^C"), prompt(1, "")]), None);
        see(vec![prompt(1, "ls ")]);
        assert_eq!(see(vec![row(2, &[('I', "a.txt b.txt")]), prompt(3, "ls ")]), None);
        assert_eq!(
            see(vec![prompt(3, ""), row(4, &[('O', "a shell's note")]), prompt(4, "")]),
            None,
            "nothing typed"
        );
    }

    #[test]
    fn a_flood_between_two_prompts_is_output() {
        let mut prompts = Prompts::default();
        prompts.changes(&push(0, vec![prompt(0, "seq 100")]));
        let after = |top| push(top, vec![row(top + 3, &[('O', "100")]), prompt(top + 4, "")]);
        assert_eq!(prompts.changes(&after(97)), Some("seq 100".into()));
        // Typed and gone in one go: its row comes later.
        assert_eq!(prompts.changes(&after(200)), None);
        assert_eq!(
            prompts.fetched(&[row(100, &[('O', "100")]), prompt(101, "seq 99")]),
            Some("seq 99".into())
        );
        assert_eq!(prompts.fetched(&[prompt(101, "seq 99")]), None, "once");
    }

    #[test]
    fn a_row_that_is_fetched_while_the_flood_goes_on_counts() {
        let mut prompts = Prompts::default();
        prompts.changes(&push(0, vec![prompt(0, "")]));
        assert_eq!(prompts.changes(&push(90, vec![row(93, &[('O', "93")])])), None);
        assert_eq!(prompts.fetched(&[prompt(0, "seq 100"), row(1, &[('O', "1")])]), None, "it still runs");
        let after = push(97, vec![row(100, &[('O', "100")]), prompt(101, "")]);
        assert_eq!(prompts.changes(&after), Some("seq 100".into()));
    }

    #[test]
    fn a_prompt_of_two_rows_is_one() {
        let mut prompts = Prompts::default();
        let mut see = |rows| prompts.changes(&push(0, rows));
        see(vec![row(0, &[('P', "~/src 12:00")]), prompt(1, "")]);
        see(vec![prompt(1, "ls")]);
        see(vec![row(0, &[('P', "~/src 12:01")])]);
        assert_eq!(
            see(vec![row(2, &[('O', "x")]), row(3, &[('P', "~/src 12:01")]), prompt(4, "")]),
            Some("ls".into())
        );
        assert_eq!(see(vec![prompt(4, "p")]), None);
    }

    #[test]
    fn after_clear_or_a_column_change_nothing_has_ended() {
        let mut prompts = Prompts::default();
        prompts.changes(&push(0, vec![prompt(3, "clear")]));
        assert_eq!(prompts.changes(&push(0, vec![prompt(0, ""), row(3, &[])])), None);
        prompts.changes(&push(0, vec![prompt(0, "ls"), row(1, &[('O', "x")])]));
        let mut other = push(0, vec![prompt(3, "")]);
        other.dims.cols = 40;
        assert_eq!(prompts.changes(&other), None);
    }
}
