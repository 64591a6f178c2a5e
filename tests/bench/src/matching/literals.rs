//! The literals of the built-in packs, for the baseline; and an engine without any rule.

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use anyhow::Context as _;
use serde::Deserialize;
use wa_match::Engine;

#[derive(Deserialize)]
struct Pack {
    #[serde(default)]
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    literals: Vec<String>,
}

/// The literals of all rules.
pub(crate) fn all() -> anyhow::Result<Vec<String>> {
    let mut literals = Vec::new();
    for pack in Engine::builtin_packs() {
        let pack: Pack = toml::from_str(&pack.text).with_context(|| format!("pack {}", pack.name))?;
        literals.extend(pack.rule.into_iter().flat_map(|rule| rule.literals));
    }
    Ok(literals)
}

/// One automaton of each kind.
pub(crate) fn automata(literals: &[String]) -> anyhow::Result<Vec<AhoCorasick>> {
    let kinds = [AhoCorasickKind::DFA, AhoCorasickKind::ContiguousNFA];
    let build =
        |kind| AhoCorasick::builder().kind(Some(kind)).build(literals).context("the literals do not build");
    kinds.into_iter().map(build).collect()
}

/// The engine with every built-in pack replaced by an empty one.
pub(crate) fn without_rules() -> anyhow::Result<Engine> {
    let mut packs = Engine::builtin_packs();
    for pack in &mut packs {
        pack.text = "schema = \"wa.pack/1\"\n".to_owned();
    }
    Ok(Engine::with_packs(&packs)?)
}
