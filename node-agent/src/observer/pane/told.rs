//! What the pane's program tells beside its text, as events and as the pane's state.
//!
//! An agent that was at work when its pane ended has crashed, unless somebody closed the pane, as far as that can be told.
//!
//! A program that the wrapper ran has ended when the wrapper says so: then the pane is `exited`, or `crashed` by a signal,
//! with the code. One `printf` forges that, so it holds only until something is drawn again, and never against a known
//! agent that runs. Until then, too, nothing of what the pane printed can be lost when it goes: the wrapper has waited.

use std::collections::BTreeMap;

use tokio::time::Instant;
use wa_match::{Detected, Foreground};
use wa_mux::codec::{Alert, RenderChanges, Row};
use wa_proto::{EventKind, Gap, GapCause, PaneState, StateDetail, Witness};

use super::Watched;
use crate::act::PERSON;
use crate::last_words::Told;
use crate::observer::alerts::Said;
use crate::process::ProcessId;

impl Watched {
    pub(in crate::observer) fn alert(&mut self, alert: Alert) {
        let meaning = self.alerts.alert(alert, &mut self.facts, Instant::now());
        if meaning.news {
            self.altered = true;
            self.look_soon();
            self.publish();
        }
        self.tell(meaning.said);
    }

    /// Prompt marks in a push.
    pub(super) fn prompts(&mut self, changes: &RenderChanges) {
        let said = self.alerts.changes(changes, Instant::now());
        self.tell(said);
    }

    /// Prompt marks in rows that were fetched.
    pub(super) fn fetched_prompts(&mut self, rows: &[Row]) {
        let said = self.alerts.fetched(rows, Instant::now());
        self.tell(said);
    }

    /// Bells and notifications that were held back until now.
    pub(super) fn tell_gathered(&mut self) {
        let said: Vec<Said> = self.alerts.gathered(Instant::now()).collect();
        self.tell(said);
    }

    /// The last of them.
    pub(super) fn tell_rest(&mut self) {
        let said: Vec<Said> = self.alerts.rest().collect();
        self.tell(said);
    }

    fn tell(&mut self, said: impl IntoIterator<Item = Said>) {
        if self.is_silent() {
            return;
        }
        for Said { kind, fields, line } in said {
            let detected = Detected {
                kind,
                agent: self.agent().cloned(),
                rule: String::new(),
                fields,
                secrets: BTreeMap::new(),
                witnesses: vec![Witness::Screen],
                line,
                row: None,
                stable_row: None,
            };
            let seen = self.seen.clone();
            self.event(&detected, seen.as_ref(), wa_link::clock::now());
        }
    }

    /// What is said to be lost at the pane's end was not: the wrapper kept the terminal until all of it was delivered, and
    /// nothing was drawn since it said so.
    pub(super) fn was_heard_out(&self, gap: &Gap) -> bool {
        gap.cause == GapCause::Exit && gap.rows.is_none() && self.alerts.exit().is_some()
    }

    /// An agent has gone, a shell waits, and the session that it leaves is known: by its last words, else by its own file,
    /// which also tells of one that had no time for last words.
    pub(super) fn resumable(&self, end: &Detected) -> Option<Detected> {
        let gone = matches!(end.kind, EventKind::AgentExited | EventKind::AgentCrashed);
        if !gone || !matches!(self.facts.foreground, Foreground::Shell { .. }) {
            return None;
        }
        let of_file = self.conversation.told().filter(|session| !session.path.is_empty());
        let (id, witness) = match end.fields.get("session_id") {
            Some(id) => (id.clone(), Witness::Screen),
            None => (of_file?.session_id.clone(), Witness::SessionFile),
        };
        (!id.is_empty()).then(|| Detected {
            kind: EventKind::SessionResumable,
            agent: end.agent.clone(),
            rule: String::new(),
            fields: BTreeMap::from([("session_id".to_owned(), id)]),
            secrets: BTreeMap::new(),
            witnesses: vec![witness, Witness::Process],
            line: String::new(),
            row: None,
            stable_row: None,
        })
    }

    /// Whether an agent would go with the pane in the middle of its work, and nothing says that somebody wants it to: no
    /// action of ours is under way there, and nobody typed into it just now.
    pub(in crate::observer) fn may_crash(&self) -> bool {
        let touched = self.touched.is_some_and(|at| at.elapsed() < PERSON);
        self.matcher.is_at_work() && !self.acting && !touched && !self.is_silent()
    }

    /// The pane has ended by itself. What would be looked up of it otherwise goes with the event, for nobody can ask any more.
    pub(super) fn tell_crash(&mut self) {
        let alive = self.last_agent.is_some_and(ProcessId::is_running);
        // Who closes a pane does that before its program is gone.
        let crash = if self.may_crash() && !alive { self.matcher.crashed_with_pane() } else { None };
        let Some(mut crash) = crash else { return };
        let seen = self.seen.clone();
        let of_file = self.conversation.told().map(|session| session.session_id.clone());
        let of_screen = seen.as_ref().map(|seen| seen.session_id.clone());
        let session = of_file.filter(|id| !id.is_empty()).or(of_screen).unwrap_or_default();
        let known = [
            ("session_id", session),
            ("cwd", self.cwd.clean.clone()),
            ("project", self.project.clean.clone()),
        ];
        let known = known.into_iter().filter(|(_, value)| !value.is_empty());
        crash.fields.extend(known.map(|(name, value)| (name.to_owned(), value)));
        self.event(&crash, seen.as_ref(), wa_link::clock::now());
    }

    /// How its program ended, if nothing contradicts.
    fn ended(&self) -> Option<&Told> {
        self.alerts.exit().filter(|_| !self.last_agent.is_some_and(ProcessId::is_running))
    }

    pub(super) fn state(&self) -> PaneState {
        match self.ended() {
            Some(Told::Status(_)) => PaneState::Exited,
            Some(Told::Signal(_)) => PaneState::Crashed,
            None => self.seen.as_ref().map_or(PaneState::Unknown, |seen| seen.state),
        }
    }

    pub(super) fn detail(&self) -> StateDetail {
        let told = |why: String, code: Option<i32>| StateDetail { why, code, ..StateDetail::default() };
        match (self.ended(), &self.seen) {
            (Some(Told::Status(code)), _) => {
                told(format!("the command ended with status {code}"), Some((*code).into()))
            }
            (Some(Told::Signal(name)), _) => told(format!("the command was ended by SIG{name}"), None),
            (None, Some(seen)) => StateDetail {
                why: self.redactor.redact(&seen.detail.why).into_owned(),
                ..seen.detail.clone()
            },
            (None, None) => StateDetail::default(),
        }
    }
}
