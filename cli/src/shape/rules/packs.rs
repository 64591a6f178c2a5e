//! `wa.rules/1`: a pack, and where it is in force. `wa.rule/1`, `wa.rule_pack/1`: the text of one.

use std::collections::BTreeMap;

use serde::Serialize;
use wa_match::{Engine, PackInfo, RuleInfo};
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, v1};

use super::outcome_style;
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};
use crate::shape::{instant, known, need, or_dash};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PackItem {
    pack: String,
    version: Option<String>,
    /// SHA-256 of its text, in hex.
    hash: String,
    /// `builtin`, `local` or `pushed`.
    origin: String,
    rules: u32,
    shadow: bool,
    /// Who pushed it, and when.
    who: Option<String>,
    pushed: Option<Timestamp>,
    /// Where it is in force or, of a pushed one, should be.
    nodes: Vec<OnNode>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct OnNode {
    host: String,
    /// `applied`, `refused`, `pending` or `unreachable`.
    outcome: String,
    reason: Option<String>,
    /// What its rules found in shadow.
    shadowed: Vec<Counted>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Counted {
    rule: String,
    event: String,
    count: u64,
}

impl PackItem {
    pub(crate) fn local(pack: &PackInfo) -> Self {
        Self {
            pack: pack.name.clone(),
            version: known(pack.version.clone()),
            hash: pack.hash.clone(),
            origin: pack.origin.as_str().to_owned(),
            rules: u32::try_from(pack.rules).unwrap_or(u32::MAX),
            shadow: pack.shadow,
            who: None,
            pushed: None,
            nodes: Vec::new(),
        }
    }

    /// First what was pushed, with every node; then what else runs on nodes, with the nodes on which it does.
    pub(crate) fn of_fleet(answer: v1::ListRulesResponse) -> Result<Vec<Self>, Invalid> {
        let mut items = Vec::new();
        for pushed in answer.packs {
            let pack = need("pack", pushed.pack)?;
            let on_node = |node: &v1::NodeRules| {
                let statuses = node.report.iter().flat_map(|report| &report.packs);
                let mut same = statuses.filter(|status| {
                    status.name == pack.name && status.origin == "pushed" && status.shadow == pack.shadow
                });
                OnNode {
                    host: node.host.clone(),
                    outcome: node.outcome.clone(),
                    reason: known(node.reason.clone()),
                    shadowed: same.next().map(Counted::all).unwrap_or_default(),
                }
            };
            items.push(Self {
                nodes: answer.nodes.iter().map(on_node).collect(),
                pack: pack.name,
                version: known(pushed.version),
                hash: pushed.hash,
                origin: "pushed".to_owned(),
                rules: pushed.rules,
                shadow: pack.shadow,
                who: known(pushed.who),
                pushed: instant("pushed_us", pushed.pushed_us)?,
            });
        }
        items.extend(Self::of_nodes(&answer.nodes));
        Ok(items)
    }

    /// What runs on nodes and was not pushed: one item for each text.
    fn of_nodes(nodes: &[v1::NodeRules]) -> Vec<Self> {
        let mut others: BTreeMap<(&str, &str, &str, bool), Self> = BTreeMap::new();
        for node in nodes {
            for status in node.report.iter().flat_map(|report| &report.packs) {
                if status.origin == "pushed" {
                    continue;
                }
                let key = (status.origin.as_str(), status.name.as_str(), status.hash.as_str(), status.shadow);
                let item = others.entry(key).or_insert_with(|| Self {
                    pack: status.name.clone(),
                    version: known(status.version.clone()),
                    hash: status.hash.clone(),
                    origin: status.origin.clone(),
                    rules: status.rules,
                    shadow: status.shadow,
                    who: None,
                    pushed: None,
                    nodes: Vec::new(),
                });
                item.nodes.push(OnNode {
                    host: node.host.clone(),
                    outcome: "applied".to_owned(),
                    reason: None,
                    shadowed: Counted::all(status),
                });
            }
        }
        others.into_values().collect()
    }

    /// `2 applied; web-3 refused: …`.
    fn nodes_words(&self) -> String {
        let applied = self.nodes.iter().filter(|node| node.outcome == "applied").count();
        let mut words = Vec::new();
        if applied > 0 {
            words.push(format!("{applied} applied"));
        }
        words.extend(self.nodes.iter().filter(|node| node.outcome != "applied").map(|node| {
            let reason = node.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{} {}{reason}", node.host, node.outcome)
        }));
        if words.is_empty() { "-".to_owned() } else { words.join("; ") }
    }

    /// What was found in shadow on all nodes: `rule x12`.
    fn shadow_words(&self) -> String {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for counted in self.nodes.iter().flat_map(|node| &node.shadowed) {
            *sums.entry(&counted.rule).or_default() += counted.count;
        }
        let words: Vec<String> = sums.iter().map(|(rule, count)| format!("{rule} x{count}")).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(" ") }
    }

    fn short_hash(&self) -> &str {
        self.hash.get(..12).unwrap_or(&self.hash)
    }
}

impl Counted {
    fn all(status: &v1::PackStatus) -> Vec<Self> {
        let counted = |count: &v1::ShadowCount| Self {
            rule: count.rule.clone(),
            event: count.event.clone(),
            count: count.count,
        };
        status.shadowed.iter().map(counted).collect()
    }
}

impl Shape for PackItem {
    const SCHEMA: &'static str = "wa.rules/1";

    fn name(&self) -> String {
        self.pack.clone()
    }

    fn columns(wide: bool) -> &'static [Column] {
        const TABLE: &[Column] = &[
            column("PACK", 8),
            column("VERSION", 7),
            column("ORIGIN", 7),
            column("RULES", 5),
            column("SHADOW", 6),
            column("HASH", 12),
            column("NODES", 5),
        ];
        const WIDE: &[Column] = &[
            column("PACK", 8),
            column("VERSION", 7),
            column("ORIGIN", 7),
            column("RULES", 5),
            column("SHADOW", 6),
            column("HASH", 12),
            column("WHO", 8),
            column("FOUND IN SHADOW", 15),
            column("NODES", 5),
        ];
        if wide { WIDE } else { TABLE }
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let mut row = vec![
            Cell::plain(&self.pack),
            Cell::plain(or_dash(self.version.as_deref())),
            Cell::plain(&self.origin),
            Cell::plain(&self.rules.to_string()),
            Cell::plain(if self.shadow { "yes" } else { "no" }),
            Cell::plain(self.short_hash()),
        ];
        if look.wide() {
            row.push(Cell::plain(or_dash(self.who.as_deref())));
            row.push(Cell::plain(&self.shadow_words()));
        }
        let worst = ["refused", "unreachable", "pending"];
        let worst = worst.iter().find(|word| self.nodes.iter().any(|node| node.outcome == **word));
        row.push(Cell::styled(&self.nodes_words(), outcome_style(worst.unwrap_or(&""))));
        row
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RuleShown {
    rule: String,
    pack: String,
    origin: &'static str,
    event: &'static str,
    /// Null for any.
    agent: Option<String>,
    versions: Option<String>,
    region: &'static str,
    /// `frame`, `line`, `record`.
    on: Vec<&'static str>,
    shadow: bool,
    examples: usize,
    counters: usize,
    /// Line of its id in the pack.
    line: Option<usize>,
    /// As the pack has it, TOML.
    pub(crate) text: String,
}

impl RuleShown {
    pub(crate) fn of(rule: &RuleInfo<'_>, origin: &'static str, text: String) -> Self {
        Self {
            rule: rule.id.to_owned(),
            pack: rule.pack.to_owned(),
            origin,
            event: rule.event.as_str(),
            agent: Some(rule.agent.to_owned()).filter(|agent| agent != "*"),
            versions: known(rule.versions.to_owned()),
            region: rule.region,
            on: rule.on.iter().map(|surface| surface.as_str()).collect(),
            shadow: rule.shadow,
            examples: rule.examples,
            counters: rule.counters,
            line: Some(rule.line).filter(|line| *line > 0),
            text,
        }
    }

    /// Where it stands, in words.
    pub(crate) fn place(&self) -> String {
        let line = self.line.map(|line| format!(", line {line}")).unwrap_or_default();
        format!("pack {} ({}){line}", self.pack, self.origin)
    }
}

impl Shape for RuleShown {
    const SCHEMA: &'static str = "wa.rule/1";

    fn name(&self) -> String {
        self.rule.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        &[]
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![Cell::line(&self.text)]
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PackShown {
    pack: String,
    version: Option<String>,
    hash: String,
    origin: &'static str,
    /// Ids of its rules that are in force.
    pub(crate) rules: Vec<String>,
    pub(crate) text: String,
}

impl PackShown {
    pub(crate) fn of(pack: &PackInfo, engine: &Engine, text: String) -> Self {
        let rules = engine.rules().filter(|rule| rule.pack == pack.name).map(|rule| rule.id.to_owned());
        Self {
            pack: pack.name.clone(),
            version: known(pack.version.clone()),
            hash: pack.hash.clone(),
            origin: pack.origin.as_str(),
            rules: rules.collect(),
            text,
        }
    }
}

impl Shape for PackShown {
    const SCHEMA: &'static str = "wa.rule_pack/1";

    fn name(&self) -> String {
        self.pack.clone()
    }

    fn columns(_: bool) -> &'static [Column] {
        &[]
    }

    fn row(&self, _: &Look) -> Vec<Cell> {
        vec![Cell::line(&self.text)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, testing};

    fn fleet() -> v1::ListRulesResponse {
        let status = |name: &str, origin: &str, shadow: bool, count: u64| v1::PackStatus {
            name: name.into(),
            version: "1".into(),
            hash: "ab".repeat(32),
            origin: origin.into(),
            rules: 3,
            shadow,
            shadowed: vec![v1::ShadowCount { rule: "mine.x".into(), event: "limit.reached".into(), count }],
        };
        let node = |host: &str, outcome: &str, reason: &str, packs| v1::NodeRules {
            host: host.into(),
            outcome: outcome.into(),
            reason: reason.into(),
            report: Some(v1::RulesReport { packs, ..Default::default() }),
        };
        v1::ListRulesResponse {
            revision: "r".into(),
            packs: vec![v1::PushedPack {
                pack: Some(v1::RulePack { name: "mine".into(), text: String::new(), shadow: true }),
                version: "2".into(),
                hash: "cd".repeat(32),
                rules: 1,
                who: "operator:ann".into(),
                pushed_us: 1_788_264_000_000_000,
            }],
            nodes: vec![
                node(
                    "a",
                    "applied",
                    "",
                    vec![status("codex", "builtin", false, 0), status("mine", "pushed", true, 5)],
                ),
                node(
                    "b",
                    "refused",
                    "pack mine, line 3: no",
                    vec![status("codex", "builtin", false, 0), status("mine", "pushed", true, 2)],
                ),
            ],
        }
    }

    #[test]
    fn what_was_pushed_comes_first_and_says_where_it_is_not() {
        let items = PackItem::of_fleet(fleet()).unwrap();
        let (mut out, sink) = testing::out(Format::Wide);
        out.list(&items).unwrap();
        let text = sink.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].starts_with("mine") && lines[1].contains("cdcdcdcdcdcd  operator:ann"), "{text}");
        assert!(lines[1].contains("mine.x x7"), "{text}");
        assert!(lines[1].ends_with("1 applied; b refused: pack mine, line 3: no"), "{text}");
        assert!(lines[2].starts_with("codex") && lines[2].ends_with("2 applied"), "{text}");
    }
}
