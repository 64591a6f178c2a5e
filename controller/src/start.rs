//! Putting the controller together, and taking it apart in order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::util::MapRequestLayer;
use wa_link::files::{self, FileError, LockFile};
use wa_link::net::Listener;
use wa_link::shutdown::Tasks;
use wa_link::tls::{self, ServerIdentity, TlsError};
use wa_link::{accept, clock};
use wa_proto::Timestamp;
use wa_proto::wire::v1::enrollment_server::EnrollmentServer;
use wa_proto::wire::v1::fleet_server::FleetServer;
use wa_proto::wire::v1::node_link_server::NodeLinkServer;
use wa_workflow::Status;

use crate::accounts::Accounts;
use crate::accounts::keys::{KeyFileError, Sources};
use crate::admin::{self, Admin};
use crate::api::Fleet;
use crate::config::{Config, InvalidConfig, all_workflows, providers};
use crate::context::{self, OperatorContextError};
use crate::gate::Gate;
use crate::identity::Doorkeeper;
use crate::identity::ca::{Authority, CaError};
use crate::identity::join::{Enrollment, RateLimit};
use crate::identity::recover::Nonces;
use crate::identity::refused::{Refused, remember_path};
use crate::metrics::Metrics;
use crate::orchestrator::{Alarm, Errands, House, Orchestrator, pane_inputs, run_errands, run_timers};
use crate::policy::{self, Policy, PolicyFile};
use crate::registry::Registry;
use crate::retention;
use crate::session::NodeLink;
use crate::signin::{Browser, BrowserConfig};
use crate::store::{Observer, Store, StoreError};

/// Largest message of each service.
const SESSION_MESSAGE: usize = 8 * 1024 * 1024;
const FLEET_MESSAGE: usize = 1024 * 1024;
const JOIN_MESSAGE: usize = 64 * 1024;
/// Calls of one client at a time.
const STREAMS: u32 = 256;
/// How often the controller's certificate is compared with the clock.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(60);
/// How often changed nodes and panes are stored.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// Why a controller does not start, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] KeyFileError),
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Context(#[from] OperatorContextError),
    #[error(
        "cannot listen on {address}: {source}; another program may have the port, choose another with {flag}"
    )]
    Listen { address: SocketAddr, flag: &'static str, source: io::Error },
    #[error("the start was interrupted")]
    Interrupted,
}

/// The controller; see [`Self::start`].
pub struct Controller;

/// A controller that runs until its tasks are finished. Keep it until then: it holds the lock on the data directory.
pub struct Running {
    /// Where nodes and operators come in.
    pub local_addr: SocketAddr,
    pub admin_addr: Option<SocketAddr>,
    /// The context file by which everything may be done.
    pub operator_context: PathBuf,
    /// The URL in that context.
    pub url: String,
    parts: Parts,
    _lock: LockFile,
}

impl Running {
    pub fn store(&self) -> &Arc<Store> {
        &self.parts.store
    }

    pub fn registry(&self) -> &Arc<Registry> {
        &self.parts.registry
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.parts.metrics
    }

    /// Logs where the audit trail ends now, to be kept elsewhere: at the end, when nothing is written any more.
    pub async fn log_trail_end(&self) {
        log_trail_end(&self.parts.store).await;
    }

    /// The policy file, if there is one.
    pub fn policy_file(&self) -> Option<&Arc<PolicyFile>> {
        self.parts.policy_file.as_ref()
    }
}

/// What the services share.
#[derive(Clone)]
struct Parts {
    store: Arc<Store>,
    registry: Arc<Registry>,
    gate: Arc<Gate>,
    accounts: Accounts,
    authority: Arc<Authority>,
    doorkeeper: Arc<Doorkeeper>,
    refused: Arc<Refused>,
    metrics: Arc<Metrics>,
    alarm: Arc<Alarm>,
    errands: Arc<Errands>,
    /// Runs whose errand ended with the controller before this one.
    lost: Vec<wa_workflow::Run>,
    definitions: Arc<Vec<wa_workflow::Definition>>,
    policy_file: Option<Arc<PolicyFile>>,
}

impl Controller {
    /// Starts a controller on `tasks`; it ends with their shutdown.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing keeps running then.
    pub async fn start(config: Config, tasks: Tasks) -> Result<Running, StartError> {
        let data_dir = config.data_dir.clone();
        let automation = Automation {
            workflows: Arc::new(all_workflows(config.workflows, &config.enable_workflows)?),
            overrides: config.overrides,
            panes_per_minute: config.panes_per_minute,
        };
        let of_tasks = tasks.clone();
        let opening = tasks.spawn_blocking("open the data directory", move || {
            files::create_private_dir(&data_dir)?;
            let lock = LockFile::acquire(&data_dir.join("lock"))?;
            let authority = Authority::open(&data_dir.join("ca"), clock::now())?;
            let authority = authority.with_node_life(config.node_life);
            let policy = config.policy.map(PolicyFile::open).transpose().map_err(InvalidConfig::from)?;
            let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            let sources = Sources::find(&config.vault, credentials.as_deref(), &data_dir)?;
            let mut parts = open(&data_dir.join("state.db"), sources, authority, automation, of_tasks)?;
            let providers = providers(&config.sign_in_providers)?;
            parts.accounts = parts.accounts.by(&providers);
            Ok::<_, StartError>((lock, parts, policy, providers))
        });
        let (lock, mut parts, policy, providers) = opening.await.map_err(|_| StartError::Interrupted)??;
        log_trail_end(&parts.store).await;
        if let Some((file, policy)) = policy {
            parts.policy_file = Some(Arc::new(file));
            put_in_force(&parts, policy, &tasks).await;
        }

        let listener = Listener::bind(config.listen).await.map_err(no_listener(config.listen, "--listen"))?;
        let local_addr = listener.local_addr().map_err(no_listener(config.listen, "--listen"))?;
        let url = config.url.unwrap_or_else(|| context::local_url(local_addr));
        let operator_context = config.data_dir.join("operator.context.toml");
        let Parts { authority, doorkeeper, store, .. } = &parts;
        context::ensure(&operator_context, &url, authority, doorkeeper, store, clock::now()).await?;
        let admin_addr = match config.admin_listen {
            Some(address) => Some(serve_admin(address, &parts, &tasks).await?),
            None => None,
        };
        match parts.store.write(|tx| tx.take_in_unknown()).await {
            Ok(0) => {}
            Ok(taken) => {
                tracing::info!(taken, "records that an older version could not read are in the log now")
            }
            // They are still there for the next start.
            Err(error) => tracing::error!(%error, "records of an unknown kind could not be read again"),
        }
        serve(listener, &parts, &tasks)?;
        let (of_approvals, shutdown) = (parts.clone(), tasks.shutdown().clone());
        tasks.spawn("look at what is held", async move {
            let Parts { store, registry, gate, .. } = &of_approvals;
            policy::look(store, registry, gate, &shutdown).await;
        });
        let house = House {
            store: Arc::clone(&parts.store),
            registry: Arc::clone(&parts.registry),
            gate: Arc::clone(&parts.gate),
            accounts: parts.accounts.clone(),
            providers,
            browser: Browser::new(BrowserConfig::new(&config.data_dir, tasks.clone())),
        };
        let lost = parts.lost.clone();
        tasks.spawn("errands", run_errands(house, Arc::clone(&parts.errands), lost, tasks.clone()));
        let (of_timers, shutdown) = (parts.clone(), tasks.shutdown().clone());
        tasks.spawn("timers", async move {
            run_timers(&of_timers.store, &of_timers.alarm, &shutdown).await;
        });
        let (of_keeper, shutdown) = (parts.clone(), tasks.shutdown().clone());
        tasks.spawn("keep the fleet's state", async move {
            while tokio::time::timeout(KEEP_EVERY, shutdown.triggered()).await.is_err() {
                keep(&of_keeper).await;
            }
            keep(&of_keeper).await;
        });
        let (of_sweeper, shutdown, kept_for) =
            (Arc::clone(&parts.store), tasks.shutdown().clone(), config.retention);
        tasks.spawn("remove what is over", async move {
            retention::run(&of_sweeper, &kept_for, &shutdown).await;
        });
        tracing::info!(%local_addr, url, "the controller is up");
        Ok(Running { local_addr, admin_addr, operator_context, url, parts, _lock: lock })
    }
}

/// Whoever keeps the logs elsewhere can compare: `wa audit verify --head`.
async fn log_trail_end(store: &Store) {
    let end = match store.audit_end().await {
        Ok(end) => end,
        Err(error) => {
            return tracing::error!(%error, "where the audit trail ends could not be read");
        }
    };
    match (end.problem(), end.last) {
        (Some(problem), _) => tracing::error!(
            problem,
            "rows of the audit trail were taken away or changed: see `wa audit verify`, and compare with a backup"
        ),
        (None, Some(head)) => tracing::info!(%head, "the audit trail ends here"),
        (None, None) => {}
    }
}

/// The policy that was read at the start holds from now on, until its file says something else.
async fn put_in_force(parts: &Parts, policy: Policy, tasks: &Tasks) {
    let Some(file) = parts.policy_file.clone() else { return };
    let (store, gate, shutdown) =
        (Arc::clone(&parts.store), Arc::clone(&parts.gate), tasks.shutdown().clone());
    file.put_in_force(policy, &gate, &store).await;
    tasks.spawn("policy file", async move { file.follow(&gate, &store, &shutdown).await });
}

/// What is done without a person.
struct Automation {
    workflows: Arc<Vec<wa_workflow::Definition>>,
    overrides: Vec<wa_workflow::Override>,
    panes_per_minute: u32,
}

/// Opens the database and fills from it what lives in memory.
fn open(
    path: &std::path::Path,
    sources: Sources,
    authority: Authority,
    automation: Automation,
    tasks: Tasks,
) -> Result<Parts, StartError> {
    let metrics = Arc::new(Metrics::default());
    let definitions = Arc::clone(&automation.workflows);
    let mut of_kept = None;
    let observer = |kept: &crate::store::Kept| -> Arc<dyn Observer> {
        let registry = Arc::new(Registry::from_kept(&kept.nodes));
        let gate = Arc::new(Gate::from_kept(&kept.actions, &kept.pauses, automation.panes_per_minute));
        for run in &kept.runs {
            // Its node is away; the next report will tell.
            registry.watch(&run.trigger.host, &run.trigger.pane, clock::monotonic());
        }
        let Automation { workflows, overrides, .. } = automation;
        let orchestrator =
            Arc::new(Orchestrator::new(workflows, overrides, Arc::clone(&registry), Arc::clone(&gate)));
        of_kept = Some((registry, gate, orchestrator.alarm(), orchestrator.errands()));
        orchestrator
    };
    let (store, kept) = Store::open(path, sources, observer, Arc::clone(&metrics), clock::now())?;
    let (registry, gate, alarm, errands) = of_kept.ok_or(StartError::Interrupted)?;
    let store = Arc::new(store);
    let refused = Arc::new(Refused::new(Arc::clone(&store), Arc::clone(&metrics), tasks));
    let doorkeeper = Arc::new(Doorkeeper::new(store.revoked(), Arc::clone(&refused)));
    let data_dir = path.parent().unwrap_or(std::path::Path::new("."));
    Ok(Parts {
        accounts: Accounts::new(Arc::clone(&store), data_dir.to_owned()),
        store,
        registry,
        gate,
        authority: Arc::new(authority),
        doorkeeper,
        refused,
        metrics,
        alarm,
        errands,
        lost: kept.runs.into_iter().filter(|run| interrupted(run, &definitions)).collect(),
        definitions,
        policy_file: None,
    })
}

/// Whether a run has to hear of the restart: what was prepared for it is lost, or its workflow is another now, which ends it.
/// What acts waits for its outcome first.
fn interrupted(run: &wa_workflow::Run, definitions: &[wa_workflow::Definition]) -> bool {
    match run.status {
        Status::Preparing { .. } => true,
        Status::Waiting { .. } | Status::Asking => !definitions.iter().any(|one| one.is_of(run)),
        Status::Acting { .. } | Status::Ended { .. } => false,
    }
}

fn no_listener(address: SocketAddr, flag: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Listen { address, flag, source }
}

async fn serve_admin(address: SocketAddr, parts: &Parts, tasks: &Tasks) -> Result<SocketAddr, StartError> {
    let listener = TcpListener::bind(address).await.map_err(no_listener(address, "--admin-listen"))?;
    let local_addr = listener.local_addr().map_err(no_listener(address, "--admin-listen"))?;
    let admin = Arc::new(Admin {
        store: Arc::clone(&parts.store),
        registry: Arc::clone(&parts.registry),
        metrics: Arc::clone(&parts.metrics),
        policy_file: parts.policy_file.clone(),
    });
    tasks.spawn("admin address", admin::serve(listener, admin, tasks.shutdown().clone()));
    tracing::info!(admin = %local_addr, "health and metrics are told");
    Ok(local_addr)
}

/// Serves the three services over TLS until the shutdown.
fn serve(listener: Listener, parts: &Parts, tasks: &Tasks) -> Result<(), StartError> {
    let Parts { store, registry, gate, authority, doorkeeper, metrics, definitions, policy_file, .. } =
        parts.clone();
    let identity = authority.server_identity(clock::now())?;
    let held = tls::certificate_validity(&identity.certificate_pem)?;
    let server_identity = ServerIdentity::new(&identity)?;
    let tls = tls::server_config_with(Arc::clone(&server_identity), authority.certificate_pem())?;
    renew_server(server_identity, held, Arc::clone(&authority), tasks);

    let enrollment = Enrollment {
        store: Arc::clone(&store),
        authority: Arc::clone(&authority),
        registry: Arc::clone(&registry),
        metrics: Arc::clone(&metrics),
        limits: RateLimit::new(clock::monotonic()),
        recovery_limits: RateLimit::new(clock::monotonic()),
        nonces: Nonces::default(),
    };
    let node_link = NodeLink {
        store: Arc::clone(&store),
        registry: Arc::clone(&registry),
        gate: Arc::clone(&gate),
        authority: Arc::clone(&authority),
        doorkeeper: Arc::clone(&doorkeeper),
        metrics,
        refusals: Arc::default(),
        tasks: tasks.clone(),
    };
    let checking = Arc::new(Semaphore::new(1));
    let fleet = Fleet {
        store,
        registry,
        gate,
        accounts: parts.accounts.clone(),
        authority,
        doorkeeper,
        definitions,
        policy_file,
        checking,
        tasks: tasks.clone(),
    };
    let refused = Arc::clone(&parts.refused);
    let incoming = accept::incoming_watched(listener, tls, tasks, move |failed| refused.handshake(failed));
    let router = accept::server()
        .layer(MapRequestLayer::new(remember_path))
        .max_concurrent_streams(Some(STREAMS))
        .add_service(EnrollmentServer::new(enrollment).max_decoding_message_size(JOIN_MESSAGE))
        .add_service(NodeLinkServer::new(node_link).max_decoding_message_size(SESSION_MESSAGE))
        .add_service(FleetServer::new(fleet).max_decoding_message_size(FLEET_MESSAGE));
    let shutdown = tasks.shutdown().triggered();
    tasks.spawn_critical("grpc server", router.serve_with_incoming_shutdown(incoming, shutdown));
    Ok(())
}

/// The controller's own certificate is replaced at half life, and when the clock was set so that it does not hold: one
/// that was wrong at the start would keep every node away once it is right. `held`: from when to when the first one holds.
fn renew_server(
    server: Arc<ServerIdentity>,
    mut held: (Timestamp, Timestamp),
    authority: Arc<Authority>,
    tasks: &Tasks,
) {
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("renew the controller's certificate", async move {
        while tokio::time::timeout(CERTIFICATE_EVERY, shutdown.triggered()).await.is_err() {
            let now = clock::now();
            if !wants_renewal(held, now) {
                continue;
            }
            let renewed = authority.server_identity(now).map_err(StartError::from).and_then(|identity| {
                server.replace(&identity)?;
                Ok(tls::certificate_validity(&identity.certificate_pem)?)
            });
            match renewed {
                Ok(renewed) => held = renewed,
                Err(error) => tracing::error!(
                    %error,
                    "the controller's certificate was not renewed; restart it before it runs out"
                ),
            }
        }
    });
}

/// Whether a certificate that holds from then to then does not yet, or is past half of its life.
fn wants_renewal((from, to): (Timestamp, Timestamp), now: Timestamp) -> bool {
    now < from || now.duration_since(from) > to.duration_since(from) / 2
}

/// Gives up panes that were not found again, and stores what changed of nodes and panes. What could not be stored is
/// tried again.
async fn keep(parts: &Parts) {
    for (host, gone) in parts.registry.give_up_unseen(clock::monotonic()) {
        let (of, panes) = (host.clone(), gone.clone());
        let told = parts.store.write(move |tx| pane_inputs(tx, &of, &panes)).await;
        if let Err(error) = told {
            tracing::warn!(%error, "runs were not told that their pane is gone; trying again");
            parts.registry.not_told(&host, &gone);
        }
    }
    if let Err((hosts, error)) = parts.store.save_nodes(parts.registry.take_changes()).await {
        parts.registry.not_stored(&hosts);
        tracing::warn!(%error, hosts = hosts.len(), "the state of nodes was not stored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_replaced_at_half_life_and_when_the_clock_was_ahead() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let held = (at("2026-03-02T11:55:00Z"), at("2026-05-31T12:00:00Z"));
        assert!(!wants_renewal(held, at("2026-03-02T12:00:00Z")));
        assert!(!wants_renewal(held, at("2026-04-15T00:00:00Z")));
        assert!(wants_renewal(held, at("2026-04-17T00:00:00Z")));
        assert!(
            wants_renewal(held, at("2026-03-01T12:00:00Z")),
            "the clock was a day ahead when it was made"
        );
    }
}
