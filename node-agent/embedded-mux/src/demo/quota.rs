//! When an account may be used: from the script, and from a file that a test writes.
//!
//! The file has a line for each account that is used up: its name, a blank, and the instant of its reset. It is read anew
//! for every turn.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::home;

const MAX_FILE: u64 = 64 << 10;

/// See the head of the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Quota {
    pub(super) file: Option<PathBuf>,
    /// The turn that runs into a limit, and how long the limit lasts.
    pub(super) turn: Option<(u32, Duration)>,
    /// Since that turn.
    until: Option<Timestamp>,
}

impl Quota {
    pub(super) fn new(file: Option<PathBuf>, turn: Option<u32>, lasts: Duration) -> Self {
        Self { file, turn: turn.map(|turn| (turn, lasts)), until: None }
    }

    /// When the limit lifts that stands in the way of this turn (the first is 1).
    pub(super) fn stands_until(&mut self, account: &str, turn: u32, now: Timestamp) -> Option<Timestamp> {
        if let Some((_, lasts)) = self.turn.take_if(|(at, _)| *at == turn) {
            let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::ZERO);
            self.until = now.checked_add(lasts).ok();
        }
        let told = self.file.as_ref().and_then(|file| home::read(file, MAX_FILE).ok());
        let of_file = told.iter().flat_map(|text| text.lines()).find_map(|line| {
            let (name, until) = line.split_once(' ')?;
            (name == account).then(|| until.trim().parse().ok())?
        });
        self.until.into_iter().chain(of_file).filter(|until| *until > now).max()
    }
}

/// `3:42 PM` on the same day, else `Nov 24th, 2026 7:55 AM`: whole minutes of the local zone, as Codex prints them.
pub(super) fn printed(at: Timestamp, now: Timestamp) -> String {
    let zone = TimeZone::system();
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone));
    if at.date() == now.date() {
        return at.strftime("%-I:%M %p").to_string();
    }
    let day = at.day();
    let ending = match (day % 10, day) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    at.strftime(&format!("%b %-d{ending}, %Y %-I:%M %p")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_stands_until_its_reset() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut quota = Quota::new(None, Some(2), Duration::from_secs(10));
        assert_eq!(quota.stands_until("a", 1, at(100)), None);
        assert_eq!(quota.stands_until("a", 2, at(110)), Some(at(120)));
        assert_eq!(quota.stands_until("a", 3, at(119)), Some(at(120)));
        assert_eq!(quota.stands_until("a", 2, at(120)), None);

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("quota");
        std::fs::write(&file, "a 1970-01-01T00:05:00Z\nnonsense\n").unwrap();
        let mut quota = Quota::new(Some(file.clone()), None, Duration::ZERO);
        assert_eq!(quota.stands_until("a", 1, at(299)), Some(at(300)));
        assert_eq!(quota.stands_until("b", 1, at(299)), None);
        assert_eq!(quota.stands_until("a", 1, at(300)), None);
        std::fs::remove_file(file).unwrap();
        assert_eq!(quota.stands_until("a", 1, at(299)), None);
    }
}
