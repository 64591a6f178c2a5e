//! Steps that the controller itself works on: an account and its home, and the entering of a code.
//!
//! Constraints: an answer counts only for the step that asked for it, and only once; a run enters one code, ever, also over
//! a restart of the controller; what a node says of a home becomes part of a command only if it can be nothing else than a
//! variable and a path.

use jiff::SignedDuration;
use wa_proto::{AccountAlias, EventKind, PaneState, Timestamp};

use super::{Machine, OUTCOME_GRACE, later};
use crate::definition::TELL_SESSION;
use crate::run::{Effect, Status, WANTED_ACCOUNT, resume_command};
use crate::step::Work;

/// A command that is to print a code has begun by then, and an event of it has come.
const COMMAND_RUNS: SignedDuration = SignedDuration::from_secs(5);
/// Bytes of a path.
const MAX_PATH: usize = 4096;

/// A name that a shell takes for a variable, and nothing else.
fn is_variable(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.len() <= 64
        && name.chars().all(plain)
        && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
}

fn is_path(path: &str) -> bool {
    path.len() <= MAX_PATH && path.starts_with('/') && !path.chars().any(char::is_control)
}

impl Machine<'_> {
    fn prepare(&mut self, effect: Effect) {
        self.run.status = Status::Preparing { begun: false };
        self.effects.push(effect);
        self.wake_at(later(self.run.step_deadline, OUTCOME_GRACE));
    }

    /// Whether an answer is for what the run waits for.
    fn is_prepared(&self, step: usize) -> bool {
        step == self.run.step && matches!(self.run.status, Status::Preparing { .. })
    }

    fn is_leasing(&self, step: usize) -> bool {
        self.is_prepared(step)
            && self.present().is_some_and(|step| matches!(step.work, Work::LeaseAccount { .. }))
    }

    // ---- leases

    pub(super) fn lease(&mut self) {
        let Some(Work::LeaseAccount { login }) = self.present().map(|step| &step.work) else { return };
        let wanted = self.run.trigger.fields.get(WANTED_ACCOUNT).filter(|alias| !alias.is_empty());
        let wanted = match wanted.map(|alias| alias.parse::<AccountAlias>()).transpose() {
            Ok(wanted) => wanted,
            Err(error) => return self.fail(error.to_string()),
        };
        if *login && wanted.is_none() {
            return self.fail("nobody said which account is to be signed in".to_owned());
        }
        let (step, deadline) = (self.run.step, self.run.step_deadline);
        self.prepare(Effect::Lease { step, wanted, login: *login, deadline });
    }

    pub(super) fn on_leased(
        &mut self,
        step: usize,
        alias: &AccountAlias,
        home: &str,
        variable: &str,
        signed_in: bool,
    ) {
        if !self.is_leasing(step) {
            return;
        }
        if !is_variable(variable) || !is_path(home) {
            return self.fail(format!("the node names no usable home of the account {alias}"));
        }
        let known = [("account", alias.as_str()), ("account_home", home), ("account_variable", variable)];
        for (name, value) in known {
            self.run.vars.insert(name.to_owned(), value.to_owned());
        }
        self.run.signed_in = signed_in;
        self.go_on();
    }

    pub(super) fn on_not_leased(&mut self, step: usize, reason: &str, until: Option<Timestamp>) {
        if self.is_leasing(step) {
            self.run.free = until;
            self.fail(reason.to_owned());
        }
    }

    // ---- signing in

    /// Waits for the code, or has it entered, by what was heard since the command was typed.
    pub(super) fn sign_in(&mut self) {
        let heard = |kind| self.run.heard.contains(&kind);
        if heard(EventKind::AuthSucceeded) {
            return self.go_on();
        }
        if heard(EventKind::AuthFailed) {
            return self.fail("the sign-in failed: auth.failed came".to_owned());
        }
        if heard(EventKind::AuthRequired) {
            return self.fail("the sign-in wants a person: it prints no code".to_owned());
        }
        if !heard(EventKind::AuthDeviceCode) {
            self.wait(self.now);
            return self.await_code();
        }
        let alias = self.run.vars.get("account").and_then(|alias| alias.parse().ok());
        match alias.filter(|_| self.run.attempts > 0) {
            Some(alias) => self.prepare(Effect::SignIn {
                step: self.run.step,
                alias,
                action: self.run.action_id(self.run.attempts),
                deadline: self.run.step_deadline,
            }),
            None => self.fail("this run has leased no account, or typed no command that signs in".to_owned()),
        }
    }

    fn is_signing_in(&self, step: usize) -> bool {
        self.is_prepared(step) && self.present().is_some_and(|step| step.work == Work::DeviceLogin)
    }

    /// Waits on for the code, unless the command that was to print it is over. An event may come a moment after the state
    /// that it led to.
    fn await_code(&mut self) {
        let Some(step) = self.present() else { return };
        let deadline = self.run.step_deadline;
        let entered = deadline.saturating_sub(step.timeout).unwrap_or(self.now);
        let look = later(entered, COMMAND_RUNS);
        if self.is_at_a_shell() && self.now >= look {
            return self.fail("the shell is back, and no code was printed: look at the pane".to_owned());
        }
        if self.now >= deadline {
            return self.fail("no code was printed in time".to_owned());
        }
        self.wake_at(if self.now < look { look } else { deadline });
    }

    fn is_at_a_shell(&self) -> bool {
        matches!(self.run.pane_state, Some(PaneState::Shell | PaneState::Exited | PaneState::Crashed))
    }

    /// The pane has changed, or time has passed, while the code is waited for.
    pub(super) fn watch_for_code(&mut self, timer: bool) {
        if timer {
            self.await_code();
        } else if self.is_at_a_shell() {
            // However often it changes.
            self.wake_at(later(self.now, COMMAND_RUNS).min(self.run.step_deadline));
        }
    }

    pub(super) fn on_signing_in(&mut self, step: usize) {
        if self.is_signing_in(step) {
            self.run.status = Status::Preparing { begun: true };
        }
    }

    pub(super) fn on_signed_in(&mut self, step: usize) {
        if self.is_signing_in(step) {
            self.go_on();
        }
    }

    pub(super) fn on_sign_in_failed(&mut self, step: usize, reason: &str) {
        if !self.is_signing_in(step) {
            return;
        }
        // The page may have changed after it had taken the code.
        if self.run.heard.contains(&EventKind::AuthSucceeded) {
            return self.go_on();
        }
        self.fail(reason.to_owned());
    }

    /// What was being prepared is asked for again, but for a code that may have been entered.
    pub(super) fn on_restart(&mut self) {
        let Status::Preparing { begun } = self.run.status else { return };
        match self.present().map(|step| &step.work) {
            Some(Work::LeaseAccount { .. }) => self.lease(),
            Some(Work::DeviceLogin) if begun => {
                self.on_sign_in_failed(self.run.step, "the controller was restarted while it signed in");
            }
            _ => self.sign_in(),
        }
    }

    // ---- sessions

    /// The id by which the session is resumed may be told by its end alone.
    pub(super) fn hear_session(&mut self, kind: EventKind, session: &str) {
        if !TELL_SESSION.contains(&kind) {
            return;
        }
        let agent = self.run.vars.get("agent").map(String::as_str).unwrap_or_default();
        if let Some(command) = resume_command(agent, session) {
            self.run.vars.insert("resume_command".to_owned(), command);
            self.run.vars.insert("session_id".to_owned(), session.to_owned());
        }
    }
}
