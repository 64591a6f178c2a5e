//! Making an account's home: its own directory, with links to what it shares.
//!
//! Constraints: `DIR/accounts/ALIAS/AGENT`, every directory of it ours and closed to others; a link leads only to the
//! first home, and only below its own name; what stands there and is not ours is left, and where it is in the way of the
//! sessions that is an error. Doing it again changes nothing.
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
}

/// A home that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) path: PathBuf,
    pub(super) signed_in: bool,
}

/// Makes the home, or sees that it is as it should be. Blocks; two at a time would be in each other's way.
pub(super) fn prepare(root: &AccountRoot, wanted: &Wanted<'_>) -> Result<Prepared, HomeError> {
    let kind = wanted.kind;
    let first = first_home(root, kind, wanted.homes)?;
    let accounts = Dir::top(root.state_dir())?.private("accounts")?;
    let outer = accounts.private(wanted.alias.as_str())?.private(kind.agent)?;
    let path = outer.path().to_owned();
    let home = if kind.inside.is_empty() { outer } else { outer.private(kind.inside)? };
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
    Ok(Prepared { path, signed_in })
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
