//! `wa`: what people and agents type.
//!
//! The hand of the house. It talks gRPC to a controller and opens no database; `wa up` runs node and controller in its
//! own process. Under the name of an agent (`claude`, `codex`, `gemini`; a link that `wa up --demo` makes) the program
//! plays that agent.

mod args;
mod client;
mod command;
mod context;
mod failure;
mod hooks;
mod output;
mod prompt;
mod secrets;
mod shape;
mod target;
mod up;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use wa_embedded_mux::demo;
use wa_link::{telemetry, tls};

use crate::args::{Cli, Command};
use crate::command::say;
use crate::context::Surroundings;
use crate::failure::{Exit, Failure};
use crate::output::{Look, Out};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if demo::is_agent(arguments.first()) {
        return demo::agent_main(arguments);
    }
    // `wa exec -- CMD`, in panes that `wa up` opens: the node's own subcommand.
    if let Some(code) = wa_node::last_words::called(&arguments) {
        return code;
    }
    // Beside the browser of a sign-in, which the controller of `wa up` starts.
    if let Some(code) = wa_controller::signin::chamber::called(&arguments) {
        return code;
    }
    let mut cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, mistakes to standard error; either may be closed.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    ExitCode::from(end(run(&mut cli)).code())
}

/// Says what went wrong, if anything.
fn end(result: Result<Exit, Failure>) -> Exit {
    let failure = match result {
        Ok(exit) => return exit,
        Err(failure) => failure,
    };
    if !failure.message.is_empty() {
        let printable = |text: &str| output::text::printable(text, output::text::Keep::Layout);
        say(&format!("wa: {}", printable(&failure.message)));
        if let Some(remedy) = &failure.remedy {
            say(&printable(remedy));
        }
    }
    failure.exit
}

fn run(cli: &mut Cli) -> Result<Exit, Failure> {
    if let Some(Command::Send(args)) = &mut cli.command {
        command::read_text(args)?;
    }
    let variable = |name: &str| std::env::var_os(name);
    let around = Surroundings { variable: &variable, runs: &up::pointer::is_running };
    if let Some(Command::Account(account)) = &mut cli.command {
        command::check_account(account)?;
        // Nobody is asked for a password that could go nowhere.
        context::choose(&cli.globals, &around)?;
        command::gather(account)?;
    }
    let cli = &*cli;
    let mut out = Out::stdout(Look::of_stdout(cli.globals.output, wa_link::clock::now()));
    if cli.globals.check_config {
        let choice = context::choose(&cli.globals, &around)?;
        wa_link::context::Context::load(&choice.file).map_err(|error| Failure::usage(error.to_string()))?;
        out.line(&format!("{} ({})", choice.file.display(), choice.found))?;
        out.flush()?;
        return Ok(Exit::Done);
    }
    match &cli.command {
        None => command::quick_start(&mut out).map(|()| Exit::Done),
        Some(Command::Help { command }) if command.is_empty() => {
            command::quick_start(&mut out).map(|()| Exit::Done)
        }
        Some(Command::Help { command }) => command::topic(&mut out, command).map(|()| Exit::Done),
        Some(Command::Hooks(args)) => command::hooks(args, &around, &mut out),
        Some(Command::Rules(args)) if !command::asks(args) => command::here(args, &mut out),
        Some(Command::Workflow(args::Workflow::Validate { files })) => command::validate(files),
        Some(Command::Workflow(args::Workflow::Run(args))) => command::rehearse(args, &mut out),
        Some(Command::Schema) => command::schema(&mut out).map(|()| Exit::Done),
        Some(command) => on_runtime(command, cli, &around, &mut out),
    }
}

fn on_runtime(
    command: &Command,
    cli: &Cli,
    around: &Surroundings<'_>,
    out: &mut Out,
) -> Result<Exit, Failure> {
    tls::install_provider();
    let runtime = match command {
        Command::Up(_) => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    };
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let result = runtime.block_on(Box::pin(async {
        let telemetry = telemetry::init(&telemetry::Options {
            service_name: "wa",
            service_version: env!("CARGO_PKG_VERSION"),
            default_level: "warn",
            attributes: Vec::new(),
        })
        .map_err(|error| Failure::usage(error.to_string()))?;
        let result = match command {
            Command::Up(args) => up::up(args, around, out).await,
            command => interruptible(command::ask(command, &cli.globals, around, out)).await,
        };
        telemetry.finish(std::time::Duration::from_secs(1)).await;
        result
    }));
    // Standard input may be waited for in a thread that nothing ends.
    runtime.shutdown_background();
    result
}

/// A command, or Ctrl-C, or SIGTERM. Listens before the command does anything: from the first connection on an interrupt is
/// answered by its exit code. Whoever asked for a secret has handlers for both already.
async fn interruptible(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let unheard = |error| Failure::failed(format!("cannot listen for signals: {error}"));
    let mut interrupts = signal(SignalKind::interrupt()).map_err(unheard)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(unheard)?;
    tokio::select! {
        result = command => result,
        _ = interrupts.recv() => Err(Failure { message: String::new(), ..Failure::interrupted() }),
        _ = terminations.recv() => Err(Failure { message: String::new(), ..Failure::interrupted() }),
    }
}
