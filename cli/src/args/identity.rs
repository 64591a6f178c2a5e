//! `wa fleet revoke` and `wa fleet operator`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use wa_proto::Host;

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
