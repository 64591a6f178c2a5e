//! Sessions that end because of what the node sent: each is counted, and stands in the audit trail.
//!
//! A node that sends the same nonsense again comes back with it every few seconds, and the trail is kept for good: of each
//! node one row an hour is written for one reason, and a few for different ones.

use tonic::Status;
use wa_link::clock;
use wa_proto::{ErrorCode, Host};

use crate::metrics::Metrics;
use crate::seldom::Seldom;
use crate::store::{Entry, Store};

/// Rows of one node in one hour.
const ROWS: usize = 4;
/// Bytes of a reason in the trail.
const LONGEST: usize = 256;

/// What stands in the trail already, by node.
#[derive(Debug)]
pub(crate) struct Refusals(Seldom);

impl Default for Refusals {
    fn default() -> Self {
        Self(Seldom::new(ROWS))
    }
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
        if ErrorCode::of(refusal) != ErrorCode::Usage || !self.0.is_news(host.as_str(), &reason, clock::now())
        {
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
}
