//! `wa-node`: arguments in, exit code out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use futures_util::future::BoxFuture;
use wa_link::shutdown::{self, Hangups, Shutdown, Tasks};
use wa_link::{cause, limits, supervisor, telemetry, tls};
use wa_node::config::{Arguments, Config};
use wa_node::enroll::{Enrolled, Enrolment};
use wa_node::hook::client;
use wa_node::last_words::{self, Exec};
use wa_node::observer::MuxSocket;
use wa_node::rules::LocalPacks;
use wa_proto::Host;

const EXAMPLES: &str = "\
Examples:
  wa-node enroll --controller https://control.example.org:7443 --token-file token --state-dir /var/lib/wa-node
  wa-node run --state-dir /var/lib/wa-node
  wa-node run --state-dir DIR --mux-socket /run/user/1000/wezterm/sock --mux-socket gui=/run/user/1000/wezterm/gui-sock-42
  wa-node run --state-dir DIR --config node.toml --check-config
  wa-node exec -- make test
";

/// Watches the WezTerm panes of this host for a wa-controller, and types what policy and controller allow.
#[derive(Parser)]
#[command(name = "wa-node", version, before_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Join a fleet, once, with a token from `wa fleet token`
    Enroll(Enroll),
    /// Watch and act until told to stop
    Run(Run),
    /// Run a command in this terminal so that its last output and its exit status are seen
    Exec(Exec),
    /// What the agents' hooks run: tell the node of this host what an agent says of itself
    Hook(Hook),
}

#[derive(Args)]
struct Enroll {
    /// Where the controller listens, https://HOST:PORT
    #[arg(long, value_name = "URL")]
    controller: String,
    /// File with the token; delete it afterwards
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Where identity, spool, journal and policy live
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// Refuse a token for any other name
    #[arg(long)]
    name: Option<Host>,
    /// Also where a host is enrolled already. Another name leaves the records behind that wait there
    #[arg(long)]
    replace: bool,
}

#[derive(Args)]
struct Run {
    /// Where identity, spool, journal and policy live
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// Socket of a mux server; the first without a name is `main`. Found by itself when none is named
    #[arg(long, value_name = "[NAME=]PATH")]
    mux_socket: Vec<MuxSocket>,
    /// Configuration in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What may be typed on this host; DIR/policy.toml by default
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Check configuration and policy, and stop
    #[arg(long)]
    check_config: bool,
}

/// Installed by `wa hooks install`. Prints nothing and always ends well: an agent takes either for advice.
#[derive(Args)]
struct Hook {
    /// Where the node's state is
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// claude, codex or gemini
    agent: String,
    /// What happened, where the JSON does not say it itself
    event: Option<String>,
    /// What the agent says, where it does not write it to standard input
    json: Option<OsString>,
}

/// The arguments; `None` when they are a hook's and wrong, for an agent must not hear of it.
fn arguments() -> Option<Cli> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Some(cli),
        Err(error) => error,
    };
    let is_hook = std::env::args_os().nth(1).is_some_and(|first| first == "hook");
    if is_hook && error.use_stderr() {
        return None;
    }
    error.exit()
}

fn hook(arguments: Hook) -> ExitCode {
    let Hook { state_dir, agent, event, json } = arguments;
    client::tell(&client::Call { state_dir, agent, event, json });
    ExitCode::SUCCESS
}

/// Threads for all that is not a disk: the node stays small on a host with a hundred cores.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let Some(cli) = arguments() else { return ExitCode::SUCCESS };
    let work: BoxFuture<'static, anyhow::Result<()>> = match cli.command {
        Command::Enroll(arguments) => Box::pin(enroll(arguments)),
        Command::Run(arguments) => Box::pin(run(arguments)),
        Command::Exec(exec) => return last_words::run(&exec),
        Command::Hook(arguments) => return hook(arguments),
    };
    tls::install_provider();
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("wa-node: no runtime: {error}");
                return ExitCode::FAILURE;
            }
        };
    let done = runtime.block_on(work);
    // A blocked disk must not keep the program from ending.
    runtime.shutdown_timeout(Duration::from_millis(500));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wa-node: {}", cause::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn enroll(arguments: Enroll) -> anyhow::Result<()> {
    let Enroll { controller, token_file, state_dir, name, replace } = arguments;
    let enrolment = Enrolment { controller, token_file, state_dir, name, replace };
    let Enrolled { name, notes } = Box::pin(wa_node::enroll::enroll(&enrolment)).await?;
    for note in notes {
        eprintln!("wa-node: {note}");
    }
    let state_dir = enrolment.state_dir.display();
    eprintln!("enrolled as {name}; now: wa-node run --state-dir {state_dir}");
    Ok(())
}

async fn run(arguments: Run) -> anyhow::Result<()> {
    let check = arguments.check_config;
    let given = Arguments {
        state_dir: arguments.state_dir,
        mux_sockets: arguments.mux_socket,
        policy: arguments.policy,
        file: arguments.config,
    };
    let config = Config::resolve(given.clone(), |name| std::env::var(name).ok())?;
    if check {
        return check_config(&config);
    }
    // It holds keys of accounts and codes of sign-ins, and the agents run as the same user.
    if let Err(error) = limits::no_core_dumps() {
        eprintln!("wa-node: a crash may leave its memory, with codes and keys, in a core dump: {error}");
    }
    let options = telemetry::Options {
        service_name: "wa-node",
        service_version: env!("CARGO_PKG_VERSION"),
        default_level: "info",
        attributes: Vec::new(),
    };
    let telemetry = telemetry::init(&options)?;
    let tasks = Tasks::new(Shutdown::new());
    shutdown::on_signals(&tasks)?;
    let mut hangups = Hangups::new()?;
    let (reload, reloads) = wa_node::rules::reloads();
    let ended = tasks.shutdown().triggered();
    tasks.spawn("reload", async move {
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = hangups.next() => {
                    tracing::info!("rule packs are read again; the policy is by itself whenever it has changed");
                    reload.packs(rule_packs(given.clone()).await).await;
                }
                () = &mut ended => return,
            }
        }
    });
    supervisor::ready("watching");
    let done = Box::pin(wa_node::node::run_with(config, reloads, tasks.shutdown().clone())).await;
    supervisor::stopping();
    drop(tasks.finish(Duration::from_secs(1)).await);
    telemetry.finish(Duration::from_secs(2)).await;
    Ok(done?)
}

/// The local packs that the configuration names by now.
async fn rule_packs(given: Arguments) -> Result<LocalPacks, String> {
    let read = move || Config::resolve(given, |name| std::env::var(name).ok());
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(config)) => Ok(config.rule_packs),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn check_config(config: &Config) -> anyhow::Result<()> {
    config.rule_packs.engine(&config.rule_packs.read()?)?;
    config.capture()?;
    if config.policy.exists() {
        let text = std::fs::read_to_string(&config.policy)?;
        wa_node::policy::Policy::parse(&text, &config.policy).map_err(anyhow::Error::msg)?;
    } else {
        eprintln!("no policy at {}: this host would only observe", config.policy.display());
    }
    for socket in &config.mux_sockets {
        eprintln!("mux {}: {}", socket.name, socket.path.display());
    }
    eprintln!("configuration is good");
    Ok(())
}
