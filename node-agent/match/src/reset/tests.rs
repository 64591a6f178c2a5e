//! Cases worked out by another calendar: `testdata/reset-times.tsv` holds `now`, the host's zone, the printed words and the
//! instant, or `-` where they must be refused.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{Refused, instant};

fn read(now: &str, zone: &str, words: &str) -> Result<Timestamp, Refused> {
    instant(words, now.parse().unwrap(), Some(&TimeZone::get(zone).unwrap()))
}

#[test]
fn every_case_is_read_as_the_other_calendar_does() {
    let cases = include_str!("../../testdata/reset-times.tsv");
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in cases.lines().filter(|line| !line.starts_with('#')) {
        let [now, zone, words, expected] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line:?}")
        };
        count += 1;
        let got = read(now, zone, words);
        let shown = got.as_ref().map_or_else(|_| "-".to_owned(), ToString::to_string);
        if shown != expected {
            wrong.push(format!("{line}: {got:?}"));
        }
    }
    assert!(count >= 200, "{count} cases");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn without_the_hosts_zone_only_named_zones_are_read() {
    let now = "2026-11-22T18:00:00Z".parse().unwrap();
    assert!(matches!(instant("5pm", now, None), Err(Refused::Zone(_))));
    assert!(instant("5pm (America/Chicago)", now, None).is_ok());
    assert!(instant("in 3 hours", now, None).is_ok());
}

#[test]
fn refusals_say_why() {
    let refused = |words| read("2026-11-22T18:00:00Z", "America/Chicago", words).unwrap_err().to_string();
    assert_eq!(refused("Nov 13"), "a day without a time of day");
    assert_eq!(refused("5pm (Mars/Base)"), "which of the zones called Mars/Base is meant is not known");
    assert_eq!(refused("4:53 AM IST"), "which of the zones called IST is meant is not known");
    assert_eq!(refused("soon"), "not a time: \"soon\"");
    assert_eq!(refused("Nov 13 at 9am"), "it was at 2026-11-13T15:00:00Z, which is over");
    assert_eq!(refused("Wed, Nov 24 at 9am"), "the day is not a wednesday");
}

proptest! {
    #[test]
    fn whatever_is_printed_nothing_breaks(words in "\\PC{0,200}", now in -10_000_000_000i64..10_000_000_000) {
        let now = Timestamp::from_second(now).unwrap();
        drop(instant(&words, now, Some(&TimeZone::UTC)));
    }

    #[test]
    fn what_looks_like_a_time_is_no_earlier_than_this_minute(
        hour in 0u8..30, minute in 0u8..70, tail in "( ?[ap]m)?( \\([A-Z][a-z]+/[A-Z][a-z]+\\)| UTC| CST)?",
        now in 1_700_000_000i64..1_900_000_000,
    ) {
        let now = Timestamp::from_second(now).unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        if let Ok(at) = instant(&format!("{hour}:{minute:02}{tail}"), now, Some(&zone)) {
            prop_assert!(at.as_second() >= now.as_second() - 60);
            prop_assert!(at.as_second() <= now.as_second() + 25 * 3600);
        }
    }
}
