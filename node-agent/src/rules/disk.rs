//! The pushed set on disk.
//!
//! Constraints: what is read is the whole set that was written, or nothing; nobody else may read or write it. Format: one
//! file, `DIR/rules/pushed.json`, with the packs and the revision, which is a hash over all of them and so the checksum of
//! the file. Operation: it is replaced in one step.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wa_link::files::{self, FileError};
use wa_match::{Origin, Pack};
use wa_proto::wire::v1;

/// Packs of one set.
const MAX_PACKS: usize = 64;
/// Bytes of one pack.
pub(super) const MAX_PACK: usize = 1 << 20;
/// Bytes of a pack's name.
const MAX_NAME: usize = 100;
/// Bytes of the file: as much as a message can bring, each character escaped.
const MAX_FILE: u64 = 16 << 20;
const SCHEMA: &str = "wa.pushed-rules/1";

/// A set of packs, and the hash that it has.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    pub(super) revision: String,
    pub(super) packs: Vec<Pack>,
}

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: damaged: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schema: String,
    revision: String,
    packs: Vec<StoredPack>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPack {
    name: String,
    text: String,
    shadow: bool,
}

impl Set {
    /// The set that a message brings, if it is what its revision says.
    pub(super) fn received(message: &v1::RulePacks) -> Result<Self, String> {
        let packs = message.packs.iter();
        let packs = packs.map(|pack| (pack.name.clone(), pack.text.clone(), pack.shadow)).collect();
        Self::checked(message.revision.clone(), packs)
    }

    fn checked(revision: String, packs: Vec<(String, String, bool)>) -> Result<Self, String> {
        if packs.len() > MAX_PACKS {
            return Err(format!("{} packs are too many; {MAX_PACKS} at most", packs.len()));
        }
        let pack = |(name, text, shadow): (String, String, bool)| {
            let bad_name = name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control);
            if bad_name {
                return Err(format!("{name:?} is no name of a pack"));
            }
            if text.len() > MAX_PACK {
                return Err(format!("pack {name}: larger than {MAX_PACK} bytes"));
            }
            Ok(Pack { name, text, origin: Origin::Pushed, shadow })
        };
        let packs = packs.into_iter().map(pack).collect::<Result<Vec<_>, _>>()?;
        let is = wa_match::revision(&packs);
        if is != revision {
            return Err(format!("its contents have the hash {is:?}, not {revision:?}"));
        }
        Ok(Self { revision, packs })
    }
}

/// Where the pushed set of a node is.
pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("rules").join("pushed.json")
}

/// The set that was last kept; none: no set ever came.
pub(super) fn load(path: &Path) -> Result<Set, Unreadable> {
    let text = match files::read_text(path, MAX_FILE) {
        Ok(text) => text,
        Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Set::default());
        }
        Err(error) => return Err(error.into()),
    };
    let damaged = |problem: String| Unreadable::Damaged { path: path.to_owned(), problem };
    let stored: Stored = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if stored.schema != SCHEMA {
        return Err(damaged(format!("schema {:?} is not known", stored.schema)));
    }
    let packs = stored.packs.into_iter().map(|pack| (pack.name, pack.text, pack.shadow)).collect();
    Set::checked(stored.revision, packs).map_err(damaged)
}

/// Keeps a set in the place of the one before.
pub(super) fn save(path: &Path, set: &Set) -> Result<(), FileError> {
    let pack =
        |pack: &Pack| StoredPack { name: pack.name.clone(), text: pack.text.clone(), shadow: pack.shadow };
    let stored = Stored {
        schema: SCHEMA.to_owned(),
        revision: set.revision.clone(),
        packs: set.packs.iter().map(pack).collect(),
    };
    if let Some(directory) = path.parent() {
        files::create_private_dir(directory)?;
    }
    // Text and flags only: there is nothing in it that JSON cannot say.
    let text = serde_json::to_vec(&stored).unwrap_or_default();
    files::write_private(path, &text)
}
