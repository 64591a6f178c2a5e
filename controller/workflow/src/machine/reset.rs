//! Waiting by the clock: for a limit that lifts, or for an account that is free before it does; and what a timer leads to.

use jiff::SignedDuration;

use wa_proto::Timestamp;

use super::{Machine, OUTCOME_GRACE, later};
use crate::run::Status;
use crate::step::{Reset, Work};

/// For the reset of a limit to become known, when the event did not tell it.
const RESET_KNOWN: SignedDuration = SignedDuration::from_secs(30);
/// An account that is free by less than this before the limit lifts is not waited for.
const WORTH_IT: SignedDuration = SignedDuration::from_mins(1);

impl Machine<'_> {
    /// Waits on, goes on, or gives up, by what is known of the reset now.
    pub(super) fn wait_for_reset(&mut self) {
        let Some(step) = self.present() else { return };
        let Work::WaitReset { of, grace, jitter, unless, aside } = &step.work else { return };
        let known = match of {
            Reset::Limit => self.run.reset,
            Reset::Account => match (self.run.free, self.run.reset) {
                (None, _) => return self.fail("when an account can be used is not known".to_owned()),
                (Some(free), Some(own)) if own <= later(free, WORTH_IT) => {
                    return self.fail("no other account can be used much before this limit lifts".to_owned());
                }
                (free, _) => free,
            },
        };
        let Some(reset) = known else {
            let begun = self.run.step_deadline.saturating_sub(step.timeout).unwrap_or(self.run.started);
            let known_by = later(begun, RESET_KNOWN).min(self.run.step_deadline);
            return if self.now >= known_by {
                self.fail("when the limit lifts is not known".to_owned());
            } else {
                self.wake_at(known_by);
            };
        };
        let due = later(later(reset, *grace), self.run.jitter(*jitter));
        if due > self.run.step_deadline {
            return self.fail(format!("the limit lifts at {reset}, which is later than this workflow waits"));
        }
        if self.now < due {
            return self.wake_at(due);
        }
        if self.run.pane_state.is_some_and(|state| unless.contains(&state)) {
            return self.step_aside(*aside);
        }
        self.go_on();
    }

    pub(super) fn step_aside(&mut self, aside: Option<usize>) {
        match aside {
            Some(to) => self.enter(to),
            None => self.go_on(),
        }
    }

    // ---- timers

    pub(super) fn on_timer(&mut self) {
        match self.run.status {
            Status::Ended { .. } => {}
            Status::Acting { .. } => {
                let give_up = later(self.run.step_deadline, OUTCOME_GRACE);
                if self.now >= give_up {
                    self.doubt("the node did not say how the action ended".to_owned());
                } else {
                    self.wake_at(give_up);
                }
            }
            Status::Preparing { .. } => {
                let give_up = later(self.run.step_deadline, OUTCOME_GRACE);
                if self.now >= give_up {
                    self.fail("the controller was not done in time".to_owned());
                } else {
                    self.wake_at(give_up);
                }
            }
            Status::Asking if self.now >= self.run.step_deadline => {
                self.fail("nobody answered in time".to_owned())
            }
            Status::Asking => self.wake_at(self.run.step_deadline),
            Status::Waiting { not_before, .. } => self.on_waiting_timer(not_before),
        }
    }

    fn on_waiting_timer(&mut self, not_before: Timestamp) {
        let Some(step) = self.present() else { return };
        if matches!(step.work, Work::WaitReset { .. }) {
            return self.wait_for_reset();
        }
        if step.work == Work::DeviceLogin {
            return self.watch_for_code(true);
        }
        if self.now < self.run.step_deadline {
            return match step.work.acts() && self.run.tries > 0 {
                true if self.now >= not_before => self.act(),
                true => self.wake_at(not_before),
                false => self.wake_at(self.run.step_deadline),
            };
        }
        match &step.work {
            // No dialog came: there is nothing to be answered.
            Work::Choose { .. } if self.run.tries == 0 => self.go_on(),
            Work::WaitState { states } => {
                let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
                self.fail(format!("the pane was not {} in time", states.join(" or ")));
            }
            Work::Expect { .. } => {
                self.fail(format!("{}: nothing of what it waits for came in time", step.id))
            }
            _ => self.fail(format!("no good moment to act came in time (tried {} times)", self.run.tries)),
        }
    }
}
