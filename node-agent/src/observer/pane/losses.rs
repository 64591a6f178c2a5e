//! The events that tell people of gaps: for each pane at most one a minute, whatever the gap's cause, but for one: every pane
//! ends some day, and that its last words are not known is in the log and no alarm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use wa_proto::{Gap, GapCause};

/// Gaps come in groups: the event waits for those that belong together …
const COMPANY: Duration = Duration::from_secs(1);
/// … and for the next one at least so long.
const EVERY: Duration = Duration::from_secs(60);

/// What was lost since people were last told.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Rows of those gaps that have a count.
    rows: u64,
    gaps: u64,
    uncounted: u64,
    causes: BTreeSet<GapCause>,
    due: Option<Instant>,
    told: Option<Instant>,
}

impl Losses {
    pub(super) fn note(&mut self, gap: &Gap, now: Instant) {
        if gap.cause == GapCause::Exit {
            return;
        }
        self.gaps += 1;
        match gap.rows {
            Some(rows) => self.rows = self.rows.saturating_add(rows),
            None => self.uncounted += 1,
        }
        self.causes.insert(gap.cause);
        let soonest = self.told.map_or(now, |told| told + EVERY).max(now + COMPANY);
        self.due.get_or_insert(soonest);
    }

    /// When to tell.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The fields of the event, if it is time; `last`: it is now or never.
    pub(super) fn tell(&mut self, now: Instant, last: bool) -> Option<BTreeMap<String, String>> {
        self.due.filter(|due| last || *due <= now)?;
        let causes: Vec<&str> = self.causes.iter().map(|cause| cause.as_str()).collect();
        let mut fields = BTreeMap::from([
            ("cause".to_owned(), causes.join(",")),
            ("gaps".to_owned(), self.gaps.to_string()),
        ]);
        // A count where there is one; gaps without are told apart.
        if self.gaps > self.uncounted {
            fields.insert("rows".to_owned(), self.rows.to_string());
        }
        if self.uncounted > 0 {
            fields.insert("uncounted".to_owned(), self.uncounted.to_string());
        }
        *self = Self { told: Some(now), ..Self::default() };
        Some(fields)
    }
}

#[cfg(test)]
mod tests {
    use wa_proto::{Generation, MuxName, PaneRef};

    use super::*;

    #[test]
    fn one_event_a_minute_with_everything_in_it() {
        let mut now = Instant::now();
        let gap = |rows, cause| Gap {
            pane: PaneRef { mux: MuxName::main(), generation: Generation::new("g-1-1").unwrap(), pane_id: 1 },
            layout: 1,
            first_row: None,
            rows,
            cause,
        };
        let mut losses = Losses::default();
        losses.note(&gap(Some(3), GapCause::Flood), now);
        losses.note(&gap(Some(4), GapCause::Flood), now);
        assert_eq!(losses.tell(now, false), None);
        now += COMPANY;
        let fields = losses.tell(now, false).unwrap();
        assert_eq!((fields["cause"].as_str(), fields["rows"].as_str()), ("flood", "7"));
        assert!(!fields.contains_key("uncounted") && losses.due().is_none());
        losses.note(&gap(None, GapCause::Resize), now);
        losses.note(&gap(Some(1), GapCause::Flood), now);
        now += Duration::from_secs(59);
        assert_eq!(losses.tell(now, false), None);
        now += Duration::from_secs(1);
        let fields = losses.tell(now, false).unwrap();
        assert_eq!((fields["cause"].as_str(), fields["rows"].as_str()), ("flood,resize", "1"));
        assert_eq!(fields["uncounted"], "1");
        losses.note(&gap(None, GapCause::Exit), now);
        assert_eq!(losses.tell(now, true), None);
        losses.note(&gap(None, GapCause::MuxLost), now);
        let fields = losses.tell(now, true).unwrap();
        assert_eq!((fields["cause"].as_str(), fields.get("rows")), ("mux_lost", None));
    }
}
