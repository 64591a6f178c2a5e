//! Printed reset times as instants.
//!
//! Constraints. Agents print when a limit lifts in a dozen forms, mostly without a date, often without a zone. An instant
//! that is too early wakes an agent into its limit; one that is a day off leaves it idle. What cannot be read in one way
//! only is refused with its reason, never guessed.
//!
//! Format. A relative time (`in 3 hours 12 minutes`, `2h 30m`), a Unix time, an RFC 3339 time, or a day and a clock in any
//! order: `5pm`, `12:37 AM`, `14:30`, `noon`; `today`, `tomorrow`, `Mon`, `Feb 3`, `Nov 24th, 2026`, `24 Nov`, `2026-11-24`; then
//! a zone: `(America/Chicago)`, `UTC`, `GMT+2`, `CST`. Case, full stops and words such as `at` mean nothing.
//!
//! Operation. [`words`] reads the parts, [`zone`] finds the zone, and here they become an instant: a clock alone is its next
//! occurrence, counted in whole minutes, for that is how it is printed; a day without a year is the next one, not more than
//! [`HORIZON`] ahead. Where clocks are put back and a time occurs twice it is the second, where they are put forward and it
//! does not occur it is as much later: a limit may be waited for too long, not too short.

mod words;
mod zone;

#[cfg(test)]
mod tests;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use words::{Day, Parts};

/// Windows of providers are a month at most: a day that is further away is the last one's, not the next one's.
const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 45);
/// With a year, or in so many hours, it may be further: a year's window.
const FAR: SignedDuration = SignedDuration::from_hours(24 * 400);

/// Why words are not taken for an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("not a time: {0:?}")]
    Unreadable(String),
    #[error("a day without a time of day")]
    NoClock,
    #[error("which of the zones called {0} is meant is not known")]
    Zone(String),
    #[error("the day is not a {0}")]
    Weekday(&'static str),
    #[error("it was at {0}, which is over")]
    Past(Timestamp),
    #[error("it is too far away to be a reset")]
    Far,
}

/// The instant that these words name, printed at `now` on a host whose zone is `host`; without it only words that name
/// their zone are read.
///
/// # Errors
/// [`Refused`] where the words can be read in more than one way, or in none.
pub fn instant(printed: &str, now: Timestamp, host: Option<&TimeZone>) -> Result<Timestamp, Refused> {
    let text = words::normalise(printed);
    if let Some(length) = words::relative(&text) {
        return if length > FAR {
            Err(Refused::Far)
        } else {
            now.checked_add(length).map_err(|_| Refused::Far)
        };
    }
    if let Some(at) = words::absolute(&text) {
        return bounded(at, now);
    }
    let (text, zone) = zone::split(&text)?;
    let parts = words::parts(text).ok_or_else(|| Refused::Unreadable(cut(printed)))?;
    let Some(clock) = parts.clock else { return Err(Refused::NoClock) };
    zone.resolve(host, |zone| place(&parts, clock, now, zone))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

fn bounded(at: Timestamp, now: Timestamp) -> Result<Timestamp, Refused> {
    if is_over(at, now) {
        return Err(Refused::Past(at));
    }
    if at.duration_since(now) > FAR { Err(Refused::Far) } else { Ok(at) }
}

/// Printed times are whole minutes: one in the minute that runs is now.
fn is_over(at: Timestamp, now: Timestamp) -> bool {
    at.as_second() < now.as_second().div_euclid(60) * 60
}

/// The instant of a day and a clock in a zone.
fn place(parts: &Parts, clock: Time, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Refused> {
    let today = zone.to_datetime(now).date();
    match parts.day {
        None => next(today, 1, clock, now, zone),
        Some(Day::Today) => bounded(at(today, clock, zone)?, now),
        Some(Day::Tomorrow) => bounded(at(later(today, 1)?, clock, zone)?, now),
        Some(Day::Weekday(weekday)) => {
            let ahead = weekday.since(today.weekday());
            next(later(today, ahead.into())?, 7, clock, now, zone)
        }
        Some(Day::Date { year: Some(year), month, day }) => {
            let date = Date::new(year, month, day)
                .map_err(|_| Refused::Unreadable(format!("{year}-{month}-{day}")))?;
            check_weekday(parts, date)?;
            bounded(at(date, clock, zone)?, now)
        }
        Some(Day::Date { year: None, month, day }) => {
            let years = [today.year() - 1, today.year(), today.year() + 1];
            let dates = years.into_iter().filter_map(|year| Date::new(year, month, day).ok());
            let mut last = Err(Refused::Unreadable(format!("month {month}, day {day}")));
            for date in dates {
                let at = at(date, clock, zone)?;
                last = if is_over(at, now) {
                    Err(Refused::Past(at))
                } else if at.duration_since(now) > HORIZON {
                    // The one before was over: which of them is meant?
                    return last.and(Err(Refused::Far));
                } else {
                    check_weekday(parts, date)?;
                    return Ok(at);
                };
            }
            last
        }
    }
}

/// This day's, or the one so many days later if it is over.
fn next(day: Date, days: i64, clock: Time, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Refused> {
    let first = at(day, clock, zone)?;
    if is_over(first, now) { at(later(day, days)?, clock, zone) } else { Ok(first) }
}

fn later(day: Date, days: i64) -> Result<Date, Refused> {
    day.checked_add(days.days()).map_err(|_| Refused::Far)
}

fn check_weekday(parts: &Parts, date: Date) -> Result<(), Refused> {
    match parts.weekday {
        Some((weekday, name)) if weekday != date.weekday() => Err(Refused::Weekday(name)),
        _ => Ok(()),
    }
}

fn at(date: Date, clock: Time, zone: &TimeZone) -> Result<Timestamp, Refused> {
    let ambiguous = zone.to_ambiguous_timestamp(DateTime::from_parts(date, clock));
    let chosen = match ambiguous.offset() {
        AmbiguousOffset::Fold { .. } => ambiguous.later(),
        AmbiguousOffset::Gap { .. } | AmbiguousOffset::Unambiguous { .. } => ambiguous.compatible(),
    };
    chosen.map_err(|_| Refused::Far)
}
