//! Codex: `›` in column 0, text from column 2, one blank row above and below, no border. The terminal's own cursor stands
//! in the text and is hidden while a dialog is open. The composer floats below the transcript (up to 0.144) or is anchored
//! at the bottom of the alternate screen (0.169).

use wa_proto::{Frame, FrameRow};

use super::{Composer, ComposerView, Working, draft, is_option};
use crate::cells::{cell_at, cells_from, groups, is_blank, is_styled, last_row};

/// Column where the text begins.
const TEXT: u32 = 2;
/// What stands in an empty composer; a saved text does not tell it by its style.
const PLACEHOLDERS: &[&str] = &[
    "Ask Codex to do anything",
    "Explain this codebase",
    "Summarize recent commits",
    "Implement {feature}",
    "Find and fix a bug in @filename",
    "Write tests for @filename",
    "Improve documentation in @filename",
    "Run /review on my current changes",
    "Use /skills to list available skills",
];
/// Rows between composer and spinner: queued messages, reasons, blanks.
const LIVE_ROWS: usize = 24;

pub(super) fn read(frame: &Frame) -> ComposerView {
    let styled = is_styled(frame);
    let Some(last) = last_row(frame) else { return ComposerView::missing() };
    if !frame.cursor.visible && is_dialog(frame, last, styled) {
        return ComposerView::dialog(dialog_top(frame, last)..last + 1);
    }
    if styled && !frame.cursor.visible {
        return ComposerView::missing();
    }
    match glyph_row(frame, last, styled) {
        Glyph::At(row) => composer(frame, row, last, styled),
        Glyph::Above => clipped(frame, last),
        Glyph::None => ComposerView::missing(),
    }
}

enum Glyph {
    At(usize),
    /// Scrolled off: a draft taller than the view.
    Above,
    None,
}

/// The glyph row that the cursor belongs to: nothing between them begins in column 0.
fn glyph_row(frame: &Frame, last: usize, styled: bool) -> Glyph {
    let from = if frame.cursor.visible {
        let Ok(row) = usize::try_from(frame.cursor.row) else { return Glyph::None };
        if row > last.max(row.min(last)) + 2 || row >= frame.rows.len() {
            return Glyph::None;
        }
        row
    } else {
        last
    };
    for row in (0..=from).rev() {
        let Some(line) = frame.rows.get(row) else { continue };
        if is_glyph(line, styled) {
            return Glyph::At(row);
        }
        if line.text.starts_with(|c: char| !c.is_whitespace()) {
            return Glyph::None;
        }
    }
    let filled = frame.rows.iter().take(from + 1).filter(|row| !is_blank(row)).count();
    if styled && filled >= 5 && frame.cursor.col >= TEXT { Glyph::Above } else { Glyph::None }
}

fn is_glyph(row: &FrameRow, styled: bool) -> bool {
    let Some(cell) = cell_at(row, 0) else { return false };
    let alone = cell_at(row, 1).is_none_or(|next| next.is_blank());
    match cell.ch {
        '›' if styled => alone && !cell.style.dim,
        '›' => alone && !is_option(&row.text),
        '!' => alone && styled && cell.style.bold,
        _ => false,
    }
}

fn composer(frame: &Frame, glyph: usize, last: usize, styled: bool) -> ComposerView {
    let cursor = usize::try_from(frame.cursor.row).ok().filter(|_| frame.cursor.visible);
    let all = groups(frame, glyph..last + 1);
    let footer = all
        .last()
        .filter(|group| group.start > glyph && cursor.is_none_or(|row| row < group.start))
        .cloned()
        .unwrap_or(last + 1..last + 1);
    let text_end = all.iter().rfind(|group| group.end <= footer.start).map_or(glyph + 1, |group| group.end);
    let rows = glyph..text_end.max(cursor.map_or(0, |row| row + 1)).min(footer.start.max(glyph + 1));
    let text = text_of(frame, rows.clone());
    let empty = if styled {
        !text.solid && cursor == Some(glyph) && frame.cursor.col == TEXT
    } else {
        text.all.trim().is_empty()
            || PLACEHOLDERS.contains(&text.all.trim())
            || footer.clone().any(|row| is_idle_footer(&frame.rows[row].text))
    };
    let content = match (empty, styled) {
        (true, _) => Composer::Empty,
        (false, true) => draft(text.solid_text),
        (false, false) => draft(text.all),
    };
    let (live_top, working) = live_area(frame, glyph);
    let shell_mode = frame.rows[glyph].text.starts_with('!');
    ComposerView {
        content,
        rows,
        footer,
        live_top: Some(live_top),
        working,
        shell_mode,
        clipped: text.clipped,
    }
}

fn clipped(frame: &Frame, last: usize) -> ComposerView {
    let text = text_of(frame, 0..last + 1);
    ComposerView {
        content: Composer::Draft { text: text.solid_text },
        rows: 0..last + 1,
        live_top: Some(0),
        clipped: true,
        ..ComposerView::missing()
    }
}

/// `gpt-5.1-codex default · 100% left · ~/webapp`: the model, what is left of its context, the directory; or hints, in which
/// keys are written `ctrl + c`.
pub(super) fn is_footer(text: &str) -> bool {
    if text.contains("% context left") || text.contains("ctrl + ") {
        return true;
    }
    let mut parts = text.trim().split(" · ");
    let model = parts.next().unwrap_or_default();
    let name = model.split(' ').next().unwrap_or_default();
    let is_name = name.contains('-') && name.bytes().any(|byte| byte.is_ascii_digit());
    let is_name =
        is_name && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/' | '_'));
    is_name
        && model.split(' ').count() <= 3
        && parts.any(|part| part.starts_with(['~', '/']) || part.ends_with("% left"))
}

fn is_idle_footer(text: &str) -> bool {
    text.contains("? for shortcuts")
}

struct Text {
    /// A character that is not dim and not blank was seen.
    solid: bool,
    solid_text: String,
    all: String,
    clipped: bool,
}

fn text_of(frame: &Frame, rows: std::ops::Range<usize>) -> Text {
    let mut text = Text { solid: false, solid_text: String::new(), all: String::new(), clipped: false };
    for (index, row) in frame.rows[rows].iter().enumerate() {
        if index > 0 {
            text.solid_text.push('\n');
            text.all.push('\n');
        }
        for cell in cells_from(row, TEXT) {
            // A dim arrow at the right edge marks rows that are scrolled out.
            if matches!(cell.ch, '↑' | '↓') && cell.style.dim && cell.col + 2 >= frame.cols {
                text.clipped = true;
                continue;
            }
            text.all.push(cell.ch);
            if !cell.style.dim || cell.is_blank() {
                text.solid |= !cell.is_blank();
                text.solid_text.push(cell.ch);
            }
        }
    }
    for line in [&mut text.solid_text, &mut text.all] {
        *line = line.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned();
    }
    text
}

/// Goes up from the composer through what belongs to it: sticky notices, queued messages, the spinner row.
fn live_area(frame: &Frame, glyph: usize) -> (usize, Option<Working>) {
    if let Some(top) = popup(frame, glyph) {
        return (top, None);
    }
    let mut top = glyph;
    for row in (glyph.saturating_sub(LIVE_ROWS)..glyph).rev() {
        let text = frame.rows[row].text.as_str();
        if let Some(working) = working(text, row) {
            return (row, Some(working));
        }
        if is_blank(&frame.rows[row]) {
            // The blank row above the composer is part of it.
            if row + 1 == glyph {
                top = row;
            }
            continue;
        }
        let sticky = text.trim_start().starts_with('⚠') && crate::cells::indent(text) > 8;
        let queued = text.starts_with("• Queued follow-up") || text.starts_with("• Messages to be submitted");
        let detail = text.starts_with("  ");
        if sticky || queued {
            top = row;
        } else if !detail {
            break;
        }
    }
    (top, None)
}

/// A list of commands or files above the composer: its marked row has the glyph of a submitted prompt, and is reversed.
fn popup(frame: &Frame, glyph: usize) -> Option<usize> {
    let end = glyph.checked_sub(1).filter(|row| is_blank(&frame.rows[*row]))?;
    let top = (0..end).rev().take_while(|row| !is_blank(&frame.rows[*row])).last()?;
    let draft = frame.rows[glyph].text.trim_start_matches(['›', ' ']);
    let marked = |row: &FrameRow| cell_at(row, 0).is_some_and(|cell| cell.ch == '›' && cell.style.reverse);
    let command = |row: &FrameRow| row.text.trim_start_matches(['›', ' ']).starts_with('/');
    let rows = &frame.rows[top..end];
    let list = rows.iter().any(marked) || (draft.starts_with('/') && rows.iter().all(command));
    list.then_some(top)
}

/// `• Working (12s • esc to interrupt)`, with any verb, perhaps cut at the right edge.
fn working(text: &str, row: usize) -> Option<Working> {
    let rest = text.strip_prefix(['•', '◦'])?.strip_prefix(' ')?;
    let timer =
        rest.rfind(" • esc").and_then(|end| rest[..end].rfind('(').map(|start| &rest[start + 1..end]))?;
    let is_timer =
        !timer.is_empty() && timer.chars().all(|c| c.is_ascii_digit() || matches!(c, 'h' | 'm' | 's' | ' '));
    is_timer.then(|| Working {
        row,
        text: text.trim().to_owned(),
        compacting: rest.starts_with("Compacting"),
        starting: ["Booting MCP server", "Starting MCP server"].iter().any(|verb| rest.starts_with(verb)),
    })
}

/// Rows over which key hints may wrap.
const HINT_ROWS: usize = 3;

fn is_dialog(frame: &Frame, last: usize, styled: bool) -> bool {
    let lower = hints(frame, last).to_lowercase();
    let hint = [
        "press enter to",
        "enter to ",
        "enter select",
        "enter resume",
        "esc to cancel",
        "esc back",
        "q to quit",
    ]
    .iter()
    .any(|words| lower.contains(words));
    let marked = |row: &FrameRow| row.text.trim_start().starts_with("› ") && is_option(&row.text);
    let options = || frame.rows[..=last].iter().rev().take(30).any(marked);
    // A saved text shows no cursor: only rows that no composer has below it count there. The edge of the screen may have
    // cut the hints off.
    let cut = || last + 1 == frame.rows.len() && is_option(&frame.rows[last].text) && options();
    let known = hint || picker(frame, last);
    if styled { known || options() } else { (known && !lower.contains("for shortcuts")) || cut() }
}

/// The last rows, as far as they stand together and none of them is a choice or begins in column 0.
fn hints(frame: &Frame, last: usize) -> String {
    let together =
        |row: &FrameRow| !is_blank(row) && !is_option(&row.text) && row.text.starts_with(char::is_whitespace);
    let above = frame.rows[..last].iter().rev().take(HINT_ROWS - 1).take_while(|row| together(row)).count();
    let first = if together(&frame.rows[last]) { last - above } else { last };
    frame.rows[first..=last].iter().map(|row| row.text.trim()).collect::<Vec<_>>().join(" ")
}

/// Full-screen pickers have their key hints in the last two rows.
fn picker(frame: &Frame, last: usize) -> bool {
    frame.rows[last.saturating_sub(1)..=last].iter().any(|row| {
        let text = row.text.trim_start();
        text.starts_with("enter resume") || text.starts_with("q to quit") || text.contains("esc to go back")
    })
}

/// Whether a row in column 0 is the rest of an indented paragraph, which such a screen wraps without its indent.
fn goes_on(frame: &Frame, row: usize) -> bool {
    let begins = |row: usize, what: fn(char) -> bool| frame.rows[row].text.starts_with(what);
    let mut above = (0..=row)
        .rev()
        .take_while(|row| begins(*row, |c| c.is_ascii_alphanumeric() || matches!(c, '%' | '&')));
    let first = above.by_ref().last();
    let prompt = frame.rows[row].text.contains(['$', '#']);
    !prompt
        && first
            .and_then(|first| first.checked_sub(1))
            .is_some_and(|above| begins(above, char::is_whitespace) && !is_blank(&frame.rows[above]))
}

/// First row of a dialog: below the last thing that begins in column 0, after its own lines.
fn dialog_top(frame: &Frame, last: usize) -> usize {
    let first = |from: usize| (from..=last).find(|row| !is_blank(&frame.rows[*row])).unwrap_or(last);
    let above = (0..=last).rev().find(|row| {
        let text = &frame.rows[*row].text;
        let choice = text.starts_with("› ") && is_option(text);
        // Screens of their own begin so: the folder to trust, the model to move to, the way to sign in.
        let own = text.starts_with("> ");
        text.starts_with(|c: char| !c.is_whitespace()) && !choice && !own && !goes_on(frame, *row)
    });
    let Some(above) = above else { return first(0) };
    // Two blank rows set a dialog apart from a tool's output above it.
    let gaps = || (above + 1..last).filter(|row| is_blank(&frame.rows[*row]));
    let gap = gaps().find(|row| is_blank(&frame.rows[*row + 1])).or_else(|| gaps().next());
    first(gap.unwrap_or(above + 1))
}
