//! The one stream to the controller.
//!
//! Constraints: the node works without it (everything is spooled); at most one attempt per second, with full jitter;
//! whatever the controller says, nothing is let go that it did not acknowledge and nothing is sent twice on one stream;
//! an event waits for at most one bulk block. Operation: `run` dials and redials; `link.rs` is one stream; `pace.rs`
//! says how much bulk; `permit.rs` asks before typing; `block.rs` packs records; `link/answer.rs` answers questions. A
//! spool that the controller knows to be older than it says (restored from a backup, or lost) begins a new life under a
//! new id.

mod block;
mod identity;
mod link;
mod pace;
mod permit;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use wa_link::backoff::Backoff;
use wa_link::context::{Context, ContextError};
use wa_link::dial::{self, DialError};
use wa_link::shutdown::Shutdown;
use wa_link::tls::{self, TlsError};
use wa_proto::wire::v1;
use wa_proto::{Action, ActionId, PaneRef, Timestamp};

use crate::board::Board;
use crate::journal::Journal;
use crate::policy::PolicyFile;
use crate::rules::Rules;
use crate::spool::Spool;

use identity::RenewError;
pub use permit::{Answer, PermitDesk, Permits, permits};

/// For one attempt, from the name to the first bytes of HTTP/2.
const DIAL_LIMIT: Duration = Duration::from_secs(10);
/// Part of the problems that are the session's.
const PROBLEM: &str = "controller";

/// What a session needs from the rest of the node.
pub struct Parts {
    pub paths: Paths,
    pub spool: Spool,
    pub journal: Journal,
    pub board: Arc<Board>,
    pub policy: Arc<PolicyFile>,
    pub rules: Rules,
    pub permits: PermitDesk,
    pub screens: Arc<dyn Screens>,
    /// `None`: no accounts are kept here.
    pub accounts: Option<Arc<dyn Accounts>>,
    pub actions: Actions,
    pub clock: Arc<ControllerClock>,
}

/// What the controller gives and the session keeps.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Identity, controller and name of the node.
    pub identity: PathBuf,
    /// The context of agents in panes of this host.
    pub agent_context: PathBuf,
}

/// Gives what there is to see of a pane, fresh and redacted.
pub trait Screens: Send + Sync {
    fn screen(&self, pane: PaneRef) -> BoxFuture<'static, Result<v1::Screen, String>>;

    /// Why it is in its state, rule by rule.
    fn explain(&self, pane: PaneRef) -> BoxFuture<'static, Result<v1::Explanation, String>>;

    /// What is kept apart from the screen, for those who may see it.
    fn secrets(&self, pane: &PaneRef) -> Vec<v1::Secret>;
}

/// Answers questions about the accounts of this host.
pub trait Accounts: Send + Sync {
    fn answer(&self, request: v1::AccountRequest) -> BoxFuture<'static, v1::AccountReply>;
}

/// Where actions from the controller go.
#[derive(Debug, Clone)]
pub struct Actions {
    /// Ready to be looked at.
    pub accepted: mpsc::Sender<Action>,
    /// Refused at the door, with the reason.
    pub refused: mpsc::Sender<(ActionId, String)>,
}

/// How far the controller's clock is ahead of ours.
#[derive(Debug, Default)]
pub struct ControllerClock {
    ahead_us: AtomicI64,
}

impl ControllerClock {
    pub fn set(&self, theirs_us: i64, ours: Timestamp) {
        self.ahead_us.store(theirs_us.saturating_sub(ours.as_microsecond()), Ordering::Relaxed);
    }

    /// Our time, as the controller's clock shows it.
    pub fn translate(&self, ours: Timestamp) -> Timestamp {
        let us = ours.as_microsecond().saturating_add(self.ahead_us.load(Ordering::Relaxed));
        Timestamp::from_microsecond(us).unwrap_or(ours)
    }
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Identity(#[from] ContextError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the certificate has run out, and there is no new one yet: {0}")]
    NotRecovered(#[source] RenewError),
    #[error("the controller ended the session: {}", .0.message())]
    Status(#[from] tonic::Status),
    #[error("the controller closed the session")]
    Closed,
    #[error("the controller does not speak as agreed: {0}; are both of the same version?")]
    Protocol(String),
    #[error("the spool begins anew: the controller has records that it no longer knows")]
    SpoolBehind,
    #[error("the spool is older than the controller knows, and cannot begin anew while its disk refuses")]
    SpoolStays,
    #[error("the node is shutting down")]
    Shutdown,
}

/// Keeps a session until the shutdown.
pub async fn run(mut parts: Parts, shutdown: Shutdown) {
    let mut backoff = Backoff::new(fastrand::Rng::new());
    loop {
        let began = wa_link::clock::monotonic();
        let ended = match connect(&parts, &shutdown).await {
            Ok((context, client)) => {
                tracing::info!(controller = context.controller, "dialled the controller");
                let ended = link::run(&mut parts, context, client, &shutdown).await;
                parts.permits.connected.send_replace(false);
                ended
            }
            Err(ended) => ended,
        };
        if matches!(ended, Ended::Shutdown) || shutdown.is_triggered() {
            return;
        }
        if began.elapsed() > Duration::from_secs(60) {
            backoff.reset();
        }
        let wait = backoff.failed();
        report(&parts, &ended, &backoff, wait);
        tokio::select! {
            biased;
            () = shutdown.triggered() => return,
            () = offline(&mut parts.permits, wait) => {}
        }
    }
}

/// Says once what is wrong, and again when it has been so for a while.
fn report(parts: &Parts, ended: &Ended, backoff: &Backoff, wait: Duration) {
    let text = ended.to_string();
    parts.board.set_problem(PROBLEM, Some(text.clone()));
    if backoff.failures().is_power_of_two() {
        tracing::warn!(
            reason = text,
            retry_in_ms = wait.as_millis(),
            "no session with the controller; everything is spooled"
        );
    }
}

/// Waits, and lets nobody wait for a permit meanwhile.
async fn offline(desk: &mut PermitDesk, wait: Duration) {
    let until = tokio::time::Instant::now() + wait;
    loop {
        match tokio::time::timeout_at(until, desk.asks.recv()).await {
            // Dropping the question answers it.
            Ok(Some(ask)) => drop(ask),
            // Nobody will ask any more.
            Ok(None) => return tokio::time::sleep_until(until).await,
            Err(_) => return,
        }
    }
}

type Client = v1::node_link_client::NodeLinkClient<tonic::transport::Channel>;

async fn connect(parts: &Parts, shutdown: &Shutdown) -> Result<(Context, Client), Ended> {
    let path = parts.paths.identity.clone();
    let read = wa_link::worker::blocking(move || Context::load(&path));
    let context = read.await.map_err(|error| Ended::Protocol(error.to_string()))??;
    tokio::select! {
        biased;
        dialled = dial_as(&parts.paths, context) => dialled,
        () = shutdown.triggered() => Err(Ended::Shutdown),
    }
}

/// Dials with a certificate that holds. The controller's clock decides: ours may be wrong, and each recovery is a
/// certificate of the few that a node is given within an hour.
async fn dial_as(paths: &Paths, mut context: Context) -> Result<(Context, Client), Ended> {
    let recover = async |old: &Context| identity::recover(paths, old).await.map_err(Ended::NotRecovered);
    let dial = async |context: &Context| {
        let config = tls::client_config(&context.identity)?;
        Ok::<_, Ended>(dial::connect(&context.controller, config, DIAL_LIMIT).await)
    };
    let channel = match dial(&context).await? {
        Err(DialError::NotAccepted { expired: true, .. }) => {
            context = recover(&context).await?;
            dial(&context).await??
        }
        dialled => dialled?,
    };
    Ok((context, Client::new(channel)))
}
