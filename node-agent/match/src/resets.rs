//! When the limits on the screen lift.
//!
//! Constraints. A clock without a date is read at the moment it is printed: an hour after "resets 5pm" the same words on
//! the same screen still mean the hour that is over. So the instant is found once, when the event fires, and kept; what
//! stood there at first sight has none. A screen tells the minute; where a session file tells the second of the same
//! minute, that is when the limit lifts.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::hash;
use crate::observation::Detected;
use crate::reset;

/// Printed times remembered; the oldest goes first.
const MAX: usize = 16;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Resets(Vec<Reset>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reset {
    /// Hash of the printed words.
    printed: i64,
    at: Timestamp,
}

impl Resets {
    /// An event that has just fired: gives it the field `reset_time` where the printed words name an instant.
    pub(crate) fn note(&mut self, event: &mut Detected, zone: Option<&TimeZone>, now: Timestamp) {
        let Some(printed) = printed(&event.fields) else { return };
        let key = key(printed);
        self.0.retain(|reset| reset.printed != key);
        let Some(at) = read(event, zone, now) else { return };
        if self.0.len() >= MAX {
            self.0.remove(0);
        }
        self.0.push(Reset { printed: key, at });
    }

    /// Another witness names an instant to the second: printed words of the same minute mean that one.
    pub(crate) fn refine(&mut self, exact: Timestamp) {
        for reset in self.0.iter_mut().filter(|reset| is_minute_of(reset.at, exact)) {
            reset.at = exact;
        }
    }

    /// What an instant, as it was known a moment ago, is known to be now.
    pub(crate) fn exactly(&self, at: Timestamp) -> Timestamp {
        self.0.iter().map(|reset| reset.at).find(|exact| is_minute_of(at, *exact)).unwrap_or(at)
    }

    /// The instant of words that are still on the screen.
    pub(crate) fn of(&self, printed: &str) -> Option<Timestamp> {
        let key = key(printed);
        self.0.iter().find(|reset| reset.printed == key).map(|reset| reset.at)
    }
}

/// Gives an event the field `reset_time`, if its words name an instant when read now.
pub(crate) fn read(event: &mut Detected, zone: Option<&TimeZone>, now: Timestamp) -> Option<Timestamp> {
    let at = match epoch(&event.fields) {
        Some(at) => at,
        None => reset::instant(event.fields.get("reset_at")?, now, zone).ok()?,
    };
    event.fields.insert("reset_time".to_owned(), at.to_string());
    Some(at)
}

/// Agents print whole minutes, and cut off the seconds.
pub(crate) fn is_minute_of(printed: Timestamp, exact: Timestamp) -> bool {
    let within = exact.duration_since(printed);
    printed.as_second() % 60 == 0 && !within.is_negative() && within < SignedDuration::from_mins(1)
}

/// The instant that fields name.
pub(crate) fn told(fields: &BTreeMap<String, String>) -> Option<Timestamp> {
    fields.get("reset_time")?.parse().ok()
}

/// The words of a reset, or the seconds that old versions print for them.
pub(crate) fn printed(fields: &BTreeMap<String, String>) -> Option<&String> {
    fields.get("reset_at").or(fields.get("reset_epoch"))
}

/// The instant that is printed as seconds since 1970.
pub(crate) fn epoch(fields: &BTreeMap<String, String>) -> Option<Timestamp> {
    Timestamp::from_second(fields.get("reset_epoch")?.parse().ok()?).ok()
}

fn key(printed: &str) -> i64 {
    hash::squeezed(printed).cast_signed()
}
