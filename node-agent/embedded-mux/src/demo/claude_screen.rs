//! How the scripted Claude Code looks: transcript above, live part below, inline on the primary screen.
//!
//! After a compaction and after a change of width the screen is cleared, with its history, and
//! everything is written anew. The terminal's own cursor is hidden, below the last row; the one that is
//! seen is a reversed blank.

use std::time::Duration;

use super::claude::{Asks, Phase, Style};
use super::composer::Composer;
use super::draft::Draft;
use super::inline::{Inline, Live};
use super::layout::{hang, wrap};

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
    pub(super) composer: &'a Composer,
    /// It waits for this reset by itself.
    pub(super) continues: Option<&'a str>,
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
    inline: Inline<Block>,
}

impl Screen {
    /// Modes that are switched on at the start, and the title.
    pub(super) const BEGIN: &'static [u8] = "\x1b[?25l\x1b[?2004h\x1b]0;✳ Claude Code\x07".as_bytes();

    pub(super) fn new(style: Style, release: &str, (cols, rows): (usize, usize)) -> Self {
        Self { style, release: release.to_owned(), cols, rows, inline: Inline::new(vec![Block::Logo]) }
    }

    pub(super) fn resize(&mut self, (cols, rows): (usize, usize)) {
        self.rows = rows;
        if cols != self.cols {
            self.cols = cols;
            self.inline.redraw();
        }
    }

    pub(super) fn prompt(&mut self, text: &str) {
        self.inline.push(Block::Prompt(text.to_owned()));
    }

    pub(super) fn answer(&mut self, text: &str, took: Duration) {
        self.inline.push(Block::Answer(text.to_owned()));
        let took = format!("Brewed for {}s", took.as_secs());
        self.inline.push(Block::Notice(took));
    }

    pub(super) fn interrupted(&mut self) {
        let text = "Interrupted · What should Claude do instead?";
        self.inline.push(Block::Result(text.to_owned()));
    }

    pub(super) fn permission(&mut self, granted: bool) {
        self.inline.push(Block::Answer("Bash(git push origin main)".to_owned()));
        let result =
            if granted { "Everything up-to-date" } else { "Interrupted · What should Claude do instead?" };
        self.inline.push(Block::Result(result.to_owned()));
    }

    pub(super) fn limit_reached(&mut self, resets: &str) {
        let text = format!(
            "You've hit your session limit · resets {resets}\n/upgrade to increase your usage limit."
        );
        self.inline.push(Block::Result(text));
    }

    /// It goes on by itself after a limit.
    pub(super) fn continues(&mut self) {
        self.inline.push(Block::Answer("Usage limit reset · continuing automatically".to_owned()));
    }

    /// The conversation before is gone; the logo and the marker stand in its place.
    pub(super) fn compacted(&mut self, asked_for: bool) {
        let mut transcript = vec![Block::Logo];
        match self.style {
            Style::V2_0 => {
                let text = " Conversation compacted · ctrl+o for history ";
                transcript.push(Block::DoubleRule(text));
                let read = "Read AGENTS.md (42 lines)";
                transcript.push(Block::Result(read.to_owned()));
            }
            Style::V2_1 => {
                let text = "Conversation compacted (ctrl+o for history)";
                transcript.push(Block::Notice(text.to_owned()));
            }
        }
        if asked_for {
            transcript.push(Block::Prompt("/compact".to_owned()));
            let text = "Compacted (ctrl+o to see full summary)";
            transcript.push(Block::Result(text.to_owned()));
        }
        self.inline.replace(transcript);
    }

    /// The bytes that bring the screen up to date; none if it is.
    pub(super) fn paint(&mut self, look: &Look<'_>) -> Vec<u8> {
        let mut rows = self.lay_out_live(look);
        let cursor = (rows.len(), 0);
        rows.push(String::new());
        let live = Live { rows, cursor, ..Live::default() };
        let (release, cols) = (&self.release, self.cols);
        self.inline.paint(live, |block| lay_out(block, release, cols))
    }

    /// What is left on the screen when the program leaves.
    pub(super) fn farewell(&self, session: &str) -> Vec<u8> {
        let back = self.inline.taken_back();
        format!(
            "{back}{DIM}Resume this session with:{PLAIN}\r\n\
             {DIM}claude --resume {session}{PLAIN}\r\n\x1b[?2004l\x1b[?25h"
        )
        .into_bytes()
    }

    fn lay_out_live(&self, look: &Look<'_>) -> Vec<String> {
        let mut rows = Vec::new();
        match look.phase {
            Phase::Dialog { asks: Asks::Permission, choice } => return self.permission_dialog(*choice),
            Phase::Dialog { asks: Asks::Limit, choice } => {
                let mut rows = vec!["  What do you want to do?".to_owned()];
                rows.extend(choices(Asks::Limit, *choice, "  "));
                rows.extend([String::new(), format!("  {GREY}Enter to confirm · Esc to cancel{PLAIN}")]);
                return rows;
            }
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
        for prompt in look.composer.queue() {
            let text =
                hang(prompt, self.cols.saturating_sub(4).max(1), |_, row| format!("{DIM}    {row}{PLAIN}"));
            rows.extend(text.into_iter().take(3));
        }
        let rule = format!("{RULE}{}{PLAIN}", "─".repeat(self.cols));
        rows.push(rule.clone());
        rows.extend(self.composer(&look.composer.draft, *look.phase != Phase::Idle));
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
        if let Some(resets) = look.continues {
            let (clock, _) = resets.split_once(" (").unwrap_or((resets, ""));
            return format!(
                "  {GREY}⚠ Usage limit reached · continuing automatically at {clock} · esc or type to cancel{PLAIN}"
            );
        }
        let text = if look.composer.armed_until().is_some() {
            "Press Ctrl-C again to exit"
        } else if *look.phase != Phase::Idle {
            "esc to interrupt"
        } else if look.composer.draft.is_empty() {
            "? for shortcuts"
        } else {
            return String::new();
        };
        format!("  {GREY}{text}{PLAIN}")
    }

    fn permission_dialog(&self, marked: usize) -> Vec<String> {
        let mut rows = vec![
            format!("{RULE}{}{PLAIN}", "─".repeat(self.cols)),
            " \x1b[1mBash command\x1b[0m".to_owned(),
            String::new(),
            "   git push origin main".to_owned(),
            format!("   {GREY}Push the branch to the remote{PLAIN}"),
            String::new(),
            " Do you want to proceed?".to_owned(),
        ];
        rows.extend(choices(Asks::Permission, marked, " "));
        rows.push(String::new());
        rows.push(format!(" {GREY}Esc to cancel · Tab to amend{PLAIN}"));
        rows
    }
}

fn choices(asks: Asks, marked: usize, indent: &str) -> Vec<String> {
    let row = |(at, choice): (usize, &&str)| {
        let number = at + 1;
        if at == marked {
            format!("{indent}\x1b[38;2;177;185;249m❯ {number}. {choice}{PLAIN}")
        } else {
            format!("{indent}  {number}. {choice}")
        }
    };
    asks.choices().iter().enumerate().map(row).collect()
}

fn lay_out(block: &Block, release: &str, cols: usize) -> Vec<String> {
    let narrow = cols.saturating_sub(2).max(1);
    let mut rows = match block {
        Block::Logo => vec![
            format!(" {SPINNER}▐▛███▜▌{PLAIN}   \x1b[1mClaude Code{PLAIN} v{}", release),
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
            let mut rows = hang(text, cols.saturating_sub(5).max(1), |first, row| {
                let glyph = if first { "⎿" } else { " " };
                format!("  {glyph}  {row}")
            });
            // It belongs to what stands right above it.
            rows.push(String::new());
            return rows;
        }
        Block::DoubleRule(text) => {
            let room = cols.saturating_sub(text.chars().count());
            let (left, right) = (room / 2, room - room / 2);
            vec![format!("{}{text}{}", "═".repeat(left), "═".repeat(right))]
        }
    };
    rows.push(String::new());
    rows
}
