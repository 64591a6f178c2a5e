//! `wa hooks …`: the agents' own hooks, on this host. No controller is asked.

use std::path::{Path, PathBuf};

use super::say;
use crate::args::{HookAgents, Hooks};
use crate::context::Surroundings;
use crate::failure::{Exit, Failure};
use crate::hooks::place::{self, Agent};
use crate::hooks::{self, Goal, Program, State, Surveyed};
use crate::output::{Format, Out};
use crate::shape::HookFile;

/// One agent's files, or that it has none.
struct Found {
    agent: Agent,
    files: Vec<Surveyed>,
}

pub(crate) fn hooks(args: &Hooks, around: &Surroundings<'_>, out: &mut Out) -> Result<Exit, Failure> {
    match args {
        Hooks::Install { agents, state_dir, dry_run } => {
            let program = place::program(state_dir.as_deref(), around)?;
            change(&survey(agents, Some(&program), Goal::Install, around)?, *dry_run, out)
        }
        Hooks::Remove { agents, dry_run } => {
            change(&survey(agents, None, Goal::Remove, around)?, *dry_run, out)
        }
        Hooks::Status { agents, state_dir } => {
            let program = known(state_dir.as_ref(), around)?;
            change(&survey(agents, program.as_ref(), Goal::Look, around)?, false, out)
        }
    }
}

/// For a status it is enough to know what would be installed; without `wa-node` that is nothing.
fn known(state_dir: Option<&PathBuf>, around: &Surroundings<'_>) -> Result<Option<Program>, Failure> {
    match place::program(state_dir.map(PathBuf::as_path), around) {
        Ok(program) => Ok(Some(program)),
        Err(failure) if failure.exit == Exit::NotFound => {
            say(&failure.message);
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

fn survey(
    agents: &HookAgents,
    program: Option<&Program>,
    goal: Goal,
    around: &Surroundings<'_>,
) -> Result<Vec<Found>, Failure> {
    let named = &agents.agent;
    let which = Agent::ALL.into_iter().filter(|agent| named.is_empty() || named.contains(agent));
    which
        .map(|agent| {
            let dir = agent
                .dir(around)
                .ok_or_else(|| Failure::failed("HOME is not set: the agents' files are not found"))?;
            let dir = std::path::absolute(&dir)
                .map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))?;
            let wanted = dir.is_dir() || (goal == Goal::Install && named.contains(&agent));
            let files = if wanted { hooks::survey(agent, &dir, program, goal) } else { Vec::new() };
            if !dir.is_dir() && !wanted {
                say(&format!("{}: not set up here, {} does not exist", agent.as_str(), dir.display()));
            }
            Ok(Found { agent, files })
        })
        .collect()
}

/// Writes what is to be written and prints how things stand then.
fn change(found: &[Found], dry_run: bool, out: &mut Out) -> Result<Exit, Failure> {
    let (mut items, mut good, mut bad) = (Vec::new(), 0, 0);
    for Found { agent, files } in found {
        if files.is_empty() {
            items.push(nothing(*agent));
        }
        for file in files {
            let item = one(file, dry_run, out.look.now);
            match item.state == State::Unreadable.as_str() {
                true => bad += 1,
                false => good += 1,
            }
            items.push(item);
        }
    }
    let in_words = matches!(out.look.format, Format::Table | Format::Wide);
    if dry_run && in_words {
        for text in items.iter().filter_map(|item| item.diff.as_deref()) {
            for line in text.lines() {
                out.line(&crate::output::text::printable(line, crate::output::text::Keep::Layout))?;
            }
        }
        out.flush()?;
    } else {
        out.list(&items)?;
    }
    for item in items.iter().filter(|item| item.state == State::Unreadable.as_str()) {
        let file = item.file.as_deref().unwrap_or_default();
        say(&format!("wa: {file} was left as it is: {}", item.notes.join("; ")));
    }
    if !dry_run && items.iter().any(|item| item.changed) {
        say("an agent that runs now keeps its old hooks until it is started again");
    }
    Ok(match (good, bad) {
        (_, 0) => Exit::Done,
        (0, _) => Exit::Failed,
        _ => Exit::Partly,
    })
}

fn nothing(agent: Agent) -> HookFile {
    HookFile {
        agent: agent.as_str().to_owned(),
        file: None,
        state: State::NoAgent.as_str(),
        events: Vec::new(),
        program: None,
        changed: false,
        backup: None,
        diff: None,
        notes: Vec::new(),
    }
}

fn one(file: &Surveyed, dry_run: bool, now: wa_proto::Timestamp) -> HookFile {
    let path = &file.target.path;
    let mut item = HookFile {
        agent: file.target.agent.as_str().to_owned(),
        file: Some(text(path)),
        state: file.state.as_str(),
        events: file.events.clone(),
        program: file.program.clone(),
        changed: file.change.is_some(),
        backup: None,
        diff: None,
        notes: file.notes.clone(),
    };
    let Some((old, new)) = &file.change else { return item };
    if dry_run {
        item.diff = Some(hooks::diff(path, old.as_deref(), new));
        return item;
    }
    match hooks::write(path, old.as_deref(), new, now) {
        Ok(backup) => item.backup = backup.as_deref().map(text),
        Err(error) => {
            item.changed = false;
            item.state = State::Unreadable.as_str();
            item.notes.push(error.to_string());
        }
    }
    item
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
