//! Whether a pane is logged: by the rules of the configuration, judged anew whenever something that they ask for changes.
//!
//! Constraints: nothing of an excluded pane leaves the node but that it is there and why it is not logged; while it is not
//! decided nothing leaves at all. What was printed before a pane became excluded was logged by right and stays; what was
//! printed while it was excluded is not logged later, and a gap without a count says so.
//! Operation: the screen is followed all the while, for those who look at the pane. Becoming included, it passes over
//! what stands there, and the matcher begins as at first sight.

use std::sync::Arc;

use tokio::time::Instant;
use wa_match::PaneMatcher;
use wa_proto::{Gap, GapCause};
use wa_screen::Input;

use super::Watched;
use crate::observer::capture::{Known, Verdict};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Logging {
    /// Not enough is known: what it prints waits.
    Undecided,
    On,
    /// Excluded; why.
    Off(Arc<str>),
}

impl Logging {
    pub(super) fn excluded(&self) -> Option<Arc<str>> {
        match self {
            Self::Off(why) => Some(Arc::clone(why)),
            Self::Undecided | Self::On => None,
        }
    }
}

impl Watched {
    /// Nothing of it is logged, matched or acted on.
    pub(in crate::observer) fn is_silent(&self) -> bool {
        self.mirror || matches!(self.logging, Logging::Off(_))
    }

    /// It is decided that all witnesses of it are heard.
    pub(in crate::observer) fn is_logged(&self) -> bool {
        !self.mirror && self.logging == Logging::On
    }

    /// Looks at the rules again: something that they may ask for has changed.
    pub(super) fn judge(&mut self) {
        let verdict = self.capture.judge(Known {
            title: self.listed.then_some(&self.title.raw),
            cwd: self.listed.then_some(&self.cwd.raw),
            group: self.scanned.then_some(&self.group),
            domain: self.pane.mux.as_str(),
        });
        let now = match verdict {
            Verdict::Included => Logging::On,
            Verdict::Excluded(why) => Logging::Off(why),
            // What was decided stands until something else is.
            Verdict::Undecided => return,
        };
        if now == self.logging {
            return;
        }
        let before = std::mem::replace(&mut self.logging, now);
        self.altered = true;
        match (&before, &self.logging) {
            (Logging::Undecided, Logging::Off(_)) => self.batch.forget(),
            (Logging::Off(_), Logging::On) => self.begin_logging(),
            _ => {}
        }
        if self.is_silent() {
            self.fall_silent();
        } else {
            self.look_soon();
        }
        self.publish();
    }

    fn fall_silent(&mut self) {
        (self.seen, self.touched, self.match_at, self.store_at) = (None, None, None, None);
        self.matcher = PaneMatcher::new();
        self.close_shed();
        if !self.batch.is_empty() {
            self.batch.leave_by(Instant::now());
        }
    }

    /// What was printed so far is passed over.
    fn begin_logging(&mut self) {
        // Nothing is to be fetched for what is not logged; whatever is missing is asked for with the next push.
        drop(self.screen.apply(Input::PassOver, wa_link::clock::now()));
        self.put_gap(Gap {
            pane: self.pane.clone(),
            layout: self.screen.layout(),
            first_row: None,
            rows: None,
            cause: GapCause::Excluded,
        });
    }

    /// Why what the pane prints is not logged, in words; empty: it is.
    pub(super) fn not_logged(&self) -> String {
        match &self.logging {
            Logging::Off(why) => why.to_string(),
            Logging::Undecided => {
                "not decided yet: a rule asks for something that is not known so far".to_owned()
            }
            Logging::On => self.shed.problem().unwrap_or_default(),
        }
    }
}
