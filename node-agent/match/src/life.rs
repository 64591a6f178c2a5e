//! How an agent's life in a pane begins and ends.
//!
//! Constraints. A start is told with the version, and the version stands in the banner, which is often drawn a frame after
//! the process or the composer is seen: the start waits for it a moment, and whatever else the agent does comes after it.
//! A command of the agent that holds no conversation (signing in or out, asking for the version) is no start and no end.
//!
//! Operation. The machine follows the process, or the screen where no process table speaks, from the first frame on; only
//! the event waits.

use jiff::{SignedDuration, Timestamp};
use wa_proto::{EventKind, Frame, Witness};

use crate::composer::{self, Composer};
use crate::look::Look;
use crate::matcher::{PaneMatcher, Running};
use crate::observation::{Detected, Facts};
use crate::process::Foreground;
use crate::reading;
use crate::state::Left;

/// An end screen may reach us this long after its process is gone.
pub(crate) const LAST_WORDS: SignedDuration = SignedDuration::from_secs(1);
/// The banner is drawn within this time of the composer.
const BANNER: SignedDuration = SignedDuration::from_millis(300);
/// An agent that shows nothing at all has started after this time.
const UNSEEN: SignedDuration = SignedDuration::from_secs(1);

/// A start that is still to be told.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Start {
    since: Timestamp,
    /// Since when composer, dialog or banner are seen.
    shown: Option<Timestamp>,
    /// It does nothing but sign in, so far.
    signs_in: bool,
}

impl Start {
    fn due(&self) -> Option<Timestamp> {
        let by = |since: Timestamp, wait| since.checked_add(wait).ok();
        match self.shown {
            _ if self.signs_in => None,
            Some(shown) => by(shown, BANNER),
            None => by(self.since, UNSEEN),
        }
    }
}

/// An agent that went, until it is told how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) agent: Running,
    pub(crate) since: Timestamp,
    pub(crate) crashed: bool,
    /// Its start was not told yet.
    pub(crate) untold: Option<Start>,
}

impl PaneMatcher {
    /// Notices that the agent's process no longer holds the terminal, and is not merely stopped.
    pub(crate) fn follow_exit(&mut self, facts: &Facts, frame: &Frame, now: Timestamp) {
        let Some(agent) = &self.running else { return };
        let gone = match &facts.foreground {
            Foreground::Agent { pid, kind, .. } => {
                agent.pid != 0 && (*pid != agent.pid || *kind != agent.kind)
            }
            // Known by the screen alone, it may well run behind what is remote.
            Foreground::Remote { .. } if agent.pid == 0 => false,
            Foreground::Shell { .. } | Foreground::Other { .. } | Foreground::Remote { .. } => {
                facts.agent_alive != Some(true) && !(facts.agent_alive.is_none() && is_suspended(frame))
            }
            Foreground::Unknown => false,
        };
        if gone && let Some(agent) = self.running.take() {
            self.left = None;
            self.leaving = Some(Leaving { agent, since: now, crashed: false, untold: self.starting.take() });
        }
    }

    /// Known by the screen alone, an agent is gone when the shell's prompt waits again below its command.
    pub(crate) fn follow_command(&mut self, seen: &mut Look, now: Timestamp) {
        if seen.over
            && let Some(agent) = self.running.take_if(|agent| agent.pid == 0)
        {
            self.left = None;
            self.leaving = Some(Leaving { agent, since: now, crashed: false, untold: self.starting.take() });
            seen.left = seen.agent.take();
        }
    }

    /// Notices an agent that was not there before. Tells of it unless it may have run for long already.
    pub(crate) fn follow_start(&mut self, seen: &Look, facts: &Facts, first: bool, now: Timestamp) -> bool {
        let Some(kind) = &seen.agent else { return false };
        if let Some(agent) = &mut self.running {
            if let (0, Some(pid)) = (agent.pid, facts.foreground.agent_pid()) {
                agent.pid = pid;
                agent.kind.clone_from(kind);
            }
            if !seen.version.is_empty() {
                agent.version.clone_from(&seen.version);
            }
            return false;
        }
        let pid = facts.foreground.agent_pid().unwrap_or(0);
        let shown = seen.view.content != Composer::Missing || is_banner(seen);
        if facts.foreground.agent().is_some() && pid == 0 && !shown {
            // Named by a person: it is there when it shows itself.
            return false;
        }
        self.running = Some(Running {
            kind: kind.clone(),
            pid,
            version: seen.version.clone(),
            had_composer: false,
            settled: false,
            turns: 0,
            turn_open: false,
            ended: false,
            found_limited: first && reading::limited(seen).is_some(),
            first_limit_told: false,
        });
        self.left = None;
        self.session_id.clear();
        self.warned.clear();
        self.presences.new_process();
        let waits = !first || is_new_session(seen);
        self.starting = waits.then_some(Start { since: now, shown: None, signs_in: false });
        true
    }

    /// Tells of the start that waits when the version is known, when it has waited long enough, or when the agent has
    /// something else to tell.
    pub(crate) fn tell_start(&mut self, seen: &Look, now: Timestamp, events: &mut Vec<Detected>) {
        let leaving = self.leaving.as_mut().map(|leaving| (&leaving.agent, &mut leaving.untold));
        let running = self.running.as_ref().map(|agent| (agent, &mut self.starting));
        let Some((agent, slot)) = running.or(leaving) else { return };
        let Some(start) = slot else { return };
        if seen.agent.is_some() {
            let signs_in = reading::authenticating(seen).is_some();
            // A banner alone may be an old one, except of agents whose composer nobody knows.
            let known = composer::is_known(&agent.kind);
            let drawn = seen.view.content != Composer::Missing || (!known && is_banner(seen));
            let shown = drawn && !signs_in;
            start.shown = start.shown.filter(|_| shown).or(shown.then_some(now));
            start.signs_in = signs_in;
        }
        // A dialog may stand below the banner of a session before.
        let drawn = start.shown.is_some() && seen.view.content != Composer::Dialog;
        let versioned = !agent.version.is_empty() && drawn;
        let due = start.due().is_some_and(|due| now >= due) && seen.agent.is_some();
        let more = events.iter().any(|event| !is_of_sign_in(event.kind) && !is_end(event.kind));
        if !(due || more || versioned) {
            return;
        }
        *slot = None;
        let mut event =
            reading::derived(EventKind::AgentStarted, Some(&agent.kind), reading::witnesses(seen), "");
        if !agent.version.is_empty() {
            event.fields.insert("version".to_owned(), agent.version.clone());
        }
        // After the end of the agent before it, which may come in the same frame.
        let ended = events.iter().rposition(|event| is_end(event.kind));
        events.insert(ended.map_or(0, |at| at + 1), event);
    }

    /// When the start that waits is told without a version.
    pub(crate) fn start_due(&self) -> Option<Timestamp> {
        self.starting.as_ref().and_then(Start::due)
    }

    /// The end screen of the agent that runs, or has just gone. Told once, though it names the session in two places.
    pub(crate) fn end_session(&mut self, event: &mut Detected, events: &mut Vec<Detected>) {
        let leaving = self.leaving.as_mut().map(|leaving| &mut leaving.agent);
        let id = event.fields.get("session_id").cloned().unwrap_or_default();
        let mut told = false;
        let agent = self.running.as_mut().or(leaving);
        // What never took a prompt (a list of sessions, left again) uncovers the end that was there before.
        let silent = agent.as_ref().is_none_or(|agent| !agent.settled && agent.turns == 0);
        if silent && !id.is_empty() && id == self.ended_session {
            return;
        }
        if let Some(agent) = agent {
            told = std::mem::replace(&mut agent.ended, true);
            event.agent = Some(agent.kind.clone());
        }
        let same = id.is_empty() || id == self.session_id;
        if !id.is_empty() {
            self.ended_session.clone_from(&id);
            self.session_id = id;
        }
        if !(told && same) {
            events.push(event.clone());
        }
    }

    /// Whether an agent's process would go in the middle of its work with the pane, were that gone now.
    pub fn is_at_work(&self) -> bool {
        let running = self.running.as_ref().map(|agent| (agent, self.starting.is_some()));
        let leaving = self.leaving.as_ref().map(|leaving| (&leaving.agent, leaving.untold.is_some()));
        let known = running.or(leaving).filter(|(agent, untold)| agent.pid != 0 && !untold);
        known.is_some_and(|(agent, _)| agent.turn_open && !agent.ended)
    }

    /// The pane is gone by itself, and nothing can be read in it any more: the crash of the agent that went with it in the
    /// middle of its work.
    pub fn crashed_with_pane(&mut self) -> Option<Detected> {
        if !self.is_at_work() {
            return None;
        }
        let leaving = self.leaving.take().map(|leaving| leaving.agent);
        let agent = self.running.take().or(leaving)?;
        let mut event =
            reading::derived(EventKind::AgentCrashed, Some(&agent.kind), vec![Witness::Process], "");
        event.fields.insert("pane_gone".to_owned(), "true".to_owned());
        self.left = Some((Left::Crashed, agent.kind));
        Some(event)
    }

    /// Tells how the agent went, once its last words are read or it had the time to say them.
    pub(crate) fn close_exit(&mut self, now: Timestamp, events: &mut Vec<Detected>) {
        // Known by the screen alone, it is gone when it has said so.
        if let Some(agent) = self.running.take_if(|agent| agent.pid == 0 && agent.ended) {
            let untold = self.starting.take();
            self.leaving = Some(Leaving { agent, since: now, crashed: false, untold });
        }
        let Some(leaving) = &self.leaving else { return };
        let silent = now.duration_since(leaving.since) >= LAST_WORDS;
        let ended = leaving.agent.ended;
        if !ended && !leaving.crashed && !silent && self.running.is_none() {
            return;
        }
        let crashed = leaving.crashed || (!ended && leaving.agent.turn_open);
        let (kind, left) = if crashed {
            (EventKind::AgentCrashed, Left::Crashed)
        } else {
            (EventKind::AgentExited, Left::Exited)
        };
        let witness = if leaving.agent.pid == 0 { Witness::Screen } else { Witness::Process };
        let mut event = reading::derived(kind, Some(&leaving.agent.kind), vec![witness], "");
        if ended && !self.session_id.is_empty() {
            event.fields.insert("session_id".to_owned(), self.session_id.clone());
        }
        // What was never told to have started was a command, and is over.
        if leaving.untold.is_none() {
            // Before whatever began in the same frame.
            let began = |event: &Detected| event.kind == EventKind::AgentStarted;
            let at = events.iter().position(began).filter(|_| self.running.is_some());
            events.insert(at.unwrap_or(events.len()), event);
            if self.running.is_none() {
                self.left = Some((left, leaving.agent.kind.clone()));
            }
        }
        self.leaving = None;
    }
}

/// A session in which nothing has happened yet: the banner stands there and no prompt was submitted.
pub(crate) fn is_new_session(seen: &Look) -> bool {
    is_banner(seen)
        && seen.prompt.is_none()
        && seen.view.working.is_none()
        && matches!(seen.view.content, Composer::Empty | Composer::Missing)
        && reading::marks(seen).is_none()
        && reading::limited(seen).is_none()
}

/// Whether the agent's banner is on the screen.
pub(crate) fn is_banner(seen: &Look) -> bool {
    seen.hits.iter().any(|hit| hit.event == EventKind::AgentStarted)
}

/// An agent that signs in or out needs no conversation for it.
fn is_of_sign_in(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::AuthRequired
            | EventKind::AuthDeviceCode
            | EventKind::AuthSucceeded
            | EventKind::AuthFailed
            | EventKind::AuthSignedOut
    )
}

fn is_end(kind: EventKind) -> bool {
    matches!(kind, EventKind::AgentExited | EventKind::AgentCrashed)
}

/// The shell has just said that it stopped a job.
fn is_suspended(frame: &Frame) -> bool {
    let last = frame.rows.iter().rev().filter(|row| !row.text.trim().is_empty()).take(6);
    let job = |text: &str| {
        let rest = text.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let bash = rest.is_some_and(|(number, rest)| {
            number.bytes().all(|b| b.is_ascii_digit())
                && (rest.contains("Stopped") || rest.contains("suspended"))
        });
        bash || text.contains(": suspended") || text.contains("has stopped")
    };
    last.into_iter().any(|row| job(&row.text))
}
