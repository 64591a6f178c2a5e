//! An interactive program that looks and reacts like Claude Code 2.1.
//!
//! Everything it does follows from its arguments, what is typed, and the time since its start, which
//! is an argument too. What it was told is written to a file, a line for each prompt, so that a test
//! can count what really arrived.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use super::arguments::duration;
use super::claude_screen::{Look, Screen};
use super::draft::Draft;
use super::input::{Key, Keys};
use super::tty::{Input, Tty};

/// How long a first Ctrl+C makes the second one leave.
const EXIT_ARMED: Duration = Duration::from_secs(2);
/// How often the spinner turns.
const SPIN: Duration = Duration::from_millis(250);
/// How often a change of size is looked for.
const LOOK_AT_SIZE: Duration = Duration::from_millis(500);
/// How long an escape waits for the rest of a sequence.
const ESCAPE: Duration = Duration::from_millis(30);
/// The most prompts that wait for their turn.
const QUEUE_LIMIT: usize = 64;

/// Which generation's words are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Style {
    /// Until 2.0.76.
    #[value(name = "2.0")]
    V2_0,
    /// Since 2.1.
    #[value(name = "2.1")]
    V2_1,
}

/// Looks and reacts like Claude Code.
#[derive(Debug, Clone, Parser)]
#[command(after_help = "Example:
  claude --compact-after 5s --compact-after 20s --record prompts.txt")]
pub(super) struct Arguments {
    /// The words of which generation
    #[arg(long, value_enum, default_value = "2.1")]
    pub(super) style: Style,
    /// The version that the banner tells; one of the style if it is not named
    #[arg(long, value_name = "X.Y.Z")]
    release: Option<String>,
    /// Compacts the conversation by itself, this long after the start; may be repeated
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    compact_after: Vec<Duration>,
    /// How long a compaction takes
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    compact_for: Duration,
    /// Asks for permission, this long after the start; may be repeated
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    dialog_after: Vec<Duration>,
    /// Tells that a usage limit is reached, this long after the start
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    limit_after: Option<Duration>,
    /// When it says that the limit lifts
    #[arg(long, value_name = "TEXT", default_value = "5pm (America/Chicago)")]
    limit_resets: String,
    /// How long a turn takes
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    turn: Duration,
    /// Takes no notice of the first N times that Enter would send something
    #[arg(long, value_name = "N", default_value_t = 0)]
    swallow_enter: u32,
    /// Starts with this text in the composer
    #[arg(long, value_name = "TEXT")]
    draft: Option<String>,
    /// Appends a line for each prompt that was sent, and for each dialog that was answered
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// What to resume it by
    #[arg(long, default_value = "0d9c6c50-3f4e-4c1b-9a54-1f2e3d4c5b6a")]
    session: String,
}

impl Arguments {
    pub(super) fn release(&self) -> &str {
        self.release.as_deref().unwrap_or(match self.style {
            Style::V2_0 => "2.0.76",
            Style::V2_1 => "2.1.29",
        })
    }
}

/// What the program is at. Times count from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Working {
        since: Duration,
        prompt: String,
    },
    Compacting {
        since: Duration,
        asked_for: bool,
    },
    /// A permission dialog, with the marked choice.
    Dialog {
        choice: usize,
    },
}

/// Something that happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    Compact,
    Dialog,
    Limit,
}

/// The choices of the permission dialog.
pub(super) const CHOICES: [&str; 3] = ["Yes", "Yes, and don’t ask again for: git push:*", "No"];

/// See the head of the module.
pub(super) struct Claude {
    arguments: Arguments,
    phase: Phase,
    draft: Draft,
    queue: VecDeque<String>,
    /// In order.
    timers: VecDeque<(Duration, Timer)>,
    swallow: u32,
    turns: u32,
    exit_armed: Option<Duration>,
    left: bool,
    record: Option<File>,
    screen: Screen,
}

impl Claude {
    pub(super) fn new(arguments: Arguments, size: (usize, usize)) -> anyhow::Result<Self> {
        let mut timers: Vec<(Duration, Timer)> = Vec::new();
        let all = [
            (arguments.compact_after.as_slice(), Timer::Compact),
            (arguments.dialog_after.as_slice(), Timer::Dialog),
            (arguments.limit_after.as_slice(), Timer::Limit),
        ];
        for (times, timer) in all {
            timers.extend(times.iter().map(|time| (*time, timer)));
        }
        timers.sort_by_key(|(time, _)| *time);
        let open = |path: &PathBuf| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
        };
        let mut draft = Draft::default();
        draft.type_text(arguments.draft.as_deref().unwrap_or_default());
        Ok(Self {
            phase: Phase::Idle,
            draft,
            queue: VecDeque::new(),
            timers: timers.into(),
            swallow: arguments.swallow_enter,
            turns: 0,
            exit_armed: None,
            left: false,
            record: arguments.record.as_ref().map(open).transpose()?,
            screen: Screen::new(arguments.style, arguments.release(), size),
            arguments,
        })
    }

    /// What happens by itself until `now`.
    pub(super) fn tick(&mut self, now: Duration) {
        if self.exit_armed.is_some_and(|since| now >= since + EXIT_ARMED) {
            self.exit_armed = None;
        }
        match &self.phase {
            Phase::Working { since, prompt } if now >= *since + self.arguments.turn => {
                let prompt = prompt.clone();
                self.finish_turn(&prompt);
            }
            Phase::Compacting { since, asked_for } if now >= *since + self.arguments.compact_for => {
                let asked_for = *asked_for;
                self.phase = Phase::Idle;
                self.screen.compacted(asked_for);
            }
            _ => {}
        }
        if self.phase != Phase::Idle {
            return;
        }
        if let Some(prompt) = self.queue.pop_front() {
            return self.begin(prompt, now);
        }
        if let Some((_, timer)) = self.timers.pop_front_if(|(time, _)| *time <= now) {
            match timer {
                Timer::Limit => self.screen.limit_reached(&self.arguments.limit_resets),
                Timer::Dialog => self.phase = Phase::Dialog { choice: 0 },
                Timer::Compact => {
                    let (since, asked_for) = (now, false);
                    self.phase = Phase::Compacting { since, asked_for };
                }
            }
        }
    }

    /// When something will happen by itself, or look different.
    fn next_wakeup(&self, now: Duration) -> Duration {
        let spin = match self.phase {
            Phase::Working { .. } | Phase::Compacting { .. } => now + SPIN,
            Phase::Idle | Phase::Dialog { .. } => now + LOOK_AT_SIZE,
        };
        let timer = self.timers.front().map(|(time, _)| *time);
        [timer, self.exit_armed.map(|since| since + EXIT_ARMED)]
            .into_iter()
            .flatten()
            .filter(|time| *time > now)
            .fold(spin, Duration::min)
    }

    fn finish_turn(&mut self, prompt: &str) {
        self.turns += 1;
        self.phase = Phase::Idle;
        let answer = if prompt.contains("AGENTS.md") {
            "I have read AGENTS.md again; its rules are fresh in my mind.".to_owned()
        } else {
            let characters = prompt.chars().count();
            format!("Done with turn {}: {characters} characters read.", self.turns)
        };
        self.screen.answer(&answer, self.arguments.turn);
    }

    fn begin(&mut self, prompt: String, now: Duration) {
        self.screen.prompt(&prompt);
        let since = now;
        self.phase = if prompt.trim() == "/compact" {
            let asked_for = true;
            Phase::Compacting { since, asked_for }
        } else {
            Phase::Working { since, prompt }
        };
    }

    /// A key was pressed, or a text pasted.
    pub(super) fn key(&mut self, key: Key, now: Duration) {
        if !matches!(key, Key::Interrupt) {
            self.exit_armed = None;
        }
        if let Phase::Dialog { choice } = self.phase {
            return self.answer_dialog(key, choice);
        }
        match key {
            Key::Text(text) => self.draft.type_text(&text),
            Key::Paste(text) => self.draft.paste(&text),
            Key::Backspace => self.draft.backspace(),
            Key::Clear => self.draft.clear(),
            Key::Enter => self.enter(now),
            Key::Escape => self.interrupt(),
            Key::Interrupt => self.ctrl_c(now),
            Key::EndOfInput if self.draft.is_empty() => self.left = true,
            Key::EndOfInput | Key::Up | Key::Down => {}
        }
    }

    fn answer_dialog(&mut self, key: Key, choice: usize) {
        let chosen = match key {
            Key::Up => return self.mark(choice.saturating_sub(1)),
            Key::Down => return self.mark((choice + 1).min(CHOICES.len() - 1)),
            Key::Enter => choice,
            Key::Escape | Key::Interrupt => CHOICES.len() - 1,
            Key::Text(text) => match text.parse::<usize>() {
                Ok(number) if (1..=CHOICES.len()).contains(&number) => number - 1,
                _ => return,
            },
            // A paste means nothing here.
            _ => return,
        };
        self.phase = Phase::Idle;
        self.note(&format!("dialog: {}", CHOICES[chosen]));
        self.screen.permission(chosen + 1 < CHOICES.len());
    }

    fn mark(&mut self, choice: usize) {
        self.phase = Phase::Dialog { choice };
    }

    fn enter(&mut self, now: Duration) {
        if self.draft.text().trim().is_empty() {
            return;
        }
        if self.swallow > 0 {
            self.swallow -= 1;
            return;
        }
        let prompt = self.draft.text();
        self.draft.clear();
        if prompt.trim() == "/exit" {
            self.left = true;
            return;
        }
        self.note(&prompt);
        if self.phase == Phase::Idle {
            self.begin(prompt, now);
        } else if self.queue.len() < QUEUE_LIMIT {
            self.queue.push_back(prompt);
        }
    }

    fn note(&mut self, text: &str) {
        let Some(file) = &mut self.record else {
            return;
        };
        let line = text.replace('\\', "\\\\").replace('\n', "\\n");
        if let Err(error) = writeln!(file, "{line}") {
            tracing::error!(%error, "the record of prompts");
        }
    }

    fn interrupt(&mut self) {
        if matches!(self.phase, Phase::Working { .. } | Phase::Compacting { .. }) {
            self.phase = Phase::Idle;
            self.screen.interrupted();
        }
    }

    fn ctrl_c(&mut self, now: Duration) {
        if self.phase != Phase::Idle {
            self.interrupt();
        } else if !self.draft.is_empty() {
            self.draft.clear();
        } else if self.exit_armed.take().is_some() {
            self.left = true;
        } else {
            self.exit_armed = Some(now);
        }
    }

    /// The bytes that make the terminal show the present state.
    pub(super) fn paint(&mut self, now: Duration) -> Vec<u8> {
        self.screen.paint(&Look {
            now,
            phase: &self.phase,
            draft: &self.draft,
            queue: &self.queue,
            exit_armed: self.exit_armed.is_some(),
        })
    }

    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    pub(super) fn resize(&mut self, size: (usize, usize)) {
        self.screen.resize(size);
    }

    fn farewell(&self) -> Vec<u8> {
        self.screen.farewell(&self.arguments.session)
    }
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let tty = Tty::raw()?;
    let mut claude = Claude::new(arguments, tty.size())?;
    let mut keys = Keys::default();
    let start = Instant::now();
    tty.write(Screen::BEGIN)?;
    while !claude.has_left() {
        let now = start.elapsed();
        claude.resize(tty.size());
        claude.tick(now);
        let bytes = claude.paint(now);
        if !bytes.is_empty() {
            tty.write(&bytes)?;
        }
        let patience =
            if keys.is_unfinished() { ESCAPE } else { claude.next_wakeup(now).saturating_sub(now) };
        let typed = match tty.read(Some(patience))? {
            Input::End => return Ok(()),
            Input::Nothing => keys.idle().into_iter().collect(),
            Input::Bytes(bytes) => keys.feed(&bytes),
        };
        let now = start.elapsed();
        for key in typed {
            // A queued prompt may begin between two keys.
            claude.tick(now);
            claude.key(key, now);
        }
    }
    tty.write(&claude.farewell())?;
    Ok(())
}
