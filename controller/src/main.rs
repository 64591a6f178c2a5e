//! `wa-controller`: the program around the library.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use wa_controller::identity::ca::NODE_LIFE;
use wa_controller::identity::rotation::{self, Step};
use wa_controller::policy::PolicyFile;
use wa_controller::signin::chamber;
use wa_controller::store::forget_vault;
use wa_controller::{Config, ConfigFile, Controller, PANES_PER_MINUTE};
use wa_link::files::LockFile;
use wa_link::shutdown::{Hangups, Shutdown, Tasks, on_signals};
use wa_link::{clock, limits, supervisor, telemetry, tls};

/// How long the end may take.
const GRACE: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  wa-controller --data-dir /var/lib/wa --listen 0.0.0.0:7443
  wa-controller --config /etc/wa/controller.toml --check-config
  wa --context-file /var/lib/wa/operator.context.toml fleet token web-1 --out token
";

/// The head of the fleet: global log, identities, workflows.
#[derive(Debug, Parser)]
#[command(version, before_help = EXAMPLES)]
struct Args {
    /// Where database, CA and the operator's context live; made at the first start.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where nodes and operators come in [default: 0.0.0.0:7443].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Where /healthz and /metrics are served, without TLS [default: 127.0.0.1:7480].
    #[arg(long, value_name = "ADDR:PORT")]
    admin_listen: Option<SocketAddr>,
    /// TOML file; flags overrule it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Policy file: who may do what to which panes. It is read again when it changes, and on SIGHUP.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Only checks flags, file, policy and workflows.
    #[arg(long)]
    check_config: bool,
    /// Only takes a step towards another CA, while no controller runs on the directory: prepare, then switch, then
    /// finish, each a day after the other.
    #[arg(long, value_name = "STEP")]
    rotate_ca: Option<Step>,
    /// Only gives up the credentials of all accounts and what waits to be typed, while no controller runs on the
    /// directory: for when the vault's key is lost for good.
    #[arg(long, conflicts_with = "rotate_ca")]
    forget_credentials: bool,
}

impl Args {
    fn config(self) -> anyhow::Result<Config> {
        let file = match &self.config {
            Some(path) => ConfigFile::load(path)?,
            None => ConfigFile::default(),
        };
        let data_dir = self
            .data_dir
            .or_else(|| file.data_dir.clone())
            .context("name the data directory: --data-dir DIR, or data_dir in the file of --config")?;
        let config = Config {
            data_dir,
            listen: self.listen.or(file.listen).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 7443))),
            admin_listen: Some(
                self.admin_listen.or(file.admin_listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7480))),
            ),
            url: file.url.clone(),
            workflows: file.definitions()?,
            enable_workflows: file.enable_workflows.clone(),
            overrides: file.overrides.clone(),
            panes_per_minute: file.panes_per_minute.unwrap_or(PANES_PER_MINUTE),
            vault: file.vault.clone(),
            sign_in_providers: file.sign_in_providers.clone(),
            retention: file.retention.clone(),
            policy: self.policy.or_else(|| file.policy.clone()),
            node_life: NODE_LIFE,
        };
        config.check()?;
        Ok(config)
    }
}

fn main() -> ExitCode {
    const USAGE: u8 = 2;
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = chamber::called(&arguments) {
        return code;
    }
    let args = Args::parse_from(arguments);
    let (check_only, rotate, forget) = (args.check_config, args.rotate_ca, args.forget_credentials);
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("wa-controller: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    if check_only {
        eprintln!("wa-controller: the configuration is good");
        return ExitCode::SUCCESS;
    }
    if let Err(error) = limits::no_core_dumps() {
        eprintln!("wa-controller: a crash may leave its memory, with credentials, in a core dump: {error}");
    }
    let done = match rotate {
        Some(step) => rotate_ca(&config, step),
        None if forget => forget_credentials(&config),
        None => run(config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wa-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn rotate_ca(config: &Config, step: Step) -> anyhow::Result<()> {
    let _lock = LockFile::acquire(&config.data_dir.join("lock"))?;
    let next = rotation::rotate(&config.data_dir.join("ca"), step, clock::now())?;
    eprintln!("wa-controller: {next}");
    Ok(())
}

fn forget_credentials(config: &Config) -> anyhow::Result<()> {
    let _lock = LockFile::acquire(&config.data_dir.join("lock"))?;
    let path = config.data_dir.join("state.db");
    anyhow::ensure!(path.exists(), "there is no database {}: nothing was given up", path.display());
    let forgotten = forget_vault(&path, clock::now())?;
    eprintln!(
        "wa-controller: {} credentials and {} actions were given up; bring the credentials again with `wa account update`",
        forgotten.credentials, forgotten.actions
    );
    Ok(())
}

fn run(config: Config) -> anyhow::Result<()> {
    tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(async {
        let telemetry = telemetry::init(&telemetry::Options {
            service_name: "wa-controller",
            service_version: env!("CARGO_PKG_VERSION"),
            default_level: "info",
            attributes: Vec::new(),
        })?;
        raise_limits();
        let tasks = Tasks::new(Shutdown::new());
        on_signals(&tasks).context("cannot handle signals")?;
        let hangups = Hangups::new().context("cannot handle signals")?;
        let running = Box::pin(Controller::start(config, tasks.clone())).await?;
        eprintln!(
            "wa-controller: listening on {}; operator context {}",
            running.url,
            running.operator_context.display()
        );
        reload_on(hangups, running.policy_file().cloned(), &tasks);
        supervisor::ready(&format!("listening on {}", running.url));
        tasks.shutdown().triggered().await;
        supervisor::stopping();
        let finished = tasks.finish(GRACE).await;
        running.log_trail_end().await;
        drop(running);
        telemetry.finish(Duration::from_secs(2)).await;
        match finished.failure {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    })
}

/// SIGHUP has the policy read again.
fn reload_on(mut hangups: Hangups, policy: Option<Arc<PolicyFile>>, tasks: &Tasks) {
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("hangup", async move {
        loop {
            tokio::select! {
                () = hangups.next() => match &policy {
                    Some(file) => file.reload(),
                    None => tracing::info!("there is nothing to read again: no policy file was named"),
                },
                () = shutdown.triggered() => return,
            }
        }
    });
}

/// Every node is an open file, and so is whoever asks.
fn raise_limits() {
    const FEW: u64 = 4096;
    match limits::raise_open_files() {
        Ok(Some(files)) if files < FEW => {
            tracing::warn!(
                files,
                "few open files are allowed: a node more than that is not let in; raise the hard limit (LimitNOFILE=)"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit on open files was not raised"),
    }
}
