//! When a compaction mark on the screen is a compaction that has just happened.
//!
//! Constraints. One compaction is one event: not again after a resize, a redraw, or a resume that replays the history in a
//! new process. Two compactions are two events, also when both leave the same screen behind, provided that a turn or a
//! compaction's own spinner stood between. What is on the screen at first sight is history.
//!
//! Operation. A mark counts where it stands after the last submitted prompt. The machine is armed when a turn begins or the
//! agent says that it compacts; what is marked at that moment is old. While armed, a mark that appears fires, and disarms.
//! A mark that was there all the time is a new one if there are more of them now, or if what stands below it no longer
//! goes on from what stood there before: a compaction clears what was below, a cancelled one only adds.
//! A redraw hides a mark for a moment; it is taken for gone only after a while, or when a new prompt stands below it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::hash;

/// So long a mark must be away, or changed, to be believed.
const HOLD: SignedDuration = SignedDuration::from_millis(300);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compaction {
    armed: bool,
    present: Option<Mark>,
    /// The agent said that it compacts since the machine was armed.
    spun: bool,
    #[serde(skip)]
    away_since: Option<Timestamp>,
    #[serde(skip)]
    changed_since: Option<Timestamp>,
}

/// The marks on a screen: how many, and what stands below the last one (only its hash is kept).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    count: u32,
    below_chars: u32,
    below_hash: i64,
}

/// What a frame says of compactions.
pub(crate) struct Sight<'a> {
    /// Number of marks and the squeezed text below the last.
    pub(crate) marks: Option<(u32, &'a str)>,
    pub(crate) compacting: bool,
    pub(crate) turn_began: bool,
    pub(crate) prompt_changed: bool,
    pub(crate) working: bool,
    /// Composer or dialog stand there: no half-drawn frame.
    pub(crate) whole: bool,
}

impl Mark {
    fn of(sight: &Sight<'_>) -> Option<Self> {
        let (count, below) = sight.marks?;
        let below_chars = u32::try_from(below.chars().count()).unwrap_or(u32::MAX);
        Some(Self { count, below_chars, below_hash: hash::squeezed(below).cast_signed() })
    }

    /// Whether a text goes on from what stood below this mark.
    fn grew_to(&self, below: &str) -> bool {
        let prefix: String = below.chars().take(self.below_chars as usize).collect();
        hash::squeezed(&prefix).cast_signed() == self.below_hash
    }
}

impl Compaction {
    /// A new agent process, or the first sight of a pane: what is there is history.
    pub(crate) fn begin(&mut self, sight: &Sight<'_>) {
        *self = Self { present: Mark::of(sight), armed: sight.working, ..Self::default() };
    }

    /// Other rules find marks now: what is marked is old, and nothing else changes.
    pub(crate) fn adopt(&mut self, sight: &Sight<'_>) {
        self.present = Mark::of(sight);
        (self.away_since, self.changed_since) = (None, None);
    }

    /// Whether a compaction has just happened.
    pub(crate) fn observe(&mut self, sight: &Sight<'_>, now: Timestamp) -> bool {
        let mark = Mark::of(sight);
        // While it compacts, every frame shows the screen before.
        let new_turn = sight.turn_began && !(self.armed && self.present.is_none());
        if sight.compacting || new_turn {
            *self = Self { armed: true, spun: sight.compacting, present: mark, ..Self::default() };
            return false;
        }
        match (&self.present, mark) {
            (None, None) => false,
            // Drawn in part, a screen may lack the prompt that stands below an old mark.
            (None, Some(_)) if !sight.whole => false,
            (None, Some(mark)) => {
                self.present = Some(mark);
                self.fire()
            }
            (Some(_), None) => {
                self.leave(sight, now);
                false
            }
            (Some(old), Some(mark)) => {
                self.away_since = None;
                let grew = sight.marks.is_some_and(|(_, below)| old.grew_to(below));
                let more = mark.count > old.count;
                if more || grew {
                    self.changed_since = None;
                    self.present = Some(mark);
                    return more && self.fire();
                }
                self.change(sight, mark, now)
            }
        }
    }

    /// A mark that is not there in this frame.
    fn leave(&mut self, sight: &Sight<'_>, now: Timestamp) {
        let since = *self.away_since.get_or_insert(now);
        if sight.prompt_changed || (sight.whole && now.duration_since(since) >= HOLD) {
            (self.present, self.away_since) = (None, None);
        }
    }

    /// A mark whose text below is another one.
    fn change(&mut self, sight: &Sight<'_>, mark: Mark, now: Timestamp) -> bool {
        let since = *self.changed_since.get_or_insert(now);
        if !sight.whole || now.duration_since(since) < HOLD {
            return false;
        }
        self.changed_since = None;
        self.present = Some(mark);
        // Text below a mark is redrawn for many reasons; only a compaction that was announced, or a turn that ended, counts.
        (self.spun || !sight.working) && self.fire()
    }

    /// The compaction since the last turn has been told by another witness.
    pub(crate) fn disarm(&mut self) {
        (self.armed, self.spun) = (false, false);
    }

    fn fire(&mut self) -> bool {
        let fires = self.armed;
        if fires {
            (self.armed, self.spun) = (false, false);
        }
        fires
    }

    /// Whether a mark that only scrolled by is a compaction that has just happened.
    pub(crate) fn passed(&mut self) -> bool {
        self.present.is_none() && self.fire()
    }

    /// When it wants to look again although nothing changes.
    pub(crate) fn next_wakeup(&self) -> Option<Timestamp> {
        let since = self.away_since.into_iter().chain(self.changed_since).min()?;
        since.checked_add(HOLD).ok()
    }
}
