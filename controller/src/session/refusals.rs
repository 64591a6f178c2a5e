//! Sessions that end because of what the node sent: each is counted, and stands in the audit trail.
//!
//! A node that sends the same nonsense again comes back with it every few seconds, and the trail is kept for good: of each
//! node one row an hour is written for one reason, and a few for different ones.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tonic::Status;
use wa_link::clock;
use wa_proto::{ErrorCode, Host, Timestamp};

use crate::metrics::Metrics;
use crate::store::{Entry, Store};

/// Rows of one node in one hour.
const ROWS: usize = 4;
const HOUR_S: i64 = 3600;
/// Bytes of a reason in the trail.
const LONGEST: usize = 256;

/// What stands in the trail already, by node.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<Host, Noted>>);

#[derive(Debug)]
struct Noted {
    hour_began: Timestamp,
    reasons: Vec<String>,
}

impl Refusals {
    /// Counts it, logs it and, if what the node sent is the reason, writes it down.
    pub(super) async fn note(&self, host: &Host, refusal: &Status, store: &Store, metrics: &Metrics) {
        if ErrorCode::of(refusal) == ErrorCode::Unreachable {
            return;
        }
        Metrics::add(&metrics.sessions_refused, 1);
        tracing::warn!(%host, reason = refusal.message(), "a session was refused");
        let mut reason = refusal.message().to_owned();
        reason.truncate(reason.floor_char_boundary(LONGEST));
        if ErrorCode::of(refusal) != ErrorCode::Usage || !self.is_news(host, &reason, clock::now()) {
            return;
        }
        let (who, target) = (format!("node:{host}"), host.to_string());
        let noted = store.write_later(move |tx| {
            tx.audit(&Entry {
                who: &who,
                what: "session",
                target: &target,
                decision: "refused",
                detail: &reason,
            })
        });
        if let Err(error) = noted.await {
            tracing::warn!(%host, %error, "a refused session is missing in the audit trail");
        }
    }

    /// Whether it is to be written down. What is remembered is bounded by the nodes that have a certificate.
    fn is_news(&self, host: &Host, reason: &str, now: Timestamp) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Noted { hour_began: now, reasons: Vec::new() };
        let noted = all.entry(host.clone()).or_insert_with(fresh);
        if !(0..HOUR_S).contains(&(now.as_second() - noted.hour_began.as_second())) {
            *noted = fresh();
        }
        let news = noted.reasons.len() < ROWS && noted.reasons.iter().all(|known| known != reason);
        if news {
            noted.reasons.push(reason.to_owned());
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trail_is_not_flooded() {
        let (refusals, web) = (Refusals::default(), Host::new("web-1").unwrap());
        let at = |seconds: i64| Timestamp::from_second(1_790_000_000 + seconds).unwrap();
        assert!(refusals.is_news(&web, "a", at(0)));
        assert!(!refusals.is_news(&web, "a", at(1)));
        assert!(refusals.is_news(&Host::new("web-2").unwrap(), "a", at(1)));
        let more = (0..100).filter(|n| refusals.is_news(&web, &format!("b {n}"), at(2))).count();
        assert_eq!(more, ROWS - 1);
        assert!(refusals.is_news(&web, "a", at(HOUR_S)), "an hour later");
        assert!(refusals.is_news(&web, "a", at(-HOUR_S)), "the clock was set back");
    }
}
