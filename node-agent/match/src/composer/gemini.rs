//! Gemini CLI: `>` in a box (up to 0.24), between half-block rows (0.27), or between a rule and the footer on a tinted band
//! (0.35 and later). The insertion point is a reversed cell; the terminal's cursor is hidden. The placeholder is grey, not
//! dim.

use std::ops::Range;

use wa_proto::{Color, Frame};

use super::{Composer, ComposerView, Working, draft, is_option};
use crate::cells::{Cell, cell_at, cells_from, groups, insertion, is_blank, is_rule, is_styled, last_row};

const PLACEHOLDERS: &[&str] = &["Type your message or @path/to/file", "Type your shell command"];
const LIVE_ROWS: usize = 16;
/// Blanks before what a cell of the status row has wrapped.
const WRAPPED: usize = 16;

pub(super) fn read(frame: &Frame) -> ComposerView {
    let Some(last) = last_row(frame) else { return ComposerView::missing() };
    let boxed = last_box(frame, last);
    if let Some(rows) = &boxed
        && let Some(view) = boxed_composer(frame, rows, last)
    {
        return view;
    }
    let open = || ruled_composer(frame, last).or_else(|| half_block_composer(frame, last));
    if let Some(view) = open().or_else(|| banded_composer(frame, last)) {
        return view;
    }
    boxed
        .filter(|rows| is_dialog(frame, rows))
        .map(|rows| rows.start)
        .or_else(|| bare_dialog(frame, last))
        .map_or_else(ComposerView::missing, |start| ComposerView::dialog(start..last + 1))
}

/// The lowest box in column 0 or 1, unless more than a footer follows it.
fn last_box(frame: &Frame, last: usize) -> Option<Range<usize>> {
    let at = |row: usize, corner: char| {
        let text = frame.rows[row].text.as_str();
        text.strip_prefix(' ').unwrap_or(text).starts_with(corner)
    };
    let end = (0..=last).rev().find(|row| at(*row, '╰'))?;
    let start = (0..end).rev().take_while(|row| !at(*row, '╰')).find(|row| at(*row, '╭'));
    // A box that is taller than the pane has its upper end scrolled out.
    let cut = (end > 0 && (0..end).all(|row| at(row, '│'))).then_some(0);
    let start = start.or(cut)?;
    let below = (end + 1..=last).filter(|row| !is_blank(&frame.rows[*row])).count();
    (below <= 6).then_some(start..end + 1)
}

/// A box asks something when a choice is marked in it, or when it says which keys answer it.
fn is_dialog(frame: &Frame, rows: &Range<usize>) -> bool {
    // A tool that is done shows what it printed, and that may be anything.
    let head = rows.clone().map(|row| inner(&frame.rows[row].text)).find(|text| !text.is_empty());
    if head.is_some_and(|head| head.starts_with(['✓', '✔', '⊷', '⊶'])) {
        return false;
    }
    let filled = rows.clone().rev().filter(|row| !inner(&frame.rows[*row].text).is_empty());
    rows.clone().any(|row| is_selected_option(&frame.rows[row].text))
        || filled.take(8).any(|row| is_key_hint(&frame.rows[row].text))
}

/// A box's row without its border, and without the scroll bar that may stand at the edge of the pane.
fn inner(text: &str) -> &str {
    let text = text.trim_end_matches([' ', '█', '▄', '▀']);
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '│' | '╭' | '╮' | '╰' | '╯' | '─'))
}

/// `Enter to select · Esc to cancel`, `(Press Enter to submit, …)`, `Press R to restart, or Esc …`
fn is_key_hint(text: &str) -> bool {
    let text = inner(text).trim_start_matches('(');
    let text = text.strip_prefix("Use ").or_else(|| text.strip_prefix("Press ")).unwrap_or(text);
    let Some((key, rest)) = text.split_once(" to ") else { return false };
    let known = matches!(key, "Enter" | "Esc" | "Escape" | "R" | "'r'" | "r" | "Tab" | "Ctrl+G");
    known && rest.starts_with(|c: char| c.is_ascii_lowercase())
}

/// A question without a box around it: its choices and key hints are the last thing on the screen. Only captures of a part
/// of a screen look so, or a row of key hints proves it.
fn bare_dialog(frame: &Frame, last: usize) -> Option<usize> {
    let hinted = is_key_hint(&frame.rows[last].text);
    if is_styled(frame) && !hinted {
        return None;
    }
    let from = last.saturating_sub(BARE_ROWS);
    let marked = (from..=last).rev().find(|row| is_selected_option(&frame.rows[*row].text))?;
    let follows = |row: usize| {
        let text = frame.rows[row].text.as_str();
        is_blank(&frame.rows[row])
            || is_option(text)
            || is_key_hint(text)
            || crate::cells::indent(text) >= 4
            || text.trim() == "▼"
    };
    if !(marked + 1..=last).all(follows) {
        return None;
    }
    let said = |row: &usize| frame.rows[*row].text.trim_start().starts_with(['✦', 'ℹ', '✕', '⚠', '>']);
    let start = (from..marked).rev().find(said).map_or(from, |row| row + 1);
    (start..=marked).find(|row| !is_blank(&frame.rows[*row]))
}

/// A bare question is no longer than this.
const BARE_ROWS: usize = 60;

fn is_selected_option(text: &str) -> bool {
    let inner = text.trim_start_matches(['│', ' ']);
    inner.starts_with("● ") && is_option(inner)
}

/// `│ > text │`
fn boxed_composer(frame: &Frame, rows: &Range<usize>, last: usize) -> Option<ComposerView> {
    let inner = rows.start + 1..rows.end - 1;
    if inner.is_empty() || !inner.clone().all(|row| frame.rows[row].text.starts_with('│')) {
        return None;
    }
    let glyph = cell_at(&frame.rows[inner.start], 2).map(|cell| cell.ch).unwrap_or(' ');
    let is_glyph = matches!(glyph, '>' | '!' | '*')
        && cell_at(&frame.rows[inner.start], 3).is_some_and(|c| c.is_blank());
    // A draft of more than ten rows has its glyph scrolled out; then only the insertion point tells. A field that asks for
    // a key stands in a box of its own, within another.
    let insert = insertion(frame, inner.clone(), 4);
    let nested = |row: usize| self::inner_begins(&frame.rows[row].text, '╭');
    if !is_glyph && (insert.is_none() || inner.len() < 10 || inner.clone().any(nested)) {
        return None;
    }
    if is_styled(frame) && insert.is_none() {
        return None;
    }
    let footer = rows.end..last + 1;
    Some(view(frame, Body { rows: inner, top: rows.start, column: 4, glyph, clipped: !is_glyph }, footer))
}

/// Whether this stands first within a box's border.
fn inner_begins(text: &str, what: char) -> bool {
    text.trim_start().strip_prefix('│').is_some_and(|text| text.trim_start().starts_with(what))
}

/// ` > text` between two rows of half blocks (0.27), with nothing but the footer below. Submitted prompts look the same; the
/// composer is the last, and has no rule with a hint above it.
fn half_block_composer(frame: &Frame, last: usize) -> Option<ComposerView> {
    let band = |row: &usize| is_half_blocks(&frame.rows[*row].text);
    let mut bands = (0..=last).rev().filter(band);
    let (below, above) = (bands.next()?, bands.next()?);
    let hint_rule = (above.saturating_sub(3)..above).any(|row| is_rule(&frame.rows[row].text));
    let rows = above + 1..below;
    let first = frame.rows.get(rows.start)?;
    let glyph = cell_at(first, 1).map_or(' ', |cell| cell.ch);
    let is_glyph = matches!(glyph, '>' | '!' | '*') && first.text.starts_with(' ');
    let is_glyph = is_glyph && cell_at(first, 2).is_none_or(|cell| cell.is_blank());
    let insert = insertion(frame, rows.clone(), 3);
    let footer = (below + 1..=last).filter(|row| !is_blank(&frame.rows[*row])).count();
    if hint_rule || rows.is_empty() || !is_glyph || footer > 3 || (is_styled(frame) && insert.is_none()) {
        return None;
    }
    let body = Body { rows, top: above, column: 3, glyph, clipped: false };
    Some(view(frame, body, below + 1..last + 1))
}

/// A row of `▀` or of `▄` across the pane.
fn is_half_blocks(text: &str) -> bool {
    let text = text.trim();
    let first = text.chars().next().filter(|first| matches!(first, '▀' | '▄'));
    first.is_some_and(|first| text.chars().all(|c| c == first)) && text.chars().count() >= 10
}

/// ` > text` directly between two rules across the pane (0.30), often with a hint row and a third rule above.
fn ruled_composer(frame: &Frame, last: usize) -> Option<ComposerView> {
    let ruled = |row: &usize| frame.rows[*row].text.starts_with('─') && is_rule(&frame.rows[*row].text);
    let mut rules = (0..=last).rev().filter(ruled);
    let (below, above) = (rules.next()?, rules.next()?);
    let rows = above + 1..below;
    let glyph = cell_at(frame.rows.get(rows.start)?, 1).map_or(' ', |cell| cell.ch);
    let spaced = cell_at(&frame.rows[rows.start], 2).is_none_or(|cell| cell.is_blank());
    let insert = insertion(frame, rows.clone(), 3);
    if rows.is_empty()
        || !matches!(glyph, '>' | '!' | '*')
        || !spaced
        || (is_styled(frame) && insert.is_none())
    {
        return None;
    }
    let hint = above.checked_sub(2).filter(|row| ruled(row)).unwrap_or(above);
    let end = rows.clone().rev().find(|row| !is_blank(&frame.rows[*row])).map_or(rows.start, |row| row);
    let end = insert.map_or(end, |(row, _)| row.max(end)) + 1;
    let body = Body { rows: rows.start..end, top: hint, column: 3, glyph, clipped: false };
    Some(view(frame, body, below + 1..last + 1))
}

/// A rule across the pane, a hint row, and ` > text` with blank or half-block rows around it.
fn banded_composer(frame: &Frame, last: usize) -> Option<ComposerView> {
    let rule = (0..=last)
        .rev()
        .find(|row| frame.rows[*row].text.starts_with('─') && is_rule(&frame.rows[*row].text))?;
    let band = |row: &usize| {
        let text = frame.rows[*row].text.trim();
        text.is_empty() || text.chars().all(|c| matches!(c, '▀' | '▄'))
    };
    let glyph_row = (rule + 1..=last.min(rule + 6)).find(|row| {
        let cell = cell_at(&frame.rows[*row], 1);
        let after = cell_at(&frame.rows[*row], 2);
        frame.rows[*row].text.starts_with(' ')
            && cell.is_some_and(|cell| matches!(cell.ch, '>' | '!' | '*'))
            && after.is_none_or(|cell| cell.is_blank())
    });
    let glyph = glyph_row.and_then(|row| cell_at(&frame.rows[row], 1)).map_or(' ', |cell| cell.ch);
    let inside = glyph_row.or_else(|| insertion(frame, rule + 1..last + 1, 3).map(|(row, _)| row))?;
    let tint = tint(frame, inside);
    let outside = |row: &usize| tint.is_some_and(|_| !band(row) && self::tint(frame, *row) != tint);
    let start =
        glyph_row.or_else(|| (rule + 1..=inside).find(|row| !band(row) && !outside(row))).unwrap_or(inside);
    // A pane that was resized keeps old footers below the new one: the first below the band is it.
    let closing = |row: &usize| band(row) && !is_blank(&frame.rows[*row]);
    let closed = || (start + 1..last).find(closing).map(|row| row + 1).filter(|_| tint.is_none());
    let below = (start + 1..=last).find(outside).or_else(closed);
    let groups = groups(frame, below.unwrap_or(start)..last + 1);
    let group = if below.is_some() { groups.first() } else { groups.last() };
    let footer = group.filter(|group| group.start > start).cloned().unwrap_or(last + 1..last + 1);
    let end = (start + 1..footer.start).rev().find(|row| !band(row)).map_or(start + 1, |row| row + 1);
    // The insertion point may stand in an empty last line of the draft.
    let insert = insertion(frame, start..footer.start, 3);
    if is_styled(frame) && insert.is_none() {
        return None;
    }
    let end = insert.map_or(end, |(row, _)| end.max(row + 1));
    let body = Body { rows: start..end, top: rule, column: 3, glyph, clipped: glyph_row.is_none() };
    Some(view(frame, body, footer))
}

/// The background of the band that the text stands on; `None` where it has none.
fn tint(frame: &Frame, row: usize) -> Option<Color> {
    let first = cell_at(frame.rows.get(row)?, 0)?;
    Some(first.style.bg).filter(|color| *color != Color::Default)
}

struct Body {
    rows: Range<usize>,
    /// First row of the composer's frame.
    top: usize,
    /// Column where the text begins.
    column: u32,
    glyph: char,
    clipped: bool,
}

fn view(frame: &Frame, body: Body, footer: Range<usize>) -> ComposerView {
    let content = content(frame, &body);
    let (live_top, working) = live_area(frame, body.top);
    ComposerView {
        content,
        footer,
        live_top: Some(live_top),
        working,
        shell_mode: body.glyph == '!',
        clipped: body.clipped,
        rows: body.rows,
    }
}

fn content(frame: &Frame, body: &Body) -> Composer {
    let mut text = String::new();
    for (index, row) in frame.rows[body.rows.clone()].iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let line: String = cells_from(row, body.column).map(|cell| cell.ch).collect();
        text.push_str(line.trim_end().trim_end_matches('│').trim_end());
    }
    let trimmed = text.trim();
    let placeholder = PLACEHOLDERS.contains(&trimmed);
    if trimmed.is_empty() || (placeholder && !body.clipped && is_placeholder(frame, body)) {
        return Composer::Empty;
    }
    draft(text)
}

/// The placeholder follows a reversed blank and is grey; typed text is not.
fn is_placeholder(frame: &Frame, body: &Body) -> bool {
    if !is_styled(frame) {
        return true;
    }
    let row = &frame.rows[body.rows.start];
    let reversed_blank = cell_at(row, body.column).is_some_and(|cell| cell.is_blank() && cell.style.reverse);
    let grey = |cell: &Cell| {
        cell.style.dim
            || match cell.style.fg {
                Color::Palette(index) => !matches!(index, 7 | 15 | 231 | 255),
                Color::Rgb(r, g, b) => r.max(g).max(b) < 0xd0,
                Color::Default => false,
            }
    };
    let first = cells_from(row, body.column + 1).find(|cell| !cell.is_blank());
    reversed_blank && first.is_some_and(|cell| grey(&cell))
}

/// Goes up from the composer's frame: the status row, queued messages, the spinner.
fn live_area(frame: &Frame, top: usize) -> (usize, Option<Working>) {
    let mut live = top;
    let mut spinner = None;
    for row in (top.saturating_sub(LIVE_ROWS)..top).rev() {
        let text = frame.rows[row].text.as_str();
        if is_blank(&frame.rows[row]) {
            continue;
        }
        if let Some(working) = working(text, row) {
            (live, spinner) = (row, Some(working));
            continue;
        }
        let hint = ["? for shortcuts", "Press Ctrl+", "Press Esc", "Ctrl+O to expand", "to expand pasted"];
        let queue_head = text.trim_start().starts_with("Queued (press");
        if queue_head || (crate::cells::indent(text) >= 2 && hint.iter().any(|words| text.contains(words))) {
            live = row;
        } else if crate::cells::indent(text) >= WRAPPED {
            // The status row's cells wrap each for itself.
        } else if !(is_queued(frame, row) || text.starts_with("    ") && has_queue_head(frame, row)) {
            break;
        }
    }
    (live, spinner)
}

/// Queued messages without a head (0.8): indented rows right below the spinner.
fn is_queued(frame: &Frame, row: usize) -> bool {
    let above = (row.saturating_sub(8)..row).rev().map(|above| (above, frame.rows[above].text.as_str()));
    let mut above = above.skip_while(|(_, text)| text.trim().is_empty() || crate::cells::indent(text) >= 2);
    crate::cells::indent(&frame.rows[row].text) >= 2
        && above.next().is_some_and(|(above, text)| working(text, above).is_some())
}

/// Rows of queued messages stand below their head.
fn has_queue_head(frame: &Frame, row: usize) -> bool {
    (row.saturating_sub(8)..row).any(|above| frame.rows[above].text.trim_start().starts_with("Queued (press"))
}

/// ` ⠼ Thinking... (esc to cancel, 2s)`
fn working(text: &str, row: usize) -> Option<Working> {
    let trimmed = text.trim_start();
    let spinner = trimmed.starts_with(|c: char| ('\u{2800}'..='\u{28ff}').contains(&c));
    (spinner && crate::cells::indent(text) <= 1 && trimmed.contains("(esc to cancel")).then(|| Working {
        row,
        // Hints stand at the right edge of the same row.
        text: trimmed.find(')').map_or(trimmed, |end| &trimmed[..=end]).trim_end().to_owned(),
        compacting: trimmed.contains("ompress"),
        starting: false,
    })
}
