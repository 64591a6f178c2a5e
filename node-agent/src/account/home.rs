//! Making an account's home: its own directory, with links to what it shares.
//!
//! Constraints: `DIR/accounts/ALIAS/AGENT`, every directory of it ours and closed to others; a link leads only to the
//! first home, and only below its own name; what stands there and is not ours is left, and where it is in the way of the
//! sessions that is an error. Doing it again changes nothing.
//!
//! A home is marked with its owner before anything else is in it: an alias may stand for somebody else one day, and an agent
//! there would work on as the one before. A home of another owner gives way, with all that is in it, to a new one; so does
//! one that is signed in and has no mark. It stays as it is while a process works in it, which would write its sign-in into
//! the new one.
//!
//! The first home is the one that the pane's agent uses; where that is an account's home itself, the one that it shares
//! with. An account has one home on a host, so all agents that take turns with it there share one first home.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use wa_proto::{AccountAlias, AgentKind};

use super::dir::{Dir, Entry};
use super::kind::Kind;
use super::owner::AccountRoot;
use super::{HomeError, key};
use crate::session_file::Homes;

/// File that says whose home it is.
const OWNER: &str = ".wa-owner";
/// Bytes of an owner.
const MAX_OWNER: usize = 64;
/// Bytes of the file: two digits for each, and the end of the line.
const MAX_MARK: u64 = 2 * MAX_OWNER as u64 + 1;

/// What a home is made for.
pub(super) struct Wanted<'w> {
    pub(super) kind: &'static Kind,
    pub(super) alias: &'w AccountAlias,
    /// Of the process in the pane.
    pub(super) homes: &'w Homes,
    /// Where it works.
    pub(super) cwd: Option<PathBuf>,
    /// Empty: none.
    pub(super) api_key: &'w str,
    /// Whose it must be. Empty: nobody asks.
    pub(super) owner: &'w [u8],
}

/// A home that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) path: PathBuf,
    pub(super) signed_in: bool,
    /// Where the home of another owner is now.
    pub(super) set_aside: Option<PathBuf>,
}

/// Makes the home, or sees that it is as it should be. Blocks; two at a time would be in each other's way.
pub(super) fn prepare(root: &AccountRoot, wanted: &Wanted<'_>) -> Result<Prepared, HomeError> {
    let kind = wanted.kind;
    let first = first_home(root, kind, wanted.homes)?;
    let accounts = Dir::top(root.state_dir())?.private("accounts")?;
    let of_account = accounts.private(wanted.alias.as_str())?;
    let set_aside = give_way(root, &of_account, wanted)?;
    let outer = of_account.private(kind.agent)?;
    if !wanted.owner.is_empty() {
        outer.write(OWNER, mark_of(wanted.owner).as_bytes())?;
    }
    let path = outer.path().to_owned();
    let home = inner(outer, kind)?;
    share_sessions(&home, kind, &first)?;
    for name in kind.shared {
        // One that signs in by a key has settings of its own.
        if wanted.api_key.is_empty() || *name != kind.settings {
            share(&home, &first, name)?;
        }
    }
    if kind.agent == "claude" {
        key::take_over_start(&home, &first, wanted.homes, wanted.cwd.as_deref())?;
    }
    if !wanted.api_key.is_empty() {
        key::write(&home, &first, kind, wanted.api_key, wanted.cwd.as_deref())?;
    }
    let mut signed_in = false;
    for name in kind.sign_in {
        signed_in |= home.entry(name)? == Entry::File;
    }
    Ok(Prepared { path, signed_in, set_aside })
}

/// Where everything is, below what the agent's variable names.
fn inner(outer: Dir, kind: &Kind) -> Result<Dir, HomeError> {
    if kind.inside.is_empty() { Ok(outer) } else { outer.private(kind.inside) }
}

fn mark_of(owner: &[u8]) -> String {
    let mut mark: String = owner.iter().map(|byte| format!("{byte:02x}")).collect();
    mark.push('\n');
    mark
}

/// Sets the home aside if it is another owner's, or may be; where it is then.
fn give_way(root: &AccountRoot, of_account: &Dir, wanted: &Wanted<'_>) -> Result<Option<PathBuf>, HomeError> {
    let Wanted { kind, alias, owner, .. } = wanted;
    if owner.len() > MAX_OWNER {
        return Err(HomeError::NoOwner);
    }
    if owner.is_empty() || of_account.entry(kind.agent)? == Entry::Missing {
        return Ok(None);
    }
    let outer = of_account.private(kind.agent)?;
    let ours = match outer.entry(OWNER)? {
        Entry::Missing => !may_be_signed_in(outer, kind)?,
        // A mark of which nothing can be read says nothing.
        _ => matches!(outer.read(OWNER, MAX_MARK), Ok(Some(mark)) if mark == mark_of(owner).as_bytes()),
    };
    if ours {
        return Ok(None);
    }
    let home = root.home(alias, kind);
    if let Some(pid) = root.process_in(alias, kind) {
        return Err(HomeError::InUse { home, pid });
    }
    let to = format!("{}.set-aside-{}", kind.agent, wa_link::clock::now().strftime("%Y%m%dT%H%M%SZ"));
    of_account.rename(kind.agent, &to)?;
    let to = of_account.path().join(to);
    tracing::warn!(home = %home.display(), now = %to.display(), "the home of an account is another owner's: set aside");
    Ok(Some(to))
}

/// Whether anything stands where a sign-in would.
fn may_be_signed_in(outer: Dir, kind: &Kind) -> Result<bool, HomeError> {
    let home = inner(outer, kind)?;
    let mut any = false;
    for name in kind.sign_in {
        any |= home.entry(name)? != Entry::Missing;
    }
    Ok(any)
}

/// The home that sessions and settings are shared with. It is made where it is missing: its agent would make it, too.
fn first_home(root: &AccountRoot, kind: &Kind, homes: &Homes) -> Result<PathBuf, HomeError> {
    let agent = AgentKind::new(kind.agent);
    let named = homes.home_of(&agent).ok_or(HomeError::NoFirst)?;
    let sessions = named.join(kind.sessions);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&sessions);
    made.map_err(|source| HomeError::Io { path: sessions, source })?;
    let home = std::fs::canonicalize(&named).map_err(|source| HomeError::Io { path: named, source })?;
    let first = root.home_of_sessions(&agent, home);
    if root.contains(&first) {
        return Err(HomeError::NotShared(first));
    }
    let meta = std::fs::metadata(&first).map_err(|source| HomeError::Io { path: first.clone(), source })?;
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(HomeError::Foreign { path: first, uid: meta.uid() });
    }
    Ok(first)
}

fn share_sessions(home: &Dir, kind: &Kind, first: &Path) -> Result<(), HomeError> {
    let (name, target) = (kind.sessions, first.join(kind.sessions));
    match home.entry(name)? {
        Entry::Link(leads) if leads == target => return Ok(()),
        // The first home of before is gone.
        Entry::Link(leads) if !leads.exists() => home.remove(name)?,
        Entry::Link(leads) => {
            let before = leads.parent().unwrap_or(&leads).to_owned();
            return Err(HomeError::OtherFirst {
                home: home.path().to_owned(),
                before,
                now: first.to_owned(),
            });
        }
        Entry::Dir => home
            .remove_empty(name)
            .map_err(|_| HomeError::OwnSessions { path: home.path().join(name), first: target.clone() })?,
        Entry::Missing => {}
        Entry::File | Entry::Other => return Err(HomeError::InTheWay(home.path().join(name))),
    }
    home.link(name, &target)
}

/// Shares a name that the first home has, unless the account's home has one of its own by now.
fn share(home: &Dir, first: &Path, name: &str) -> Result<(), HomeError> {
    let target = first.join(name);
    match home.entry(name)? {
        Entry::Link(leads) if leads != target && !leads.exists() => home.remove(name)?,
        Entry::Missing => {}
        _ => return Ok(()),
    }
    if target.exists() { home.link(name, &target) } else { Ok(()) }
}
