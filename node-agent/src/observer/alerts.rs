//! What a program says beside its text: bells, notifications, progress, user variables.
//!
//! Constraints. All of it is the program's word, and one `printf` forges it: it is told with the screen as its witness and
//! nothing acts on it alone. A program can say any of it without end, so everything is bounded: how often it is told, how
//! many variables there are and how long each text is.
//!
//! What is told, in the closed set of events:
//! - A bell is a `bell`. So is a notification (OSC 9, OSC 777), with its words in the field `toast`: both mean that the
//!   pane wants somebody, and who waits for one wants the other. The first of each is told at once. Those that follow
//!   within a second are told together, with their number in `count` and the words of the last; while they keep coming
//!   the pauses double, up to a minute.
//! - `command.finished`: the wrapper's variable (`status`, see [`crate::last_words`]), or WezTerm's shell integration,
//!   which sets `WEZTERM_PROG` to a command that begins and to nothing at the prompt (`command`). Where neither speaks,
//!   prompt marks tell (`prompts.rs`). At most [`BURST`] at once and one a second; those beyond are counted in `missed` of
//!   the next.
//! - A progress bar (OSC 9;4) and user variables are facts for the matcher and no events of their own.
//! - The window title comes with the server's changes; its alert says nothing new.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use wa_match::{Facts, Progress};
use wa_mux::codec::{self, Alert};
use wa_proto::EventKind;

use super::prompts::Prompts;
use crate::last_words::{EXIT_VARIABLE, Told};

/// Between two events of the same kind of attention, at first …
const PAUSE: Duration = Duration::from_secs(1);
/// … and at most.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Ends of commands that may be told at once.
const BURST: u32 = 20;
/// So often one more.
const REFILL: Duration = Duration::from_secs(1);
const MAX_VARIABLES: usize = 64;
/// In bytes.
const MAX_NAME: usize = 64;
/// In bytes.
const MAX_VALUE: usize = 4 << 10;
/// Of a command or a notification, in characters.
const MAX_WORDS: usize = 1000;
/// Set by WezTerm's shell integration.
const PROGRAM_VARIABLE: &str = "WEZTERM_PROG";

/// Something to be told as an event. Texts are not redacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) kind: EventKind,
    pub(super) fields: BTreeMap<String, String>,
    pub(super) line: String,
}

impl Said {
    fn new(kind: EventKind, line: &str) -> Self {
        Self { kind, fields: BTreeMap::new(), line: line.to_owned() }
    }

    fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.fields.insert(name.to_owned(), value.to_string());
        self
    }
}

/// One line of what a program said: bounded, and harmless to print.
fn words(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(MAX_WORDS).collect()
}

/// The beginning of a text, cut between characters.
pub(super) fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Calls for somebody: the first is told at once, the others together.
#[derive(Debug, Default)]
struct Attention {
    /// Until then nothing is told.
    until: Option<Instant>,
    pause: Duration,
    count: u64,
    /// Of the last that was not told; empty for bells.
    toast: String,
}

impl Attention {
    fn call(&mut self, toast: String, now: Instant) -> Option<Said> {
        if self.until.is_some_and(|until| now < until) || self.count > 0 {
            self.count += 1;
            self.toast = toast;
            return None;
        }
        self.pause = PAUSE;
        self.until = Some(now + self.pause);
        Some(Self::said(&toast, 1))
    }

    fn due(&self) -> Option<Instant> {
        self.until.filter(|_| self.count > 0)
    }

    /// What has gathered, if its time has come.
    fn gathered(&mut self, now: Instant) -> Option<Said> {
        self.due().filter(|until| *until <= now)?;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        self.until = Some(now + self.pause);
        self.rest()
    }

    fn rest(&mut self) -> Option<Said> {
        let count = std::mem::take(&mut self.count);
        let toast = std::mem::take(&mut self.toast);
        (count > 0).then(|| Self::said(&toast, count))
    }

    fn said(toast: &str, count: u64) -> Said {
        let mut said = Said::new(EventKind::Bell, toast);
        if !toast.is_empty() {
            said = said.with("toast", toast);
        }
        if count > 1 { said.with("count", count) } else { said }
    }
}

/// Lets so much through and counts the rest.
#[derive(Debug)]
struct Budget {
    left: u32,
    since: Option<Instant>,
    missed: u64,
}

impl Budget {
    fn spend(&mut self, said: Said, now: Instant) -> Option<Said> {
        let since = *self.since.get_or_insert(now);
        let refilled =
            u32::try_from(now.duration_since(since).as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        if refilled > 0 {
            self.left = self.left.saturating_add(refilled).min(BURST);
            self.since = Some(now);
        }
        if self.left == 0 {
            self.missed += 1;
            return None;
        }
        self.left -= 1;
        let missed = std::mem::take(&mut self.missed);
        Some(if missed > 0 { said.with("missed", missed) } else { said })
    }
}

/// The alerts of one pane.
#[derive(Debug)]
pub(super) struct Alerts {
    bells: Attention,
    toasts: Attention,
    commands: Budget,
    prompts: Prompts,
    /// What the shell said that it runs.
    program: Option<String>,
    /// The shell says so: its prompt marks need not be read.
    shell_tells: bool,
    /// How the pane's program ended, as long as nothing was printed since.
    exit: Option<Told>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            bells: Attention::default(),
            toasts: Attention::default(),
            commands: Budget { left: BURST, since: None, missed: 0 },
            prompts: Prompts::default(),
            program: None,
            shell_tells: false,
            exit: None,
        }
    }
}

/// What one alert means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) said: Option<Said>,
    /// The facts have changed.
    pub(super) news: bool,
}

impl Alerts {
    pub(super) fn alert(&mut self, alert: Alert, facts: &mut Facts, now: Instant) -> Meaning {
        let said = match alert {
            Alert::Bell => self.bells.call(String::new(), now),
            Alert::Toast { title, body, .. } => {
                let title = title.map(|title| words(&title)).filter(|title| !title.is_empty());
                let body = words(&body);
                let toast = title.map_or_else(|| body.clone(), |title| format!("{title}: {body}"));
                self.toasts.call(toast, now)
            }
            Alert::SetUserVar { name, value } => return self.variable(name, value, facts, now),
            Alert::Progress(progress) => {
                let progress = progress_of(progress);
                let news = std::mem::replace(&mut facts.progress, progress) != progress;
                return Meaning { said: None, news };
            }
            _ => None,
        };
        Meaning { said, news: false }
    }

    fn variable(&mut self, name: String, value: String, facts: &mut Facts, now: Instant) -> Meaning {
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Meaning::default();
        }
        let value = beginning(&value, MAX_VALUE).to_owned();
        let said = match name.as_str() {
            EXIT_VARIABLE => self.ended(&value),
            PROGRAM_VARIABLE => self.shell_runs(&value),
            _ => None,
        };
        let said = said.and_then(|said| self.commands.spend(said, now));
        let vars = &mut facts.user_vars;
        let room = vars.len() < MAX_VARIABLES || vars.contains_key(&name);
        let news = room && vars.get(&name) != Some(&value);
        if news {
            vars.insert(name, value);
        }
        Meaning { news: news || said.is_some(), said }
    }

    /// The wrapper's word.
    fn ended(&mut self, value: &str) -> Option<Said> {
        let told = Told::parse(value)?;
        let command = self.program.take().or_else(|| self.prompts.told()).unwrap_or_default();
        self.exit = Some(told);
        let said = Said::new(EventKind::CommandFinished, &command).with("status", value);
        Some(if command.is_empty() { said } else { said.with("command", command) })
    }

    fn shell_runs(&mut self, value: &str) -> Option<Said> {
        self.shell_tells = true;
        let begun = words(value);
        if !begun.is_empty() {
            self.program = Some(begun);
            return None;
        }
        let command = self.program.take()?;
        Some(Said::new(EventKind::CommandFinished, &command).with("command", command))
    }

    /// What a push says of prompts.
    pub(super) fn changes(&mut self, changes: &codec::RenderChanges, now: Instant) -> Option<Said> {
        let command = self.prompts.changes(changes)?;
        self.by_marks(&command, now)
    }

    /// What rows say that were fetched.
    pub(super) fn fetched(&mut self, rows: &[codec::Row], now: Instant) -> Option<Said> {
        let command = self.prompts.fetched(rows)?;
        self.by_marks(&command, now)
    }

    fn by_marks(&mut self, command: &str, now: Instant) -> Option<Said> {
        let command = words(command);
        if self.shell_tells || command.is_empty() {
            return None;
        }
        let said = Said::new(EventKind::CommandFinished, &command).with("command", &command);
        self.commands.spend(said, now)
    }

    /// Something was drawn: whatever has ended, something runs. True: an end was told before.
    pub(super) fn drawn(&mut self) -> bool {
        self.exit.take().is_some()
    }

    /// How the pane's program ended.
    pub(super) fn exit(&self) -> Option<&Told> {
        self.exit.as_ref()
    }

    /// The connection is gone: what stands on the screen next time is history.
    pub(super) fn detached(&mut self) {
        self.prompts = Prompts::default();
        self.program = None;
        self.shell_tells = false;
        self.exit = None;
    }

    /// When something that has gathered is to be told.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.bells.due(), self.toasts.due()].into_iter().flatten().min()
    }

    pub(super) fn gathered(&mut self, now: Instant) -> impl Iterator<Item = Said> {
        [self.bells.gathered(now), self.toasts.gathered(now)].into_iter().flatten()
    }

    /// The pane is gone: what has gathered until now.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = Said> {
        [self.bells.rest(), self.toasts.rest()].into_iter().flatten()
    }
}

fn progress_of(progress: codec::Progress) -> Option<Progress> {
    match progress {
        codec::Progress::None => None,
        codec::Progress::Percentage(percent) => Some(Progress::Percent(percent.min(100))),
        codec::Progress::Error(percent) => Some(Progress::Error(percent.min(100))),
        codec::Progress::Indeterminate => Some(Progress::Busy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(name: &str, value: &str) -> Alert {
        Alert::SetUserVar { name: name.into(), value: value.into() }
    }

    #[test]
    fn a_flood_of_bells_is_a_few_events_that_count_them_all() {
        let (mut alerts, mut facts) = (Alerts::default(), Facts::default());
        let start = Instant::now();
        let mut told = Vec::new();
        for at in 0..200_000_u64 {
            let now = start + Duration::from_millis(at);
            told.extend(alerts.alert(Alert::Bell, &mut facts, now).said);
            told.extend(alerts.gathered(now));
        }
        told.extend(alerts.rest());
        let count = |said: &Said| said.fields.get("count").map_or(1, |count| count.parse::<u64>().unwrap());
        assert_eq!(told.iter().map(count).sum::<u64>(), 200_000);
        assert!(told.len() < 15, "{}", told.len());
        assert_eq!((told[0].kind, count(&told[0])), (EventKind::Bell, 1), "the first at once");
        // After a quiet time, at once again.
        let later = start + Duration::from_secs(1000);
        assert!(alerts.alert(Alert::Bell, &mut facts, later).said.is_some());
    }

    #[test]
    fn a_notification_is_told_with_its_words_and_without_its_control_characters() {
        let (mut alerts, mut facts) = (Alerts::default(), Facts::default());
        let toast =
            |body: &str| Alert::Toast { title: Some("Co\x1bdex".into()), body: body.into(), focus: true };
        let now = Instant::now();
        let said = alerts.alert(toast("done\n\x1b[2Jnow"), &mut facts, now).said.unwrap();
        assert_eq!(said.fields["toast"], "Co dex: done [2Jnow");
        assert!(alerts.alert(Alert::Bell, &mut facts, now).said.is_some(), "a bell is another matter");
        assert!(alerts.alert(toast("two"), &mut facts, now).said.is_none());
        assert!(alerts.alert(toast(&"x".repeat(1 << 20)), &mut facts, now).said.is_none());
        let rest: Vec<Said> = alerts.gathered(now + PAUSE).collect();
        assert_eq!((rest.len(), rest[0].fields["count"].as_str()), (1, "2"));
        assert!(rest[0].line.len() < 2000);
    }

    #[test]
    fn variables_are_bounded_and_hostile_names_are_not_taken() {
        let (mut alerts, mut facts) = (Alerts::default(), Facts::default());
        let now = Instant::now();
        for name in ["", "a\x1b[2J", "line\nbreak", &"n".repeat(65)] {
            assert_eq!(alerts.alert(set(name, "x"), &mut facts, now), Meaning::default(), "{name:?}");
        }
        alerts.alert(set("long", &"é".repeat(5000)), &mut facts, now);
        assert_eq!(facts.user_vars["long"].len(), MAX_VALUE);
        for number in 0..1000 {
            alerts.alert(set(&format!("v{number}"), "1"), &mut facts, now);
        }
        assert_eq!(facts.user_vars.len(), MAX_VARIABLES);
        assert!(alerts.alert(set("v1", "2"), &mut facts, now).news, "a known one changes");
        assert!(!alerts.alert(set("v1", "2"), &mut facts, now).news, "the same again is nothing new");
        // However full it is, an end is told.
        assert!(alerts.alert(set("wa_exit", "3"), &mut facts, now).said.is_some());
    }

    #[test]
    fn the_wrappers_word_is_an_end_with_its_status() {
        let (mut alerts, mut facts) = (Alerts::default(), Facts::default());
        let now = Instant::now();
        let said = alerts.alert(set("wa_exit", "signal:KILL"), &mut facts, now).said.unwrap();
        assert_eq!((said.kind, said.fields["status"].as_str()), (EventKind::CommandFinished, "signal:KILL"));
        assert_eq!(alerts.exit(), Some(&Told::Signal("KILL".into())));
        assert!(alerts.drawn());
        assert_eq!(alerts.exit(), None);
        assert!(alerts.alert(set("wa_exit", "\x1b[2J"), &mut facts, now).said.is_none());
    }

    #[test]
    fn a_shell_that_names_its_commands_is_believed_once_each() {
        let (mut alerts, mut facts) = (Alerts::default(), Facts::default());
        let now = Instant::now();
        let mut run = |value: &str| alerts.alert(set("WEZTERM_PROG", value), &mut facts, now).said;
        assert_eq!(run(""), None, "a prompt, and nothing before it");
        assert_eq!(run("make  test\n"), None);
        let said = run("").unwrap();
        assert_eq!((said.fields["command"].as_str(), said.line.as_str()), ("make test", "make test"));
        assert_eq!(run(""), None);
        run("wa-node exec -- make");
        let said = alerts.alert(set("wa_exit", "2"), &mut facts, now).said.unwrap();
        assert_eq!(
            (said.fields["status"].as_str(), said.fields["command"].as_str()),
            ("2", "wa-node exec -- make")
        );
        assert_eq!(alerts.alert(set("WEZTERM_PROG", ""), &mut facts, now).said, None, "told already");
    }

    #[test]
    fn ends_without_end_are_counted_and_not_told() {
        let (mut alerts, mut facts) = (Alerts::default(), Facts::default());
        let start = Instant::now();
        let mut told = Vec::new();
        for at in 0..10_000_u64 {
            let now = start + Duration::from_millis(at);
            told.extend(alerts.alert(set("wa_exit", "0"), &mut facts, now).said);
        }
        assert!((20..=30).contains(&told.len()), "{}", told.len());
        told.extend(alerts.alert(set("wa_exit", "0"), &mut facts, start + Duration::from_secs(60)).said);
        let missed =
            |said: &Said| said.fields.get("missed").map_or(0, |count| count.parse::<usize>().unwrap());
        assert_eq!(told.iter().map(missed).sum::<usize>() + told.len(), 10_001);
    }

    proptest! {
        #[test]
        fn no_alert_does_harm(alerts_in in prop::collection::vec((".{0,80}", ".{0,80}", 0_u8..4), 0..200)) {
            let (mut alerts, mut facts) = (Alerts::default(), Facts::default());
            let now = Instant::now();
            for (one, two, kind) in alerts_in {
                let alert = match kind {
                    0 => set(&one, &two),
                    1 => Alert::Toast { title: Some(one), body: two, focus: false },
                    2 => set(PROGRAM_VARIABLE, &two),
                    _ => Alert::Progress(codec::Progress::Percentage(two.len() as u8)),
                };
                if let Some(said) = alerts.alert(alert, &mut facts, now).said {
                    prop_assert!(said.fields.values().all(|value| !value.contains(char::is_control)));
                }
            }
            prop_assert!(facts.user_vars.len() <= MAX_VARIABLES);
        }
    }
}
