//! How the scripted Claude Code looks: transcript above, live part below, inline on the primary screen.
//!
//! The transcript is written once and scrolls away. The live part (spinner, composer, footer, or a
//! dialog instead of them) is taken back and written anew when it looks different. Every frame is one
//! synchronised update. After a compaction and after a change of width the screen is cleared, with its
//! history, and everything is written anew. The terminal's own cursor is hidden, below the last row;
//! the one that is seen is a reversed blank.

use std::collections::VecDeque;
use std::time::Duration;

use unicode_segmentation::UnicodeSegmentation as _;
use wa_mux::codec::cell_width;

use super::claude::{CHOICES, Phase, Style};
use super::draft::Draft;

const RULE: &str = "\x1b[2m\x1b[38;2;136;136;136m";
const GREY: &str = "\x1b[38;2;153;153;153m";
const SPINNER: &str = "\x1b[38;2;215;119;87m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
const SUBMITTED_GLYPH: &str = "\x1b[48;2;55;55;55m\x1b[38;2;80;80;80m";
const SUBMITTED_TEXT: &str = "\x1b[38;2;255;255;255m";
const NO_BREAK_SPACE: char = '\u{a0}';
const GLYPHS: [char; 6] = ['·', '✢', '✳', '✶', '✻', '✽'];
/// Rows of the live part beside those of the draft.
const AROUND_DRAFT: usize = 8;

/// What the live part shows.
pub(super) struct Look<'a> {
    pub(super) now: Duration,
    pub(super) phase: &'a Phase,
    pub(super) draft: &'a Draft,
    pub(super) queue: &'a VecDeque<String>,
    pub(super) exit_armed: bool,
}

/// A part of the transcript, laid out when it is written.
#[derive(Debug, Clone)]
enum Block {
    Logo,
    Prompt(String),
    Answer(String),
    /// Dim, with the glyph of finished work.
    Notice(String),
    /// Hangs below the block before it.
    Result(String),
    /// The marker of the old style, as wide as the screen.
    DoubleRule(&'static str),
}

/// See the head of the module.
pub(super) struct Screen {
    style: Style,
    release: String,
    cols: usize,
    rows: usize,
    transcript: Vec<Block>,
    /// Blocks of the transcript that are on the screen.
    written: usize,
    live: Vec<String>,
    clear: bool,
}

impl Screen {
    /// Modes that are switched on at the start, and the title.
    pub(super) const BEGIN: &'static [u8] = "\x1b[?25l\x1b[?2004h\x1b]0;✳ Claude Code\x07".as_bytes();

    pub(super) fn new(style: Style, release: &str, (cols, rows): (usize, usize)) -> Self {
        Self {
            style,
            release: release.to_owned(),
            cols,
            rows,
            transcript: vec![Block::Logo],
            written: 0,
            live: Vec::new(),
            clear: false,
        }
    }

    pub(super) fn resize(&mut self, (cols, rows): (usize, usize)) {
        self.rows = rows;
        if cols != self.cols {
            self.cols = cols;
            self.clear = true;
        }
    }

    pub(super) fn prompt(&mut self, text: &str) {
        self.transcript.push(Block::Prompt(text.to_owned()));
    }

    pub(super) fn answer(&mut self, text: &str, took: Duration) {
        self.transcript.push(Block::Answer(text.to_owned()));
        let took = format!("Brewed for {}s", took.as_secs());
        self.transcript.push(Block::Notice(took));
    }

    pub(super) fn interrupted(&mut self) {
        let text = "Interrupted · What should Claude do instead?";
        self.transcript.push(Block::Result(text.to_owned()));
    }

    pub(super) fn permission(&mut self, granted: bool) {
        self.transcript.push(Block::Answer("Bash(git push origin main)".to_owned()));
        let result =
            if granted { "Everything up-to-date" } else { "Interrupted · What should Claude do instead?" };
        self.transcript.push(Block::Result(result.to_owned()));
    }

    pub(super) fn limit_reached(&mut self, resets: &str) {
        let text = format!(
            "You've hit your session limit · resets {resets}\n/upgrade to increase your usage limit."
        );
        self.transcript.push(Block::Result(text));
    }

    /// The conversation before is gone; the logo and the marker stand in its place.
    pub(super) fn compacted(&mut self, asked_for: bool) {
        self.clear = true;
        self.transcript = vec![Block::Logo];
        match self.style {
            Style::V2_0 => {
                let text = " Conversation compacted · ctrl+o for history ";
                self.transcript.push(Block::DoubleRule(text));
                let read = "Read AGENTS.md (42 lines)";
                self.transcript.push(Block::Result(read.to_owned()));
            }
            Style::V2_1 => {
                let text = "Conversation compacted (ctrl+o for history)";
                self.transcript.push(Block::Notice(text.to_owned()));
            }
        }
        if asked_for {
            self.prompt("/compact");
            let text = "Compacted (ctrl+o to see full summary)";
            self.transcript.push(Block::Result(text.to_owned()));
        }
    }

    /// The bytes that bring the screen up to date; none if it is.
    pub(super) fn paint(&mut self, look: &Look<'_>) -> Vec<u8> {
        let live = self.lay_out_live(look);
        if !self.clear && self.written == self.transcript.len() && live == self.live {
            return Vec::new();
        }
        let mut out = String::from("\x1b[?2026h");
        if std::mem::take(&mut self.clear) {
            out.push_str("\x1b[2J\x1b[3J\x1b[H");
            self.written = 0;
        } else if !self.live.is_empty() {
            let up = self.live.len();
            out.extend(["\r\x1b[", &up.to_string(), "A\x1b[J"]);
        }
        for block in &self.transcript[self.written..] {
            for row in self.lay_out(block) {
                out.extend([row.as_str(), "\r\n"]);
            }
        }
        self.written = self.transcript.len();
        for row in &live {
            out.extend([row, "\r\n"]);
        }
        out.push_str("\x1b[?2026l");
        self.live = live;
        out.into_bytes()
    }

    /// What is left on the screen when the program leaves.
    pub(super) fn farewell(&self, session: &str) -> Vec<u8> {
        let up = self.live.len();
        format!(
            "\r\x1b[{up}A\x1b[J{DIM}Resume this session with:{PLAIN}\r\n\
             {DIM}claude --resume {session}{PLAIN}\r\n\x1b[?2004l\x1b[?25h"
        )
        .into_bytes()
    }

    fn lay_out(&self, block: &Block) -> Vec<String> {
        let narrow = self.cols.saturating_sub(2).max(1);
        let mut rows = match block {
            Block::Logo => vec![
                format!(" {SPINNER}▐▛███▜▌{PLAIN}   \x1b[1mClaude Code{PLAIN} v{}", self.release),
                format!("{SPINNER}▝▜█████▛▘{PLAIN}  {GREY}Sonnet 4.5 · Claude Max{PLAIN}"),
                format!("{SPINNER}  ▘▘ ▝▝  {PLAIN}  {GREY}~/webapp{PLAIN}"),
            ],
            Block::Prompt(text) => hang(text, narrow, |first, row| {
                let glyph = if first { "❯" } else { " " };
                format!("{SUBMITTED_GLYPH}{glyph} {SUBMITTED_TEXT}{row}{PLAIN}")
            }),
            Block::Answer(text) => hang(text, narrow, |first, row| {
                let glyph = if first { "⏺" } else { " " };
                format!("{glyph} {row}")
            }),
            Block::Notice(text) => hang(text, narrow, |first, row| {
                let glyph = if first { "✻" } else { " " };
                format!("{DIM}{glyph} {row}{PLAIN}")
            }),
            Block::Result(text) => {
                let mut rows = hang(text, self.cols.saturating_sub(5).max(1), |first, row| {
                    let glyph = if first { "⎿" } else { " " };
                    format!("  {glyph}  {row}")
                });
                // It belongs to what stands right above it.
                rows.push(String::new());
                return rows;
            }
            Block::DoubleRule(text) => {
                let room = self.cols.saturating_sub(text.chars().count());
                let (left, right) = (room / 2, room - room / 2);
                vec![format!("{}{text}{}", "═".repeat(left), "═".repeat(right))]
            }
        };
        rows.push(String::new());
        rows
    }

    fn lay_out_live(&self, look: &Look<'_>) -> Vec<String> {
        let mut rows = Vec::new();
        match look.phase {
            Phase::Dialog { choice } => return self.dialog(*choice),
            Phase::Idle => {}
            Phase::Working { since, .. } => {
                let passed = look.now.saturating_sub(*since);
                rows.push(self.spinner("Mulling…", passed));
                rows.push(String::new());
            }
            Phase::Compacting { since, .. } => {
                let passed = look.now.saturating_sub(*since);
                rows.push(format!(
                    "{SPINNER}✽ Compacting conversation…{PLAIN} {GREY}({}s){PLAIN}",
                    passed.as_secs()
                ));
                rows.push(String::new());
            }
        }
        for prompt in look.queue {
            let text =
                hang(prompt, self.cols.saturating_sub(4).max(1), |_, row| format!("{DIM}    {row}{PLAIN}"));
            rows.extend(text.into_iter().take(3));
        }
        let rule = format!("{RULE}{}{PLAIN}", "─".repeat(self.cols));
        rows.push(rule.clone());
        rows.extend(self.composer(look.draft, *look.phase != Phase::Idle));
        rows.push(rule);
        rows.push(self.footer(look));
        rows
    }

    fn spinner(&self, verb: &str, passed: Duration) -> String {
        let turn = usize::try_from(passed.as_millis() / 250).unwrap_or(0);
        let glyph = GLYPHS[turn % GLYPHS.len()];
        let seconds = passed.as_secs();
        let tokens = passed.as_millis() / 25;
        let state = match self.style {
            Style::V2_0 => format!("(esc to interrupt · {seconds}s · ↓ {tokens} tokens)"),
            Style::V2_1 => format!("({seconds}s · ↓ {tokens} tokens)"),
        };
        format!("{SPINNER}{glyph} {verb}{PLAIN} {GREY}{state}{PLAIN}")
    }

    fn composer(&self, draft: &Draft, busy: bool) -> Vec<String> {
        // One column for the cursor behind the last character.
        let room = self.cols.saturating_sub(3).max(1);
        let glyph = if busy { GREY } else { "" };
        let text = draft.shown();
        let mut rows = wrap(&text, room);
        if let Some(last) = rows.last_mut() {
            last.push_str("\x1b[7m \x1b[27m");
        }
        let rows: Vec<String> = rows
            .into_iter()
            .enumerate()
            .map(|(at, row)| match at {
                0 => format!("{glyph}❯{PLAIN}{NO_BREAK_SPACE}{row}"),
                _ => format!("  {row}"),
            })
            .collect();
        let hidden = rows.len().saturating_sub(self.rows.saturating_sub(AROUND_DRAFT).max(1));
        rows.into_iter().skip(hidden).collect()
    }

    fn footer(&self, look: &Look<'_>) -> String {
        let text = if look.exit_armed {
            "Press Ctrl-C again to exit"
        } else if *look.phase != Phase::Idle {
            "esc to interrupt"
        } else if look.draft.is_empty() {
            "? for shortcuts"
        } else {
            return String::new();
        };
        format!("  {GREY}{text}{PLAIN}")
    }

    fn dialog(&self, marked: usize) -> Vec<String> {
        let mut rows = vec![
            format!("{RULE}{}{PLAIN}", "─".repeat(self.cols)),
            " \x1b[1mBash command\x1b[0m".to_owned(),
            String::new(),
            "   git push origin main".to_owned(),
            format!("   {GREY}Push the branch to the remote{PLAIN}"),
            String::new(),
            " Do you want to proceed?".to_owned(),
        ];
        for (at, choice) in CHOICES.iter().enumerate() {
            let number = at + 1;
            rows.push(if at == marked {
                format!(" \x1b[38;2;177;185;249m❯ {number}. {choice}{PLAIN}")
            } else {
                format!("   {number}. {choice}")
            });
        }
        rows.push(String::new());
        rows.push(format!(" {GREY}Esc to cancel · Tab to amend{PLAIN}"));
        rows
    }
}

fn hang(text: &str, width: usize, mut row: impl FnMut(bool, &str) -> String) -> Vec<String> {
    wrap(text, width).iter().enumerate().map(|(at, line)| row(at == 0, line)).collect()
}

/// Cuts a text into rows, between words where that is possible. At least one row.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.split('\n') {
        let mut row = String::new();
        let mut used = 0;
        for word in line.split_inclusive(' ') {
            let wanted = columns(word.trim_end());
            if used > 0 && used + wanted > width {
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
            for grapheme in word.graphemes(true).filter(|g| !g.chars().any(char::is_control)) {
                let wide = cell_width(grapheme) as usize;
                if used + wide > width {
                    if grapheme == " " {
                        continue;
                    }
                    rows.push(std::mem::take(&mut row));
                    used = 0;
                }
                row.push_str(grapheme);
                used += wide;
            }
        }
        rows.push(row);
    }
    rows
}

fn columns(text: &str) -> usize {
    text.graphemes(true).map(|g| cell_width(g) as usize).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_between_words() {
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("one two three", 8), ["one two ", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("漢字漢字", 5), ["漢字", "漢字"]);
        assert_eq!(wrap("a\n\nb", 5), ["a", "", "b"]);
    }
}
