//! `wa rules test`: packs loaded as a node does, with every example and counter-example.
//!
//! Each file is loaded beside the built-in packs alone, so that every one's first mistake is named; then all together, for
//! packs may be in each other's way.

use std::path::Path;

use wa_match::{Engine, Pack, PackError};

use super::packs;
use crate::args::TestPacks;
use crate::command::say;
use crate::failure::{Exit, Failure};
use crate::output::Out;
use crate::shape::PackTest;

pub(super) fn test(args: &TestPacks, out: &mut Out) -> Result<Exit, Failure> {
    let (mut results, mut good, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    if args.files.is_empty() {
        results.extend(builtin());
    }
    for file in &args.files {
        match packs::read(file, false) {
            Ok(pack) => results.push(one(file, pack, &mut good)),
            Err(failure) => unread.push(failure),
        }
    }
    if good.len() > 1
        && let Err(error) = Engine::with_packs(&good)
    {
        let files: Vec<String> = good.iter().map(|pack| pack.name.clone()).collect();
        results.push(PackTest::together(&files, &error));
    }
    out.list(&results)?;
    for failure in &unread {
        say(&format!(
            "wa: {}",
            crate::output::text::printable(&failure.message, crate::output::text::Keep::Nothing)
        ));
    }
    if results.iter().any(|result| !result.ok) {
        return Ok(Exit::Failed);
    }
    Ok(match unread.first() {
        None => Exit::Done,
        Some(failure) if results.is_empty() => failure.exit,
        Some(_) => Exit::Partly,
    })
}

fn builtin() -> Vec<PackTest> {
    match Engine::with_packs(&[]) {
        Ok(engine) => engine.packs().iter().map(|pack| PackTest::passed(None, pack, &engine)).collect(),
        Err(error) => vec![PackTest::failed(None, pack_of(&error), &error)],
    }
}

fn pack_of(error: &PackError) -> &str {
    match error {
        PackError::Syntax { pack, .. } | PackError::Rule { pack, .. } => pack,
        PackError::Set { .. } => "",
    }
}

fn one(file: &Path, pack: Pack, good: &mut Vec<Pack>) -> PackTest {
    let file = file.display().to_string();
    let name = pack.name.clone();
    match Engine::with_packs(std::slice::from_ref(&pack)) {
        Ok(engine) => {
            good.push(pack);
            let info = engine.packs().iter().find(|info| info.name == name);
            info.map_or_else(
                || PackTest::unknown(&file, &name),
                |info| PackTest::passed(Some(&file), info, &engine),
            )
        }
        Err(error) => PackTest::failed(Some(&file), &name, &error),
    }
}
