//! Asking the controller, right before the first key, whether an action may still happen.
//!
//! No stream, no typing: an answer that does not come is a refusal.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use wa_proto::ActionId;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Questions on their way to the session.
const QUEUE: usize = 64;

/// What the controller said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Granted,
    /// With the reason in words.
    Refused(String),
    /// The deadline has passed.
    Expired(String),
}

#[derive(Debug)]
pub(super) struct Ask {
    pub(super) action: ActionId,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// Asks for permits; clones share the session.
#[derive(Debug, Clone)]
pub struct Permits {
    asks: mpsc::Sender<Ask>,
    connected: watch::Receiver<bool>,
}

/// The session's end of [`Permits`].
#[derive(Debug)]
pub struct PermitDesk {
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) connected: watch::Sender<bool>,
}

/// Both ends.
pub fn permits() -> (Permits, PermitDesk) {
    let (asks, asks_rx) = mpsc::channel(QUEUE);
    let (connected, connected_rx) = watch::channel(false);
    (Permits { asks, connected: connected_rx }, PermitDesk { asks: asks_rx, connected })
}

impl Permits {
    /// Asks, and waits for the answer on the live stream.
    pub async fn ask(&self, action: ActionId) -> Answer {
        let offline = || {
            Answer::Refused(
                "the controller cannot be reached, and nothing is typed without its consent".to_owned(),
            )
        };
        if !*self.connected.borrow() {
            return offline();
        }
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask { action, reply }).await.is_err() {
            return offline();
        }
        match tokio::time::timeout(LIMIT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => offline(),
            Err(_) => Answer::Refused(
                "the controller did not answer in time, and nothing is typed without its consent".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
impl PermitDesk {
    /// A controller that says the same to everybody. It is there at once, though its task has yet to begin.
    pub(crate) fn always(mut self, answer: Answer) -> impl Future<Output = ()> {
        self.connected.send_replace(true);
        async move {
            while let Some(ask) = self.asks.recv().await {
                drop(ask.reply.send(answer.clone()));
            }
        }
    }
}
