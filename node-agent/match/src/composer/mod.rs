//! The composer: where an agent takes text, and what stands in it.
//!
//! Constraints. Before anything is typed it must be shown that the composer is there and empty, and before Enter that it
//! holds exactly the pasted text. A submitted prompt has the composer's glyph and column; a placeholder differs from a
//! draft only by its style; a dialog takes keys that were meant for a composer. When in doubt the answer is the one that
//! keeps us from typing: a draft, a dialog, or no composer at all.
//!
//! Operation. Each agent has its own grammar, from recordings of many versions. A frame without any style (a saved text
//! file) is read by its words alone; that is good enough to tell a state, never to type.

mod claude;
mod codex;
mod gemini;
mod light;

use std::ops::Range;

use wa_proto::{AgentKind, Frame};

/// What stands in the composer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Composer {
    /// Nothing, or only the agent's placeholder.
    Empty,
    /// Text that was not submitted. Rows are joined with newlines, for a wrap and a newline look the same.
    Draft { text: String },
    /// Only the agent's mark for a folded paste; it counts characters or lines, or neither.
    Paste { text: String, chars: Option<u32>, lines: Option<u32> },
    /// A dialog, menu or picker is in its place: keys answer that.
    Dialog,
    /// Not on the screen.
    Missing,
}

/// What the agent says that it is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Working {
    pub row: usize,
    /// The row, without its blanks.
    pub text: String,
    /// It compacts its context.
    pub compacting: bool,
    /// It gets its tools ready and answers nobody: this is no turn.
    pub starting: bool,
}

/// The composer and what surrounds it, as frame rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposerView {
    pub content: Composer,
    /// Rows of the composer's text, or of the dialog; empty when missing.
    pub rows: Range<usize>,
    /// Rows of footer or menu below.
    pub footer: Range<usize>,
    /// First row of the live area: spinner, queued messages, composer, dialog. The transcript ends above it.
    pub live_top: Option<usize>,
    pub working: Option<Working>,
    /// The text goes to a shell and not to the model.
    pub shell_mode: bool,
    /// Part of the text is scrolled out of the composer.
    pub clipped: bool,
}

/// How much of a text the composer was seen to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Exactly this text, or the agent's mark for a paste of its size.
    All,
    /// The composer shows only part of itself, and that part is of this text.
    VisiblePart,
    No,
}

/// Reads the composer of an agent. An agent without a known grammar has none.
pub fn read(frame: &Frame, agent: &AgentKind) -> ComposerView {
    match agent.as_str() {
        "codex" => codex::read(frame),
        "gemini" => gemini::read(frame),
        "claude" => claude::read(frame),
        _ => ComposerView::missing(),
    }
}

/// Reads composer or dialog to tell a state, also of agents whose composer is known too little to type into.
pub(crate) fn glance(frame: &Frame, agent: &AgentKind) -> ComposerView {
    match agent.as_str() {
        "opencode" => light::opencode(frame),
        "copilot" => light::copilot(frame),
        "aider" => light::aider(frame),
        _ => read(frame, agent),
    }
}

/// Whether the footer below this composer is one that only Codex has.
pub(crate) fn is_codex_footer(frame: &Frame, view: &ComposerView) -> bool {
    view.footer.clone().any(|row| frame.rows.get(row).is_some_and(|row| codex::is_footer(&row.text)))
}

/// Whether the grammar of this agent's composer is known.
pub(crate) fn is_known(agent: &AgentKind) -> bool {
    matches!(agent.as_str(), "codex" | "gemini" | "claude")
}

impl ComposerView {
    pub(crate) fn missing() -> Self {
        Self {
            content: Composer::Missing,
            rows: 0..0,
            footer: 0..0,
            live_top: None,
            working: None,
            shell_mode: false,
            clipped: false,
        }
    }

    fn dialog(rows: Range<usize>) -> Self {
        Self { content: Composer::Dialog, live_top: Some(rows.start), rows, ..Self::missing() }
    }

    /// Whether the composer holds this text. Blanks are not compared: wraps eat them, and agents trim the ends.
    pub fn holds(&self, text: &str) -> Held {
        let wanted = squeeze(text);
        match &self.content {
            Composer::Draft { text } => {
                let seen = squeeze(text);
                if seen == wanted && !wanted.is_empty() && !self.clipped {
                    return Held::All;
                }
                // Agents show the end of a tall draft, some without a mark that more stands above.
                let tall = self.clipped || self.rows.len() >= TALL;
                if tall && seen.len() >= 20 && wanted.ends_with(&seen) { Held::VisiblePart } else { Held::No }
            }
            Composer::Paste { chars, lines, .. } => {
                let count = |n: usize| u32::try_from(n).ok();
                let newlines = text.matches('\n').count();
                let chars_fit = chars.is_none_or(|n| count(text.chars().count()) == Some(n));
                // One agent counts lines, another the newlines between them.
                let lines_fit =
                    lines.is_none_or(|n| count(newlines) == Some(n) || count(newlines + 1) == Some(n));
                if chars_fit && lines_fit && (chars.is_some() || lines.is_some()) {
                    Held::All
                } else {
                    Held::No
                }
            }
            Composer::Empty | Composer::Dialog | Composer::Missing => Held::No,
        }
    }
}

/// From this many rows on a composer may scroll inside.
const TALL: usize = 10;

fn squeeze(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// `[Pasted Content 1001 chars]`, `[Pasted Text: 6 lines]`, `[Pasted text #1 +12 lines]`.
fn pasted(text: &str) -> Option<Composer> {
    let inner = text.trim().strip_prefix("[Pasted ")?.strip_suffix(']')?;
    if inner.contains(['[', ']']) {
        return None;
    }
    let words: Vec<&str> = inner.split_whitespace().collect();
    let count = |unit: &str| {
        let at = words.iter().position(|word| word.starts_with(unit))?;
        words.get(at.checked_sub(1)?)?.trim_start_matches('+').parse().ok()
    };
    Some(Composer::Paste { text: text.trim().to_owned(), chars: count("char"), lines: count("line") })
}

fn draft(text: String) -> Composer {
    pasted(&text).unwrap_or(Composer::Draft { text })
}

/// A menu row: `1. Yes`, after the selection glyph if there is one.
pub(crate) fn is_option(text: &str) -> bool {
    let rest = text.trim_start_matches([' ', '│', '❯', '›', '●', '>', '\u{a0}']);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (1..=2).contains(&digits) && rest[digits..].starts_with(". ")
}

#[cfg(test)]
mod tests;
