//! `wa-node`: arguments in, exit code out.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use wa_link::shutdown::{self, Hangups, Shutdown, Tasks};
use wa_link::{supervisor, telemetry, tls};
use wa_node::config::{Arguments, Config};
use wa_node::enroll::Enrolment;
use wa_node::observer::MuxSocket;
use wa_proto::Host;

const EXAMPLES: &str = "\
Examples:
  wa-node enroll --controller https://control.example.org:7443 --token-file token --state-dir /var/lib/wa-node
  wa-node run --state-dir /var/lib/wa-node
  wa-node run --state-dir DIR --mux-socket /run/user/1000/wezterm/sock --mux-socket gui=/run/user/1000/wezterm/gui-sock-42
  wa-node run --state-dir DIR --config node.toml --check-config
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    tls::install_provider();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("wa-node: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Enroll(arguments) => enroll(arguments).await,
            Command::Run(arguments) => Box::pin(run(arguments)).await,
        }
    });
    // A blocked disk must not keep the program from ending.
    runtime.shutdown_timeout(Duration::from_millis(500));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wa-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn enroll(arguments: Enroll) -> anyhow::Result<()> {
    let Enroll { controller, token_file, state_dir, name } = arguments;
    let enrolment = Enrolment { controller, token_file, state_dir, name };
    let name = Box::pin(wa_node::enroll::enroll(&enrolment)).await?;
    let state_dir = enrolment.state_dir.display();
    eprintln!("enrolled as {name}; now: wa-node run --state-dir {state_dir}");
    Ok(())
}

async fn run(arguments: Run) -> anyhow::Result<()> {
    let check = arguments.check_config;
    let config = Config::resolve(
        Arguments {
            state_dir: arguments.state_dir,
            mux_sockets: arguments.mux_socket,
            policy: arguments.policy,
            file: arguments.config,
        },
        |name| std::env::var(name).ok(),
    )?;
    if check {
        return check_config(&config);
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
    let ended = tasks.shutdown().triggered();
    tasks.spawn("reload", async move {
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = hangups.next() => tracing::info!("the policy is read again by itself whenever it has changed"),
                () = &mut ended => return,
            }
        }
    });
    supervisor::ready("watching");
    let done = Box::pin(wa_node::run(config, tasks.shutdown().clone())).await;
    supervisor::stopping();
    drop(tasks.finish(Duration::from_secs(1)).await);
    telemetry.finish(Duration::from_secs(2)).await;
    Ok(done?)
}

fn check_config(config: &Config) -> anyhow::Result<()> {
    config.engine()?;
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
