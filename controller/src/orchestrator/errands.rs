//! What runs want done outside of commits: homes of accounts, and sign-ins in a browser.
//!
//! Constraints: an errand begins when the commit that wants it is durable, and its result goes into the run as a recorded
//! input; a run has one errand at a time, which ends when the run no longer waits for it, and with the shutdown. That a
//! code is entered is recorded, with its audit row, before the browser starts, and only while the run still waits for it:
//! so a run enters one code, whatever is killed when. A node that is away is asked again until the step's time is over.
//! No secret is stored, logged or traced here; codes and credentials live as long as their errand.
//!
//! A home that another run signs in is waited for, until its sign-in is seen or that run is over, and made again then. A
//! home counts only if its node has seen that it is the owner's; an older node cannot tell, so what is signed in there is
//! not used.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tracing::Instrument as _;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::{clock, trace};
use wa_match::Redactor;
use wa_proto::wire::v1;
use wa_proto::wire::v1::account_request::About;
use wa_proto::{AccountAlias, ActionId, AgentKind, Host, PaneRef, RunId};
use wa_workflow::{Input, Run, Status};
use zeroize::Zeroizing;

use crate::accounts::Accounts;
use crate::gate::{Gate, address};
use crate::registry::{NoAnswer, Registry};
use crate::signin::{Browser, DeviceLogin, Providers};
use crate::store::{HomeAnswer, MadeHome, Store, StoreError, Tx, on_pane};

/// Errands that are run at a time; each browser takes some hundred MiB.
const AT_A_TIME: usize = 8;
/// Between two questions to a node that is away, and between attempts to record a result.
const RETRY: Duration = Duration::from_secs(2);
/// What a node refuses it may take a moment later: a shell that has just been started, a code that is still being drawn.
const REFUSED_FOR: Duration = Duration::from_secs(15);

/// One errand of a run.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(crate) run: RunId,
    /// The step that waits for it.
    pub(crate) step: usize,
    pub(crate) workflow: String,
    pub(crate) host: Host,
    pub(crate) pane: PaneRef,
    pub(crate) trace_parent: String,
    pub(crate) agent: AgentKind,
    pub(crate) alias: AccountAlias,
    /// By the clock that only goes forward: the other one may be set meanwhile.
    pub(crate) until: Instant,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    /// Have the account's home made; `api_key`: with the key that the vault holds.
    Home { api_key: bool },
    /// Enter the code that this action had printed on the page of this provider.
    SignIn { action: ActionId, provider: String },
}

/// What errands need of the house.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) store: Arc<Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) accounts: Accounts,
    pub(crate) providers: Providers,
    pub(crate) browser: Browser,
}

/// Between commits and the task that runs errands. Holds at most one for each open run.
#[derive(Default)]
pub(crate) struct Errands {
    inner: Mutex<Inner>,
    came: Notify,
}

#[derive(Default)]
struct Inner {
    new: VecDeque<Errand>,
    /// Those under way: for which step, and what stops them.
    running: HashMap<RunId, (usize, Shutdown)>,
}

impl Errands {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a commit has told. Waits for nothing.
    pub(super) fn take_in(&self, told: Vec<(RunId, Option<Errand>)>) {
        if told.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for (run, errand) in told {
            inner.new.retain(|waiting| waiting.run != run);
            if let Some((_, stop)) = inner.running.remove(&run) {
                stop.trigger();
            }
            inner.new.extend(errand);
        }
        drop(inner);
        self.came.notify_one();
    }

    /// The next errand, and what stops it.
    fn next(&self, shutdown: &Shutdown) -> Option<(Errand, Shutdown)> {
        let mut inner = self.lock();
        let errand = inner.new.pop_front()?;
        let stop = shutdown.child();
        inner.running.insert(errand.run, (errand.step, stop.clone()));
        Some((errand, stop))
    }

    fn over(&self, run: RunId, step: usize) {
        let mut inner = self.lock();
        if inner.running.get(&run).is_some_and(|(of, _)| *of == step) {
            inner.running.remove(&run);
        }
    }
}

/// Runs errands until the shutdown. `lost`: runs whose errand ended with an earlier controller.
pub(crate) async fn run_errands(house: House, errands: Arc<Errands>, lost: Vec<Run>, tasks: Tasks) {
    let shutdown = tasks.shutdown().clone();
    let restarted = async {
        for run in lost {
            let trigger = run.trigger;
            let of = Place {
                run: run.id,
                host: trigger.host,
                pane: trigger.pane,
                trace_parent: trigger.trace_parent,
            };
            record(&house.store, &of, Input::Restarted, |_| Ok(())).await;
        }
    };
    tokio::select! {
        () = restarted => {}
        () = shutdown.triggered() => return,
    }
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    loop {
        while let Some((errand, stop)) = errands.next(&shutdown) {
            let (house, errands, places) = (house.clone(), Arc::clone(&errands), Arc::clone(&places));
            tasks.spawn(format!("errand of run {}", errand.run), async move {
                let (run, step) = (errand.run, errand.step);
                let span = tracing::info_span!("errand", %run, alias = %errand.alias);
                trace::set_parent(&span, &errand.trace_parent);
                let work = errand.run(&house, &places);
                tokio::select! {
                    () = work.instrument(span) => errands.over(run, step),
                    // Whoever stopped it has let go of it; the place may be the next one's, of the same step, by now.
                    () = stop.triggered() => {}
                }
            });
        }
        tokio::select! {
            () = errands.came.notified() => {}
            () = shutdown.triggered() => return,
        }
    }
}

/// To which run a result goes.
struct Place {
    run: RunId,
    host: Host,
    pane: PaneRef,
    trace_parent: String,
}

/// Records an input of a run, and what belongs to it, in one commit; again until that is done.
async fn record(
    store: &Store,
    place: &Place,
    input: Input,
    with: impl Fn(&Tx<'_>) -> Result<(), StoreError> + Clone + Send + 'static,
) {
    loop {
        let (input, with) = (input.clone(), with.clone());
        let Place { run, host, pane, trace_parent } = place;
        let (run, host, pane, trace_parent) = (*run, host.clone(), pane.clone(), trace_parent.clone());
        let recorded = store.write(move |tx| {
            with(tx)?;
            tx.inbox_input(&host, &pane, run, &input, &trace_parent)
        });
        match recorded.await {
            Ok(()) | Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, %run, "an input of a run was not recorded; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Why a sign-in did not come about: a word for the audit, and words for people.
struct Failed {
    code: &'static str,
    reason: String,
}

impl Failed {
    fn new(code: &'static str, reason: impl ToString) -> Self {
        Self { code, reason: reason.to_string() }
    }
}

impl Errand {
    async fn run(&self, house: &House, places: &Semaphore) {
        match &self.what {
            What::Home { api_key } => self.home(house, places, *api_key).await,
            What::SignIn { action, provider } => {
                // Only closed when everything ends.
                let Ok(_place) = places.acquire().await else { return };
                self.sign_in(house, *action, provider).await;
            }
        }
    }

    fn place(&self) -> Place {
        Place {
            run: self.run,
            host: self.host.clone(),
            pane: self.pane.clone(),
            trace_parent: self.trace_parent.clone(),
        }
    }

    /// Asks the node, again while it is away, and for a while when it refuses.
    async fn ask(&self, house: &House, about: About) -> Result<v1::AccountReply, NoAnswer> {
        let refused = (clock::monotonic() + REFUSED_FOR).min(self.until);
        loop {
            let error = match house.registry.ask_account(&self.host, about.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let late = if matches!(error, NoAnswer::Node(_)) { refused } else { self.until };
            if clock::monotonic() + RETRY >= late {
                return Err(error);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    // ---- homes

    async fn home(&self, house: &House, places: &Semaphore, api_key: bool) {
        let Err(reason) = self.taken(house, places, api_key).await else { return };
        let (step, run) = (self.step, self.run);
        let input = Input::NotLeased { step, reason, until: None };
        let give_back = move |tx: &Tx<'_>| tx.end_leases_of_run(run);
        record(&house.store, &self.place(), input, give_back).await;
    }

    /// Has the home made until the run has it, or wants it no longer; else why it cannot be had.
    async fn taken(&self, house: &House, places: &Semaphore, api_key: bool) -> Result<(), String> {
        loop {
            let home = {
                // Only closed when everything ends.
                let Ok(_place) = places.acquire().await else { return Ok(()) };
                self.prepared(house, api_key).await?
            };
            match self.take(house, home).await {
                None | Some(HomeAnswer::Taken | HomeAnswer::Unwanted) => return Ok(()),
                Some(HomeAnswer::SignedInBy(other)) => self.signed_in_by(house, other).await?,
                Some(HomeAnswer::OfAnother) => tokio::time::sleep(RETRY).await,
            }
            if clock::monotonic() >= self.until {
                return Err(format!("the home of the account {} could not be had in time", self.alias));
            }
        }
    }

    /// Records the home, in one commit with whose it is to sign in; again until that is done. `None`: everything ends.
    async fn take(&self, house: &House, home: MadeHome) -> Option<HomeAnswer> {
        loop {
            let (run, step, alias, home) = (self.run, self.step, self.alias.clone(), home.clone());
            match house.store.write(move |tx| tx.take_home(run, step, &alias, &home)).await {
                Ok(answer) => return Some(answer),
                Err(StoreError::Closed) => return None,
                Err(error) => tracing::warn!(%error, %run, "a home was not recorded; trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Waits while another run signs the account in. Holds no place: that run needs one.
    async fn signed_in_by(&self, house: &House, other: RunId) -> Result<(), String> {
        tracing::info!(%other, alias = %self.alias, host = %self.host, "another run signs the account in: waiting for it");
        loop {
            if clock::monotonic() >= self.until {
                let (alias, host) = (&self.alias, &self.host);
                return Err(format!("run {other} signs {alias} in on {host}, and was not done in time"));
            }
            tokio::time::sleep(RETRY).await;
            match house.store.signing_in(self.alias.clone(), self.host.clone()).await {
                Ok(Some(run)) if run != self.run => {}
                Ok(_) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "who signs an account in could not be read; trying again")
                }
            }
        }
    }

    async fn prepared(&self, house: &House, api_key: bool) -> Result<MadeHome, String> {
        let owner = house.store.account_owner(self.alias.clone()).await.map_err(|e| e.to_string())?;
        let owner = owner.ok_or_else(|| format!("there is no account {} any more", self.alias))?;
        let mut key = String::new();
        if api_key {
            let credentials = house.accounts.credentials(&self.alias).await.map_err(|e| e.to_string())?;
            key = credentials.api_key.map(|key| key.as_str().to_owned()).unwrap_or_default();
        }
        let by_key = !key.is_empty();
        let about = About::Prepare(v1::PrepareHome {
            agent: self.agent.to_string(),
            alias: self.alias.to_string(),
            pane: Some(self.pane.clone().into()),
            who: format!("workflow:{}", self.workflow),
            api_key: key,
            owner: owner.clone(),
        });
        let reply = self.ask(house, about).await.map_err(|error| error.to_string())?;
        let home =
            reply.home.ok_or_else(|| format!("the node {} named no home of the account", self.host))?;
        let v1::AccountHome { path, variable, signed_in, owner: of, set_aside } = home;
        // The key that was just put there is the account's own.
        if of != owner && signed_in && !by_key {
            return Err(format!(
                "the node {} is older than this controller and cannot tell whose sign-in the home of the account {} \
                 holds: upgrade wa-node there",
                self.host, self.alias
            ));
        }
        Ok(MadeHome { owner, path, variable, signed_in, set_aside })
    }

    // ---- signing in

    async fn sign_in(&self, house: &House, action: ActionId, provider: &str) {
        let step = self.step;
        let outcome = self.entered(house, action, provider).await;
        let (input, decision, detail) = match outcome {
            // The run waits for it no longer.
            Ok(false) => return,
            Ok(true) => (Input::SignedIn { step }, "signed_in", String::new()),
            Err(Failed { code, reason }) => {
                let reason = Redactor::builtin().redact(&reason).into_owned();
                (Input::SignInFailed { step, reason }, "sign_in_failed", format!(" {code}"))
            }
        };
        let audit = self.audit_row(decision, &format!("{provider}{detail}"));
        record(&house.store, &self.place(), input, audit).await;
    }

    /// The audit row of a sign-in.
    fn audit_row(
        &self,
        decision: &'static str,
        detail: &str,
    ) -> impl Fn(&Tx<'_>) -> Result<(), StoreError> + Clone + Send + use<> {
        let (workflow, target) = (self.workflow.clone(), on_pane(&self.host, &self.pane));
        let detail = format!("run {}: {} {detail}", self.run, self.alias);
        move |tx: &Tx<'_>| tx.audit_workflow(&workflow, &target, "account", decision, &detail)
    }

    /// Whether the code was entered; `false`: the run waits for it no longer.
    async fn entered(&self, house: &House, action: ActionId, provider: &str) -> Result<bool, Failed> {
        let data = house.providers.get(provider).ok_or_else(|| {
            Failed::new(
                "no_provider",
                format!("there is no sign-in data for {provider:?}: name its file in `sign_in_providers`"),
            )
        })?;
        if let Some(why) = self.paused(house) {
            return Err(Failed::new("paused", why));
        }
        let credentials = house.accounts.credentials(&self.alias).await;
        let credentials = credentials.map_err(|error| Failed::new("credentials", error))?;
        let (url, code) = self.printed(house, action).await?;
        match self.begin(house, provider).await {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => return Err(Failed::new("store", error)),
        }
        // It may have taken long until the node had the code.
        if let Some(why) = self.paused(house) {
            return Err(Failed::new("paused", why));
        }
        let login = DeviceLogin {
            alias: self.alias.clone(),
            provider: data,
            printed_url: &url,
            code,
            credentials,
            deadline: clock::now() + self.until.saturating_duration_since(clock::monotonic()),
        };
        let entered = house.browser.device_login(login).await;
        entered.map(|()| true).map_err(|error| Failed::new(error.code(), error))
    }

    /// Why nothing may be done in the name of this pane, if so.
    fn paused(&self, house: &House) -> Option<String> {
        let address = address(&self.host, &self.pane);
        let labels = house.registry.pane(&address).map(|view| view.labels()).unwrap_or_default();
        let workflow = || house.gate.workflow_paused(&self.workflow);
        house.gate.paused(Some(&address), &labels).or_else(workflow)
    }

    /// Address and code, as the node read them.
    async fn printed(
        &self,
        house: &House,
        action: ActionId,
    ) -> Result<(Zeroizing<String>, Zeroizing<String>), Failed> {
        let about = About::SignIn(v1::ReadSignIn {
            pane: Some(self.pane.clone().into()),
            action_id: action.as_bytes().to_vec(),
            alias: self.alias.to_string(),
        });
        let reply = self.ask(house, about).await.map_err(|error| Failed::new("no_code", error))?;
        let (mut url, mut code) = (Zeroizing::default(), Zeroizing::default());
        for secret in reply.secrets {
            match secret.kind.as_str() {
                "url" => url = Zeroizing::new(secret.value),
                "user_code" => code = Zeroizing::new(secret.value),
                _ => {}
            }
        }
        if url.is_empty() || code.is_empty() {
            return Err(Failed::new(
                "no_code",
                "the node read no address and code of a sign-in that this run began",
            ));
        }
        Ok((url, code))
    }

    /// Writes down that the code is entered from now on; `false`: the run waits for it no longer.
    async fn begin(&self, house: &House, provider: &str) -> Result<bool, StoreError> {
        let (run, step, place) = (self.run, self.step, self.place());
        let audit = self.audit_row("signing_in", provider);
        let begun = house.store.write(move |tx| {
            let waits = |run: &Run| run.step == step && run.status == Status::Preparing { begun: false };
            if !tx.run(run)?.is_some_and(|run| waits(&run)) {
                return Ok(false);
            }
            audit(tx)?;
            tx.inbox_input(&place.host, &place.pane, run, &Input::SigningIn { step }, &place.trace_parent)?;
            Ok(true)
        });
        begun.await
    }
}

#[cfg(test)]
#[path = "errands_tests.rs"]
mod tests;
