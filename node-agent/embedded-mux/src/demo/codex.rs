//! An interactive program that looks and reacts like Codex 0.144, by its manners as measured: one Ctrl+C leaves an idle
//! session, the first only clears a draft or closes a dialog; plain keys answer a dialog at once, pastes do not; Enter right
//! behind a burst of keys is a newline.
//!
//! Everything it does follows from its arguments (or the variables beside them, for commands that somebody types), its home,
//! what is typed, and the time. Its home is `$CODEX_HOME`, with the sign-in, the settings and the sessions of the real one.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use super::arguments::{At, at, duration};
pub(super) use super::codex_menu::Menu;
use super::codex_menu::{Kind, Pressed};
use super::codex_screen::{Block, INTERRUPTED, LONG_THREADS, Look, Screen};
use super::codex_session::{Said, Session, Usage};
use super::composer::{Composer, Did, Manners};
use super::draft::Fold;
use super::driver::{LOOK_AT_SIZE, Program, SPIN, drive};
use super::home::CodexHome;
use super::input::Key;
use super::quota::{Quota, printed};
use super::record::Record;
use super::tty::Tty;
use super::{codex_login, replay};
use crate::clock;

/// How soon a limit is told.
const REFUSED: Duration = Duration::from_millis(300);
/// So many keys in one go are a burst.
const BURST: usize = 3;
const ANSWER: &str = "Done. I read src/lib.rs, moved the parser into its own module and added three unit tests; cargo test \
     passes (14 passed, 0 failed).\n\n- parser: split parse_line into two helpers\n- tests: cover empty input";

/// Looks and reacts like Codex.
#[derive(Debug, Clone, Parser)]
#[command(after_help = "Examples:
  codex --limit-turn 2 --limit-for 10s --record prompts.txt
  codex resume 01a20245-de39-74a3-b85c-0bc31bbd4bcf
  codex login --device-auth --experimental_issuer http://127.0.0.1:8099")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Word>,
    #[command(flatten)]
    script: Script,
}

#[derive(Debug, Clone, Subcommand)]
enum Word {
    /// Goes on with a session of this home
    Resume {
        /// Its id
        #[arg(required_unless_present = "last")]
        session: Option<String>,
        /// The latest
        #[arg(long)]
        last: bool,
    },
    /// Signs in, or tells whether somebody is
    Login {
        /// With a code, in a browser anywhere
        #[arg(long)]
        device_auth: bool,
        #[arg(long = "experimental_issuer", value_name = "URL", env = "SCRIPTED_ISSUER")]
        issuer: Option<String>,
        #[arg(value_parser = ["status"])]
        status: Option<String>,
    },
    /// Forgets who is signed in
    Logout,
    /// Plays a recording instead
    Replay(replay::Arguments),
}

/// When a dialog opens that offers another model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Offer {
    /// After a limit
    Limit,
    /// After a session was resumed
    Resume,
    /// Never, but asks for permission after a limit
    Permission,
}

#[derive(Debug, Clone, Args)]
struct Script {
    /// The version that the banner tells
    #[arg(long, value_name = "X.Y.Z", global = true, env = "SCRIPTED_RELEASE", default_value = "0.144.0")]
    release: String,
    /// How long a turn takes
    #[arg(long, value_name = "DURATION", global = true, env = "SCRIPTED_TURN", default_value = "2s",
          value_parser = duration)]
    turn: Duration,
    /// Somebody asks this, so long after the start; may be repeated
    #[arg(long, value_name = "DURATION=TEXT", global = true, value_parser = at)]
    prompt: Vec<At>,
    /// The turn that runs into a usage limit
    #[arg(long, value_name = "N", global = true)]
    limit_turn: Option<u32>,
    /// How long that limit lasts
    #[arg(long, value_name = "DURATION", global = true, default_value = "10s", value_parser = duration)]
    limit_for: Duration,
    /// A file of accounts that are used up: NAME INSTANT
    #[arg(long, value_name = "FILE", global = true, env = "SCRIPTED_QUOTA")]
    quota: Option<PathBuf>,
    /// The turn that warns of a limit
    #[arg(long, value_name = "N", global = true, env = "SCRIPTED_WARN_TURN")]
    warn_turn: Option<u32>,
    /// The turn before which the conversation is compacted
    #[arg(long, value_name = "N", global = true, env = "SCRIPTED_COMPACT_TURN")]
    compact_turn: Option<u32>,
    /// The turn that asks for permission
    #[arg(long, value_name = "N", global = true)]
    dialog_turn: Option<u32>,
    /// A dialog opens when something is pasted
    #[arg(long, global = true)]
    dialog_on_paste: bool,
    /// Offers another model then
    #[arg(long, value_name = "WHEN", global = true, env = "SCRIPTED_OFFER", value_delimiter = ',')]
    offer: Vec<Offer>,
    /// Enter so soon behind a burst of keys is a newline
    #[arg(long, value_name = "DURATION", global = true, default_value = "120ms", value_parser = duration)]
    burst: Duration,
    /// Starts with this text in the composer
    #[arg(long, value_name = "TEXT", global = true)]
    draft: Option<String>,
    /// Appends a line for each prompt that was sent, each dialog that was answered and each Enter that came too soon
    #[arg(long, value_name = "FILE", global = true, env = "SCRIPTED_RECORD")]
    record: Option<PathBuf>,
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
    Compacting {
        since: Duration,
        /// What is worked on afterwards.
        prompt: String,
    },
    Menu(Menu),
}

/// See the head of the module.
struct Codex {
    script: Script,
    account: String,
    session: Session,
    quota: Quota,
    phase: Phase,
    composer: Composer,
    turns: u32,
    left: bool,
    record: Record,
    screen: Screen,
}

impl Codex {
    fn new(script: Script, home: &CodexHome, session: Session, size: (usize, usize)) -> anyhow::Result<Self> {
        let manners = Manners {
            fold: Fold::Codex,
            burst: script.burst,
            burst_keys: BURST,
            paste_is_burst: false,
            trims: true,
            swallows: 0,
            exits: &["/quit", "/exit"],
            stops_first: false,
            leaves_within: None,
        };
        Ok(Self {
            account: home.account().unwrap_or_default(),
            session,
            quota: Quota::new(script.quota.clone(), script.limit_turn, script.limit_for),
            phase: Phase::Idle,
            composer: Composer::new(manners, script.draft.as_deref()),
            turns: 0,
            left: false,
            record: Record::open(script.record.as_deref())?,
            screen: Screen::new(&script.release, home.model(), directory(), size),
            script,
        })
    }

    /// Shows what was said in a resumed session.
    fn replay(&mut self, said: Vec<Said>) {
        for said in said {
            self.screen.push(match said {
                Said::Asked(text) => Block::Prompt(text),
                Said::Answered(text) => Block::Answer(text),
                Said::Compacted => Block::Answer("Context compacted".to_owned()),
            });
        }
        if self.script.offer.contains(&Offer::Resume) {
            self.phase = Phase::Menu(Menu::new(Kind::RateLimits));
        }
    }

    fn begin(&mut self, prompt: String, now: Duration) {
        self.turns += 1;
        self.screen.push(Block::Prompt(prompt.clone()));
        if self.script.compact_turn == Some(self.turns) {
            self.phase = Phase::Compacting { since: now, prompt };
            return;
        }
        self.work(&prompt, now);
    }

    fn work(&mut self, prompt: &str, now: Duration) {
        let wall = clock::now();
        let begun = self.session.begin(prompt, wall);
        self.told(begun);
        if self.script.dialog_turn == Some(self.turns) {
            self.phase = Phase::Menu(Menu::new(Kind::Command));
            return;
        }
        let limit = self.quota.stands_until(&self.account, self.turns, wall);
        self.phase = Phase::Working { since: now, limit };
    }

    fn finish(&mut self, limit: Option<Timestamp>) {
        let wall = clock::now();
        self.phase = Phase::Idle;
        if let Some(until) = limit {
            let written = self.session.limited(until, wall);
            self.told(written);
            self.screen.push(Block::Error(format!(
                "You've hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit \
                 https://chatgpt.com/codex/settings/usage to purchase more credits or try again at {}.",
                printed(until, wall)
            )));
            let asks = [(Offer::Limit, Kind::RateLimits), (Offer::Permission, Kind::Command)];
            if let Some((_, kind)) = asks.into_iter().find(|(offer, _)| self.script.offer.contains(offer)) {
                self.phase = Phase::Menu(Menu::new(kind));
            }
            return;
        }
        let warns = self.script.warn_turn == Some(self.turns);
        let usage = warns.then(|| Usage { percent: 78.0, resets: in_an_hour(wall) });
        if warns {
            let text = "Heads up, you have less than 25% of your 5h limit left. Run /status for a breakdown.";
            self.screen.push(Block::Warning(text.to_owned()));
        }
        self.screen.push(Block::Answer(ANSWER.to_owned()));
        let written = self.session.answer(ANSWER, usage, wall);
        self.told(written);
    }

    fn compacted(&mut self, prompt: &str, now: Duration) {
        let written = self.session.compacted(clock::now());
        self.told(written);
        self.screen.push(Block::Answer("Context compacted".to_owned()));
        self.screen.push(Block::Warning(LONG_THREADS.to_owned()));
        self.work(prompt, now);
    }

    fn told(&mut self, written: std::io::Result<()>) {
        if let Err(error) = written {
            self.screen.push(Block::Error(format!("the session file: {error}")));
        }
    }

    fn interrupt(&mut self) {
        let written = self.session.interrupted(clock::now());
        self.told(written);
        self.phase = Phase::Idle;
        self.screen.push(Block::Error(INTERRUPTED.to_owned()));
    }

    fn answer(&mut self, kind: Kind, choice: Option<usize>, now: Duration) {
        let choices = kind.choices();
        let label = choice.and_then(|at| choices.get(at)).map(|(label, _)| *label);
        self.record.note(&format!("dialog: {}", label.unwrap_or("(closed)")));
        self.phase = Phase::Idle;
        if kind == Kind::Command {
            let granted = choice.is_some_and(|at| at < 2);
            let text = if granted {
                "You approved codex to run git push origin main this time"
            } else {
                "You canceled the request to run git push origin main"
            };
            self.screen.push(Block::Decision(granted, text.to_owned()));
            if granted {
                self.phase = Phase::Working { since: now, limit: None };
            } else {
                self.interrupt();
            }
        }
    }
}

impl Program for Codex {
    fn tick(&mut self, now: Duration) {
        match &self.phase {
            Phase::Working { since, limit } => {
                let takes = if limit.is_some() { REFUSED } else { self.script.turn };
                if now >= *since + takes {
                    self.finish(*limit);
                }
            }
            Phase::Compacting { since, prompt } if now >= *since + self.script.turn => {
                let prompt = prompt.clone();
                self.compacted(&prompt, now);
            }
            _ => {}
        }
        if self.phase != Phase::Idle {
            return;
        }
        if let Some(prompt) = self.composer.next_prompt() {
            return self.begin(prompt, now);
        }
        if self.script.prompt.first().is_some_and(|prompt| prompt.time <= now) {
            let prompt = self.script.prompt.remove(0);
            self.begin(prompt.text, now);
        }
    }

    fn next_wakeup(&self, now: Duration) -> Duration {
        let busy = matches!(self.phase, Phase::Working { .. } | Phase::Compacting { .. });
        let look = now + if busy { SPIN } else { LOOK_AT_SIZE };
        let asked = self.script.prompt.first().map(|prompt| prompt.time).filter(|time| *time > now);
        asked.map_or(look, |time| look.min(time))
    }

    fn key(&mut self, key: Key, now: Duration) {
        if let Phase::Menu(menu) = &mut self.phase {
            let kind = menu.kind;
            let (pressed, rest) = menu.press(&key);
            match pressed {
                Pressed::Nothing => {}
                Pressed::Chosen(choice) => self.answer(kind, Some(choice), now),
                Pressed::Cancelled => self.answer(kind, None, now),
            }
            return self.composer.draft.type_text(&rest.unwrap_or_default());
        }
        let pasted = matches!(key, Key::Paste(_));
        match self.composer.key(key, self.phase != Phase::Idle, now) {
            Did::Nothing => {}
            Did::Newline => self.record.note("newline"),
            Did::Sent(prompt) => self.record.note(&prompt),
            Did::Stop => self.interrupt(),
            Did::Leave => self.left = true,
        }
        if pasted && std::mem::take(&mut self.script.dialog_on_paste) {
            self.phase = Phase::Menu(Menu::new(Kind::Command));
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
        let session = self.session.has_begun().then(|| (self.session.id.as_str(), self.session.tokens()));
        self.screen.farewell(session)
    }
}

fn in_an_hour(now: Timestamp) -> Timestamp {
    now.checked_add(SignedDuration::from_hours(1)).unwrap_or(now)
}

/// The working directory, with a tilde where it is below the home.
fn directory() -> String {
    let cwd = std::env::current_dir().unwrap_or_default();
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.parent().is_some());
    match home.and_then(|home| cwd.strip_prefix(home).ok().map(|rest| rest.display().to_string())) {
        Some(rest) if rest.is_empty() => "~".to_owned(),
        Some(rest) => format!("~/{rest}"),
        None => cwd.display().to_string(),
    }
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { command, script } = arguments;
    let home = CodexHome::find()?;
    let resumed = matches!(command, Some(Word::Resume { .. }));
    let (session, said) = match command {
        Some(Word::Replay(recording)) => return replay::run(&recording),
        Some(Word::Logout) => return codex_login::logout(&home),
        Some(Word::Login { status: Some(_), .. }) => {
            codex_login::status(&home);
            return Ok(());
        }
        Some(Word::Login { device_auth, issuer, .. }) => {
            anyhow::ensure!(device_auth, "only `login --device-auth` and `login status` are played");
            let issuer =
                issuer.ok_or_else(|| anyhow::anyhow!("no identity server: --experimental_issuer"))?;
            return codex_login::device_login(&home, &issuer, &script.release);
        }
        Some(Word::Resume { session, .. }) => Session::resume(&home, &script.release, session.as_deref())?,
        None => (Session::new(&home, &script.release), Vec::new()),
    };
    let tty = Tty::raw()?;
    let mut codex = Codex::new(script, &home, session, tty.size())?;
    if resumed {
        codex.replay(said);
    }
    tty.write(Screen::BEGIN)?;
    drive(&tty, codex)
}
