//! The command line: what may be typed.
//!
//! Help begins with examples, for that is what people look for. What needs more than one argument to be understood
//! (a target that may be a pane or a selector) is checked in [`crate::target`]; words of a closed set are checked here.

mod accounts;
mod acting;
mod automation;
mod identity;
mod machine;
mod oversight;
mod rules;
mod watching;

use std::path::PathBuf;
use std::time::Duration;

use crate::output::Format;
use clap::{Args, Parser, Subcommand};

pub(crate) use accounts::{
    Account, AddAccount, Given, Pool, SignIn, SwitchAccount, Switching, UpdateAccount,
};
pub(crate) use acting::{Acting, Keys, Kill, Pause, Send, Spawn};
pub(crate) use automation::{Notice, Rehearsal, Run, RunList, Workflow};
pub(crate) use identity::{AddOperator, Fleet, Operator, Revoke, Token};
pub(crate) use machine::{HookAgents, Hooks, Up};
pub(crate) use oversight::{
    Approval, Audit, AuditCommand, AuditRows, Decide, KeptHead, Policy, TestPolicy, VerifyAudit, Waiting,
};
pub(crate) use rules::{
    ExplainPane, ListRules, PushRules, RedactFiles, Rules, ScanFiles, ShowRule, TestPacks, UnknownScreens,
};
pub(crate) use watching::{Events, Labels, Logs, Screen, Search, Show, Status, Wait};

const EXAMPLES: &str = "Examples:
  wa up --demo                          see it work, on this machine, in a minute
  wa status                             every pane and what it is doing
  wa logs web-1/3 --tail 50             what a pane has printed
  wa search \"permission denied\"         in everything that was ever printed
  wa send web-1/3 \"run the tests\"       type into a pane, seen to arrive
  wa help                               quick start, made to be read by an agent";

#[derive(Debug, Parser)]
#[command(
    name = "wa",
    version,
    about = "Looks after fleets of AI coding agents that live in WezTerm panes",
    before_help = EXAMPLES,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 timed out or outcome unknown, \
                  6 unreachable, 7 partly done, 130 interrupted.",
    disable_help_subcommand = true,
    max_term_width = 110
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// How to print
    #[arg(short = 'o', long = "output", value_enum, default_value_t, global = true, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// Context file: controller, certificate and key [env: WA_CONTEXT_FILE]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "context")]
    pub(crate) context_file: Option<PathBuf>,
    /// Context by its name in the configuration [env: WA_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Give up after so long, with exit code 5: 30s, 10m, 2h
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Configuration [default: $XDG_CONFIG_HOME/wa/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check the configuration and the context, say which context is taken, and do nothing else
    #[arg(long)]
    pub(crate) check_config: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The whole thing on this machine, in one process
    Up(Up),
    /// Quick start, made to be read by an agent; with a command: its help
    Help { command: Vec<String> },
    /// Panes and what they are doing
    Status(Status),
    /// Hosts, and how they join
    #[command(subcommand)]
    Fleet(Fleet),
    /// What a pane shows now
    Screen(Screen),
    /// All that is known of one pane, with the session file of its agent
    Show(Show),
    /// What a pane has printed, with the gaps
    Logs(Logs),
    /// Find text in everything that was printed
    Search(Search),
    /// What happened
    Events(Events),
    /// Wait for an event or a state
    Wait(Wait),
    /// Type text into a pane and see it arrive
    Send(Send),
    /// Press keys in a pane
    Keys(Keys),
    /// End what runs in a pane, and the pane
    Kill(Kill),
    /// Open a new pane on a host
    Spawn(Spawn),
    /// Stop all automation: on a pane, on those that a selector names, or everywhere
    Pause(Pause),
    /// Allow automation again
    Unpause(Pause),
    /// Runs of workflows
    #[command(subcommand)]
    Run(Run),
    /// What the controller does by itself
    #[command(subcommand)]
    Workflow(Workflow),
    /// What workflows tell people, and ask them
    #[command(subcommand)]
    Notice(Notice),
    /// Accounts of the agents' providers, and their pools
    #[command(subcommand)]
    Account(Account),
    /// Go on with another account in a pane
    SwitchAccount(SwitchAccount),
    /// Approve what an agent asks for, or an action that the policy holds, this once
    Approve(Decide),
    /// Deny what an agent asks for, or an action that the policy holds
    Deny(Decide),
    /// Actions that the policy holds until a person has looked
    #[command(subcommand)]
    Approval(Approval),
    /// Who did what, and what was refused
    Audit(Audit),
    /// What the controller's policy says
    #[command(subcommand)]
    Policy(Policy),
    /// The agents' own hooks, so that they report to this host's node
    #[command(subcommand)]
    Hooks(Hooks),
    /// Recognition: packs of rules, what they find, and redaction
    #[command(subcommand)]
    Rules(Rules),
    /// The shapes of `-o json`
    Schema,
}

/// `90s`, `10m`, `1h30m`, `2d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration; write for example 30s, 10m, 2h or 1d");
    let span: jiff::Span = text.parse().map_err(|_| bad())?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
    match Duration::try_from(length) {
        Ok(length) if !length.is_zero() => Ok(length),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("wa").chain(line.iter().copied()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn text_alone_goes_with_a_selector() {
        let Some(Command::Send(send)) = parse(&["send", "-l", "agent=codex", "hi"]).unwrap().command else {
            panic!("not send")
        };
        assert_eq!((send.pane, send.text.as_str()), (None, "hi"));
        let Some(Command::Send(send)) = parse(&["send", "a/1", "-"]).unwrap().command else {
            panic!("not send")
        };
        assert_eq!((send.pane.as_deref(), send.text.as_str()), (Some("a/1"), "-"));
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in
            [&["-o", "json", "status"][..], &["status", "-o", "json"], &["fleet", "status", "-o", "json"]]
        {
            assert_eq!(parse(line).unwrap().globals.output, Format::Json, "{line:?}");
        }
        assert!(parse(&["status", "--context", "a", "--context-file", "b"]).is_err());
    }

    #[test]
    fn mistakes_are_usage_errors() {
        for line in [
            &["frobnicate"][..],
            &["logs", "not-a-pane"],
            &["logs", "a/0", "--tail", "0"],
            &["keys", "a/0"],
            &["keys", "a/0", "Entr"],
            &["status", "-o", "yaml"],
            &["search"],
            &["search", "x", "-e", "y"],
            &["wait", "a/0"],
            &["wait", "a/0", "--for", "happy"],
            &["up", "--for", "30s"],
            &["spawn", "a"],
            &["send", "a/0", "x", "--timeout", "soon"],
            &["fleet", "token", "a/b"],
            &["fleet", "revoke", "a/b"],
            &["fleet", "revoke", "a", "--host", "--operator"],
            &["fleet", "operator", "add", "a"],
            &["fleet", "operator", "add", "a", "--role", "node"],
            &["fleet", "operator", "add", "a", "--role", "admin", "--force"],
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1h 5m", 3900)]
        {
            assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for bad in ["", "10", "-5m", "0s", "soon", "1y x", "9999999999999h"] {
            assert!(duration(bad).unwrap_err().contains("for example"), "{bad}");
        }
    }

    #[test]
    fn help_begins_with_examples() {
        let help = Cli::command().render_help().to_string();
        assert!(help.starts_with("Examples:"), "{help}");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for code in crate::failure::Exit::ALL {
            assert!(help.contains(&format!("{} ", code.0.code())), "{}: {help}", code.0.code());
        }
    }
}
