//! Waiting by the clock: for a limit that lifts, or for an account that is free before it does.

use jiff::SignedDuration;

use super::{Machine, later};
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
}
