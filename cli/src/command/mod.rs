//! The commands: each asks the controller something and prints the answer.

mod accounts;
mod act;
mod events;
mod fleet;
mod help;
mod hooks;
mod identity;
mod logs;
mod notice;
mod oversight;
mod pause;
mod reserved;
mod rules;
mod run;
mod schema;
mod screen;
mod search;
mod status;
mod wait;
mod workflow;

pub(crate) use accounts::{check as check_account, gather};
pub(crate) use act::read_text;
pub(crate) use help::{quick_start, topic};
pub(crate) use hooks::hooks;
pub(crate) use rules::{asks, here};
pub(crate) use run::runs;
pub(crate) use schema::schema;
pub(crate) use search::hits;
pub(crate) use status::panes;
pub(crate) use workflow::{rehearse, validate};

use std::io::Write as _;

use crate::args::{Command, Fleet, Globals, Operator, Policy, Workflow};
use crate::client::{self, Session};
use crate::context::{self, Surroundings};
use crate::failure::{Exit, Failure};
use crate::output::Out;

/// What a command works with.
pub(crate) struct Desk<'a> {
    pub(crate) session: Session,
    pub(crate) out: &'a mut Out,
}

/// Says something that is no data. Standard error may be closed; then nobody wants to know.
pub(crate) fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

/// Runs a command that asks the controller.
pub(crate) async fn ask(
    command: &Command,
    globals: &Globals,
    around: &Surroundings<'_>,
    out: &mut Out,
) -> Result<Exit, Failure> {
    // What is wrong with the line is said even when no controller answers.
    check(command, out)?;
    let choice = context::choose(globals, around)?;
    let session = client::open(&choice, globals.timeout).await?;
    let mut desk = Desk { session, out };
    let desk = &mut desk;
    match command {
        Command::Status(args) => status::status(desk, args).await,
        Command::Fleet(Fleet::Status) => fleet::status(desk).await,
        Command::Fleet(Fleet::Token(args)) => fleet::token(desk, args).await,
        Command::Fleet(Fleet::Revoke(args)) => identity::revoke(desk, args).await,
        Command::Fleet(Fleet::Operator(command)) => identity::operator(desk, command).await,
        Command::Screen(args) => screen::screen(desk, args).await,
        Command::Show(args) => status::show(desk, args).await,
        Command::Logs(args) => logs::logs(desk, args).await,
        Command::Search(args) => search::search(desk, args).await,
        Command::Events(args) => events::events(desk, args).await,
        Command::Wait(args) => wait::wait(desk, args).await,
        Command::Send(args) => act::send(desk, args).await,
        Command::Keys(args) => act::keys(desk, args).await,
        Command::Kill(args) => act::kill(desk, args).await,
        Command::Spawn(args) => act::spawn(desk, args).await,
        Command::Pause(args) => pause::pause(desk, args, true).await,
        Command::Unpause(args) => pause::pause(desk, args, false).await,
        Command::Run(command) => run::run(desk, command).await,
        Command::Workflow(Workflow::List) => workflow::list(desk).await,
        Command::Workflow(Workflow::Show { name }) => workflow::show(desk, name).await,
        Command::Workflow(Workflow::Validate { files }) => validate(files),
        Command::Notice(command) => notice::notice(desk, command).await,
        Command::Account(command) => accounts::account(desk, command).await,
        Command::SwitchAccount(args) => accounts::switch(desk, args).await,
        Command::Approve(args) => oversight::decide(desk, args, false).await,
        Command::Deny(args) => oversight::decide(desk, args, true).await,
        Command::Approval(command) => oversight::approval(desk, command).await,
        Command::Audit(args) => oversight::audit(desk, args).await,
        Command::Policy(Policy::Test(args)) => oversight::test_policy(desk, args).await,
        Command::Rules(args) => rules::there(desk, args).await,
        Command::Workflow(Workflow::Run(args)) => rehearse(args, desk.out),
        Command::Up(_) | Command::Help { .. } | Command::Hooks(_) | Command::Schema => Ok(Exit::Done),
    }
}

/// Finds the mistakes that take no controller to find.
fn check(command: &Command, out: &Out) -> Result<(), Failure> {
    use crate::target::{Target, selector, since};
    let now = out.look.now;
    let target = |word: &Option<String>, labels: &crate::args::Labels| {
        Target::of(word.as_deref(), labels.selector.as_deref()).map(drop)
    };
    match command {
        Command::Status(args) => target(&args.target, &args.labels),
        Command::Wait(args) => {
            since(args.since.as_deref(), now)?;
            target(&args.target, &args.labels)
        }
        Command::Pause(args) | Command::Unpause(args) => target(&args.target, &args.labels),
        Command::Search(args) => {
            since(args.since.as_deref(), now)?;
            selector(args.labels.selector.as_deref()).map(drop)
        }
        Command::Events(args) => {
            since(args.since.as_deref(), now)?;
            selector(args.labels.selector.as_deref()).map(drop)
        }
        Command::Logs(args) => since(args.since.as_deref(), now).map(drop),
        Command::Send(args) => act::check(args),
        Command::Approve(args) | Command::Deny(args) => oversight::check_decide(args),
        Command::Audit(args) => oversight::check_audit(args, now),
        Command::Rules(args) => rules::check(args),
        Command::Fleet(Fleet::Operator(Operator::Add(args))) => identity::check(args),
        _ => Ok(()),
    }
}
