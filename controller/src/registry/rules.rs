//! What nodes say of the rules that run there.
//!
//! A report is a level, of the present session only. It comes from a peer, so it is cut to a size before it is kept: the
//! number of packs, of counts, and the length of every text. The same holds for what nodes answer about screens.

use std::sync::Arc;

use wa_proto::Host;
use wa_proto::wire::v1;

use super::{Registry, SessionHandle};

/// Packs of one report: what was pushed, what is built in, and the node's own.
const PACKS: usize = 256;
/// Shadow counts of one report, over all packs.
const COUNTS: usize = 2048;
/// Bytes of a name, an id or a hash.
const NAME: usize = 128;
/// Bytes of a sentence.
const SENTENCE: usize = 1024;
/// Rules of one explanation.
const TRACES: usize = 512;
/// Words of one rule: its witnesses, or what is missing.
const WORDS: usize = 32;
/// Unknown screens of one node.
const UNKNOWN: usize = 128;
/// Bytes of one such screen.
const SCREEN: usize = 16 * 1024;

/// A node and its last report.
#[derive(Debug, Clone)]
pub struct NodeRules {
    pub host: Host,
    pub connected: bool,
    /// `None`: away, or it has not told yet.
    pub report: Option<Arc<v1::RulesReport>>,
}

impl Registry {
    /// Keeps what a session said of its rules, unless another has taken its place.
    pub(crate) fn rules_reported(&self, host: &Host, handle: &SessionHandle, report: v1::RulesReport) {
        let report = Arc::new(clamp_report(report));
        let mut inner = self.lock();
        let Some(node) = inner.nodes.get_mut(host) else { return };
        if node.session.as_ref().is_none_or(|session| session.id != handle.id) {
            return;
        }
        node.rules = Some(report);
        drop(inner);
        self.changed.send_replace(());
    }

    /// Every node with its last report, by name.
    pub fn rules(&self) -> Vec<NodeRules> {
        let view = |(host, node): (&Host, &super::Node)| NodeRules {
            host: host.clone(),
            connected: node.session.is_some(),
            report: node.rules.clone(),
        };
        self.lock().nodes.iter().map(view).collect()
    }

    /// Nodes that are here and run another pushed set than this one.
    pub(crate) fn nodes_off(&self, revision: &str) -> usize {
        let runs = |node: &super::Node| node.rules.as_ref().map_or("", |report| &report.revision) == revision;
        let inner = self.lock();
        inner.nodes.values().filter(|node| node.session.is_some() && !runs(node)).count()
    }
}

/// Shortens a text, and gives back the room.
fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
    text.shrink_to_fit();
}

fn few<T>(list: &mut Vec<T>, most: usize) {
    list.truncate(most);
    list.shrink_to_fit();
}

pub(super) fn clamp_reason(mut reason: String) -> String {
    cut(&mut reason, SENTENCE);
    reason
}

fn clamp_report(mut report: v1::RulesReport) -> v1::RulesReport {
    cut(&mut report.revision, NAME);
    cut(&mut report.refused_revision, NAME);
    cut(&mut report.refused, SENTENCE);
    few(&mut report.packs, PACKS);
    let mut counts = COUNTS;
    for pack in &mut report.packs {
        for text in [&mut pack.name, &mut pack.version, &mut pack.hash, &mut pack.origin] {
            cut(text, NAME);
        }
        few(&mut pack.shadowed, counts);
        counts -= pack.shadowed.len();
        for count in &mut pack.shadowed {
            cut(&mut count.rule, NAME);
            cut(&mut count.event, NAME);
        }
    }
    report
}

pub(super) fn clamp_explanation(mut explanation: v1::Explanation) -> v1::Explanation {
    for text in [&mut explanation.agent, &mut explanation.agent_version, &mut explanation.state] {
        cut(text, NAME);
    }
    if let Some(detail) = &mut explanation.detail {
        for text in [&mut detail.why, &mut detail.kind, &mut detail.window] {
            cut(text, SENTENCE);
        }
    }
    few(&mut explanation.rules, TRACES);
    for trace in &mut explanation.rules {
        for text in
            [&mut trace.rule, &mut trace.pack, &mut trace.event, &mut trace.verdict, &mut trace.region]
        {
            cut(text, NAME);
        }
        cut(&mut trace.line, SENTENCE);
        for words in [&mut trace.witnesses, &mut trace.missing] {
            few(words, WORDS);
            words.iter_mut().for_each(|word| cut(word, SENTENCE));
        }
    }
    explanation
}

pub(super) fn clamp_unknown(mut screens: Vec<v1::UnknownScreen>) -> Vec<v1::UnknownScreen> {
    few(&mut screens, UNKNOWN);
    for screen in &mut screens {
        for text in [&mut screen.agent, &mut screen.agent_version, &mut screen.kind] {
            cut(text, NAME);
        }
        cut(&mut screen.text, SCREEN);
    }
    screens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_kept_at_a_bounded_size() {
        let long = "ä".repeat(100_000);
        let count = v1::ShadowCount { rule: long.clone(), event: long.clone(), count: 1 };
        let pack = v1::PackStatus {
            name: long.clone(),
            shadowed: vec![count; 20],
            origin: "builtin".into(),
            ..Default::default()
        };
        let report = v1::RulesReport {
            revision: long.clone(),
            refused: long,
            packs: vec![pack; 300],
            ..Default::default()
        };
        let kept = clamp_report(report);
        assert_eq!((kept.packs.len(), kept.refused.len(), kept.revision.len()), (PACKS, SENTENCE, NAME));
        let counts: usize = kept.packs.iter().map(|pack| pack.shadowed.len()).sum();
        assert_eq!(counts, COUNTS);
        assert_eq!((kept.packs[0].shadowed[19].rule.len(), &*kept.packs[9].origin), (NAME, "builtin"));
    }
}
