//! The packs of rules that were pushed.
//!
//! They are wanted as one set with one revision. A change names the revision that it was checked against: when another
//! change came first, nothing is stored, for nobody has looked at both together.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use wa_proto::Timestamp;
use wa_proto::wire::{from_us, to_us};

use super::audit::Entry;
use super::readable::readable;
use super::{StoreError, Tx};
use crate::rules::{CheckedPack, revision};

/// A pack as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedPack {
    pub pack: CheckedPack,
    /// `operator:NAME`
    pub who: String,
    pub pushed: Timestamp,
}

/// All pushed packs, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// Names this very set; empty for no packs.
    pub revision: String,
    pub packs: Vec<PushedPack>,
}

/// What is to become of the set.
#[derive(Debug, Clone)]
pub struct RuleChange {
    /// Revision of the set that this was checked with.
    pub base: String,
    pub who: String,
    /// New, or in the place of those of the same name.
    pub put: Vec<CheckedPack>,
    pub remove: Vec<String>,
    /// Those that stay. A new pack may switch rules of them off, so they may have fewer now.
    pub stay: Vec<CheckedPack>,
}

impl Tx<'_> {
    /// Changes the pushed packs, all together. The set as it is then; `None` when it was not at the change's base any
    /// more, and nothing was done.
    pub fn change_rules(&self, change: &RuleChange) -> Result<Option<Arc<RuleSet>>, StoreError> {
        if load(self.conn)?.revision != change.base {
            return Ok(None);
        }
        for name in &change.remove {
            self.conn.prepare_cached("DELETE FROM rule_packs WHERE name = ?1")?.execute([name])?;
        }
        for pack in &change.put {
            self.put_rules(pack, &change.who)?;
        }
        let mut recount = self.conn.prepare_cached("UPDATE rule_packs SET rules = ?2 WHERE name = ?1")?;
        for pack in &change.stay {
            recount.execute(params![pack.name, pack.rules])?;
        }
        self.audit_rules(change)?;
        let set = Arc::new(load(self.conn)?);
        self.tell(|told| told.rules = Some(Arc::clone(&set)));
        Ok(Some(set))
    }

    fn put_rules(&self, pack: &CheckedPack, who: &str) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO rule_packs (name, text, shadow, version, hash, rules, who, pushed_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                pack.name,
                pack.text,
                pack.shadow,
                pack.version,
                pack.hash,
                pack.rules,
                who,
                to_us(self.now)
            ])?;
        Ok(())
    }

    fn audit_rules(&self, change: &RuleChange) -> Result<(), StoreError> {
        let put = change.put.iter().map(|pack| {
            let shadow = if pack.shadow { ", shadow" } else { "" };
            (pack.name.as_str(), format!("{}: sha256 {}{shadow}", pack.name, pack.hash))
        });
        let removed = change.remove.iter().map(|name| (name.as_str(), format!("{name}: removed")));
        let (names, details): (Vec<_>, Vec<_>) = put.chain(removed).unzip();
        self.audit(&Entry {
            who: &change.who,
            what: "rules.push",
            target: &names.join(" "),
            decision: "pushed",
            detail: &details.join("; "),
        })
    }
}

fn read(row: &Row<'_>) -> Result<PushedPack, StoreError> {
    Ok(PushedPack {
        pack: CheckedPack {
            name: row.get(0)?,
            text: row.get(1)?,
            shadow: row.get(2)?,
            version: row.get(3)?,
            hash: row.get(4)?,
            rules: row.get(5)?,
        },
        who: row.get(6)?,
        pushed: from_us("rule_packs.pushed_us", row.get(7)?)?,
    })
}

/// The set as it is stored.
pub(super) fn load(conn: &Connection) -> Result<RuleSet, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT name, text, shadow, version, hash, rules, who, pushed_us FROM rule_packs ORDER BY name",
    )?;
    // Without one of them nodes recognise less; without a controller they recognise for nobody.
    let packs = readable("rule_packs", statement.query([])?, read)?;
    let revision = revision(packs.iter().map(|pushed| &pushed.pack));
    Ok(RuleSet { revision, packs })
}
