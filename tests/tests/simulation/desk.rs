//! The desk of an operator: a host in the network that calls the controller as `wa` does, and writes down when it had its
//! answer.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tonic::transport::Channel;
use wa_link::context::Context;
use wa_link::{dial, tls};
use wa_proto::wire::v1;
use wa_proto::wire::v1::fleet_client::FleetClient;

use super::controller::Head;
use super::host::{Host, here};

pub(crate) const NAME: &str = "desk";
/// For one call.
const LIMIT: Duration = Duration::from_secs(8);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Operator,
    /// A colleague, where there is one.
    Eve,
}

/// A time in which nothing may begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet {
    /// When the pause was answered.
    pub(crate) from: Duration,
    /// When it began to be taken back.
    pub(crate) until: Duration,
}

/// When the controller's answer came, and what it was.
pub(crate) type Answered<T> = Arc<OnceLock<(Duration, Result<T, String>)>>;

type Written = Arc<Mutex<Vec<Quiet>>>;

pub(crate) struct Desk {
    pub(crate) host: Host,
    written: Written,
    /// One pause at a time: taking one back takes back all.
    busy: Arc<AtomicBool>,
    /// When the engine took back whatever was paused.
    over: Option<Duration>,
}

fn lock(written: &Written) -> MutexGuard<'_, Vec<Quiet>> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn now() -> Duration {
    here().map(|(_, at)| at).unwrap_or_default()
}

async fn dial(context: &Context) -> Result<FleetClient<Channel>, String> {
    let tls = tls::client_config(&context.identity).map_err(|error| error.to_string())?;
    let channel = dial::connect(&context.controller, tls, LIMIT).await.map_err(|error| error.to_string())?;
    Ok(FleetClient::new(channel))
}

async fn call(context: &Context, request: v1::PauseRequest) -> Result<(), String> {
    let mut fleet = dial(context).await?;
    let answer = tokio::time::timeout(LIMIT, fleet.pause(request)).await;
    answer.map_err(|error| error.to_string())?.map(drop).map_err(|status| status.to_string())
}

impl Desk {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, written: Written::default(), busy: Arc::default(), over: None }
    }

    pub(crate) fn start(&mut self, at: Duration) {
        self.host.start(at, async {});
    }

    /// Every time in which a pause held that the operator knew of.
    pub(crate) fn quiet(&self) -> Vec<Quiet> {
        let over = self.over.unwrap_or(Duration::MAX);
        lock(&self.written).iter().map(|quiet| Quiet { until: quiet.until.min(over), ..*quiet }).collect()
    }

    fn context(head: &Head) -> Option<Context> {
        let _here = head.host.enter();
        Context::load(&head.folder().join("operator.context.toml")).ok()
    }

    /// Where Eve has what she calls the controller with.
    pub(crate) fn of_eve(&self) -> PathBuf {
        self.host.folder.join("eve.context.toml")
    }

    /// Pauses everything for so long.
    pub(crate) fn pause(&self, head: &Head, long: Duration) {
        let Some(context) = Self::context(head) else { return };
        let (written, busy) = (Arc::clone(&self.written), Arc::clone(&self.busy));
        if busy.swap(true, Ordering::Relaxed) {
            return;
        }
        self.spawn(async move {
            let request =
                v1::PauseRequest { paused: true, reason: "a simulation".into(), ..Default::default() };
            if call(&context, request).await.is_ok() {
                let from = now();
                tokio::time::sleep(long).await;
                lock(&written).push(Quiet { from, until: now() });
            }
            take_back(&context).await;
            busy.store(false, Ordering::Relaxed);
        });
    }

    /// Whatever was paused goes on.
    pub(crate) fn unpause(&mut self, head: &Head, at: Duration) {
        self.over = Some(at);
        let Some(context) = Self::context(head) else { return };
        self.spawn(async move { take_back(&context).await });
    }

    /// Revokes a node. Set once that was answered.
    pub(crate) fn revoke(&self, head: &Head, name: &str) -> Arc<OnceLock<Result<(), String>>> {
        let (answered, name) = (Arc::new(OnceLock::new()), name.to_owned());
        if let Some(context) = Self::context(head) {
            let answered = Arc::clone(&answered);
            self.spawn(async move {
                let request = v1::RevokeRequest { name, reason: "lost".into(), scope: 1 };
                let answer = async {
                    let revoked = dial(&context).await?.revoke(request).await;
                    revoked.map(drop).map_err(|status| status.to_string())
                };
                let _once = answered.set(answer.await);
            });
        }
        answered
    }

    /// Calls the controller once.
    pub(crate) fn ask<T, F>(
        &self,
        head: &Head,
        call: impl FnOnce(FleetClient<Channel>) -> F + Send + 'static,
    ) -> Answered<T>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T, tonic::Status>> + Send,
    {
        self.ask_as(Who::Operator, head, call)
    }

    /// The same, by whom ever.
    pub(crate) fn ask_as<T, F>(
        &self,
        who: Who,
        head: &Head,
        call: impl FnOnce(FleetClient<Channel>) -> F + Send + 'static,
    ) -> Answered<T>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T, tonic::Status>> + Send,
    {
        let answered = Answered::default();
        let context = match who {
            Who::Operator => Self::context(head),
            Who::Eve => {
                let _here = self.host.enter();
                Context::load(&self.of_eve()).ok()
            }
        };
        if let Some(context) = context {
            let answered = Arc::clone(&answered);
            self.spawn(async move {
                let answer = async { call(dial(&context).await?).await.map_err(|status| status.to_string()) };
                let answer = tokio::time::timeout(LIMIT, answer).await.map_err(|error| error.to_string());
                let _once = answered.set((now(), answer.and_then(|answer| answer)));
            });
        }
        answered
    }

    /// Asks for a token with which a host comes in.
    pub(crate) fn token(&self, head: &Head, name: &str, replace: bool) -> Answered<String> {
        let request = v1::CreateTokenRequest { name: name.to_owned(), ttl_seconds: 0, replace };
        self.ask(head, async move |mut fleet: FleetClient<Channel>| {
            Ok(fleet.create_token(request).await?.into_inner().token)
        })
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.host.within(async {
            #[expect(
                clippy::disallowed_methods,
                reason = "an operator has no owner, and ends with the simulation"
            )]
            drop(tokio::spawn(work));
        });
    }
}

async fn take_back(context: &Context) {
    for _ in 0..60 {
        if call(context, v1::PauseRequest::default()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
