//! `wa rules …`: what may be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use wa_proto::{AgentKind, Host, PaneAddress, Timestamp};

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa rules scan screen.txt              what the rules find on a saved screen
  wa rules explain web-1/3              why a pane is in its state, rule by rule
  wa rules test my-pack.toml            is it a good pack?
  wa rules push my-pack.toml --shadow   to all nodes; counts, and does nothing else
  wa rules list                         what runs where")]
pub(crate) enum Rules {
    /// Packs: those that are wanted, and what is in force on each node
    List(ListRules),
    /// A rule with its examples, or the text of a pack
    Show(ShowRule),
    /// Load packs as a node does, with every example and counter-example
    Test(TestPacks),
    /// What the rules find in saved screens and recorded byte streams
    Scan(ScanFiles),
    /// Why a pane, or a saved screen, is in its state: every rule that fired or nearly did
    Explain(ExplainPane),
    /// Send packs to all nodes
    Push(PushRules),
    /// Screens that look like a dialog or a footer of a known agent, and that no rule knows
    Unknown(UnknownScreens),
    /// Take the secrets out of files, as a node does before anything is stored
    Redact(RedactFiles),
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa rules list                         packs that were pushed, and on which nodes they are in force
  wa rules list -o wide                 with hashes, and what the shadow packs have counted
  wa rules list --local                 the built-in packs; nobody is asked
  wa rules list --local my-pack.toml    with this one beside them")]
pub(crate) struct ListRules {
    /// The built-in packs, and these files beside them; no controller is asked
    #[arg(long)]
    pub(crate) local: bool,
    /// Packs
    #[arg(value_name = "FILE", requires = "local")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa rules show codex.limit.usage       what it needs, where it looks, its examples
  wa rules show codex                   the whole pack
  wa rules show mine.limit --pack mine.toml")]
pub(crate) struct ShowRule {
    /// Id of a rule, or name of a pack
    #[arg(value_name = "RULE|PACK")]
    pub(crate) name: String,
    /// A pack beside the built-in ones; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(crate) pack: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa rules test                         the built-in packs
  wa rules test packs/*.toml            each of these with the built-in ones, then all together

A rule reads the screen (`on = [\"frame\"]`, the default). `line` reads what scrolled by between two looks, `record` the words
of errors, warnings and notices in the agent's session file, drawn as on its screen. Both need region = \"tail\", columns
from 0 and rearm = \"turn\" (lines also \"compaction\"), and one example at least that matches there; counter-examples must be
silent on lines too.

Exit code 1 where a pack has a mistake; the first of each file is named with its place.")]
pub(crate) struct TestPacks {
    /// Packs
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa rules scan screen.txt -o jsonl     one object per file
  wa rules scan --agent codex *.txt     this agent's process runs there
  wezterm cli get-text | wa rules scan -
  wa rules scan --raw --size 120x40 session.raw
  wa rules scan --raw --offset 18520 session.raw
  wa rules scan --pack mine.toml screen.txt

It is the engine of the node, and it stores nothing: codes and addresses of a sign-in are printed. A screen is read as a
frame; a stream frame by frame, and its lines, too, where they went by between two frames. Rules that read the records of
session files find nothing here.
Exit code 7 when some of the files could not be read.")]
pub(crate) struct ScanFiles {
    /// Saved screens (SGR escapes are understood) or, with --raw, recorded byte streams; - reads standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// This agent's process runs there; `shell`: none does [default: the screen tells]
    #[arg(long, value_name = "AGENT", value_parser = agent)]
    pub(crate) agent: Option<AgentKind>,
    /// Columns and rows [default: as wide as the text; with --raw 80x24]
    #[arg(long, value_name = "COLSxROWS", value_parser = size)]
    pub(crate) size: Option<(u16, u16)>,
    /// When the screen was seen, or the last byte came: RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) now: Option<Timestamp>,
    /// Files are what a program wrote to its terminal: replayed frame by frame
    #[arg(long)]
    pub(crate) raw: bool,
    /// Only the first so many bytes
    #[arg(long, value_name = "N", requires = "raw")]
    pub(crate) offset: Option<u64>,
    /// A pack beside the built-in ones; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(crate) pack: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa rules explain web-1/3
  wa rules explain web-1/3 -o json
  wa rules explain --file screen.txt --agent codex")]
pub(crate) struct ExplainPane {
    /// A pane; its node is asked
    #[arg(value_name = "PANE", required_unless_present = "file", conflicts_with = "file")]
    pub(crate) pane: Option<PaneAddress>,
    /// A saved screen instead; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<String>,
    /// This agent's process runs there; `shell`: none does [default: the screen tells]
    #[arg(long, value_name = "AGENT", value_parser = agent, requires = "file")]
    pub(crate) agent: Option<AgentKind>,
    /// Columns and rows of the saved screen [default: as wide as the text]
    #[arg(long, value_name = "COLSxROWS", value_parser = size, requires = "file")]
    pub(crate) size: Option<(u16, u16)>,
    /// A pack beside the built-in ones; may be given more than once
    #[arg(long, value_name = "FILE", requires = "file")]
    pub(crate) pack: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa rules push mine.toml --dry-run     checked by the controller, and nothing else
  wa rules push mine.toml --shadow      runs beside the others; what it finds is counted only
  wa rules push mine.toml               the pack `mine` runs on all nodes
  wa rules push --remove mine

A pack's name is its file name without .toml; one of the name of a built-in pack stands in its place.
Exit code 0 when all connected nodes have taken it, 7 when some have not, 1 when all refuse it.")]
pub(crate) struct PushRules {
    /// Packs
    #[arg(value_name = "FILE", required_unless_present = "remove")]
    pub(crate) files: Vec<PathBuf>,
    /// Take a pushed pack away; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) remove: Vec<String>,
    /// These packs run in shadow: what they find is counted, and nothing more
    #[arg(long, requires = "files")]
    pub(crate) shadow: bool,
    /// Check them, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa rules unknown
  wa rules unknown web-1 -o wide        with the text of each screen
  wa rules unknown -o json")]
pub(crate) struct UnknownScreens {
    /// Only of this host
    pub(crate) host: Option<Host>,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa rules redact build.log > clean.log
  wa rules redact --explain build.log   what was taken, and why; never the secret
  env | wa rules redact -
  wa rules redact --node-config /etc/wa/node.toml --explain -o jsonl *.log")]
pub(crate) struct RedactFiles {
    /// Files; - or none reads standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// One row per finding instead of the text: file, line, kind, span, replacement, why
    #[arg(long)]
    pub(crate) explain: bool,
    /// Also the `[[redact]]` patterns of this node's configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) node_config: Option<PathBuf>,
}

/// Sizes that a terminal can have: columns, rows.
const LEAST: (u16, u16) = (2, 1);
const MOST: (u16, u16) = (2000, 1000);

pub(super) fn size(text: &str) -> Result<(u16, u16), String> {
    let bad = || format!("{text:?} is no size; write columns and rows, for example 80x24");
    let (cols, rows) = text.split_once('x').ok_or_else(bad)?;
    let (cols, rows) = (cols.parse::<u32>().map_err(|_| bad())?, rows.parse::<u32>().map_err(|_| bad())?);
    let within =
        |value: u32, least: u16, most: u16| u16::try_from(value).ok().filter(|n| (least..=most).contains(n));
    match (within(cols, LEAST.0, MOST.0), within(rows, LEAST.1, MOST.1)) {
        (Some(cols), Some(rows)) => Ok((cols, rows)),
        _ => {
            Err(format!("no terminal is of that size: from {}x{} to {}x{}", LEAST.0, LEAST.1, MOST.0, MOST.1))
        }
    }
}

pub(super) fn agent(text: &str) -> Result<AgentKind, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err("an agent is a plain word: claude, codex, gemini, shell".to_owned());
    }
    Ok(AgentKind::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_terminals() {
        assert_eq!(size("80x24"), Ok((80, 24)));
        assert_eq!(size("2000x1000"), Ok((2000, 1000)));
        for bad in
            ["0x0", "80x0", "1x1", "2001x24", "80x1001", "99999999999x1", "80", "80x", "x24", "80X24", "-1x2"]
        {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
