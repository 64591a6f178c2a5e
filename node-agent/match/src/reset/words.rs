//! The parts of a printed time.

use jiff::civil::{Date, Time, Weekday};
use jiff::{SignedDuration, Timestamp};

/// More words are no time.
const MAX_BYTES: usize = 120;

/// A day and a clock; what is not printed is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) day: Option<Day>,
    /// Printed beside a date.
    pub(super) weekday: Option<(Weekday, &'static str)>,
    pub(super) clock: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Day {
    Today,
    Tomorrow,
    Weekday(Weekday),
    Date { year: Option<i16>, month: i8, day: i8 },
}

/// One kind of blank, no case but that of zones, no full stop at the end.
pub(super) fn normalise(printed: &str) -> String {
    let end = printed.floor_char_boundary(MAX_BYTES);
    let words: Vec<&str> = printed[..end].split_whitespace().collect();
    words.join(" ").trim_end_matches(['.', '·', ',', '∙']).trim().to_owned()
}

/// `in 3 hours 12 minutes`, `2h 30m`, `9h`.
pub(super) fn relative(text: &str) -> Option<SignedDuration> {
    let lower = text.to_ascii_lowercase();
    let text = lower.strip_prefix("in ").unwrap_or(&lower);
    if text == "less than a minute" {
        return Some(SignedDuration::from_mins(1));
    }
    let mut seconds: i64 = 0;
    let mut last = i64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = match rest.find(|c: char| !c.is_ascii_digit()) {
            Some(0) => {
                let article = ["an ", "a "].into_iter().find_map(|article| rest.strip_prefix(article))?;
                (1, article)
            }
            Some(end) => (rest[..end].parse::<i64>().ok()?, &rest[end..]),
            None => return None,
        };
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit = unit(&after[..end])?;
        // From the largest to the smallest, each once.
        if unit >= last {
            return None;
        }
        last = unit;
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        let next = after[end..].trim_start().trim_start_matches(',').trim_start();
        rest = next.strip_prefix("and ").unwrap_or(next);
    }
    (last != i64::MAX).then(|| SignedDuration::from_secs(seconds))
}

/// Seconds of a unit.
fn unit(word: &str) -> Option<i64> {
    Some(match word {
        "w" | "week" | "weeks" => 7 * 86_400,
        "d" | "day" | "days" => 86_400,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        _ => return None,
    })
}

/// A Unix time in seconds or milliseconds, or RFC 3339.
pub(super) fn absolute(text: &str) -> Option<Timestamp> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let number: i64 = text.parse().ok()?;
        return match text.len() {
            10 => Timestamp::from_second(number).ok(),
            13 => Timestamp::from_millisecond(number).ok(),
            _ => None,
        };
    }
    let dated = text.as_bytes().get(4) == Some(&b'-') && text.as_bytes().get(10) == Some(&b'T');
    if dated { text.parse().ok() } else { None }
}

/// Day and clock, in any order. `None` when a word is neither, or there is more than one of either.
pub(super) fn parts(text: &str) -> Option<Parts> {
    let lower = text.to_ascii_lowercase().replace(',', " ");
    let mut words: Vec<&str> =
        lower.split_whitespace().filter(|word| !matches!(*word, "at" | "on" | "the")).collect();
    // Clocks first: what is left must be a day.
    let clock = take_clock(&mut words)?;
    let mut parts = Parts { clock, ..Parts::default() };
    let mut weekday = None;
    words.retain(|word| match weekday_of(word) {
        Some(found) if weekday.is_none() => {
            weekday = Some(found);
            false
        }
        _ => true,
    });
    parts.day = match words.as_slice() {
        [] => weekday.take().map(|(weekday, _)| Day::Weekday(weekday)),
        ["today"] => Some(Day::Today),
        ["tomorrow"] => Some(Day::Tomorrow),
        _ => Some(date(&words)?),
    };
    // `tomorrow, Mon` is nothing that is printed.
    if weekday.is_some() && !matches!(parts.day, Some(Day::Date { .. })) {
        return None;
    }
    parts.weekday = weekday;
    (parts.day.is_some() || parts.clock.is_some()).then_some(parts)
}

/// Takes the one clock out of the words. `None`: there is one that is none, or a second one.
fn take_clock(words: &mut Vec<&str>) -> Option<Option<Time>> {
    let mut found = None;
    let mut at = 0;
    while at < words.len() {
        let (clock, taken) = match (clock(words[at]), words.get(at + 1).copied()) {
            (Reading::Whole(time), _) => (time, 1),
            (Reading::Half(hour, minute), Some(half)) if meridiem(half).is_some() => {
                (twelve(hour, minute, meridiem(half)?)?, 2)
            }
            (Reading::Half(hour, Some(minute)), _) => (time(hour, minute)?, 1),
            (Reading::Wrong, _) => return None,
            (Reading::Half(_, None) | Reading::None, _) => {
                at += 1;
                continue;
            }
        };
        if found.replace(clock).is_some() {
            return None;
        }
        words.drain(at..at + taken);
    }
    Some(found)
}

enum Reading {
    Whole(Time),
    /// Hour and perhaps minutes, which may go on with AM or PM.
    Half(i8, Option<i8>),
    /// Begins like a clock and is none.
    Wrong,
    None,
}

fn clock(word: &str) -> Reading {
    match word {
        "noon" => return Reading::Whole(Time::constant(12, 0, 0, 0)),
        "midnight" => return Reading::Whole(Time::midnight()),
        _ => {}
    }
    let digits = word.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(word.len());
    let (number, rest) = word.split_at(digits);
    let mut fields = number.split(':');
    let hour =
        fields.next().filter(|hour| (1..=2).contains(&hour.len())).and_then(|hour| hour.parse::<i8>().ok());
    let two =
        |field: &str| (field.len() == 2).then(|| field.parse::<i8>().ok()).flatten().filter(|n| *n < 60);
    let minute = fields.next();
    let second = fields.next();
    let Some(hour) = hour else { return if number.contains(':') { Reading::Wrong } else { Reading::None } };
    let minute = match minute.map(two) {
        None => None,
        Some(Some(minute)) => Some(minute),
        Some(None) => return Reading::Wrong,
    };
    if second.is_some_and(|second| two(second).is_none()) || fields.next().is_some() {
        return Reading::Wrong;
    }
    if rest.is_empty() {
        return Reading::Half(hour, minute);
    }
    match meridiem(rest) {
        Some(afternoon) => twelve(hour, minute, afternoon).map_or(Reading::Wrong, Reading::Whole),
        None if minute.is_some() => Reading::Wrong,
        // `24th`
        None => Reading::None,
    }
}

/// Whether AM (`false`) or PM (`true`).
fn meridiem(word: &str) -> Option<bool> {
    match word {
        "am" | "a.m" | "a.m." => Some(false),
        "pm" | "p.m" | "p.m." => Some(true),
        _ => None,
    }
}

fn twelve(hour: i8, minute: Option<i8>, afternoon: bool) -> Option<Time> {
    if !(1..=12).contains(&hour) {
        return None;
    }
    time(hour % 12 + if afternoon { 12 } else { 0 }, minute.unwrap_or(0))
}

fn time(hour: i8, minute: i8) -> Option<Time> {
    Time::new(hour, minute, 0, 0).ok()
}

fn weekday_of(word: &str) -> Option<(Weekday, &'static str)> {
    const DAYS: [(Weekday, &str); 7] = [
        (Weekday::Monday, "monday"),
        (Weekday::Tuesday, "tuesday"),
        (Weekday::Wednesday, "wednesday"),
        (Weekday::Thursday, "thursday"),
        (Weekday::Friday, "friday"),
        (Weekday::Saturday, "saturday"),
        (Weekday::Sunday, "sunday"),
    ];
    let short = |name: &str| word.len() >= 3 && name.starts_with(word) && matches!(word.len(), 3..=5);
    DAYS.into_iter().find(|(_, name)| *name == word || short(name))
}

fn month_of(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let word = word.trim_end_matches('.');
    let at = MONTHS
        .iter()
        .position(|name| *name == word || (matches!(word.len(), 3 | 4) && name.starts_with(word)))?;
    i8::try_from(at + 1).ok()
}

fn day_of(word: &str) -> Option<i8> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (number, rest) = word.split_at(digits);
    let ordinal = matches!(rest, "" | "st" | "nd" | "rd" | "th");
    if !ordinal || number.len() > 2 {
        return None;
    }
    number.parse().ok().filter(|day| (1..=31).contains(day))
}

fn year_of(word: &str) -> Option<i16> {
    (word.len() == 4).then(|| word.parse().ok()).flatten().filter(|year| (2000..2200).contains(year))
}

fn date(words: &[&str]) -> Option<Day> {
    let (month, day, year) = match words {
        [only] => {
            let date: Date = (only.len() == 10).then(|| only.parse().ok()).flatten()?;
            return Some(Day::Date { year: Some(date.year()), month: date.month(), day: date.day() });
        }
        [one, two] => (one, two, None),
        [one, two, year] => (one, two, Some(year_of(year)?)),
        _ => return None,
    };
    let (month, day) = match (month_of(month), month_of(day)) {
        (Some(number), None) => (number, day_of(day)?),
        (None, Some(number)) => (number, day_of(month)?),
        _ => return None,
    };
    // A day that no year has is no day.
    Date::new(year.unwrap_or(2024), month, day).ok()?;
    Some(Day::Date { year, month, day })
}
