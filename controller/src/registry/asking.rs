//! Questions to a node over its live session, and the answers.
//!
//! Every question has a number, and its answer carries it. Few may be under way at a time, each waits for a short time
//! only, and one whose caller went away makes room. An answer that nobody waits for any longer is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use wa_proto::wire::v1;
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::wire::v1::rules_request::About;
use wa_proto::{Host, PaneRef};

use super::{Registry, SessionHandle, rules};

/// Questions of one kind that may be under way to one node.
const AT_A_TIME: usize = 64;
const WAIT: Duration = Duration::from_secs(5);
/// How long a list waits for fresh figures: it has older ones.
const REPORT_WAIT: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("the node {0} is not connected")]
    Away(Host),
    #[error("the node {0} did not answer in time")]
    Late(Host),
    #[error("the node {0} has too many requests under way: try again")]
    Busy(Host),
    #[error("the node {0} knows no such pane")]
    NoPane(Host),
    #[error("{0}")]
    Node(String),
}

/// Those who wait for one kind of answer, by the number of their question.
pub(crate) struct Waiting<T>(Mutex<HashMap<u64, oneshot::Sender<T>>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Waiting<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number, and where its answer comes; `None` when too many wait already.
    fn begin(&self) -> Option<(u64, oneshot::Receiver<T>)> {
        let request_id = fastrand::u64(1..);
        let (sender, answer) = oneshot::channel();
        let mut waiters = self.lock();
        waiters.retain(|_, waiter| !waiter.is_closed());
        if waiters.len() >= AT_A_TIME {
            return None;
        }
        waiters.insert(request_id, sender);
        Some((request_id, answer))
    }

    pub(crate) fn arrived(&self, request_id: u64, answer: T) {
        let Some(waiter) = self.lock().remove(&request_id) else { return };
        // Nobody listens when the caller went away.
        drop(waiter.send(answer));
    }
}

impl Registry {
    /// Asks the node for a pane's screen; `reveal` for what is kept apart from it too.
    ///
    /// # Errors
    /// Why the node has not shown it.
    pub async fn screen(
        &self,
        host: &Host,
        pane: PaneRef,
        reveal: bool,
    ) -> Result<v1::GetScreenResponse, NoAnswer> {
        let session = self.session(host).ok_or_else(|| NoAnswer::Away(host.clone()))?;
        let ask = |request_id| {
            Down::ScreenRequest(v1::ScreenRequest { request_id, pane: Some(pane.into()), reveal })
        };
        let reply = exchange(host, &session, &session.screens, ask, WAIT).await?;
        match reply.screen {
            Some(screen) if reply.error.is_empty() => {
                Ok(v1::GetScreenResponse { screen: Some(screen), secrets: reply.secrets })
            }
            _ if reply.error.is_empty() => Err(NoAnswer::NoPane(host.clone())),
            _ => Err(NoAnswer::Node(reply.error)),
        }
    }

    /// Asks the node why a pane is in its state.
    ///
    /// # Errors
    /// Why the node has not said it.
    pub async fn explain(&self, host: &Host, pane: PaneRef) -> Result<v1::Explanation, NoAnswer> {
        let reply = self.ask_rules(host, About::Explain(pane.into()), WAIT).await?;
        let explanation = reply.explanation.ok_or_else(|| NoAnswer::NoPane(host.clone()))?;
        Ok(rules::clamp_explanation(explanation))
    }

    /// Asks the node for the screens that no rule knows.
    ///
    /// # Errors
    /// Why the node has not said it.
    pub async fn unknown_screens(&self, host: &Host) -> Result<Vec<v1::UnknownScreen>, NoAnswer> {
        let about = About::Unknown(v1::UnknownScreensQuery {});
        Ok(rules::clamp_unknown(self.ask_rules(host, about, WAIT).await?.unknown))
    }

    /// Has a node say anew what runs there, and what was counted in shadow. Without an answer the earlier report stands.
    pub(crate) async fn refresh_rules(&self, host: &Host) {
        let about = About::Report(v1::RulesReportQuery {});
        if let Err(error) = self.ask_rules(host, about, REPORT_WAIT).await {
            tracing::debug!(%host, %error, "no fresh report of rules");
        }
    }

    /// Asks the node to make an account's home, or for the code that a sign-in printed.
    ///
    /// # Errors
    /// Why the node has not done it.
    pub(crate) async fn ask_account(
        &self,
        host: &Host,
        about: v1::account_request::About,
    ) -> Result<v1::AccountReply, NoAnswer> {
        let session = self.session(host).ok_or_else(|| NoAnswer::Away(host.clone()))?;
        let ask = |request_id| Down::AccountRequest(v1::AccountRequest { request_id, about: Some(about) });
        let reply = exchange(host, &session, &session.accounts, ask, WAIT).await?;
        if reply.error.is_empty() { Ok(reply) } else { Err(NoAnswer::Node(rules::clamp_reason(reply.error))) }
    }

    async fn ask_rules(&self, host: &Host, about: About, wait: Duration) -> Result<v1::RulesReply, NoAnswer> {
        let session = self.session(host).ok_or_else(|| NoAnswer::Away(host.clone()))?;
        let ask = |request_id| Down::RulesRequest(v1::RulesRequest { request_id, about: Some(about) });
        let reply = exchange(host, &session, &session.rules, ask, wait).await?;
        if reply.error.is_empty() { Ok(reply) } else { Err(NoAnswer::Node(rules::clamp_reason(reply.error))) }
    }
}

/// Sends a question and waits for its answer, or for the end of the session.
async fn exchange<T>(
    host: &Host,
    session: &Arc<SessionHandle>,
    waiting: &Waiting<T>,
    question: impl FnOnce(u64) -> Down,
    wait: Duration,
) -> Result<T, NoAnswer> {
    let away = || NoAnswer::Away(host.clone());
    let (request_id, answer) = waiting.begin().ok_or_else(|| NoAnswer::Busy(host.clone()))?;
    let message = v1::ControllerMessage { kind: Some(question(request_id)) };
    let exchanged = async {
        session.to_node.send(message).await.map_err(|_| away())?;
        answer.await.map_err(|_| away())
    };
    let ended = session.end.triggered();
    tokio::select! {
        answered = timeout(wait, exchanged) => answered.unwrap_or(Err(NoAnswer::Late(host.clone()))),
        () = ended => Err(away()),
    }
}
