//! Acting on panes by hand: `wa send`, `keys`, `kill`, `spawn` and `pause`.

use clap::Args;
use wa_proto::{Host, Key, PaneAddress};

use super::Labels;

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
    pub(crate) host: Host,
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
