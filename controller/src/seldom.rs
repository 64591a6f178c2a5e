//! What comes again and again is told a few times an hour.
//!
//! Whoever is refused tries again, and the audit trail is kept for good: of each one, a few rows an hour are written, each for
//! another reason. What is remembered is bounded: while it is full of what was told within the hour, nothing more is told.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use wa_proto::Timestamp;

const HOUR_S: i64 = 3600;
/// That are remembered at once.
const KNOWN: usize = 4096;

/// What was told already, by whom it is about.
#[derive(Debug)]
pub(crate) struct Seldom {
    /// Of one, in one hour.
    rows: usize,
    noted: Mutex<HashMap<String, Noted>>,
}

#[derive(Debug)]
struct Noted {
    hour_began: Timestamp,
    reasons: Vec<String>,
}

impl Noted {
    fn is_over(&self, now: Timestamp) -> bool {
        // Also when the clock was set back.
        !(0..HOUR_S).contains(&(now.as_second() - self.hour_began.as_second()))
    }
}

impl Seldom {
    /// For so many rows of one in an hour.
    pub(crate) fn new(rows: usize) -> Self {
        Self { rows, noted: Mutex::default() }
    }

    /// Whether it is to be told; then it counts as told.
    pub(crate) fn is_news(&self, of: &str, reason: &str, now: Timestamp) -> bool {
        let mut all = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KNOWN && !all.contains_key(of) {
            all.retain(|_, noted| !noted.is_over(now));
            if all.len() >= KNOWN {
                return false;
            }
        }
        let fresh = || Noted { hour_began: now, reasons: Vec::new() };
        let noted = all.entry(of.to_owned()).or_insert_with(fresh);
        if noted.is_over(now) {
            *noted = fresh();
        }
        let news = noted.reasons.len() < self.rows && noted.reasons.iter().all(|known| known != reason);
        if news {
            noted.reasons.push(reason.to_owned());
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_trail_is_not_flooded() {
        let seldom = Seldom::new(4);
        assert!(seldom.is_news("web-1", "a", at(0)));
        assert!(!seldom.is_news("web-1", "a", at(1)));
        assert!(seldom.is_news("web-2", "a", at(1)));
        let more = (0..100).filter(|n| seldom.is_news("web-1", &format!("b {n}"), at(2))).count();
        assert_eq!(more, 3);
        assert!(seldom.is_news("web-1", "a", at(HOUR_S)), "an hour later");
        assert!(seldom.is_news("web-1", "a", at(-HOUR_S)), "the clock was set back");
    }

    #[test]
    fn neither_is_the_memory() {
        let seldom = Seldom::new(4);
        let told = (0..20_000).filter(|n| seldom.is_news(&n.to_string(), "a", at(0))).count();
        assert_eq!((told, seldom.noted.lock().unwrap().len()), (KNOWN, KNOWN));
        assert!(seldom.is_news("late", "a", at(HOUR_S)));
        assert_eq!(seldom.noted.lock().unwrap().len(), 1);
    }
}
