//! Which matches are on the screen, and which of them are new.
//!
//! Constraints. A match fires when it appears, not while it stays, and not again because the pane was redrawn or a session
//! replayed. A redraw hides text for a moment: a match is gone only after it was away for its cool-down in whole frames, or
//! when a new prompt was submitted. What matched at first sight, or before the first turn of a new process, is history.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::rules::Rearm;

/// Matches remembered per pane; the oldest are forgotten first.
const MAX: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Presences {
    known: Vec<Presence>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Presence {
    key: i64,
    visible: bool,
    /// Turn in which it fired last; 0 = not in this process.
    fired: u64,
    #[serde(skip)]
    away_since: Option<Timestamp>,
    /// Away for its cool-down; what is missing is a whole frame, and no time will bring that.
    #[serde(skip)]
    overdue: bool,
    /// It appeared, and fires if it still stands then.
    #[serde(skip)]
    fires_at: Option<Timestamp>,
    /// It left the screen before it had stood long enough.
    #[serde(skip)]
    cut_short: bool,
    /// Milliseconds.
    cooldown: u32,
    /// A new prompt puts it behind.
    by_turn: bool,
}

/// What matched in this frame.
pub(crate) struct Match {
    pub(crate) key: u64,
    pub(crate) rearm: Rearm,
    /// Milliseconds of absence after which it is gone.
    pub(crate) cooldown: u32,
    /// Milliseconds that it must stand before it fires: half-drawn screens show half a sentence.
    pub(crate) hold: u32,
}

pub(crate) struct Moment {
    /// Turns begun in this agent process.
    pub(crate) turn: u64,
    pub(crate) prompt_changed: bool,
    /// Composer, dialog or shell stand there: no half-drawn frame.
    pub(crate) whole: bool,
    /// Everything is history.
    pub(crate) history: bool,
    pub(crate) now: Timestamp,
}

/// What has become of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not stood long enough.
    Waits,
    /// It fired in this agent process.
    Told,
    /// It stands there and has not fired.
    History,
    Absent,
}

impl Presences {
    /// Takes note of a match and tells whether it fires.
    pub(crate) fn appears(&mut self, found: &Match, moment: &Moment) -> bool {
        let known = self.entry(found);
        (known.away_since, known.overdue, known.cut_short) = (None, false, false);
        let appeared = !std::mem::replace(&mut known.visible, true);
        if appeared && !moment.history {
            let hold = SignedDuration::from_millis(i64::from(found.hold));
            known.fires_at = Some(moment.now.checked_add(hold).unwrap_or(moment.now));
        }
        if known.fires_at.is_none_or(|at| moment.now < at) {
            return false;
        }
        known.fires_at = None;
        let fires = match found.rearm {
            Rearm::Turn => moment.turn > known.fired,
            Rearm::Gone => true,
            Rearm::Once => known.fired == 0,
            Rearm::Compaction => false,
        };
        if fires {
            known.fired = moment.turn.max(1);
        }
        fires
    }

    /// What has become of a match.
    pub(crate) fn standing(&self, key: u64) -> Standing {
        match self.known.iter().find(|known| known.key == key.cast_signed()) {
            Some(known) if known.fires_at.is_some() => Standing::Waits,
            Some(known) if known.fired > 0 => Standing::Told,
            Some(known) if known.visible => Standing::History,
            _ => Standing::Absent,
        }
    }

    /// Whether a match left the screen before it had stood long enough. `there`: it stands there now.
    pub(crate) fn was_cut_short(&mut self, key: u64, there: bool) -> bool {
        let Some(known) = self.known.iter_mut().find(|known| known.key == key.cast_signed()) else {
            return false;
        };
        if !there && known.fires_at.take().is_some() {
            (known.visible, known.cut_short) = (false, true);
        }
        known.cut_short
    }

    fn entry(&mut self, found: &Match) -> &mut Presence {
        let key = found.key.cast_signed();
        let at = self.known.iter().position(|known| known.key == key).unwrap_or_else(|| {
            if self.known.len() >= MAX {
                self.known.remove(0);
            }
            let (cooldown, by_turn) = (found.cooldown, found.rearm == Rearm::Turn);
            self.known.push(Presence {
                key,
                visible: false,
                fired: 0,
                away_since: None,
                overdue: false,
                fires_at: None,
                cut_short: false,
                cooldown,
                by_turn,
            });
            self.known.len() - 1
        });
        &mut self.known[at]
    }

    /// Lets go of what is not in this frame.
    pub(crate) fn settle(&mut self, visible: &[u64], moment: &Moment) {
        for known in &mut self.known {
            if !known.visible || visible.contains(&known.key.cast_unsigned()) {
                continue;
            }
            if known.fires_at.take().is_some() {
                // It was never told, and may come again.
                (known.visible, known.cut_short) = (false, true);
                continue;
            }
            let since = *known.away_since.get_or_insert(moment.now);
            let cooldown = SignedDuration::from_millis(i64::from(known.cooldown));
            known.overdue = moment.now.duration_since(since) >= cooldown;
            if moment.whole && ((known.by_turn && moment.prompt_changed) || known.overdue) {
                known.visible = false;
                (known.away_since, known.overdue) = (None, false);
            }
        }
    }

    /// A new agent process has begun: nothing has fired in it.
    pub(crate) fn new_process(&mut self) {
        self.known.retain(|known| known.visible);
        for known in &mut self.known {
            known.fired = 0;
        }
    }

    /// The next moment at which something may change by itself. What is overdue waits for a whole frame, and must not
    /// hide what comes after it.
    pub(crate) fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        let wake = |known: &Presence| {
            let cooldown = SignedDuration::from_millis(i64::from(known.cooldown));
            let away = known.away_since.filter(|_| !known.overdue);
            away.and_then(|since| since.checked_add(cooldown).ok()).or(known.fires_at)
        };
        self.known.iter().filter_map(wake).filter(|at| *at > now).min()
    }
}
