//! Packs from files, and the engine that runs them beside the built-in ones, as the node does.

use std::path::Path;

use wa_match::{Engine, Origin, Pack, PackError};

use super::source;
use crate::failure::Failure;

/// More is no pack.
const MOST_BYTES: u64 = 1 << 20;

/// The built-in engine, or one of its own.
pub(super) enum Loaded {
    Builtin,
    Own(Box<Engine>),
}

impl Loaded {
    pub(super) fn engine(&self) -> &Engine {
        match self {
            Self::Builtin => Engine::builtin(),
            Self::Own(engine) => engine,
        }
    }
}

/// Reads a pack; its name is the file's without `.toml`.
pub(super) fn read(path: &Path, shadow: bool) -> Result<Pack, Failure> {
    let text = source::text(path, MOST_BYTES)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".toml").unwrap_or(&name).to_owned();
    Ok(Pack { name, text, origin: Origin::Local, shadow })
}

/// The engine with these packs beside the built-in ones.
pub(super) fn load<P: AsRef<Path>>(files: &[P]) -> Result<Loaded, Failure> {
    if files.is_empty() {
        return Ok(Loaded::Builtin);
    }
    let packs = files.iter().map(|file| read(file.as_ref(), false)).collect::<Result<Vec<_>, _>>()?;
    let engine = Engine::with_packs(&packs).map_err(|error| refused(&error))?;
    Ok(Loaded::Own(Box::new(engine)))
}

/// A mistake in a pack that was named on the line.
pub(super) fn refused(error: &PackError) -> Failure {
    Failure::usage(error.to_string()).remedy("`wa rules test FILE` names the first mistake of each file")
}
