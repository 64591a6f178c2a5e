//! Claude Code: `❯` between two rules (2.x), `>` in a box (1.x). The insertion point is a reversed cell; the placeholder's
//! first letter is reversed and the rest dim. Spinner and task list stand above the upper rule, the footer below the lower.
//!
//! Constraints. A named session writes its name into the upper rule. A full-screen pane keeps its task list in the last rows,
//! with blank rows up to a dialog: rows are counted without the blank ones. All that Claude Code draws below its composer is
//! indented; what begins in column 0 there came after it, and the composer is what a program that has gone left behind.

use std::ops::Range;

use unicode_width::UnicodeWidthStr as _;
use wa_proto::Frame;

use super::{Composer, ComposerView, Working, draft, is_option};
use crate::cells::{cell_at, cells_from, indent, insertion, is_blank, is_rule, is_styled, last_row};

const SPINNER: &[char] = &['·', '✢', '✳', '✶', '✻', '✽', '✺', '*', '∗', '●'];
/// Rows of a task list or of queued messages above the composer.
const LIVE_ROWS: usize = 32;
/// Rows of footer, menu or status line below it.
const BELOW_ROWS: usize = 24;
/// Rows of a dialog above its selected choice.
const TALL: usize = 60;

pub(super) fn read(frame: &Frame) -> ComposerView {
    let Some(last) = last_row(frame) else { return ComposerView::missing() };
    let place = ruled(frame, last).or_else(|| boxed(frame, last));
    let Some(place) = place else {
        return dialog(frame, last).map_or_else(|| bare(frame, last), ComposerView::dialog);
    };
    let footer = place.bottom + 1..last + 1;
    let (live_top, mut working) = live_area(frame, place.top);
    if working.is_none()
        && let Some(row) = footer.clone().find(|row| says_busy(&frame.rows[*row].text))
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

/// No composer and no dialog: what is cut off, or half drawn. A spinner that ends it still tells that the agent works.
fn bare(frame: &Frame, last: usize) -> ComposerView {
    match live_area(frame, last + 1) {
        (top, Some(working)) if indent(&frame.rows[top].text) == 0 => {
            ComposerView { live_top: Some(top), working: Some(working), ..ComposerView::missing() }
        }
        _ => ComposerView::missing(),
    }
}

fn says_busy(text: &str) -> bool {
    text.contains("esc to interrupt") || text.contains("Esc to interrupt")
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
    let text = |row: usize| frame.rows[row].text.as_str();
    let rules: Vec<usize> =
        (0..=last).filter(|row| is_rule(text(*row)) || is_named_rule(text(*row))).collect();
    for pair in rules.windows(2).rev() {
        let (top, bottom) = (pair[0], pair[1]);
        let below = (bottom + 1..=last).filter(|row| !is_blank(&frame.rows[*row])).count();
        let frames = is_rule(text(bottom)) && (is_rule(text(top)) || is_as_wide(text(top), text(bottom)));
        if bottom == top + 1 || below > BELOW_ROWS || !frames || is_left(frame, bottom, last) {
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
    if bottom == top + 1 || below > BELOW_ROWS || is_left(frame, bottom, last) {
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

/// A rule across the pane with a name in it: `──────────── release notes ──`
fn is_named_rule(text: &str) -> bool {
    let dashes = text.chars().take_while(|c| *c == '─').count();
    let name = text.trim_end().trim_matches('─');
    dashes >= 2 && name.starts_with(' ') && !name.trim().is_empty() && !name.contains(['│', '┼', '├', '┬'])
}

/// Rules of one frame end in the same column; a name that was cut may end one or two before it.
fn is_as_wide(top: &str, bottom: &str) -> bool {
    let (top, bottom) = (top.trim_end().width(), bottom.trim_end().width());
    top.abs_diff(bottom) <= 2
}

/// Something in column 0 below a composer: the words with which the agent ended, or a shell's prompt.
fn is_left(frame: &Frame, bottom: usize, last: usize) -> bool {
    let text = |row: usize| frame.rows[row].text.trim_end();
    let ended = (bottom + 1..=last).any(|row| text(row).starts_with("Resume this session with:"));
    let prompt = text(last);
    let names = prompt.contains('@') || prompt.starts_with(['~', '/']);
    let waits = last > bottom && indent(prompt) == 0 && names && prompt.ends_with(['$', '%', '#']);
    ended || waits
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

/// `✻ Mulling… (esc to interrupt · 12s)`: a glyph, words up to an ellipsis, then nothing or a bracket or a bar. While a
/// call is tried again, the reason stands in the place of the words.
fn is_spinner(text: &str) -> bool {
    let Some(rest) = text.trim_start().strip_prefix(SPINNER).and_then(|rest| rest.strip_prefix(' ')) else {
        return false;
    };
    // What is indented is an answer's.
    if indent(text) > 0 {
        return false;
    }
    let Some((words, after)) = rest.split_once('…') else {
        return rest.contains(" · Retrying in ") && rest.contains("attempt ");
    };
    let after = after.trim_start();
    let tail = after.is_empty() || after.starts_with(['(', '▰', '▱', '·']);
    // What a tool has read or searched is a row of the transcript.
    let folded = after.starts_with("(ctrl+");
    tail && !folded && !words.trim().is_empty() && words.chars().count() <= 80 && !words.contains('(')
}

fn is_selected_option(text: &str) -> bool {
    let inner = text.trim_start_matches([' ', '│']);
    inner.starts_with(['❯', '>']) && is_option(inner)
}

/// A menu with a selected row near the end of the screen, from the rule or box above it.
fn dialog(frame: &Frame, last: usize) -> Option<Range<usize>> {
    let selected =
        numbered(frame, last).or_else(|| plain(frame, last)).filter(|row| !is_left(frame, *row, last))?;
    let framed = (0..selected).rev().take(TALL).find(|row| {
        let text = &frame.rows[*row].text;
        is_rule(text) || text.starts_with(['╭', '▔'])
    });
    Some(framed.unwrap_or_else(|| unframed(frame, selected))..last + 1)
}

/// The first row of a dialog whose frame is cut off, or that has none: its text is indented, and what stands above it
/// begins in column 0 or with a glyph.
fn unframed(frame: &Frame, selected: usize) -> usize {
    let text = |row: usize| frame.rows[row].text.as_str();
    let inside = |row: &usize| {
        let text = text(*row);
        is_blank(&frame.rows[*row])
            || (text.starts_with([' ', '│'])
                && !text.trim_start().starts_with(['⎿', '⏺', '●', '✻', '❯', '>']))
    };
    let from = selected.saturating_sub(TALL);
    let rows = (from..selected).rev();
    let block = || rows.clone().take_while(|row| !is_blank(&frame.rows[*row])).last();
    let all = || rows.clone().take_while(inside).filter(|row| !is_blank(&frame.rows[*row])).last();
    let found = if text(selected).starts_with(['❯', '>']) { block() } else { all() };
    found.unwrap_or(selected)
}

/// Rows with something on them, from the last one up.
fn written(frame: &Frame, last: usize) -> impl Iterator<Item = usize> + '_ {
    (0..=last).rev().filter(|row| !is_blank(&frame.rows[*row]))
}

/// The selected one of numbered choices.
fn numbered(frame: &Frame, last: usize) -> Option<usize> {
    let selected = written(frame, last).take(40).find(|row| is_selected_option(&frame.rows[*row].text))?;
    let nearby = selected.saturating_sub(12)..=last.min(selected + 12);
    let mut siblings = nearby.filter(|row| *row != selected && is_option(&frame.rows[*row].text));
    let end = siblings.next_back()?.max(selected);
    let below = (end + 1..=last).filter(|row| !is_blank(&frame.rows[*row])).count();
    (below <= BELOW_ROWS).then_some(selected)
}

/// The selected one of choices without numbers: another one stands in line with it, and a row of keys below.
fn plain(frame: &Frame, last: usize) -> Option<usize> {
    let text = |row: usize| frame.rows[row].text.trim_start_matches('│');
    let hints = written(frame, last).take(4).find(|row| is_hint(text(*row)))?;
    let selected = (0..hints).rev().take(12).find(|row| {
        let inner = text(*row).trim_start();
        indent(text(*row)) > 0
            && inner.strip_prefix('❯').is_some_and(|rest| rest.starts_with([' ', '\u{a0}']))
    })?;
    let column = indent(text(selected)) + 2;
    let beside = [selected.checked_sub(1), Some(selected + 1)];
    let sibling = beside.into_iter().flatten().any(|row| row < hints && indent(text(row)) == column);
    sibling.then_some(selected)
}

/// `Enter to confirm · Esc to cancel`
fn is_hint(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with("Enter to ") || (text.starts_with("Esc to ") && text.contains(" · "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(rows: &[&str]) -> ComposerView {
        read(&Frame::from_text(80, &rows.join("\n")))
    }

    #[test]
    fn a_dialog_without_its_frame_ends_at_the_transcript() {
        let rows = [
            "❯ continue",
            "  ⎿  You've hit your session limit · resets in 5m",
            "",
            "   What do you want to do?",
            "",
            "   ❯ 1. Stop and wait for limit to reset",
            "     2. Upgrade your plan",
        ];
        let view = screen(&rows);
        assert_eq!((view.content, view.rows), (Composer::Dialog, 3..7));
        let bare =
            ["You've hit your limit", "", "What do you want to do?", "❯ 1. Stop and wait", "  2. Upgrade"];
        assert_eq!(screen(&bare).rows, 2..5);
    }

    #[test]
    fn choices_without_numbers_need_a_row_of_keys() {
        let rows = [" Security guide", "", " ❯ No, exit", "   Yes, I trust this folder", ""];
        assert_eq!(screen(&rows).content, Composer::Missing);
        let keys = [&rows[..], &[" Enter to confirm · Esc to cancel"]].concat();
        assert_eq!(screen(&keys).content, Composer::Dialog);
        let prompt = ["❯ go on", "  with it", "", " Enter to confirm · Esc to cancel"];
        assert_eq!(screen(&prompt).content, Composer::Missing, "a submitted prompt stands in column 0");
    }

    #[test]
    fn a_named_session_writes_its_name_into_the_upper_rule() {
        let line = "─".repeat(60);
        let cut = format!("{} release-notes-for-t", "─".repeat(40));
        for top in [format!("{} parser ──", "─".repeat(50)), cut] {
            let view = screen(&["⏺ Done.", "", &top, "❯ go on", &line, "  ? for shortcuts"]);
            assert_eq!(view.content, draft("go on".to_owned()), "{top}");
        }
        // A heading in an answer is not as wide as the rule below.
        let heading = screen(&["── parser ──", "❯ go on", &line]);
        assert_eq!(heading.content, Composer::Missing);
    }

    #[test]
    fn a_task_list_in_the_last_rows_belongs_to_nothing() {
        let dialog = ["─────────────", " Do you want to proceed?", " ❯ 1. Yes", "   2. No", " Esc to cancel"];
        let blank = [""; 60];
        let list = ["  2 tasks (0 done, 2 open)", "  ◻ Phase 1", "  ◻ Phase 2"];
        let view = screen(&[&dialog[..], &blank[..], &list[..]].concat());
        assert_eq!((view.content, view.rows.start), (Composer::Dialog, 0));
    }

    #[test]
    fn what_a_program_that_has_gone_left_behind_is_no_composer() {
        let line = "─".repeat(40);
        let left = ["⏺ Done.", "", &line, "❯", &line, "  Press Ctrl-D again to exit"];
        assert_eq!(screen(&left).content, Composer::Empty);
        let ended = ["", "Resume this session with:", "claude --resume 4fe844d2-7ac7-4fb8-98fa-f2efd092a0c7"];
        let shell = ["dev@box ~/webapp %"];
        for below in [&ended[..], &shell[..]] {
            assert_eq!(screen(&[&left[..], below].concat()).content, Composer::Missing, "{below:?}");
        }
        let dialog =
            [" Do you want to proceed?", " ❯ 1. Yes", "   2. No", "Aborted (core dumped)", "dev@box:~$"];
        assert_eq!(screen(&dialog).content, Composer::Missing);
        // A status line of one's own is indented, whatever stands in it.
        let status = [&left[..5], &["  dev@box:~/webapp$"]].concat();
        assert_eq!(screen(&status).content, Composer::Empty);
    }

    #[test]
    fn a_spinner_at_the_end_tells_that_it_works() {
        let spins = |row: &str| screen(&["● Done.", "", row]).working.is_some();
        assert!(spins("* Compacting conversation… (29s)  ▰▰▰▰ 28%"));
        assert!(spins("✳ Unable to connect to API (ENOTIMP) · Retrying in 8s · attempt 5/10"));
        assert!(!spins("✻ Brewed for 2m 4s"));
        assert!(!spins("● Reading 1 file… (ctrl+o to expand)"));
        assert!(!spins("  * Loading files… (see below)"), "an indented row is an answer's");
    }
}
