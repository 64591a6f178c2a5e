//! What shadow rules have found: counted, and nothing more.
//!
//! A count belongs to one text of one pack: another text begins at nothing, while a pack that stays keeps its counts over
//! any change of the others. There are never more counts than shadow rules in the engine.

use std::collections::BTreeMap;

use wa_match::Engine;
use wa_proto::wire::v1;

#[derive(Debug, Default)]
pub(super) struct Shadows(BTreeMap<String, Count>);

/// Of one rule.
#[derive(Debug)]
struct Count {
    pack: String,
    /// Of the pack's text.
    hash: String,
    event: &'static str,
    count: u64,
}

impl Shadows {
    pub(super) fn of(engine: &Engine) -> Self {
        let mut shadows = Self::default();
        shadows.rebase(engine);
        shadows
    }

    /// Counts for the shadow rules of another engine.
    pub(super) fn rebase(&mut self, engine: &Engine) {
        let before = std::mem::take(&mut self.0);
        let packs = engine.packs().iter().filter(|pack| pack.shadow);
        let hashes: BTreeMap<&str, &str> =
            packs.map(|pack| (pack.name.as_str(), pack.hash.as_str())).collect();
        for rule in engine.rules().filter(|rule| rule.shadow) {
            let hash = hashes.get(rule.pack).copied().unwrap_or_default();
            let known = before.get(rule.id).filter(|known| known.pack == rule.pack && known.hash == hash);
            let count = Count {
                pack: rule.pack.to_owned(),
                hash: hash.to_owned(),
                event: rule.event.as_str(),
                count: known.map_or(0, |known| known.count),
            };
            self.0.insert(rule.id.to_owned(), count);
        }
    }

    pub(super) fn count(&mut self, rule: &str) {
        // A pane may still look with the rules of a moment ago.
        if let Some(known) = self.0.get_mut(rule) {
            known.count = known.count.saturating_add(1);
        }
    }

    /// Of the rules of a pack that have found anything.
    pub(super) fn of_pack(&self, pack: &str) -> Vec<v1::ShadowCount> {
        let counts = self.0.iter().filter(|(_, known)| known.pack == pack && known.count > 0);
        counts
            .map(|(rule, known)| v1::ShadowCount {
                rule: rule.clone(),
                event: known.event.to_owned(),
                count: known.count,
            })
            .collect()
    }
}
