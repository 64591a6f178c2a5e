//! Parts of screens. A saved capture may hold a widget alone: a status card, a footer, a list of sessions, the row that says
//! that the agent works. Without its composer a live screen says nothing of the kind (the agent may be half drawn), but a
//! capture will never say more, and the agent is named: then what stands last on it tells the state.

use wa_proto::{AgentKind, PaneState};

use crate::look::Look;
use crate::rules::text::Sheet;

/// Rows from the end in which a spinner is looked for.
const TAIL: usize = 4;

/// The state that the last thing on a capture without a composer tells, and the words that tell it.
pub(crate) fn state(look: &Look) -> Option<(PaneState, String)> {
    let sheet = &look.sheet;
    let last = (0..sheet.rows.len()).rev().find(|row| !sheet.is_blank(*row))?;
    let said = |row: usize| sheet.text(row).trim().to_owned();
    if let Some(row) = spinner(sheet, look.agent.as_ref()?, last) {
        return Some((PaneState::Working, said(row)));
    }
    if is_picker(sheet, look.agent.as_ref()?, last) {
        return Some((PaneState::Waiting, "a list to choose from".to_owned()));
    }
    let idle = is_footer(sheet.text(last)) || is_card(sheet, last);
    idle.then(|| (PaneState::Idle, said(last)))
}

/// `• Working (0s • esc to interrupt)`, `Thinking... (esc to cancel, 2s)`, perhaps cut or wrapped at the edge.
fn spinner(sheet: &Sheet, agent: &AgentKind, last: usize) -> Option<usize> {
    let rows = (0..=last).rev().filter(|row| !sheet.is_blank(*row)).take(TAIL);
    let rows: Vec<usize> = rows.collect();
    match agent.as_str() {
        "codex" => rows.into_iter().find(|row| {
            let text = sheet.text(*row);
            let timed = text.split_once('(').is_some_and(|(_, rest)| {
                rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains(" · esc")
            });
            sheet.rows[*row].column == 0 && text.starts_with(['·', '◦']) && timed
        }),
        "gemini" => {
            let tail: String = rows.iter().rev().map(|row| sheet.text(*row)).collect();
            let tail: String = tail.chars().filter(|c| !c.is_whitespace()).collect();
            // Narrow, its cells wrap each for itself.
            let works =
                tail.contains("(esctocancel,") || (tail.contains("(escto") && tail.contains("cancel,"));
            rows.last().copied().filter(|_| works)
        }
        _ => None,
    }
}

/// Lists of sessions: a table with a mark in column 0, or cards that fold out.
fn is_picker(sheet: &Sheet, agent: &AgentKind, last: usize) -> bool {
    if agent.as_str() != "codex" {
        return false;
    }
    let marked = |row: usize| {
        let text = sheet.text(row);
        sheet.rows[row].column == 0 && text.starts_with(['❯', '⌄', '>']) && !text.starts_with(">_")
    };
    let headed = |row: usize| {
        let text = sheet.text(row);
        ["Created", "Updated", "Conversation"].iter().filter(|word| text.contains(**word)).count() >= 2
    };
    let folds = |row: usize| sheet.text(row).starts_with(['❯', '⌄']);
    (0..=last).any(marked)
        && ((0..=last).any(headed)
            || (0..=last).all(|row| {
                folds(row)
                    || sheet.rows[row].column > 0
                    || sheet.is_blank(row)
                    || sheet.rows[row].boxed
                    || sheet.text(row).starts_with('└')
            }))
}

/// The hints that stand below an idle composer.
fn is_footer(text: &str) -> bool {
    let text = text.trim();
    let hints =
        ["? for shortcuts", "% context left", "again to quit", "again to exit", "to edit previous message"];
    hints.iter().any(|hint| text.contains(hint)) || text.ends_with("Type your message or @path/to/file")
}

/// The card that an agent prints when it is asked for its status: a box of names and values.
fn is_card(sheet: &Sheet, last: usize) -> bool {
    let closed = sheet.text(last).starts_with('╰');
    let rows = (0..last).rev().take_while(|row| sheet.rows[*row].boxed || sheet.is_blank(*row));
    let named = |row: usize| {
        let text = sheet.text(row).trim_start();
        ["Token usage:", "Context window:", "Session ID:", "Session Stats", "Limits:"]
            .iter()
            .any(|name| text.starts_with(name))
    };
    closed && rows.filter(|row| named(*row)).count() >= 2
}
