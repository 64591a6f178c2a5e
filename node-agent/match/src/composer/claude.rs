//! Claude Code: `❯` between two rules (2.x), `>` in a box (1.x). The insertion point is a reversed cell; the placeholder's
//! first letter is reversed and the rest dim. Spinner and task list stand above the upper rule, the footer below the lower.

use std::ops::Range;

use wa_proto::Frame;

use super::{Composer, ComposerView, Working, draft, is_option};
use crate::cells::{cell_at, cells_from, indent, insertion, is_blank, is_rule, is_styled, last_row};

const SPINNER: &[char] = &['·', '✢', '✳', '✶', '✻', '✽', '✺', '*', '∗', '●'];
/// Rows of a task list or of queued messages above the composer.
const LIVE_ROWS: usize = 32;
/// Rows of footer, menu or status line below it.
const BELOW_ROWS: usize = 24;

pub(super) fn read(frame: &Frame) -> ComposerView {
    let Some(last) = last_row(frame) else { return ComposerView::missing() };
    let place = ruled(frame, last).or_else(|| boxed(frame, last));
    let Some(place) = place else {
        return dialog(frame, last).map_or_else(ComposerView::missing, ComposerView::dialog);
    };
    let footer = place.bottom + 1..last + 1;
    let (live_top, mut working) = live_area(frame, place.top);
    if working.is_none()
        && let Some(row) = footer.clone().find(|row| frame.rows[*row].text.contains("esc to interrupt"))
    {
        let text = frame.rows[row].text.trim().to_owned();
        working = Some(Working { row, text, compacting: false, starting: false });
    }
    let shell_mode = cell_at(&frame.rows[place.rows.start], place.glyph).is_some_and(|cell| cell.ch == '!');
    ComposerView {
        content: content(frame, &place),
        rows: place.rows,
        footer,
        live_top: Some(live_top),
        working,
        shell_mode,
        clipped: false,
    }
}

struct Place {
    rows: Range<usize>,
    /// Rows of the frame around them.
    top: usize,
    bottom: usize,
    /// Column of the glyph; the text begins two further on.
    glyph: u32,
}

/// Rule, `❯ text`, rule.
fn ruled(frame: &Frame, last: usize) -> Option<Place> {
    let rules: Vec<usize> = (0..=last).filter(|row| is_rule(&frame.rows[*row].text)).collect();
    for pair in rules.windows(2).rev() {
        let (top, bottom) = (pair[0], pair[1]);
        let below = (bottom + 1..=last).filter(|row| !is_blank(&frame.rows[*row])).count();
        if bottom == top + 1 || below > BELOW_ROWS {
            continue;
        }
        let first = &frame.rows[top + 1].text;
        let column = indent(first);
        let glyph = first.chars().nth(column);
        let after = first.chars().nth(column + 1);
        if column > 2
            || !matches!(glyph, Some('❯' | '>' | '!' | '#'))
            || after.is_some_and(|c| !c.is_whitespace())
        {
            continue;
        }
        let options = (bottom + 1..=last).any(|row| is_selected_option(&frame.rows[row].text));
        let place = Place { rows: top + 1..bottom, top, bottom, glyph: u32::try_from(column).unwrap_or(0) };
        if !options && shows_insertion(frame, &place) {
            return Some(place);
        }
    }
    None
}

/// `│ > text │`
fn boxed(frame: &Frame, last: usize) -> Option<Place> {
    let bottom = (0..=last).rev().find(|row| frame.rows[*row].text.starts_with('╰'))?;
    let top = (0..bottom).rev().find(|row| frame.rows[*row].text.starts_with('╭'))?;
    let below = (bottom + 1..=last).filter(|row| !is_blank(&frame.rows[*row])).count();
    if bottom == top + 1 || below > BELOW_ROWS {
        return None;
    }
    let glyph = cell_at(&frame.rows[top + 1], 2)?;
    let after = cell_at(&frame.rows[top + 1], 3);
    let place = Place { rows: top + 1..bottom, top, bottom, glyph: 2 };
    let sides = place.rows.clone().all(|row| frame.rows[row].text.starts_with('│'));
    let is_glyph = matches!(glyph.ch, '>' | '❯' | '!' | '#') && after.is_none_or(|cell| cell.is_blank());
    let option = is_selected_option(&frame.rows[top + 1].text);
    (sides && is_glyph && !option && shows_insertion(frame, &place)).then_some(place)
}

fn shows_insertion(frame: &Frame, place: &Place) -> bool {
    !is_styled(frame) || insertion(frame, place.rows.clone(), place.glyph + 2).is_some()
}

fn content(frame: &Frame, place: &Place) -> Composer {
    let column = place.glyph + 2;
    let (mut text, mut solid, mut dim) = (String::new(), 0_usize, 0_usize);
    let mut reversed_letter = false;
    for (index, row) in frame.rows[place.rows.clone()].iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let mut line = String::new();
        for cell in cells_from(row, column) {
            line.push(cell.ch);
            if cell.is_blank() || cell.ch == '│' {
                continue;
            }
            if cell.style.reverse && index == 0 && cell.col == column {
                reversed_letter = true;
            } else if cell.style.dim {
                dim += 1;
            } else {
                solid += 1;
            }
        }
        text.push_str(line.trim_end().trim_end_matches('│').trim_end());
    }
    let empty = if is_styled(frame) {
        // The reversed first letter belongs to the placeholder only where dim text follows it.
        solid == 0 && (!reversed_letter || dim > 0)
    } else {
        text.trim().is_empty() || text.trim_start().starts_with("Try \"")
    };
    if empty { Composer::Empty } else { draft(text.trim_end().to_owned()) }
}

/// Goes up from the composer: hints and task rows hang below the spinner row.
fn live_area(frame: &Frame, top: usize) -> (usize, Option<Working>) {
    for row in (top.saturating_sub(LIVE_ROWS)..top).rev() {
        let text = frame.rows[row].text.as_str();
        if is_blank(&frame.rows[row]) {
            continue;
        }
        if is_spinner(text) {
            let text = text.trim().to_owned();
            let compacting = text.contains("Compacting");
            return (row, Some(Working { row, compacting, starting: false, text }));
        }
        let hangs = text.starts_with("  ") || text.starts_with('⎿');
        if !hangs {
            break;
        }
    }
    (top, None)
}

/// `✻ Mulling… (esc to interrupt · 12s)`: a glyph, words up to an ellipsis, then nothing or a bracket or a bar.
fn is_spinner(text: &str) -> bool {
    let Some(rest) = text.trim_start().strip_prefix(SPINNER).and_then(|rest| rest.strip_prefix(' ')) else {
        return false;
    };
    let Some((words, after)) = rest.split_once('…') else { return false };
    let after = after.trim_start();
    let tail = after.is_empty() || after.starts_with(['(', '▰', '▱', '·']);
    indent(text) <= 2
        && tail
        && !words.trim().is_empty()
        && words.chars().count() <= 80
        && !words.contains('(')
}

fn is_selected_option(text: &str) -> bool {
    let inner = text.trim_start_matches([' ', '│']);
    inner.starts_with(['❯', '>']) && is_option(inner)
}

/// A menu with a selected row near the end of the screen, from the rule or box above it.
fn dialog(frame: &Frame, last: usize) -> Option<Range<usize>> {
    let selected = (0..=last).rev().take(40).find(|row| is_selected_option(&frame.rows[*row].text))?;
    let siblings = (selected.saturating_sub(12)..=last.min(selected + 12))
        .filter(|row| *row != selected && is_option(&frame.rows[*row].text))
        .count();
    if siblings == 0 {
        return None;
    }
    let top = (0..selected).rev().take(60).find(|row| {
        let text = &frame.rows[*row].text;
        is_rule(text) || text.starts_with('╭')
    });
    let top = top.unwrap_or_else(|| {
        (0..selected).rev().take_while(|row| !is_blank(&frame.rows[*row])).last().unwrap_or(selected)
    });
    Some(top..last + 1)
}
