//! Who was turned away: counted, logged, and on record.
//!
//! Constraints: whoever tries is a stranger or worse and tries as often as they like, and the audit trail is kept for good. So
//! a few rows an hour are written of each caller that a certificate of ours names, each for another call or reason; and a few
//! of all those together whose certificate does not hold here, or who showed none. A handshake that failed for anything else
//! (a port scan, a client that went away) is counted and logged only. What is left out stands in the counters.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tonic::{Request, Status};
use wa_link::accept::FailedHandshake;
use wa_link::clock;
use wa_link::shutdown::Tasks;

use crate::metrics::Metrics;
use crate::seldom::Seldom;
use crate::store::{Entry, Store};

/// Rows of one caller in one hour.
const OF_ONE: usize = 8;
/// Of all strangers in one hour.
const OF_STRANGERS: usize = 16;
/// Lines in the log of failed handshakes in one hour.
const LOGGED: usize = 6;
/// Bytes of a reason in the trail.
const LONGEST: usize = 320;
/// Whose name is not known.
const STRANGER: &str = "anonymous";

pub(crate) struct Refused {
    callers: Seldom,
    strangers: Seldom,
    logged: Seldom,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
}

/// What was asked for, and from where.
pub(crate) struct Call {
    method: String,
    from: Option<IpAddr>,
}

/// The path of a request, which tonic does not tell its services.
#[derive(Clone)]
struct Path(http::Uri);

/// Keeps what a request asks for where [`Call::of`] finds it.
pub(crate) fn remember_path<B>(mut request: http::Request<B>) -> http::Request<B> {
    let path = Path(request.uri().clone());
    request.extensions_mut().insert(path);
    request
}

impl Call {
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let path = request.extensions().get().map(|Path(uri)| uri.path());
        Self {
            method: path.and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned(),
            from: request.remote_addr().map(|address| address.ip()),
        }
    }
}

impl Refused {
    pub(crate) fn new(store: Arc<Store>, metrics: Arc<Metrics>, tasks: Tasks) -> Self {
        Self {
            callers: Seldom::new(OF_ONE),
            strangers: Seldom::new(OF_STRANGERS),
            logged: Seldom::new(LOGGED),
            store,
            metrics,
            tasks,
        }
    }

    /// A call that the certificate does not open; `who` is named by it, if there is one.
    pub(crate) fn call(&self, who: Option<String>, call: &Call, refusal: &Status) {
        Metrics::add(&self.metrics.calls_refused, 1);
        let Call { method, from } = call;
        let from = from.map_or_else(|| "an unknown address".to_owned(), |from| from.to_string());
        let mut detail = format!("from {from}: {}", refusal.message());
        detail.truncate(detail.floor_char_boundary(LONGEST));
        let reason = format!("{method} {detail}");
        let news = match &who {
            Some(who) => self.callers.is_news(who, &reason, clock::now()),
            None => self.strangers.is_news(STRANGER, &reason, clock::now()),
        };
        if news {
            let who = who.unwrap_or_else(|| STRANGER.to_owned());
            tracing::warn!(who, call = method, detail, "a call was refused");
            self.write(who, "call", method.clone(), detail);
        }
    }

    /// A client that did not come through TLS.
    pub(crate) fn handshake(&self, failed: &FailedHandshake) {
        Metrics::add(&self.metrics.handshakes_failed, 1);
        let FailedHandshake { peer, certificate, reason } = failed;
        let from = SocketAddr::ip(peer).to_string();
        let news = format!("{from} {reason}");
        if self.logged.is_news("", &news, clock::now()) {
            tracing::info!(%peer, reason, "a TLS handshake failed");
        }
        if *certificate && self.strangers.is_news(STRANGER, &news, clock::now()) {
            self.write(STRANGER.to_owned(), "handshake", from, reason.clone());
        }
    }

    /// Nobody who is refused waits for the disk.
    fn write(&self, who: String, what: &'static str, target: String, detail: String) {
        let store = Arc::clone(&self.store);
        self.tasks.spawn("write down who was refused", async move {
            let noted = store.write_later(move |tx| {
                tx.audit(&Entry { who: &who, what, target: &target, decision: "refused", detail: &detail })
            });
            if let Err(error) = noted.await {
                tracing::warn!(%error, what, "a refusal is missing in the audit trail");
            }
        });
    }
}
