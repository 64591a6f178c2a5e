//! Agents of which only a few screens are known: opencode, aider and GitHub Copilot CLI.
//!
//! Constraints. What is read here tells a state, and never where to type: [`super::read`] knows no composer of these
//! agents, so nothing is sent to them. A dialog or a composer counts only as the last thing on the screen, in its own
//! frame; what does not look like one is missing.
//!
//! Format. opencode draws a bar `┃` down the left of its composer and closes it with `╹▀▀▀`, below which a row of eight
//! marks turns while it works; a permission is asked in the composer's place, with a row of buttons, a question with a row
//! of keys. A menu is laid over the conversation: a title, `esc` at its right, a field to search. Copilot has `❯` between two rules, and asks in a box with a row of keys.
//! aider writes line by line: a rule, perhaps the files of the chat, and `>`; a question that ends in the letters it takes;
//! a bar that runs to and fro while it waits.

use std::ops::Range;

use wa_proto::Frame;

use super::{Composer, ComposerView, Working, is_option};
use crate::cells::{indent, is_blank, is_rule, last_row};

/// Rows of footer or status line below a composer or dialog.
const BELOW_ROWS: usize = 6;
/// Rows of a dialog or composer.
const TALL: usize = 40;

pub(super) fn opencode(frame: &Frame) -> ComposerView {
    let Some(last) = last_row(frame) else { return ComposerView::missing() };
    if let Some(dialog) = permission(frame, last).or_else(|| overlay(frame, last)) {
        return ComposerView::dialog(dialog);
    }
    let closes = |row: &usize| frame.rows[*row].text.trim_start().starts_with("╹▀▀");
    let Some(bottom) = (0..=last).rev().find(closes) else { return ComposerView::missing() };
    let top = barred(frame, bottom);
    if top == bottom || below(frame, bottom + 1, last) > BELOW_ROWS {
        return ComposerView::missing();
    }
    // Its last row names mode and model.
    let named = (top..bottom).rev().find(|row| !inner(frame, *row).is_empty()).unwrap_or(top);
    let text: Vec<&str> = (top..named).map(|row| inner(frame, row)).collect();
    let working = (bottom + 1..=last).find(|row| is_turning(&frame.rows[*row].text));
    ComposerView {
        content: content(&text.join("\n"), &["Ask anything...", "Ask anything…"]),
        rows: top..bottom,
        footer: bottom + 1..last + 1,
        live_top: Some(top),
        working: working.map(|row| spinner(frame, row)),
        ..ComposerView::missing()
    }
}

/// `⬝⬝■■■■■■  esc interrupt`: squares that turn; what it says beside them may cover some.
fn is_turning(text: &str) -> bool {
    text.contains("esc interrupt") || text.trim_start().starts_with(['⬝', '■'])
}

/// The bar at the end of the screen, where it holds a permission and its buttons, or a question and its keys. The sidebar
/// of a wide pane ends a row below it.
fn permission(frame: &Frame, last: usize) -> Option<Range<usize>> {
    let is_bar = |row: &usize| frame.rows[*row].text.trim_start().starts_with('┃');
    let end = (0..=last).rev().find(is_bar)? + 1;
    let top = barred(frame, end);
    if below(frame, end, last) > 2 {
        return None;
    }
    if let Some(asks) = (top..end).find(|row| inner(frame, *row).starts_with("△ ")) {
        let buttons = (asks..end).any(|row| {
            let text = inner(frame, row);
            text.contains("enter confirm") || text.contains("Allow once")
        });
        return buttons.then_some(asks..last + 1);
    }
    let keys = |text: &str| {
        text.contains("enter submit") || text.contains("enter confirm") || text.contains("enter toggle")
    };
    let keyed = (top..end).rev().take(TALL_KEYS).any(|row| {
        let text = inner(frame, row);
        keys(text) && text.contains("esc dismiss")
    });
    let options = (top..end).filter(|row| is_option(inner(frame, *row))).count();
    let first = (top..end).find(|row| !inner(frame, *row).is_empty())?;
    (keyed && options > 0).then_some(first..last + 1)
}

/// Rows from the end of a question in which its keys stand.
const TALL_KEYS: usize = 4;

/// A menu over the conversation: `Select model    esc`, and below it the field to search in.
fn overlay(frame: &Frame, last: usize) -> Option<Range<usize>> {
    // The conversation goes on at both sides: cells are set apart by blanks.
    let cells = |row: usize| -> Vec<&str> {
        frame.rows[row].text.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    };
    let titled = |row: &usize| {
        let cells = cells(*row);
        let closes = cells.iter().position(|cell| *cell == "esc");
        closes.is_some_and(|at| at > 0 && cells[at - 1].starts_with(|c: char| c.is_uppercase()))
    };
    let head = (0..=last).find(titled)?;
    let searches = (head + 1..=last.min(head + 3)).any(|row| cells(row).contains(&"Search"));
    searches.then_some(head..last + 1)
}

/// The first of the rows with a bar that end above a row.
fn barred(frame: &Frame, end: usize) -> usize {
    let is_bar = |row: &usize| frame.rows[*row].text.trim_start().starts_with('┃');
    (end.saturating_sub(TALL)..end).rev().take_while(is_bar).last().unwrap_or(end)
}

/// A row without the bar at its left.
fn inner(frame: &Frame, row: usize) -> &str {
    frame.rows[row].text.trim_start().trim_start_matches('┃').trim()
}

pub(super) fn copilot(frame: &Frame) -> ComposerView {
    let Some(last) = last_row(frame) else { return ComposerView::missing() };
    if let Some(dialog) = asking_box(frame, last).or_else(|| asking(frame, last)) {
        return ComposerView::dialog(dialog);
    }
    let rules: Vec<usize> = (0..=last).filter(|row| is_rule(&frame.rows[*row].text)).collect();
    let Some([top, bottom]) = rules.last_chunk::<2>().copied() else { return ComposerView::missing() };
    let prompt = frame.rows[top + 1].text.strip_prefix('❯').map(str::trim_start);
    let (Some(first), true) = (prompt, bottom > top + 1 && below(frame, bottom + 1, last) <= BELOW_ROWS)
    else {
        return ComposerView::missing();
    };
    let rest = frame.rows[top + 2..bottom].iter().map(|row| row.text.trim());
    let text: Vec<&str> = std::iter::once(first).chain(rest).collect();
    let working = (bottom + 1..=last).find(|row| is_busy(&frame.rows[*row].text));
    ComposerView {
        content: content(&text.join("\n"), &[]),
        rows: top + 1..bottom,
        footer: bottom + 1..last + 1,
        live_top: Some(top),
        working: working.map(|row| spinner(frame, row)),
        ..ComposerView::missing()
    }
}

/// ` ◉ Working · 130 B esc interrupt`; in the place of the word may stand what it does.
fn is_busy(text: &str) -> bool {
    let text = text.trim_start();
    let keys = ["esc interrupt", "esc cancel", "esc edit prompt"];
    text.starts_with(['◉', '◎', '●', '○']) && keys.iter().any(|key| text.contains(key))
}

/// The box at the end of the screen, where it holds choices and a row of keys.
fn asking_box(frame: &Frame, last: usize) -> Option<Range<usize>> {
    let opens = |row: &usize| frame.rows[*row].text.starts_with('╭');
    if !frame.rows[last].text.starts_with('╰') {
        return None;
    }
    let top = (last.saturating_sub(TALL)..last).rev().find(opens)?;
    let text = |row: usize| frame.rows[row].text.trim_matches([' ', '│']);
    let keys = (top..last).any(|row| is_keys(text(row)));
    let choices = (top..last).filter(|row| is_option(text(*row))).count();
    (keys && choices > 1).then_some(top..last + 1)
}

/// `↑/↓ to navigate · enter to select · esc to cancel`
fn is_keys(text: &str) -> bool {
    let moves = text.starts_with("↑/↓ to ") || text.starts_with("↑↓ to ");
    moves && (text.contains("esc to cancel") || text.contains("Esc to cancel"))
}

/// Choices above a row of keys that ends the screen, without a box: the question is the rows right above them.
fn asking(frame: &Frame, last: usize) -> Option<Range<usize>> {
    let text = |row: usize| frame.rows[row].text.trim();
    let is_choice = |row: &usize| is_option(text(*row));
    if !is_keys(text(last)) {
        return None;
    }
    let first = (last.saturating_sub(TALL)..last).find(is_choice)?;
    let selected = (first..last).any(|row| is_choice(&row) && text(row).starts_with(['❯', '>']));
    let many = (first..last).filter(is_choice).count() > 1;
    let above = (first.saturating_sub(TALL)..first).rev().skip_while(|row| is_blank(&frame.rows[*row]));
    let top = above.take_while(|row| !is_blank(&frame.rows[*row])).last().unwrap_or(first);
    (selected && many).then_some(top..last + 1)
}

pub(super) fn aider(frame: &Frame) -> ComposerView {
    let Some(last) = last_row(frame) else { return ComposerView::missing() };
    let text = frame.rows[last].text.trim_end();
    let rule = (last.saturating_sub(CHAT_FILES)..last).rev().find(|row| is_rule(&frame.rows[*row].text));
    // Files of the chat stand between the rule and the prompt, each in a row.
    let rule = rule.filter(|rule| (rule + 1..last).all(|row| !is_blank(&frame.rows[row])));
    // `ask>`, `architect multi>`
    let typed = text.split_once('>').filter(|(mode, _)| {
        mode.len() <= 24 && mode.chars().all(|c| c.is_ascii_lowercase() || matches!(c, ' ' | '-'))
    });
    if let (Some(rule), Some((_, typed))) = (rule, typed) {
        return ComposerView {
            content: content(typed, &[]),
            rows: last..last + 1,
            footer: last + 1..last + 1,
            live_top: Some(rule),
            ..ComposerView::missing()
        };
    }
    if is_question(text) {
        let top = (0..last).rev().take(12).take_while(|row| !is_blank(&frame.rows[*row])).last();
        return ComposerView::dialog(top.unwrap_or(last)..last + 1);
    }
    if is_waiting(text) {
        return ComposerView {
            live_top: Some(last),
            working: Some(spinner(frame, last)),
            ..ComposerView::missing()
        };
    }
    ComposerView::missing()
}

/// Files of the chat that are listed above the prompt.
const CHAT_FILES: usize = 12;

/// `Run shell command? (Y)es/(N)o/(D)on't ask again [Yes]:`
fn is_question(text: &str) -> bool {
    text.ends_with("]:") && text.contains("? (Y)es/(N)o") && indent(text) == 0
}

/// `   ░█     Waiting for openai/local-coder`: two blocks that run to and fro before it.
fn is_waiting(text: &str) -> bool {
    let blocks = ["░█", "█░", "=#", "#="];
    let rest = blocks.iter().find_map(|blocks| text.trim_start().strip_prefix(blocks));
    indent(text) <= BAR && rest.is_some_and(|rest| rest.trim_start().starts_with("Waiting for "))
}

/// Columns in which they run.
const BAR: usize = 12;

fn content(text: &str, placeholders: &[&str]) -> Composer {
    let text = text.trim();
    if text.is_empty() || placeholders.iter().any(|placeholder| text.starts_with(placeholder)) {
        return Composer::Empty;
    }
    Composer::Draft { text: text.to_owned() }
}

fn spinner(frame: &Frame, row: usize) -> Working {
    Working { row, text: frame.rows[row].text.trim().to_owned(), compacting: false, starting: false }
}

/// Rows with something on them.
fn below(frame: &Frame, from: usize, last: usize) -> usize {
    (from..=last).filter(|row| !is_blank(&frame.rows[*row])).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(cols: u32, rows: &[&str]) -> Frame {
        Frame::from_text(cols, &rows.join("\n"))
    }

    #[test]
    fn opencode_waits_works_and_is_idle() {
        let bottom = "  ╹▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀";
        let composer = ["  ┃", "  ┃", "  ┃  Build  MiniMax M2.1 OpenCode Zen", bottom];
        let keys = "                          tab switch agent  ctrl+p commands";
        let idle = opencode(&screen(80, &[&composer[..], &[keys]].concat()));
        assert_eq!((idle.content, idle.working, idle.live_top), (Composer::Empty, None, Some(0)));
        let busy = format!("   ⬝⬝⬝⬝⬝⬝⬝⬝  esc interrupt {keys}");
        let busy = opencode(&screen(100, &[&composer[..], &[&busy]].concat()));
        assert!(busy.working.is_some());

        let dialog = [
            "┃  △ Permission required",
            "┃    # Shell command",
            "┃",
            "┃  $ node invoice.test.js",
            "┃",
            "┃   Allow once   Allow always   Reject  ctrl+f fullscreen  ⇆ select  enter confirm",
            "┃",
        ];
        assert_eq!(opencode(&screen(90, &dialog)).content, Composer::Dialog);
        let squares =
            opencode(&screen(100, &[&composer[..], &["   ⬝Cannot⬝connect to API [retrying in 2s"]].concat()));
        assert!(squares.working.is_some());
        let question = [
            "┃",
            "┃  Which branch?",
            "┃",
            "┃  1. main",
            "┃  2. release",
            "┃",
            "┃  ↑↓ select  enter submit  esc dismiss",
            "┃",
        ];
        assert_eq!(opencode(&screen(90, &question)).content, Composer::Dialog);
        let menu = [
            "  ┃  deploy it     Select model                      esc",
            "",
            "     Let me look.  Search",
            "",
            "                   ● Local Coder",
        ];
        assert_eq!(
            opencode(&screen(90, &[&menu[..], &composer[..], &[keys]].concat())).content,
            Composer::Dialog
        );
        let quoted = [&dialog[..], &["", "     ▣  Build", ""], &composer[..], &[keys]].concat();
        assert_eq!(opencode(&screen(90, &quoted)).content, Composer::Empty);
    }

    #[test]
    fn copilot_asks_in_a_box_that_ends_the_screen() {
        let rule = "─".repeat(40);
        let dialog = [
            "╭──────────────────────────────────────────────────╮",
            "│ Do you want to run this command?                 │",
            "│                                                  │",
            "│ ❯ 1. Yes                                         │",
            "│   2. No, and tell Copilot what to do differently │",
            "│                                                  │",
            "│ ↑/↓ to navigate · enter to select · esc to cancel│",
            "╰──────────────────────────────────────────────────╯",
        ];
        assert_eq!(copilot(&screen(52, &dialog)).content, Composer::Dialog);
        let open = [
            "● Let me look.",
            "",
            "Do you want to run this command?",
            "",
            "❯ 1. Yes",
            "  2. No, and tell Copilot what to do differently (Esc to stop)",
            "",
            "↑↓ to navigate · Enter to select · Esc to cancel",
        ];
        let open = copilot(&screen(80, &open));
        assert_eq!((open.content, open.rows), (Composer::Dialog, 2..8));
        let composer = [" /tmp/work", &rule, "❯", &rule, " ◉ Working · 130 B esc interrupt"];
        let below = copilot(&screen(52, &[&dialog[..], &composer[..]].concat()));
        assert!(below.content == Composer::Empty && below.working.is_some());
        let idle =
            [" ◉ Working · 130 B esc interrupt", &rule, "❯ fix it", &rule, " Interactive · / commands"];
        let idle = copilot(&screen(52, &idle));
        assert_eq!((idle.content, idle.working), (Composer::Draft { text: "fix it".to_owned() }, None));
    }

    #[test]
    fn aider_prompts_below_its_rule_and_asks_in_one_line() {
        let rule = "─".repeat(40);
        assert_eq!(aider(&screen(80, &["Git repo: none", &rule, ">"])).content, Composer::Empty);
        assert_eq!(
            aider(&screen(80, &[&rule, "ask> why?"])).content,
            Composer::Draft { text: "why?".into() }
        );
        let question = ["cargo test", "Run shell command? (Y)es/(N)o/(D)on't ask again [Yes]:"];
        assert_eq!(aider(&screen(80, &question)).content, Composer::Dialog);
        assert_eq!(aider(&screen(80, &["the answer is a > b", ">"])).content, Composer::Missing);
        let files = aider(&screen(80, &[&rule, "README.md", "src/prices.py", "diff> and then"]));
        assert_eq!((files.content, files.live_top), (Composer::Draft { text: "and then".into() }, Some(0)));
        let drafted =
            aider(&screen(80, &[&rule, "diff> Run shell command? (Y)es/(N)o/(D)on't ask again [Yes]:"]));
        assert!(matches!(drafted.content, Composer::Draft { .. }));
        let waits = aider(&screen(80, &["diff> why?", "", "   ░█     Waiting for openai/local-coder"]));
        assert_eq!((waits.content, waits.working.map(|working| working.row)), (Composer::Missing, Some(2)));
        let answered = ["Run shell command? (Y)es/(N)o/(D)on't ask again [Yes]: y", "Running cargo test"];
        assert_eq!(aider(&screen(80, &answered)).content, Composer::Missing);
    }
}
