//! `wa fleet`: hosts and people, and how they join.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use wa_proto::Host;

use super::duration;

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa fleet status
  wa fleet token web-1 --out token      then on web-1: wa-node enroll --token-file token …
  wa fleet operator add alice --role viewer --out alice.context.toml
  wa fleet revoke web-1                 lost, or no longer ours")]
pub(crate) enum Fleet {
    /// Hosts: versions, lag, spool, certificates, problems
    Status,
    /// Make a one-time token with which a host joins; it is told once and kept nowhere
    Token(Token),
    /// End all certificates of a host or a person; what is open is cut off within seconds
    Revoke(Revoke),
    /// People: who may look, act and decide
    #[command(subcommand)]
    Operator(Operator),
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The name that the host will have
    pub(crate) name: Host,
    /// How long it is good for, at most 1h
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    pub(crate) ttl: Duration,
    /// Also if a host of this name has a live certificate
    #[arg(long)]
    pub(crate) replace: bool,
    /// Write the token there, for its owner alone, and not to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Also over a file that is there
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa fleet revoke web-1 --reason \"the laptop was lost\"
  wa fleet revoke alice --operator      a person, not the host of that name")]
pub(crate) struct Revoke {
    /// A host or a person
    pub(crate) name: Host,
    /// Why; kept in the audit trail
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Only the host: its node, and the agents in its panes
    #[arg(long, conflicts_with = "operator")]
    pub(crate) host: bool,
    /// Only the person
    #[arg(long)]
    pub(crate) operator: bool,
}

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa fleet operator add alice --role operator --out alice.context.toml
  wa fleet operator list
  wa fleet operator remove alice --reason \"left\"")]
pub(crate) enum Operator {
    /// Make a context file for a person, good for 90 days
    Add(AddOperator),
    /// People with a certificate: roles, until when, and who was removed
    List,
    /// Let a person in no longer; what is open is cut off
    Remove {
        name: Host,
        /// Why; kept in the audit trail
        #[arg(long, default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa fleet operator add alice --role viewer --out alice.context.toml
  wa fleet operator add alice --role admin --replace --out alice.context.toml --force

The key is made here and goes nowhere but into the file: send it on a way that nobody else reads.")]
pub(crate) struct AddOperator {
    pub(crate) name: Host,
    /// What the person may do
    #[arg(long, value_enum)]
    pub(crate) role: PersonRole,
    /// Write the context there, for its owner alone, and not to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Also over a file that is there
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    /// Also if the name has a live certificate, which is revoked
    #[arg(long)]
    pub(crate) replace: bool,
    /// Where that person reaches the controller [default: as this context does]
    #[arg(long, value_name = "URL")]
    pub(crate) controller: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PersonRole {
    /// Looks
    Viewer,
    /// Acts, too
    Operator,
    /// Makes tokens, operators and rules, too
    Admin,
}

impl PersonRole {
    pub(crate) fn role(self) -> wa_link::principal::Role {
        use wa_link::principal::Role;
        match self {
            Self::Viewer => Role::Viewer,
            Self::Operator => Role::Operator,
            Self::Admin => Role::Admin,
        }
    }
}
