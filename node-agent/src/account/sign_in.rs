//! Whether a code on the screen is the one that an action asked for.
//!
//! Screens can be made to show anything, and a code that opens somebody else's session must not be typed into the
//! provider's page under our account. So a code is given out only when all of this holds: the action was begun here, in
//! this pane; the code stood in rows below the cursor of that moment, and was recognised after it; since then the pane was
//! not resized or cleared; and right now the terminal belongs to a `codex login --device-auth` that the pane's shell has
//! started since, with the account's home. Each failing condition says so in words, without the code.
//!
//! Questions are limited, and an action's code is given out a few times only: an answer may get lost on its way.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;
use wa_match::{Foreground, ProcessInfo};
use wa_proto::wire::v1;
use wa_proto::{AccountAlias, ActionId, Frame, Timestamp};

use super::{Parts, kind, look, pane_of};
use crate::act::describe;
use crate::process::{self, ProcessTable};
use crate::session_file::homes_of;
use crate::vault::Seen;

/// Actions whose beginnings are remembered.
const MAX_MARKS: usize = 256;
/// Rows above the code that belong to it: the address.
const ROWS_ABOVE: i64 = 3;
/// The system counts starts of processes in hundredths of a second.
const ROUNDING: SignedDuration = SignedDuration::from_millis(50);
/// Questions within [`WINDOW`].
const MAX_ASKED: usize = 60;
const WINDOW: Duration = Duration::from_secs(60);
/// Times that one action's code is given out.
const MAX_ANSWERED: u32 = 3;

/// Where a pane stood when an action began to type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    layout: u64,
    /// Stable index of the cursor's row; `None`: rows mean nothing there.
    row: Option<i64>,
}

/// Where panes stood when actions began to type. Clones share what they know; a restarted node knows nothing.
#[derive(Debug, Clone, Default)]
pub struct Marks(Arc<Mutex<VecDeque<(ActionId, Mark)>>>);

impl Marks {
    /// The action is about to type into a pane that shows this.
    pub fn note(&self, action: ActionId, layout: u64, frame: &Frame) {
        let row = (!frame.alternate).then(|| frame.first_row.saturating_add(frame.cursor.row));
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.len() >= MAX_MARKS {
            marks.pop_front();
        }
        marks.push_back((action, Mark { layout, row }));
    }

    fn of(&self, action: ActionId) -> Option<Mark> {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.iter().rev().find(|(known, _)| *known == action).map(|(_, mark)| *mark)
    }
}

/// How often is asked.
#[derive(Debug, Default)]
pub(super) struct Limit(Mutex<Asked>);

#[derive(Debug, Default)]
struct Asked {
    at: VecDeque<Instant>,
    answered: HashMap<ActionId, u32>,
}

impl Limit {
    fn ask(&self, action: ActionId, now: Instant) -> Result<(), String> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while asked.at.front().is_some_and(|at| now.duration_since(*at) > WINDOW) {
            asked.at.pop_front();
        }
        if asked.at.len() >= MAX_ASKED {
            return Err(format!("{MAX_ASKED} sign-ins were asked for within a minute: try again later"));
        }
        asked.at.push_back(now);
        match asked.answered.get(&action) {
            Some(times) if *times >= MAX_ANSWERED => {
                Err(format!("the code of this action was given out {MAX_ANSWERED} times already"))
            }
            _ => Ok(()),
        }
    }

    fn answered(&self, action: ActionId) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.answered.len() >= MAX_MARKS {
            asked.answered.clear();
        }
        *asked.answered.entry(action).or_default() += 1;
    }
}

/// The code and the address that an action's login printed.
pub(super) async fn read(
    parts: &Parts,
    limit: &Limit,
    request: v1::ReadSignIn,
) -> Result<Vec<v1::Secret>, String> {
    let action = ActionId::from_slice(&request.action_id).ok_or("the action is no id")?;
    let alias = AccountAlias::new(request.alias).map_err(|error| error.to_string())?;
    let pane = pane_of(request.pane)?;
    limit.ask(action, wa_link::clock::monotonic())?;
    let (typed_into, begun) =
        parts.journal.begun(action).ok_or("this action was not begun on this host: no code belongs to it")?;
    if typed_into != pane {
        return Err("this action typed into another pane: no code of this one belongs to it".to_owned());
    }
    let view = look(parts, &pane).await?;
    let mark = parts.marks.of(action).ok_or(
        "where the pane stood when the action began is not known: nothing was typed, or the node was restarted since",
    )?;
    let tty = view.tty.clone().ok_or("the pane tells no terminal, so who runs there cannot be seen")?;
    let (processes, root) = (Arc::clone(&parts.processes), parts.root.clone());
    let account = alias.clone();
    let login = wa_link::worker::blocking(move || {
        let login = login_on(&*processes, &tty, begun)?;
        let codex = kind::of("codex").map(|kind| root.home(&account, kind)).unwrap_or_default();
        let uses =
            homes_of(login.pid).and_then(|homes| root.account_in(&wa_proto::AgentKind::codex(), &homes));
        if uses.as_ref() == Some(&account) {
            return Ok(login.started);
        }
        Err(format!(
            "the login in this pane does not use the home of account {account} ({})",
            codex.display()
        ))
    });
    let started = login.await.map_err(|error| error.to_string())??;
    let newest = parts.vault.newest(&pane).ok_or("no code has been seen in this pane")?;
    after(&newest.seen, mark, begun, started)?;
    if view.layout != mark.layout {
        return Err(RESIZED.to_owned());
    }
    limit.answered(action);
    tracing::info!(pane = pane.pane_id, account = %alias, "the code of a sign-in goes to the controller");
    Ok(newest.secrets.into_iter().map(Into::into).collect())
}

const RESIZED: &str =
    "the pane was resized or cleared since the action began, so what stood there before cannot be told apart";

/// The code came from rows that the action brought about.
fn after(seen: &Seen, mark: Mark, begun: Timestamp, started: Timestamp) -> Result<(), String> {
    let rounded = seen.at.saturating_add(ROUNDING).unwrap_or(seen.at);
    if seen.at < begun || rounded < started {
        return Err("the newest code in this pane was there before the action's login began".to_owned());
    }
    let (Some(row), Some(before)) = (seen.row, mark.row) else {
        return Err(
            "rows cannot be told apart on this screen, so nothing says that the code is new".to_owned()
        );
    };
    if seen.layout != mark.layout {
        return Err(RESIZED.to_owned());
    }
    if row.saturating_sub(ROWS_ABOVE) <= before {
        return Err("the newest code in this pane stands above what the action typed".to_owned());
    }
    Ok(())
}

struct Login {
    pid: u32,
    started: Timestamp,
}

/// The login that holds a terminal, if the shell there has started it since. Blocks.
fn login_on(processes: &dyn ProcessTable, tty: &str, begun: Timestamp) -> Result<Login, String> {
    let group = processes.look(&[tty.to_owned()]).groups.remove(tty).unwrap_or_default();
    let foreground = wa_match::identify(&group);
    let pid = match &foreground {
        Foreground::Agent { kind, pid, .. } if kind.as_str() == "codex" && group.iter().any(is_login) => *pid,
        other => {
            return Err(format!("no `codex login --device-auth` holds this terminal: {}", describe(other)));
        }
    };
    let now = wa_link::clock::now();
    let origin = process::origin(pid, now)
        .ok_or("when the login was started, and by whom, cannot be seen on this system")?;
    if origin.started.saturating_add(ROUNDING).unwrap_or(origin.started) < begun {
        return Err(format!("the login in this pane (pid {pid}) was started before the action began"));
    }
    let by_shell = |parent| matches!(wa_match::identify(&[parent]), Foreground::Shell { .. });
    if origin.parent.is_some_and(by_shell) {
        return Ok(Login { pid, started: origin.started });
    }
    Err(format!("the login in this pane (pid {pid}) was not started by the pane's shell"))
}

fn is_login(info: &ProcessInfo) -> bool {
    let mut words = info.args.iter().skip(1);
    words.any(|word| word == "login") && words.any(|word| word == "--device-auth")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn only_rows_below_the_action_and_after_it_count() {
        let mark = Mark { layout: 2, row: Some(100) };
        let event = wa_proto::EventId::generate();
        let seen = |layout, row, second| Seen { event, layout, row, at: at(second) };
        let judge = |seen: Seen| after(&seen, mark, at(10), at(11));
        assert_eq!(judge(seen(2, Some(110), 12)), Ok(()));
        for (seen, words) in [
            (seen(2, Some(110), 9), "before the action's login"),
            (seen(2, Some(110), 10), "before the action's login"),
            (seen(2, Some(100), 12), "above what the action typed"),
            (seen(2, Some(103), 12), "above what the action typed"),
            (seen(3, Some(110), 12), "resized or cleared"),
            (seen(2, None, 12), "cannot be told apart"),
        ] {
            let error = judge(seen.clone()).unwrap_err();
            assert!(error.contains(words), "{seen:?}: {error}");
        }
        assert!(after(&seen(2, Some(110), 12), Mark { row: None, ..mark }, at(10), at(11)).is_err());
    }

    #[test]
    fn questions_are_limited() {
        let limit = Limit::default();
        let now = wa_link::clock::monotonic();
        let action = ActionId::generate();
        for _ in 0..MAX_ANSWERED {
            limit.ask(action, now).unwrap();
            limit.answered(action);
        }
        assert!(limit.ask(action, now).unwrap_err().contains("3 times"));
        let other = ActionId::generate();
        while limit.ask(other, now).is_ok() {}
        assert!(limit.ask(other, now).unwrap_err().contains("within a minute"));
        limit.ask(other, now + WINDOW * 2).unwrap();
    }
}
