//! `wa account` and `wa switch-account`.
//!
//! No password, key or one-time secret is an argument: others on the machine read the arguments of every process.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use wa_proto::{AccountAlias, Host, PaneAddress};

use crate::hooks::Agent;
use crate::secrets::Credentials;

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa account add work-2 --agent codex --username me@example.com --credentials-file work-2.toml
  wa account list                       which can be used, and who uses them
  wa account login work-2 --host web-1  sign in there, in a pane of its own
  wa account pool set default --switching on
  wa switch-account web-1/3             go on with another account")]
pub(crate) enum Account {
    /// Put an account of yours into a pool
    Add(AddAccount),
    /// Accounts: state, why, until when, leases, windows
    List {
        /// Only of this pool
        #[arg(long, value_name = "POOL")]
        pool: Option<String>,
    },
    /// All that is known of one
    Show { alias: AccountAlias },
    /// Change what is given, and nothing else
    Update(UpdateAccount),
    /// Sign in on a host, in a new pane there
    Login {
        alias: AccountAlias,
        /// Where
        #[arg(long, value_name = "HOST")]
        host: Host,
    },
    /// Choose it no more; panes that use it go on
    Disable { alias: AccountAlias },
    /// Choose it again
    Enable { alias: AccountAlias },
    /// Forget it, with its credentials; its leases end
    Remove {
        alias: AccountAlias,
        /// Do not ask
        #[arg(short = 'y', long)]
        yes: bool,
    },
    /// Open what the vault keeps of it, and say what is missing for a sign-in; nothing is shown
    Test { alias: AccountAlias },
    /// Seal all credentials anew, with another key
    #[command(before_help = "Examples:
  wa account rotate                     after somebody left who could read the controller's key

The credentials themselves stay what they are: `wa account update ALIAS --credentials-file FILE` brings new ones.")]
    Rotate,
    /// Pools, and whether their panes may be switched
    #[command(subcommand)]
    Pool(Pool),
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa account add work-2 --agent codex --credentials-file work-2.toml
  pass show work-2 | wa account add work-2 --agent codex --credentials-file -
  wa account add ci --agent gemini --sign-in api-key      asks for the key, on a terminal
  wa account add main --agent claude --sign-in manual --default-on web-1

The credentials file is TOML that only its owner may read (chmod 600): username, password, one_time_secret (otpauth:// or
base32), api_key, each if there is one. They go into the controller's vault and never come out again. Without a file
and without a terminal the account has none: a person signs in, or `wa account update` brings them.")]
pub(crate) struct AddAccount {
    /// What you call it: a-z, 0-9 and -
    pub(crate) alias: AccountAlias,
    /// Whose account it is
    #[arg(long, value_enum, value_name = "AGENT")]
    pub(crate) agent: Agent,
    /// Panes change accounts within a pool [default: default]
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    /// How it signs in [default: what the credentials allow]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) sign_in: Option<SignIn>,
    /// Name at the provider [default: the one in the credentials file]
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// The agent's ordinary home on this host belongs to it; * = on every host; may be given more than once
    #[arg(long, value_name = "HOST", value_parser = host_or_all)]
    pub(crate) default_on: Vec<String>,
    /// Panes that may use it at a time; 0 = any number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_panes: u32,
    /// Provider in the controller's sign-in data [default: the agent's own]
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    #[command(flatten)]
    pub(crate) given: Given,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa account update work-2 --credentials-file work-2.toml   new ones; what the file leaves out stays
  wa account update bare --credentials-file bare.toml --sign-in device-code
  wa account update work-2 --pool night --max-panes 2
  wa account update work-2 --default-on web-1 --default-on web-2
  wa account update work-2 --no-default")]
pub(crate) struct UpdateAccount {
    pub(crate) alias: AccountAlias,
    /// Another pool
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    /// Another way to sign in, for which the vault must hold what it needs
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) sign_in: Option<SignIn>,
    /// Another name at the provider
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Panes that may use it at a time; 0 = any number
    #[arg(long, value_name = "N")]
    pub(crate) max_panes: Option<u32>,
    /// The agent's ordinary home belongs to it on these hosts, and on no others; * = on every host
    #[arg(long, value_name = "HOST", value_parser = host_or_all)]
    pub(crate) default_on: Vec<String>,
    /// The agent's ordinary home belongs to it nowhere
    #[arg(long, conflicts_with = "default_on")]
    pub(crate) no_default: bool,
    #[command(flatten)]
    pub(crate) given: Given,
}

impl UpdateAccount {
    /// Whether nothing is to be changed.
    pub(crate) fn is_nothing(&self) -> bool {
        self.pool.is_none()
            && self.sign_in.is_none()
            && self.username.is_none()
            && self.max_panes.is_none()
            && self.default_on.is_empty()
            && !self.no_default
            && self.given.credentials_file.is_none()
    }
}

/// Where credentials come from, and what was read there before anybody was asked.
#[derive(Debug, Args)]
pub(crate) struct Given {
    /// Credentials: TOML, for its owner alone; - reads standard input, and asks where that is a terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials_file: Option<PathBuf>,
    #[arg(skip)]
    pub(crate) credentials: Credentials,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignIn {
    /// In a browser, by a code that the agent prints
    DeviceCode,
    /// The agent is given a key
    ApiKey,
    /// A person does it
    Manual,
}

impl SignIn {
    /// As the wire has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::DeviceCode => "device_code",
            Self::ApiKey => "api_key",
            Self::Manual => "manual",
        }
    }
}

#[derive(Debug, Subcommand)]
#[command(before_help = "Examples:
  wa account pool list
  wa account pool set default --switching on")]
pub(crate) enum Pool {
    /// Pools, and whether switching is on
    List,
    /// Make a pool, or turn its switching on or off
    Set {
        name: String,
        /// Whether a limit may make its panes go on with another account
        #[arg(long, value_enum, value_name = "on|off")]
        switching: Switching,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switching {
    On,
    Off,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wa switch-account web-1/3 --dry-run   which one it would be, and why
  wa switch-account web-1/3
  wa switch-account web-1/3 --to work-2

The session is left, and continued with the other account: `wa run explain` follows it. Exit code 4 when no account of the
pool can be used now, or nothing was begun.")]
pub(crate) struct SwitchAccount {
    pub(crate) pane: PaneAddress,
    /// This account [default: the choice of the pool]
    #[arg(long, value_name = "ALIAS")]
    pub(crate) to: Option<AccountAlias>,
    /// Say which one it would be, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn host_or_all(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    Host::new(text).map(String::from).map_err(|error| error.to_string())
}
