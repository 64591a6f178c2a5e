//! `wa hooks`: writing our entries into the agents' own hook configuration, and taking them out again.
//!
//! Constraints. The files are the user's: everything else in them keeps its order, its comments and its meaning; what
//! cannot be read is left untouched, and said, with its line. An entry is ours when its command runs `wa-node hook`,
//! whatever the path, and nothing else is. A second install changes nothing. A change is written beside the file and
//! moved into place, with the file's mode and owner, and the old content is kept as `FILE.wa-backup-TIME`.
//!
//! Where ([`place`]): `settings.json` of Claude Code and Gemini CLI, `hooks.json` of Codex. Codex warns when hooks stand
//! in both of its files, so ours go to `[hooks]` of `config.toml` where the user's already do. Codex versions without
//! hooks know one `notify`; it is set, too, where the user has none.
//!
//! Operation. [`survey`] reads each file and works out its new text, changing nothing; [`file`] writes.

mod diff;
mod entry;
mod file;
mod json;
pub(crate) mod place;
mod toml;

use std::path::{Path, PathBuf};

pub(crate) use diff::diff;
pub(crate) use entry::Program;
pub(crate) use file::write;
pub(crate) use place::{Agent, Target};

use entry::Entry;

/// What a file is to hold of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    hooks: Vec<Entry>,
    /// Codex's `notify`.
    notify: Option<Vec<String>>,
}

/// What stands in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Ours: events and commands, in their order.
    hooks: Vec<Entry>,
    notify: Notify,
    /// Why the agent runs no hooks at all, if a setting says so.
    off: Option<&'static str>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Notify {
    #[default]
    None,
    Ours(Vec<String>),
    /// Somebody's program.
    Other(String),
}

/// What is wrong with a file, in words with the line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unfit(String);

/// The text with its entries made as wanted, and what stood in it before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rewritten {
    text: String,
    before: Found,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Install,
    Remove,
    Look,
}

/// How far a file is from what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Installed,
    /// Some are missing, or run another program or for another state directory.
    Outdated,
    Absent,
    Unreadable,
    /// The agent has no configuration here.
    NoAgent,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Outdated => "outdated",
            Self::Absent => "absent",
            Self::Unreadable => "unreadable",
            Self::NoAgent => "no_agent",
        }
    }
}

/// One file, looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Surveyed {
    pub(crate) target: Target,
    pub(crate) state: State,
    /// Events of ours that stand in it.
    pub(crate) events: Vec<String>,
    /// The program that they run.
    pub(crate) program: Option<String>,
    /// Old text (`None`: no such file) and new text, when they differ.
    pub(crate) change: Option<(Option<String>, String)>,
    pub(crate) notes: Vec<String>,
}

/// The files of an agent, as they are and as they will be.
pub(crate) fn survey(agent: Agent, dir: &Path, program: Option<&Program>, goal: Goal) -> Vec<Surveyed> {
    let targets = place::targets(agent, dir);
    targets.into_iter().filter_map(|target| look(target, program, goal)).collect()
}

/// `None` for a file that is not there and is not needed.
fn look(target: Target, program: Option<&Program>, goal: Goal) -> Option<Surveyed> {
    let wanted = program.map(|program| target.wanted(program)).unwrap_or_default();
    let read = file::read(&target.path).map_err(|error| Unfit(error.to_string()));
    let worked = read.and_then(|old| {
        let text = old.clone().unwrap_or_default();
        let aim = if goal == Goal::Remove { Wanted::default() } else { wanted.clone() };
        target.rewrite(&text, &aim).map(|new| (old, new))
    });
    let (old, Rewritten { text, before }) = match worked {
        Ok(worked) => worked,
        Err(Unfit(problem)) => {
            return Some(Surveyed {
                target,
                state: State::Unreadable,
                events: Vec::new(),
                program: None,
                change: None,
                notes: vec![problem],
            });
        }
    };
    if old.is_none() && (goal == Goal::Remove || wanted == Wanted::default()) && program.is_some() {
        return None;
    }
    let notes = notes(&target, &before, &wanted, goal);
    let differs = old.as_deref().unwrap_or_default() != text;
    let change = (goal != Goal::Look && differs).then_some((old, text));
    // After the change there stands what was wanted.
    let after = match (goal, &change) {
        (Goal::Remove, _) => Found::default(),
        (Goal::Install, Some(_)) => before.made(&wanted),
        _ => before,
    };
    let state = after.state(&wanted, program.is_some());
    let (events, program) = (after.events(), after.program());
    Some(Surveyed { target, state, events, program, change, notes })
}

/// What a person should know about the file.
fn notes(target: &Target, found: &Found, wanted: &Wanted, goal: Goal) -> Vec<String> {
    let mut notes: Vec<String> = found.off.iter().map(|off| (*off).to_owned()).collect();
    if let (Notify::Other(other), Some(ours)) = (&found.notify, &wanted.notify)
        && goal != Goal::Remove
    {
        notes.push(format!(
            "notify runs {other} and stays; to have both, let it also run `{} JSON` with the JSON that it gets",
            entry::join(ours)
        ));
    }
    if let (Goal::Look, Some(program)) = (goal, found.program())
        && !Path::new(&program).exists()
    {
        notes.push(format!("{program} is not there any more: run `wa hooks install` again"));
    }
    if goal == Goal::Install && target.agent == Agent::Codex && found.hooks != wanted.hooks {
        notes.push(
            "Codex runs new hooks only once you have accepted them: it asks at its next start, or use /hooks"
                .to_owned(),
        );
    }
    notes
}

impl Found {
    /// As it will be when `wanted` has been written.
    fn made(&self, wanted: &Wanted) -> Self {
        let notify = match (&self.notify, &wanted.notify) {
            (Notify::Other(other), _) => Notify::Other(other.clone()),
            (_, Some(ours)) => Notify::Ours(ours.clone()),
            (_, None) => Notify::None,
        };
        Self { hooks: wanted.hooks.clone(), notify, ..self.clone() }
    }

    fn events(&self) -> Vec<String> {
        let mut events: Vec<String> = self.hooks.iter().map(|entry| entry.event.clone()).collect();
        if matches!(self.notify, Notify::Ours(_)) {
            events.push("notify".to_owned());
        }
        events
    }

    fn program(&self) -> Option<String> {
        let first = self.hooks.first().and_then(|entry| entry::words(&entry.command)?.into_iter().next());
        match &self.notify {
            Notify::Ours(words) => first.or_else(|| words.first().cloned()),
            _ => first,
        }
    }

    fn state(&self, wanted: &Wanted, known: bool) -> State {
        if self.events().is_empty() && !(known && *wanted == Wanted::default()) {
            return State::Absent;
        }
        let notify = match (&self.notify, &wanted.notify) {
            (Notify::Other(_), _) => true,
            (Notify::Ours(is), Some(should)) => is == should,
            (Notify::Ours(_), None) | (Notify::None, Some(_)) => false,
            (Notify::None, None) => true,
        };
        let mut is: Vec<&Entry> = self.hooks.iter().collect();
        let mut should: Vec<&Entry> = wanted.hooks.iter().collect();
        is.sort_unstable();
        should.sort_unstable();
        if !known || (is == should && notify) { State::Installed } else { State::Outdated }
    }
}

/// Keeps of our entries those that are wanted, each once. Says which are missing afterwards.
struct Keeper<'a> {
    wanted: &'a [Entry],
    kept: Vec<&'a Entry>,
    before: Vec<Entry>,
}

impl<'a> Keeper<'a> {
    fn new(wanted: &'a [Entry]) -> Self {
        Self { wanted, kept: Vec::new(), before: Vec::new() }
    }

    /// Whether a handler may stay; asked of every handler, in order.
    fn stays(&mut self, event: &str, command: Option<&str>) -> bool {
        let Some(command) = command.filter(|command| entry::is_ours(command)) else {
            return true;
        };
        self.before.push(Entry { event: event.to_owned(), command: command.to_owned() });
        let wanted = self.wanted.iter().find(|entry| entry.event == event && entry.command == command);
        match wanted.filter(|entry| !self.kept.contains(entry)) {
            Some(entry) => {
                self.kept.push(entry);
                true
            }
            None => false,
        }
    }

    fn missing(&self) -> impl Iterator<Item = &'a Entry> {
        self.wanted.iter().filter(|entry| !self.kept.contains(entry))
    }
}

/// A problem of a file that is about a place in it.
fn unfit(line: usize, problem: impl std::fmt::Display) -> Unfit {
    Unfit(format!("line {line}: {problem}"))
}

/// Name of the backup of a file.
pub(crate) fn backup_name(path: &Path, stamp: &str, count: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".wa-backup-{stamp}"));
    if count > 0 {
        name.push(format!("-{count}"));
    }
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
