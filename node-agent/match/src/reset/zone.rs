//! The zone of a printed time.
//!
//! Abbreviations are no names: CST is in America and in China. A program that prints one has it from its host, so the
//! host's zone is the one that is meant whenever it is called so at that time. Else only those go that mean one thing.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::Refused;

/// What stands behind the clock.
pub(super) enum Printed<'t> {
    /// Nothing: the host's zone.
    Host,
    Known(TimeZone),
    Abbreviation(&'t str),
}

/// Abbreviations that mean one offset wherever they are used, in minutes.
const FIXED: &[(&str, i32)] = &[
    ("EST", -300),
    ("EDT", -240),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("AKST", -540),
    ("AKDT", -480),
    ("HST", -600),
    ("WEST", 60),
    ("CET", 60),
    ("CEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("SAST", 120),
    ("JST", 540),
    ("KST", 540),
    ("HKT", 480),
    ("SGT", 480),
    ("AWST", 480),
    ("AEST", 600),
    ("AEDT", 660),
    ("NZST", 720),
    ("NZDT", 780),
];

/// Cuts the zone off the end.
pub(super) fn split(text: &str) -> Result<(&str, Printed<'_>), Refused> {
    if let Some(rest) = text.strip_suffix(')') {
        let (before, name) = rest.rsplit_once('(').ok_or_else(|| Refused::Unreadable(super::cut(text)))?;
        let name = name.trim();
        let known = named(name).ok_or_else(|| Refused::Zone(super::cut(name)))?;
        return Ok((before.trim_end(), Printed::Known(known)));
    }
    let Some((before, last)) = text.rsplit_once(' ') else { return Ok((text, Printed::Host)) };
    if let Some(known) = last.contains('/').then(|| named(last)).flatten().or_else(|| offset(last)) {
        return Ok((before, Printed::Known(known)));
    }
    let upper = (2..=5).contains(&last.len()) && last.bytes().all(|b| b.is_ascii_uppercase());
    if upper && !matches!(last, "AM" | "PM") && !is_day(last) {
        return Ok((before, Printed::Abbreviation(last)));
    }
    Ok((text, Printed::Host))
}

/// `NOV` and `MON` are no zones.
fn is_day(word: &str) -> bool {
    const DAYS: &str = "MON TUE WED THU FRI SAT SUN JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC";
    DAYS.split(' ').any(|day| day == word)
}

/// A zone of the database, or an offset.
fn named(name: &str) -> Option<TimeZone> {
    offset(name).or_else(|| name.contains('/').then(|| TimeZone::get(name).ok()).flatten())
}

/// `UTC`, `GMT`, `Z`, `UTC+2`, `GMT-03:30`.
fn offset(text: &str) -> Option<TimeZone> {
    if text == "Z" {
        return Some(TimeZone::UTC);
    }
    let rest = text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT"))?;
    let sign = match rest.chars().next() {
        None => return Some(TimeZone::UTC),
        Some('+') => 1,
        Some('-' | '\u{2212}') => -1,
        Some(_) => return None,
    };
    let digits = rest.trim_start_matches(['+', '-', '\u{2212}']);
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let number = |text: &str| (1..=2).contains(&text.len()).then(|| text.parse::<i32>().ok()).flatten();
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 14 && minutes < 60).then(|| fixed(sign * (hours * 60 + minutes)))?
}

fn fixed(minutes: i32) -> Option<TimeZone> {
    Offset::from_seconds(minutes * 60).ok().map(TimeZone::fixed)
}

impl Printed<'_> {
    /// The instant that `place` finds in this zone.
    pub(super) fn resolve(
        &self,
        host: Option<&TimeZone>,
        place: impl Fn(&TimeZone) -> Result<Timestamp, Refused>,
    ) -> Result<Timestamp, Refused> {
        let name = match self {
            Self::Host => return place(host.ok_or_else(|| Refused::Zone("local".to_owned()))?),
            Self::Known(zone) => return place(zone),
            Self::Abbreviation(name) => *name,
        };
        if let Some(host) = host
            && let Ok(at) = place(host)
            && host.to_offset_info(at).abbreviation() == name
        {
            return Ok(at);
        }
        let fixed = FIXED.iter().find(|(known, _)| *known == name).and_then(|(_, minutes)| fixed(*minutes));
        place(&fixed.ok_or_else(|| Refused::Zone(name.to_owned()))?)
    }
}
