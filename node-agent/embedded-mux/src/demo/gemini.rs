//! An interactive program that looks and reacts like Gemini CLI 0.61: Enter right behind a paste is a newline, a limit is a
//! dialog that takes the place of everything else, two Ctrl+C leave.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::arguments::duration;
use super::composer::{Composer, Did, Manners};
use super::draft::Fold;
use super::driver::{LOOK_AT_SIZE, Program, SPIN, drive};
use super::gemini_screen::{Block, EXHAUSTED, FAILED, Look, Screen};
use super::gemini_session::{Chat, Said};
use super::input::Key;
use super::quota::Quota;
use super::record::Record;
use super::tty::Tty;
use super::{home, menu, replay};
use crate::clock;

pub(super) const MODEL: &str = "gemini-3-flash-preview";
/// How soon a limit is told.
const REFUSED: Duration = Duration::from_millis(300);
/// How long a first Ctrl+C makes the second one leave.
const EXIT_ARMED: Duration = Duration::from_secs(3);
const ANSWER: &str = "Done. I read src/lib.rs, moved the parser into its own module and added three unit tests; cargo test \
     passes (14 passed, 0 failed).\n\n - parser: split parse_line into two helpers\n - tests: cover empty input";

/// Looks and reacts like Gemini CLI.
#[derive(Debug, Clone, Parser)]
#[command(after_help = "Examples:
  gemini --limit-turn 2 --limit-for 10s --record prompts.txt
  gemini replay gemini-0.24.0-80x24.raw --pace 16000")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Word>,
    /// Goes on with a session: its id, or `latest`
    #[arg(long, value_name = "ID")]
    resume: Option<String>,
    /// The version that the banner tells
    #[arg(long, value_name = "X.Y.Z", env = "SCRIPTED_RELEASE", default_value = "0.61.0")]
    release: String,
    /// How long a turn takes
    #[arg(long, value_name = "DURATION", env = "SCRIPTED_TURN", default_value = "2s", value_parser = duration)]
    turn: Duration,
    /// The turn that runs into a usage limit
    #[arg(long, value_name = "N")]
    limit_turn: Option<u32>,
    /// How long that limit lasts
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    limit_for: Duration,
    /// A file of accounts that are used up: NAME INSTANT; the account is the API key
    #[arg(long, value_name = "FILE", env = "SCRIPTED_QUOTA")]
    quota: Option<PathBuf>,
    /// Enter so soon behind a paste or a burst of keys is a newline
    #[arg(long, value_name = "DURATION", default_value = "40ms", value_parser = duration)]
    burst: Duration,
    /// Appends a line for each prompt that was sent, each dialog that was answered and each Enter that came too soon
    #[arg(long, value_name = "FILE", env = "SCRIPTED_RECORD")]
    record: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
enum Word {
    /// Plays a recording instead
    Replay(replay::Arguments),
}

/// What the program is at. Times count from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Working {
        since: Duration,
        /// A limit stands in the way until then.
        limit: Option<Timestamp>,
    },
    Dialog(Dialog),
}

/// The dialog of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dialog {
    /// As it is printed.
    pub(super) resets: String,
    /// The marked choice.
    pub(super) choice: usize,
}

impl Dialog {
    pub(super) const CHOICES: [&'static str; 3] =
        ["Switch to gemini-3-pro-preview", "Upgrade for higher limits", "Stop"];
}

/// See the head of the module.
struct Gemini {
    turn: Duration,
    account: String,
    chat: Chat,
    quota: Quota,
    phase: Phase,
    composer: Composer,
    turns: u32,
    left: bool,
    record: Record,
    screen: Screen,
}

impl Gemini {
    fn new(arguments: &Arguments, size: (usize, usize)) -> anyhow::Result<Self> {
        let cwd = std::env::current_dir().unwrap_or_default();
        let project = cwd.file_name().map_or("project".into(), |name| name.to_string_lossy().into_owned());
        let home = home::folder("GEMINI_CLI_HOME", "")?;
        let key =
            std::env::var("GEMINI_API_KEY").ok().or_else(|| home::gemini_key(&home)).unwrap_or_default();
        let signed_in =
            if key.is_empty() { "Signed in with Google" } else { "Authenticated with gemini-api-key" };
        let mut chat = Chat::new(&home, &project);
        let said = arguments.resume.as_deref().map(|wanted| chat.resume(wanted)).transpose()?;
        let mut screen = Screen::new(&arguments.release, signed_in, &project, size.0);
        for said in said.unwrap_or_default() {
            screen.push(match said {
                Said::Asked(text) => Block::Prompt(text),
                Said::Answered(text) => Block::Answer(text),
            });
        }
        let manners = Manners {
            fold: Fold::Gemini,
            burst: arguments.burst,
            burst_keys: 2,
            paste_is_burst: true,
            trims: true,
            swallows: 0,
            exits: &["/quit", "/exit"],
            stops_first: false,
            leaves_within: Some(EXIT_ARMED),
        };
        Ok(Self {
            turn: arguments.turn,
            account: key,
            chat,
            quota: Quota::new(arguments.quota.clone(), arguments.limit_turn, arguments.limit_for),
            phase: Phase::Idle,
            composer: Composer::new(manners, None),
            turns: 0,
            left: false,
            record: Record::open(arguments.record.as_deref())?,
            screen,
        })
    }

    fn begin(&mut self, prompt: &str, now: Duration) {
        self.turns += 1;
        let wall = clock::now();
        self.screen.push(Block::Prompt(prompt.to_owned()));
        let written = self.chat.asked(prompt, wall);
        self.told(written);
        let limit = self.quota.stands_until(&self.account, self.turns, wall);
        self.phase = Phase::Working { since: now, limit };
    }

    fn finish(&mut self, limit: Option<Timestamp>) {
        match limit {
            Some(until) => {
                let resets = until.to_zoned(TimeZone::system()).strftime("%-I:%M %p %Z").to_string();
                self.phase = Phase::Dialog(Dialog { resets, choice: 0 });
            }
            None => self.succeed(),
        }
    }

    fn succeed(&mut self) {
        self.phase = Phase::Idle;
        self.screen.push(Block::Answer(ANSWER.to_owned()));
        let written = self.chat.answered(ANSWER, clock::now());
        self.told(written);
    }

    fn told(&mut self, written: std::io::Result<()>) {
        if let Err(error) = written {
            self.screen.push(Block::Error(format!("[the session file: {error}]")));
        }
    }

    fn press(&mut self, key: &Key, now: Duration) {
        let Phase::Dialog(dialog) = &mut self.phase else { return };
        let Some(chosen) = menu::choose(key, &mut dialog.choice, Dialog::CHOICES.len()) else { return };
        self.record.note(&format!("dialog: {}", Dialog::CHOICES[chosen]));
        if chosen == 0 {
            // The other model has quota of its own.
            self.phase = Phase::Working { since: now, limit: None };
            return;
        }
        self.phase = Phase::Idle;
        self.screen.push(Block::Error(EXHAUSTED.to_owned()));
        self.screen.push(Block::Notice(FAILED.to_owned()));
    }

    fn cancel(&mut self) {
        if self.phase != Phase::Idle {
            self.phase = Phase::Idle;
            self.screen.push(Block::Notice("Request cancelled.".to_owned()));
        }
    }
}

impl Program for Gemini {
    fn tick(&mut self, now: Duration) {
        self.composer.tick(now);
        if let Phase::Working { since, limit } = self.phase {
            let takes = if limit.is_some() { REFUSED } else { self.turn };
            if now >= since + takes {
                self.finish(limit);
            }
        }
        if self.phase == Phase::Idle
            && let Some(prompt) = self.composer.next_prompt()
        {
            self.begin(&prompt, now);
        }
    }

    fn next_wakeup(&self, now: Duration) -> Duration {
        now + if matches!(self.phase, Phase::Working { .. }) { SPIN } else { LOOK_AT_SIZE }
    }

    fn key(&mut self, key: Key, now: Duration) {
        if matches!(self.phase, Phase::Dialog(_)) {
            self.composer.pass_by(&key);
            return self.press(&key, now);
        }
        match self.composer.key(key, self.phase != Phase::Idle, now) {
            Did::Nothing => {}
            Did::Newline => self.record.note("newline"),
            Did::Sent(prompt) => self.record.note(&prompt),
            Did::Stop => self.cancel(),
            Did::Leave => self.left = true,
        }
    }

    fn paint(&mut self, now: Duration) -> Vec<u8> {
        self.screen.paint(&Look { now, phase: &self.phase, composer: &self.composer })
    }

    fn has_left(&self) -> bool {
        self.left
    }

    fn resize(&mut self, size: (usize, usize)) {
        self.screen.resize(size);
    }

    fn farewell(&self) -> Vec<u8> {
        self.screen.farewell(&self.chat.id)
    }
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Word::Replay(recording)) = &arguments.command {
        return replay::run(recording);
    }
    let tty = Tty::raw()?;
    let gemini = Gemini::new(&arguments, tty.size())?;
    tty.write(Screen::BEGIN)?;
    drive(&tty, gemini)
}
