//! `wa approve`, `wa deny`, `wa approval`, `wa audit`, `wa policy`: people in charge.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use wa_proto::PaneAddress;

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa approve web-1/3                    the dialog that waits in this pane
  wa deny web-1/3
  wa approve web-1/3 --choice \"Yes, and don't ask again\"
  wa approve approval-7                 an action that the policy holds, see `wa approval list`

A dialog is answered by the label of a choice, and only if it is the one that was told last and stands there still. A held
action is allowed once: this text, on this pane.")]
pub(crate) struct Decide {
    /// A pane whose dialog waits, or the id of an approval
    #[arg(value_name = "PANE|ID")]
    pub(crate) what: Waiting,
    /// This choice, as the dialog words it, and not the one that approves this once
    #[arg(long, value_name = "LABEL")]
    pub(crate) choice: Option<String>,
    /// Say what would be answered, and do not
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What waits for a yes or a no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waiting {
    Dialog(PaneAddress),
    /// Id of an approval.
    Action(String),
}

impl FromStr for Waiting {
    type Err = String;

    /// Ids have no slash, panes have one.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return text.parse::<PaneAddress>().map(Self::Dialog).map_err(|error| error.to_string());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
            return Err("neither a pane (web-1/3) nor an approval (approval-7); `wa approval list` has them"
                .to_owned());
        }
        Ok(Self::Action(text.to_owned()))
    }
}

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa approval list                      what the policy holds until a person has looked
  wa approval list --all -o wide        answered ones, too
  wa approve approval-7")]
pub(crate) enum Approval {
    /// Actions that wait for a person, the newest first
    List {
        /// Also those that were answered or lapsed
        #[arg(long)]
        all: bool,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
}

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    before_help = "Examples:
  wa audit --tail 20                    the last things that anybody did, or was refused
  wa audit --who operator:anna --since 1d
  wa audit --target web-1/3 -o jsonl
  wa audit verify                       that no row was changed, and none taken away
  wa audit verify -o name > head        … and the head, to be kept on another machine
  wa audit verify --head \"$(cat head)\" that what was there then is there still"
)]
pub(crate) struct Audit {
    #[command(subcommand)]
    pub(crate) command: Option<AuditCommand>,
    #[command(flatten)]
    pub(crate) rows: AuditRows,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Rows of the trail, the oldest first
    List(AuditRows),
    /// Follow the chain of hashes; exit code 1 where it is broken
    Verify(VerifyAudit),
}

/// The chain shows that no row was changed, and the controller remembers how many there were. Who can write its database
/// can make both anew: that is found only by a head that was kept on another machine.
#[derive(Debug, Args)]
pub(crate) struct VerifyAudit {
    /// A head that was kept, as `wa audit verify` printed it: fails when that row is missing or has another hash
    #[arg(long, value_name = "N:HASH")]
    pub(crate) head: Option<KeptHead>,
}

/// A row of the trail as somebody remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptHead {
    pub(crate) row: u64,
    /// 64 hexadecimal digits.
    pub(crate) hash: String,
}

impl std::str::FromStr for KeptHead {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a head is written N:HASH, as `wa audit verify` prints it".to_owned();
        let (row, hash) = text.trim().split_once(':').ok_or_else(wrong)?;
        let row = row.parse().ok().filter(|row| *row > 0).ok_or_else(wrong)?;
        if hash.len() != 64 || !hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err("its hash has 64 hexadecimal digits".to_owned());
        }
        Ok(Self { row, hash: hash.to_owned() })
    }
}

#[derive(Debug, Args)]
pub(crate) struct AuditRows {
    /// Only what is younger: a duration (90s, 1h, 2d) or a time (RFC 3339)
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Only the last so many
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tail: Option<u32>,
    /// Only what this one did: operator:anna, agent:web-1, workflow:limit-wait
    #[arg(long, value_name = "WHO")]
    pub(crate) who: Option<String>,
    /// Only what was done to this: a pane, a host, an account, a run
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: Option<String>,
}

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa policy test --who operator:anna --verb send --pane web-1/3 --text \"run the tests\"
  wa policy test --file new.toml --who workflow:limit-wait --verb send --label agent=codex")]
pub(crate) enum Policy {
    /// What the controller's policy says to an action, and by which rule; nothing is done
    Test(TestPolicy),
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa policy test --who operator:anna --verb send --pane web-1/3 --text \"run the tests\"
  wa policy test --who agent:web-1 --verb keys --label agent=codex --label host=web-1
  wa policy test --file new.toml --who workflow:limit-wait --verb send --pane web-1/3

Exit code 0: allowed; 4: denied, or a person is asked.")]
pub(crate) struct TestPolicy {
    /// A policy that is not in force yet [default: the one that is]
    #[arg(long, value_name = "POLICY")]
    pub(crate) file: Option<PathBuf>,
    /// Who does it: operator:NAME, agent:HOST, workflow:NAME
    #[arg(long, value_name = "WHO")]
    pub(crate) who: String,
    /// What is done: send, keys, spawn, kill, choose
    #[arg(long, value_name = "VERB")]
    pub(crate) verb: String,
    /// To this pane, as it is now
    #[arg(long, value_name = "PANE", conflicts_with = "label")]
    pub(crate) pane: Option<PaneAddress>,
    /// To a pane with this label; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
    /// With this text
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub(crate) text: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("{text:?} is no label; write KEY=VALUE, for example agent=codex")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_a_pane_or_an_id() {
        assert_eq!("web-1/3".parse(), Ok(Waiting::Dialog("web-1/3".parse().unwrap())));
        assert_eq!("approval-7".parse(), Ok(Waiting::Action("approval-7".to_owned())));
        for bad in ["", "web-1/", "/3", "web-1/x", "agent=codex", "a b", "a\u{1b}[0m"] {
            assert!(bad.parse::<Waiting>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_head_is_a_row_and_its_hash() {
        let hash = "0f".repeat(32);
        let head: KeptHead = format!("18:{hash}\n").parse().unwrap();
        assert_eq!((head.row, &head.hash), (18, &hash));
        for bad in [&hash, "18:", "18:ab", &format!("0:{hash}"), &format!("x:{hash}"), &format!("1:{hash}0")]
        {
            assert!(bad.parse::<KeptHead>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_has_a_key() {
        assert_eq!(label("agent=codex"), Ok(("agent".to_owned(), "codex".to_owned())));
        assert_eq!(label("branch=a=b"), Ok(("branch".to_owned(), "a=b".to_owned())));
        assert!(label("codex").is_err() && label("=x").is_err());
    }
}
