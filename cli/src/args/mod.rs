//! The command line: what may be typed.
//!
//! Help begins with examples, for that is what people look for. What needs more than one argument to be understood
//! (a target that may be a pane or a selector) is checked in [`crate::target`]; words of a closed set are checked here.

mod accounts;
mod automation;
mod identity;
mod oversight;
mod rules;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use wa_proto::{EventKind, Key, PaneAddress, PaneState};

use crate::output::Format;

pub(crate) use accounts::{
    Account, AddAccount, Given, Pool, SignIn, SwitchAccount, Switching, UpdateAccount,
};
pub(crate) use automation::{Notice, Rehearsal, Run, RunList, Workflow};
pub(crate) use identity::{AddOperator, Operator, Revoke};
pub(crate) use oversight::{Approval, Audit, AuditCommand, AuditRows, Decide, Policy, TestPolicy, Waiting};
pub(crate) use rules::{
    ExplainPane, ListRules, PushRules, RedactFiles, Rules, ScanFiles, ShowRule, TestPacks, UnknownScreens,
};

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

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa up                                 this machine's mux servers, until Ctrl-C
  wa up --demo                          four scripted panes, data in a temporary directory
  wa up --demo --for 30s                ends by itself and says what happened")]
pub(crate) struct Up {
    /// Bring an embedded multiplexer with scripted agents; nothing is left behind
    #[arg(long)]
    pub(crate) demo: bool,
    /// With --demo: end after so long; exit code 0 if everything that should happen did
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, requires = "demo")]
    pub(crate) run_for: Option<Duration>,
    /// Address of the controller; port 0 takes a free one [default: 127.0.0.1:7443, with --demo a free port]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Where the data is kept [default: $XDG_STATE_HOME/wa/up]
    #[arg(long, value_name = "DIR", conflicts_with = "demo")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Name of this host [default: its short hostname]
    #[arg(long, value_name = "HOST")]
    pub(crate) name: Option<wa_proto::Host>,
    /// A mux server's socket; may be given more than once [default: those that are found]
    #[arg(long, value_name = "[NAME=]PATH", conflicts_with = "demo")]
    pub(crate) mux_socket: Vec<wa_node::observer::MuxSocket>,
}

/// Which panes: labels, or all.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Labels {
    /// Label selector: agent=codex,host in (a,b),state!=idle
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa status                             every pane
  wa status web-1/3 -o json             one
  wa status -l 'agent=codex,state!=idle'
  wa status --watch                     then every change")]
pub(crate) struct Status {
    /// A pane (HOST/PANE or HOST/MUX/PANE) or a label selector
    #[arg(value_name = "PANE|SELECTOR")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) labels: Labels,
    /// Go on and print what changes
    #[arg(short = 'w', long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa fleet status
  wa fleet token web-1 > token          then on web-1: wa-node enroll --token-file token …
  wa fleet operator add alice --role viewer --out alice.context.toml
  wa fleet revoke web-1                 lost, or no longer ours")]
pub(crate) enum Fleet {
    /// Hosts: versions, lag, spool, certificates, problems
    Status,
    /// Make a one-time token with which a host joins; it is printed once and kept nowhere
    Token(Token),
    /// End all certificates of a host or a person; what is open is cut off within seconds
    Revoke(Revoke),
    /// People: who may look, act and decide
    #[command(subcommand)]
    Operator(Operator),
}

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa hooks install --dry-run            what would change in the agents' files
  wa hooks install                      for every agent that is set up here
  wa hooks status
  wa hooks remove --agent codex")]
pub(crate) enum Hooks {
    /// Let the agents call `wa-node hook`; what else is in their files stays as it is, and a backup is kept
    Install {
        #[command(flatten)]
        agents: HookAgents,
        /// Where the node's state is [default: $XDG_STATE_HOME/wa-node, or that of `wa up`]
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Print the changes as a diff and make none
        #[arg(long)]
        dry_run: bool,
    },
    /// Take our entries out again, those of older installations, too
    Remove {
        #[command(flatten)]
        agents: HookAgents,
        /// Print the changes as a diff and make none
        #[arg(long)]
        dry_run: bool,
    },
    /// Which files have our entries
    Status {
        #[command(flatten)]
        agents: HookAgents,
        /// Where the node's state should be [default: $XDG_STATE_HOME/wa-node, or that of `wa up`]
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
}

/// Whose hooks.
#[derive(Debug, Args)]
pub(crate) struct HookAgents {
    /// Only this agent; may be given more than once [default: those that are set up here]
    #[arg(long, value_enum, value_name = "AGENT")]
    pub(crate) agent: Vec<crate::hooks::Agent>,
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The name that the host will have
    pub(crate) name: wa_proto::Host,
    /// How long it is good for, at most 1h
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(crate) ttl: Duration,
    /// Also if a host of this name has a live certificate
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa screen web-1/3
  wa screen web-1/3 --ansi              with its colours")]
pub(crate) struct Screen {
    pub(crate) pane: PaneAddress,
    /// With colours and attributes
    #[arg(long)]
    pub(crate) ansi: bool,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa show web-1/3                       state, session file and why it is that, tokens, limits
  wa show web-1/3 --reveal              with the code and the address of a sign-in that waits there
  wa show web-1/3 -o json")]
pub(crate) struct Show {
    pub(crate) pane: PaneAddress,
    /// Also the code and the address of a sign-in; for operators, and written down in the audit
    #[arg(long)]
    pub(crate) reveal: bool,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa logs web-1/3                       all of it
  wa logs web-1/3 --tail 50 -f          the end, then what comes
  wa logs web-1/3 --since 1h -o jsonl
  wa logs web-1/3 --conversation        what was said and done, from the agent's own session file")]
pub(crate) struct Logs {
    pub(crate) pane: PaneAddress,
    /// Go on and print what comes; rewritten lines come again
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Only the last so many lines
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tail: Option<u32>,
    /// Only what is younger: a duration (90s, 1h, 2d) or a time (RFC 3339)
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// The conversation from the agent's own session file, with what only the screen showed
    #[arg(long)]
    pub(crate) conversation: bool,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa search error timeout               lines with both words
  wa search '\"no space left\"'           a phrase
  wa search src/main.rs -l agent=codex --since 1h
  wa search -e 'panicked at .*:\\d+'      a regular expression

No hit is exit code 0.")]
pub(crate) struct Search {
    /// Words and "phrases"; never query syntax
    #[arg(required_unless_present = "regex", conflicts_with = "regex")]
    pub(crate) query: Vec<String>,
    /// A regular expression instead
    #[arg(short = 'e', long, value_name = "REGEX", allow_hyphen_values = true)]
    pub(crate) regex: Option<String>,
    #[command(flatten)]
    pub(crate) labels: Labels,
    /// Only what is younger: a duration (90s, 1h, 2d) or a time (RFC 3339)
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// At most so many hits
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa events                             what happened lately
  wa events -f -o jsonl                 then what happens
  wa events web-1/3 --event limit.reached --since 1d")]
pub(crate) struct Events {
    /// Only this pane
    pub(crate) pane: Option<PaneAddress>,
    #[command(flatten)]
    pub(crate) labels: Labels,
    /// Go on and print what comes
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Only the last so many
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tail: Option<u32>,
    /// Only what is younger: a duration (90s, 1h, 2d) or a time (RFC 3339)
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Only these
    #[arg(long = "event", value_name = "EVENT")]
    pub(crate) events: Vec<EventKind>,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa wait web-1/3 --for idle            returns at once if it is
  wa wait agent=codex --for limit.reached --timeout 1h
  wa wait -l host=web-1 --for idle --all

A state that holds returns at once; an event counts from the call, or from --since. With a selector the first pane
wins, with --all each has to. Exit code 5 when the time is over (default 10m).")]
pub(crate) struct Wait {
    /// A pane (HOST/PANE or HOST/MUX/PANE) or a label selector
    #[arg(value_name = "PANE|SELECTOR")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) labels: Labels,
    /// An event (context.compacted) or a state (idle)
    #[arg(long = "for", value_name = "EVENT|STATE", value_parser = condition)]
    pub(crate) condition: String,
    /// Each pane of the selector, not just the first
    #[arg(long)]
    pub(crate) all: bool,
    /// Also events that came since: a duration (90s, 1h, 2d) or a time (RFC 3339)
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
}

/// What guarded typing takes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Acting {
    /// Only if the pane is of this generation (see `wa status -o wide`)
    #[arg(long, value_name = "GENERATION")]
    pub(crate) if_generation: Option<String>,
    /// Say what would happen, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(
    allow_missing_positional = true,
    before_help = "Examples:
  wa send web-1/3 \"run the tests\"       paste, Enter, and see it arrive
  wa send web-1/3 --no-enter \"draft\"    leave it in the composer
  git diff | wa send web-1/3 -          from standard input
  wa send -l agent=codex \"proceed\"      to all of them"
)]
pub(crate) struct Send {
    /// The pane; left out with -l
    pub(crate) pane: Option<String>,
    /// The text; - reads standard input
    #[arg(required = true)]
    pub(crate) text: String,
    /// Leave the text in the composer
    #[arg(long)]
    pub(crate) no_enter: bool,
    #[command(flatten)]
    pub(crate) labels: Labels,
    #[command(flatten)]
    pub(crate) acting: Acting,
    /// The same key is acted on once, however often it is sent
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa keys web-1/3 Esc
  wa keys web-1/3 C-c C-c
  wa keys web-1/3 Down Down Enter

Keys: Enter Esc Tab BTab Space BSpace Up Down Left Right Home End PgUp PgDn F1..F12 C-x M-x or one character.")]
pub(crate) struct Keys {
    pub(crate) pane: PaneAddress,
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<Key>,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Args)]
pub(crate) struct Kill {
    pub(crate) pane: PaneAddress,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa spawn web-1 -- codex
  wa spawn web-1 --cwd /srv/shop -- claude --resume")]
pub(crate) struct Spawn {
    pub(crate) host: wa_proto::Host,
    /// Working directory there
    #[arg(long, value_name = "DIR", default_value = "")]
    pub(crate) cwd: String,
    /// Say what would happen, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa pause web-1/3 --reason \"debugging\"
  wa pause host=web-1
  wa pause                              everything
  wa unpause                            everything")]
pub(crate) struct Pause {
    /// A pane (HOST/PANE or HOST/MUX/PANE) or a label selector; none = everything
    #[arg(value_name = "PANE|SELECTOR")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) labels: Labels,
    /// Only what this workflow does, on every pane
    #[arg(long, value_name = "NAME", conflicts_with_all = ["target", "selector"])]
    pub(crate) workflow: Option<String>,
    /// Why; kept with the pause
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
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

/// The name of an event or a state.
fn condition(text: &str) -> Result<String, String> {
    if text.parse::<EventKind>().is_ok() || text.parse::<PaneState>().is_ok() {
        return Ok(text.to_owned());
    }
    let states: Vec<&str> = PaneState::ALL.iter().map(|state| state.as_str()).collect();
    let events: Vec<&str> = EventKind::ALL.iter().map(|event| event.as_str()).collect();
    Err(format!("neither a state ({}) nor an event ({})", states.join(" "), events.join(" ")))
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
