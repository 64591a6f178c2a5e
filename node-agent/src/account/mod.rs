//! Accounts on this host: a home for each, the account that a pane's agent uses, and the sign-in that an action began.
//!
//! Constraints. What opens an account (key, code, address) comes over the live stream or from the screen, and leaves this
//! host only in answer to the controller's question for a sign-in; nothing of it is spooled, logged or traced. A home is
//! made only where this host's policy lets the one who asks type into the pane. Names of accounts and paths of homes are
//! no secrets. On a host whose processes cannot be looked into (macOS) no account is told, and no code given out.
//!
//! Operation. `home.rs` makes homes by `dir.rs`, with what `kind.rs` says of each agent, and `key.rs` puts keys there;
//! `owner.rs` tells whose home a process uses; `sign_in.rs` weighs the evidence for a code.

mod dir;
mod home;
mod key;
mod kind;
mod owner;
mod sign_in;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use wa_match::{Foreground, ProcessInfo};
use wa_proto::wire::v1;
use wa_proto::wire::v1::account_request::About;
use wa_proto::{AccountAlias, PaneRef};
use zeroize::Zeroizing;

use crate::act::describe;
use crate::journal::Journal;
use crate::last_words::is_wrapper;
use crate::node::{observer_of, same_pane};
use crate::observer::{Muxes, View};
use crate::policy::PolicyFile;
use crate::process::ProcessTable;
use crate::session_file::{Homes, homes_of};
use crate::vault::Vault;

pub use owner::AccountRoot;
pub use sign_in::Marks;

/// How long a new pane's shell may take to get the terminal …
const STARTING: Duration = Duration::from_secs(5);
/// … and how often is looked whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why a home cannot be made.
#[derive(Debug, thiserror::Error)]
enum HomeError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is a link or no directory, where a home of an account belongs: move it away", .0.display())]
    InTheWay(PathBuf),
    #[error("{} belongs to another user (uid {uid}): the home of an account must be the node's own", path.display())]
    Foreign { path: PathBuf, uid: u32 },
    #[error("{} is open to others (mode {mode:04o}): look who has been there, then run `chmod 700 {}`", path.display(), path.display())]
    Open { path: PathBuf, mode: rustix::fs::RawMode },
    #[error(
        "process {pid} works in the home {} with the sign-in of another owner: end it, so that the home can be set aside",
        home.display()
    )]
    InUse { home: PathBuf, pid: u32 },
    #[error("what the controller names as the owner of the home is too long")]
    NoOwner,
    #[error("nothing says where the agent keeps its files: its HOME is not known")]
    NoFirst,
    #[error("{} is the home of an account and shares its sessions with no other: move them to the agent's usual home", .0.display())]
    NotShared(PathBuf),
    #[error(
        "the account's home {} shares its sessions with {}, and the agent in this pane uses {}: one account has one home on \
         a host", home.display(), before.display(), now.display()
    )]
    OtherFirst { home: PathBuf, before: PathBuf, now: PathBuf },
    #[error("{} holds sessions of its own: move them to {}", path.display(), first.display())]
    OwnSessions { path: PathBuf, first: PathBuf },
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{} is not read as JSON without comments, so the account gets no settings of its own from it", .0.display())]
    Settings(PathBuf),
    #[error(
        "{} keeps sign-ins in the system's keyring (cli_auth_credentials_store): the account's key would not be read; set it \
         to \"file\" or \"auto\"", .0.display()
    )]
    Keyring(PathBuf),
    #[error("the account's key is no key: it is too long, or holds blanks, quotes or control characters")]
    NotAKey,
    #[error(
        "Gemini CLI would read {} there instead of the account's key: move it away, or sign in to this account otherwise",
        .0.display()
    )]
    Hidden(PathBuf),
}

/// What answering needs from the rest of the node.
pub struct Parts {
    pub root: AccountRoot,
    pub muxes: Muxes,
    pub processes: Arc<dyn ProcessTable>,
    pub policy: Arc<PolicyFile>,
    pub journal: Journal,
    pub vault: Arc<Vault>,
    pub marks: Marks,
}

/// Answers the controller's questions about accounts.
pub struct Accounts(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// One home is made at a time.
    making: Mutex<()>,
    limit: sign_in::Limit,
}

impl Accounts {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner { parts, making: Mutex::new(()), limit: sign_in::Limit::default() }))
    }
}

impl crate::session::Accounts for Accounts {
    fn answer(&self, request: v1::AccountRequest) -> BoxFuture<'static, v1::AccountReply> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let request_id = request.request_id;
            let empty = v1::AccountReply { request_id, ..v1::AccountReply::default() };
            let answered = match request.about {
                Some(About::Prepare(prepare)) => inner
                    .prepare(prepare)
                    .await
                    .map(|home| v1::AccountReply { home: Some(home), ..empty.clone() }),
                Some(About::SignIn(sign_in)) => {
                    let secrets = sign_in::read(&inner.parts, &inner.limit, sign_in).await;
                    secrets.map(|secrets| v1::AccountReply { secrets, ..empty.clone() })
                }
                None => Err("the node does not understand the question".to_owned()),
            };
            answered.unwrap_or_else(|error| v1::AccountReply { error, ..empty })
        })
    }
}

impl Inner {
    async fn prepare(&self, request: v1::PrepareHome) -> Result<v1::AccountHome, String> {
        let v1::PrepareHome { agent, alias, pane, who, api_key, owner } = request;
        let api_key = Zeroizing::new(api_key);
        let kind = kind::of(&agent).ok_or_else(|| {
            format!("accounts of {agent:?} have no homes on this host: codex, claude and gemini have")
        })?;
        let alias = AccountAlias::new(alias).map_err(|error| error.to_string())?;
        let pane = pane_of(pane)?;
        self.parts.policy.may_type(&who, &pane).map_err(|refused| refused.0)?;
        let view = look(&self.parts, &pane).await?;
        self.started(&view).await;
        // Whoever comes second finds the home of the first.
        let _one = self.making.lock().await;
        let (root, processes) = (self.parts.root.clone(), Arc::clone(&self.parts.processes));
        let made = wa_link::worker::blocking(move || {
            let (homes, cwd) = process_in(&*processes, &view, kind)?;
            let wanted =
                home::Wanted { kind, alias: &alias, homes: &homes, cwd, api_key: &api_key, owner: &owner };
            let made = home::prepare(&root, &wanted).map_err(|error| error.to_string())?;
            Ok::<_, String>((made, owner))
        });
        let (home::Prepared { path, signed_in, set_aside }, owner) =
            made.await.map_err(|error| error.to_string())??;
        tracing::info!(agent, home = %path.display(), signed_in, who, "the home of an account is ready");
        let set_aside = set_aside.map(|path| path.display().to_string()).unwrap_or_default();
        let path = path.into_os_string().into_string();
        let path = path.map_err(|_| "the path of the account's home is no text".to_owned())?;
        Ok(v1::AccountHome { path, variable: kind.variable.to_owned(), signed_in, owner, set_aside })
    }
}

impl Inner {
    /// In a pane that was made just now our wrapper holds the terminal for a moment, until the shell has it.
    async fn started(&self, view: &Arc<View>) {
        let until = wa_link::clock::monotonic() + STARTING;
        while wa_link::clock::monotonic() < until {
            let (view, processes) = (Arc::clone(view), Arc::clone(&self.parts.processes));
            let look = wa_link::worker::blocking(move || {
                let group = group_of(&*processes, &view);
                !group.is_empty() && group.iter().all(|info| is_wrapper(&info.args))
            });
            if !look.await.unwrap_or(false) {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn pane_of(pane: Option<v1::PaneRef>) -> Result<PaneRef, String> {
    PaneRef::try_from(pane.ok_or_else(|| "no pane is named".to_owned())?).map_err(|error| error.to_string())
}

/// A fresh look at a pane in which something may be done.
async fn look(parts: &Parts, pane: &PaneRef) -> Result<Arc<View>, String> {
    let mux = observer_of(&parts.muxes, pane).await?;
    let view = mux.look(pane.pane_id).await.map_err(|error| error.to_string())?;
    same_pane(pane, &view.pane)?;
    if view.mirror {
        return Err("this pane mirrors one of another mux server: ask for that one".to_owned());
    }
    match &view.excluded {
        Some(why) => Err(format!("the configuration of this host keeps its hands off this pane: {why}")),
        None => Ok(view),
    }
}

/// Who holds the pane's terminal now. Blocks.
fn group_of(processes: &dyn ProcessTable, view: &View) -> Vec<ProcessInfo> {
    match &view.tty {
        Some(tty) => processes.look(std::slice::from_ref(tty)).groups.remove(tty).unwrap_or_default(),
        None => view.group.to_vec(),
    }
}

/// Home variables and directory of what runs in the pane: the agent, or the shell that it was left for. Blocks.
fn process_in(
    processes: &dyn ProcessTable,
    view: &View,
    kind: &kind::Kind,
) -> Result<(Homes, Option<PathBuf>), String> {
    let group = group_of(processes, view);
    let foreground = wa_match::identify(&group);
    let leader = || group.iter().find(|info| info.pid == info.pgid).or(group.first()).map(|info| info.pid);
    let pid = match &foreground {
        Foreground::Agent { kind: found, pid, .. } if found.as_str() == kind.agent => Some(*pid),
        Foreground::Shell { .. } => leader(),
        other => {
            return Err(format!("{} or a shell was expected there, but {}", kind.agent, describe(other)));
        }
    };
    let homes = pid.and_then(homes_of).unwrap_or_else(Homes::from_env);
    let cwd = pid.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).ok());
    Ok((homes, cwd))
}
