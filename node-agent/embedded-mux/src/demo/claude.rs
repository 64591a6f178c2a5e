//! An interactive program that looks and reacts like Claude Code 2.1.
//!
//! Everything it does follows from its arguments, what is typed, and the time since its start, which
//! is an argument too. What it was told is written to a file, a line for each prompt, so that a test
//! can count what really arrived.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::arguments::duration;
use super::claude_screen::{Look, Screen};
use super::composer::{Composer, Did, Manners};
use super::draft::Fold;
use super::driver::{LOOK_AT_SIZE, Program, SPIN, drive};
use super::input::Key;
use super::menu;
use super::record::Record;
use super::tty::Tty;

/// How long a first Ctrl+C makes the second one leave.
const EXIT_ARMED: Duration = Duration::from_secs(2);

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
    /// When it says that the limit lifts; what stands in a file then, if @FILE is named
    #[arg(long, value_name = "TEXT", default_value = "5pm (America/Chicago)")]
    limit_resets: String,
    /// What happens so long after the start happens so long after this file appeared
    #[arg(long, value_name = "FILE", env = "SCRIPTED_TIMERS_FROM")]
    timers_from: Option<PathBuf>,
    /// Then asks what to do about it
    #[arg(long)]
    limit_menu: bool,
    /// Waits for the limit by itself, and goes on so long after it, unless a key ends that
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    auto_continue: Option<Duration>,
    /// How long a turn takes
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, env = "SCRIPTED_TURN")]
    turn: Duration,
    /// Takes no notice of the first N times that Enter would send something
    #[arg(long, value_name = "N", default_value_t = 0)]
    swallow_enter: u32,
    /// Starts with this text in the composer
    #[arg(long, value_name = "TEXT")]
    draft: Option<String>,
    /// Appends a line for each prompt that was sent, and for each dialog that was answered
    #[arg(long, value_name = "FILE", env = "SCRIPTED_RECORD")]
    record: Option<PathBuf>,
    /// What to resume it by
    #[arg(long, alias = "resume", default_value = "0d9c6c50-3f4e-4c1b-9a54-1f2e3d4c5b6a")]
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
    /// A dialog, with the marked choice.
    Dialog {
        asks: Asks,
        choice: usize,
    },
}

/// What a dialog is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// May a command run?
    Permission,
    /// What about the usage limit?
    Limit,
}

impl Asks {
    pub(super) fn choices(self) -> &'static [&'static str] {
        match self {
            Self::Permission => &["Yes", "Yes, and don’t ask again for: git push:*", "No"],
            Self::Limit => &[
                "Upgrade your plan",
                "Stop and wait for limit to reset",
                "Add funds to continue with extra usage",
            ],
        }
    }
}

/// Something that happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    Compact,
    Dialog,
    Limit,
}

/// See the head of the module.
pub(super) struct Claude {
    arguments: Arguments,
    phase: Phase,
    composer: Composer,
    /// In order.
    timers: VecDeque<(Duration, Timer)>,
    /// What timers count from, once that is known.
    begun: Option<Duration>,
    turns: u32,
    /// When it goes on by itself.
    continues: Option<Duration>,
    left: bool,
    record: Record,
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
        let manners = Manners {
            fold: Fold::Claude,
            burst: Duration::ZERO,
            burst_keys: usize::MAX,
            paste_is_burst: false,
            trims: false,
            swallows: arguments.swallow_enter,
            exits: &["/exit"],
            stops_first: true,
            leaves_within: Some(EXIT_ARMED),
        };
        Ok(Self {
            phase: Phase::Idle,
            composer: Composer::new(manners, arguments.draft.as_deref()),
            timers: timers.into(),
            begun: arguments.timers_from.is_none().then_some(Duration::ZERO),
            turns: 0,
            continues: None,
            left: false,
            record: Record::open(arguments.record.as_deref())?,
            screen: Screen::new(arguments.style, arguments.release(), size),
            arguments,
        })
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

    fn limit_reached(&mut self, now: Duration) {
        if let Some(file) = self.arguments.limit_resets.strip_prefix('@') {
            let resets = std::fs::read_to_string(file).unwrap_or_default();
            resets.trim().clone_into(&mut self.arguments.limit_resets);
        }
        self.screen.limit_reached(&self.arguments.limit_resets);
        self.continues = self.arguments.auto_continue.map(|wait| now + wait);
        if self.arguments.limit_menu {
            self.phase = Phase::Dialog { asks: Asks::Limit, choice: 0 };
        }
    }

    fn answer_dialog(&mut self, key: &Key, asks: Asks, mut choice: usize) {
        let choices = asks.choices();
        let Some(chosen) = menu::choose(key, &mut choice, choices.len()) else {
            return self.phase = Phase::Dialog { asks, choice };
        };
        self.phase = Phase::Idle;
        self.record.note(&format!("dialog: {}", choices[chosen]));
        if asks == Asks::Permission {
            self.screen.permission(chosen + 1 < choices.len());
        }
    }

    fn interrupt(&mut self) {
        if matches!(self.phase, Phase::Working { .. } | Phase::Compacting { .. }) {
            self.phase = Phase::Idle;
            self.screen.interrupted();
        }
    }
}

impl Program for Claude {
    fn tick(&mut self, now: Duration) {
        self.composer.tick(now);
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
        if let Some(prompt) = self.composer.next_prompt() {
            return self.begin(prompt, now);
        }
        if self.continues.take_if(|time| *time <= now).is_some() {
            self.screen.continues();
            self.phase = Phase::Working { since: now, prompt: "continue".to_owned() };
            return;
        }
        if let (None, Some(file)) = (self.begun, &self.arguments.timers_from) {
            self.begun = file.exists().then_some(now);
        }
        let since = self.begun.map(|begun| now.saturating_sub(begun));
        let due = |(time, _): &mut (Duration, Timer)| since.is_some_and(|since| *time <= since);
        if let Some((_, timer)) = self.timers.pop_front_if(due) {
            match timer {
                Timer::Limit => self.limit_reached(now),
                Timer::Dialog => self.phase = Phase::Dialog { asks: Asks::Permission, choice: 0 },
                Timer::Compact => {
                    let (since, asked_for) = (now, false);
                    self.phase = Phase::Compacting { since, asked_for };
                }
            }
        }
    }

    fn next_wakeup(&self, now: Duration) -> Duration {
        let spin = match self.phase {
            Phase::Working { .. } | Phase::Compacting { .. } => now + SPIN,
            Phase::Idle | Phase::Dialog { .. } => now + LOOK_AT_SIZE,
        };
        let timer = self.begun.zip(self.timers.front()).map(|(begun, (time, _))| begun + *time);
        [timer, self.continues, self.composer.armed_until()]
            .into_iter()
            .flatten()
            .filter(|time| *time > now)
            .fold(spin, Duration::min)
    }

    fn key(&mut self, key: Key, now: Duration) {
        if let Phase::Dialog { asks, choice } = self.phase {
            self.composer.pass_by(&key);
            return self.answer_dialog(&key, asks, choice);
        }
        if self.continues.take().is_some() {
            self.record.note("automatic continue cancelled");
        }
        match self.composer.key(key, self.phase != Phase::Idle, now) {
            Did::Nothing | Did::Newline => {}
            Did::Sent(prompt) => self.record.note(&prompt),
            Did::Stop => self.interrupt(),
            Did::Leave => self.left = true,
        }
    }

    fn paint(&mut self, now: Duration) -> Vec<u8> {
        self.screen.paint(&Look {
            now,
            phase: &self.phase,
            composer: &self.composer,
            continues: self.continues.is_some().then_some(self.arguments.limit_resets.as_str()),
        })
    }

    fn has_left(&self) -> bool {
        self.left
    }

    fn resize(&mut self, size: (usize, usize)) {
        self.screen.resize(size);
    }

    fn farewell(&self) -> Vec<u8> {
        self.screen.farewell(&self.arguments.session)
    }
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let tty = Tty::raw()?;
    let claude = Claude::new(arguments, tty.size())?;
    tty.write(Screen::BEGIN)?;
    drive(&tty, claude)
}
