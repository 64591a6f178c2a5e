//! `wa rules show`: a rule as its pack has it, or the whole pack.

use toml_edit::{ArrayOfTables, DocumentMut, Item};
use wa_match::{Engine, Pack};

use super::packs::{self, Loaded};
use crate::args::ShowRule;
use crate::failure::{Exit, Failure};
use crate::output::text::{Keep, printable};
use crate::output::{Format, Out, Shape};
use crate::shape::{PackShown, RuleShown};

pub(super) fn show(args: &ShowRule, out: &mut Out) -> Result<Exit, Failure> {
    let mut sources = Engine::builtin_packs();
    for file in &args.pack {
        let pack = packs::read(file, false)?;
        sources.retain(|known| known.name != pack.name);
        sources.push(pack);
    }
    let loaded = packs::load(&args.pack)?;
    let engine = loaded.engine();
    if let Some(rule) = engine.rules().find(|rule| rule.id == args.name) {
        let pack = sources.iter().find(|pack| pack.name == rule.pack);
        let text = pack.and_then(|pack| rule_text(pack, rule.id)).unwrap_or_default();
        let origin = pack.map_or("builtin", |pack| pack.origin.as_str());
        let shown = RuleShown::of(&rule, origin, text);
        return print(out, &shown, &shown.place(), &shown.text);
    }
    if let Some(info) = engine.packs().iter().find(|pack| pack.name == args.name) {
        let text = sources.iter().find(|pack| pack.name == info.name).map(|pack| pack.text.clone());
        let shown = PackShown::of(info, engine, text.unwrap_or_default());
        if out.look.format == Format::Name {
            for rule in &shown.rules {
                out.line(&printable(rule, Keep::Nothing))?;
            }
            out.flush()?;
            return Ok(Exit::Done);
        }
        return print(out, &shown, "", &shown.text);
    }
    Err(not_found(&args.name, &loaded))
}

fn not_found(name: &str, loaded: &Loaded) -> Failure {
    let near: Vec<&str> =
        loaded.engine().rules().map(|rule| rule.id).filter(|id| id.contains(name)).take(8).collect();
    let remedy = if near.is_empty() {
        "`wa rules list --local` names the packs, `wa rules show PACK -o name` the rules of one".to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    Failure::new(Exit::NotFound, format!("no rule and no pack is called {name:?}")).remedy(remedy)
}

fn print<T: Shape>(out: &mut Out, shown: &T, place: &str, text: &str) -> Result<Exit, Failure> {
    match out.look.format {
        Format::Table | Format::Wide => {
            if !place.is_empty() {
                out.line(&format!("# {}", printable(place, Keep::Nothing)))?;
            }
            out.line(printable(text.trim(), Keep::Layout).as_str())?;
            out.flush()?;
        }
        Format::Json | Format::Jsonl | Format::Name => out.one(shown)?,
    }
    Ok(Exit::Done)
}

/// The rule's part of the pack, as it is written there.
fn rule_text(pack: &Pack, id: &str) -> Option<String> {
    let document: DocumentMut = pack.text.parse().ok()?;
    let rules = document.get("rule")?.as_array_of_tables()?;
    let is = |table: &&toml_edit::Table| table.get("id").and_then(Item::as_str) == Some(id);
    let mut alone = ArrayOfTables::new();
    alone.push(rules.iter().find(is)?.clone());
    let mut text = DocumentMut::new();
    text.insert("rule", Item::ArrayOfTables(alone));
    Some(text.to_string())
}
