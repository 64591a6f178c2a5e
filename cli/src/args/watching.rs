//! Looking: `wa status`, `screen`, `show`, `logs`, `search`, `events` and `wait`.

use clap::Args;
use wa_proto::{EventKind, PaneAddress, PaneState};

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

/// The name of an event or a state.
fn condition(text: &str) -> Result<String, String> {
    if text.parse::<EventKind>().is_ok() || text.parse::<PaneState>().is_ok() {
        return Ok(text.to_owned());
    }
    let states: Vec<&str> = PaneState::ALL.iter().map(|state| state.as_str()).collect();
    let events: Vec<&str> = EventKind::ALL.iter().map(|event| event.as_str()).collect();
    Err(format!("neither a state ({}) nor an event ({})", states.join(" "), events.join(" ")))
}
