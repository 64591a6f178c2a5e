//! What may be pushed: packs of rules that together make an engine.
//!
//! A node takes a set whole or not at all, so the set is built here once, with the packs that are built in, before
//! anything of it is stored. That is work for the processor, some hundred milliseconds of it: call [`check`] where it
//! may block.

use std::collections::HashMap;

use wa_match::{Engine, Origin, Pack, PackError, PackInfo};
use wa_proto::wire::v1;

/// Packs of one set: beside them a node has its own, and an engine takes some 64.
const MAX_PACKS: usize = 32;
/// Bytes of one pack's text.
const MAX_TEXT: usize = 256 * 1024;
/// Bytes of all texts: every node is sent the whole set.
const MAX_SET: usize = 1024 * 1024;
/// Bytes of a name, which is a file's.
const MAX_NAME: usize = 64;
/// Bytes of a reason: it travels in a header.
const MAX_REASON: usize = 2048;

/// A pack that makes an engine together with those it was checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPack {
    pub name: String,
    /// TOML.
    pub text: String,
    /// What its rules find is counted, and nothing more.
    pub shadow: bool,
    /// As the pack says; empty where it does not.
    pub version: String,
    /// SHA-256 of its text, in hex.
    pub hash: String,
    /// Rules of it that run beside the rest of the set.
    pub rules: u32,
}

impl CheckedPack {
    /// Whether it was pushed so; what else is known of it follows.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.text, self.shadow) == (&other.name, &other.text, other.shadow)
    }
}

impl From<&CheckedPack> for v1::RulePack {
    fn from(pack: &CheckedPack) -> Self {
        Self { name: pack.name.clone(), text: pack.text.clone(), shadow: pack.shadow }
    }
}

/// What is wrong with a pack, or with a set of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPack {
    #[error(
        "{0:?} is no name for a pack: small letters, digits, `.`, `_` and `-`, a letter or digit first, at most {MAX_NAME}"
    )]
    Name(String),
    #[error("pack {name}: {bytes} bytes; at most {MAX_TEXT} go")]
    Long { name: String, bytes: usize },
    #[error("{0} packs; at most {MAX_PACKS} can be pushed: remove some")]
    Many(usize),
    #[error("{0} bytes in all pushed packs; at most {MAX_SET} go: remove some")]
    Large(usize),
    #[error("{0}")]
    Rules(String),
    #[error("pack {0}: another of the set stands in its place")]
    Lost(String),
}

/// Whether a pack may be named so: as a file, and without a second thought.
pub(crate) fn check_name(name: &str) -> Result<(), BadPack> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let first = name.bytes().next().is_some_and(plain);
    if first && name.len() <= MAX_NAME && name.bytes().all(|byte| plain(byte) || b"._-".contains(&byte)) {
        Ok(())
    } else {
        Err(BadPack::Name(name.chars().take(MAX_NAME).collect()))
    }
}

/// Checks a whole set: sizes, then each pack beside all others and the built-in ones. What was checked, in the order
/// that was given. Blocks for as long as an engine takes to build.
pub(crate) fn check(packs: Vec<v1::RulePack>) -> Result<Vec<CheckedPack>, BadPack> {
    check_sizes(&packs)?;
    let packs: Vec<Pack> = packs.into_iter().map(|pack| pushed(pack.name, pack.text, pack.shadow)).collect();
    let engine = Engine::with_packs(&packs).map_err(|error| BadPack::Rules(reason(&error)))?;
    let known: HashMap<&str, &PackInfo> = engine
        .packs()
        .iter()
        .filter(|info| info.origin == Origin::Pushed)
        .map(|info| (info.name.as_str(), info))
        .collect();
    let checked = |pack: Pack| {
        let info = known.get(pack.name.as_str()).ok_or_else(|| BadPack::Lost(pack.name.clone()))?;
        Ok(CheckedPack {
            version: info.version.clone(),
            hash: info.hash.clone(),
            rules: u32::try_from(info.rules).unwrap_or(u32::MAX),
            name: pack.name,
            text: pack.text,
            shadow: pack.shadow,
        })
    };
    packs.into_iter().map(checked).collect()
}

fn pushed(name: String, text: String, shadow: bool) -> Pack {
    Pack { name, text, origin: Origin::Pushed, shadow }
}

fn reason(error: &PackError) -> String {
    let mut reason = error.to_string();
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}

fn check_sizes(packs: &[v1::RulePack]) -> Result<(), BadPack> {
    for pack in packs {
        check_name(&pack.name)?;
        if pack.text.len() > MAX_TEXT {
            return Err(BadPack::Long { name: pack.name.clone(), bytes: pack.text.len() });
        }
    }
    let bytes = packs.iter().map(|pack| pack.text.len()).sum();
    match packs.len() {
        count if count > MAX_PACKS => Err(BadPack::Many(count)),
        _ if bytes > MAX_SET => Err(BadPack::Large(bytes)),
        _ => Ok(()),
    }
}

/// The revision of a set that was checked.
pub(crate) fn revision<'a>(packs: impl Iterator<Item = &'a CheckedPack>) -> String {
    let packs: Vec<Pack> =
        packs.map(|pack| pushed(pack.name.clone(), pack.text.clone(), pack.shadow)).collect();
    wa_match::revision(&packs)
}
