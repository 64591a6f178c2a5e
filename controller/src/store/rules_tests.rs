//! Pushed packs: one set, changed whole, audited, wanted in the order of commits.

use super::tests::open;
use super::*;
use crate::rules::CheckedPack;

fn pack(name: &str, text: &str) -> CheckedPack {
    CheckedPack {
        name: name.into(),
        text: text.into(),
        shadow: name == "dim",
        version: "7".into(),
        hash: "ab12".into(),
        rules: 3,
    }
}

fn change(base: &RuleSet, put: &[CheckedPack], remove: &[&str]) -> RuleChange {
    RuleChange {
        base: base.revision.clone(),
        who: "operator:ada".into(),
        put: put.to_vec(),
        remove: remove.iter().map(ToString::to_string).collect(),
        stay: Vec::new(),
    }
}

async fn apply(store: &Store, change: RuleChange) -> Option<Arc<RuleSet>> {
    store.write(move |tx| tx.change_rules(&change)).await.unwrap()
}

fn names(set: &RuleSet) -> Vec<&str> {
    set.packs.iter().map(|pushed| pushed.pack.name.as_str()).collect()
}

#[tokio::test]
async fn packs_are_replaced_removed_and_kept() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let wanted = store.rules();
    let empty = wanted.borrow().clone();
    assert_eq!(*empty, RuleSet::default());
    let both = apply(&store, change(&empty, &[pack("shop", "a"), pack("dim", "b")], &[])).await.unwrap();
    assert_eq!((names(&both), wanted.borrow().clone()), (vec!["dim", "shop"], both.clone()));
    let other = apply(&store, change(&both, &[pack("shop", "a2")], &["dim"])).await.unwrap();
    assert_eq!(other.packs.len(), 1);
    assert_eq!((&other.packs[0].pack, &*other.packs[0].who), (&pack("shop", "a2"), "operator:ada"));
    assert!(other.revision != both.revision && !other.revision.is_empty());
    drop((store, wanted));

    let store = open(place.path());
    let kept = store.rules().borrow().clone();
    assert_eq!(kept, other);
    let fewer = CheckedPack { rules: 2, ..pack("shop", "a2") };
    let stay = RuleChange { stay: vec![fewer], ..change(&kept, &[pack("new", "n")], &[]) };
    let kept = apply(&store, stay).await.unwrap();
    assert_eq!((kept.packs[1].pack.rules, kept.packs[1].pushed), (2, other.packs[0].pushed));
    let none = apply(&store, change(&kept, &[], &["new", "shop"])).await.unwrap();
    assert_eq!(*none, RuleSet::default());
    let trail = store.audit_trail().await.unwrap();
    let said: Vec<_> = trail.iter().map(|row| (&*row.what, &*row.target, &*row.detail)).collect();
    assert_eq!(
        said,
        [
            ("rules.push", "shop dim", "shop: sha256 ab12; dim: sha256 ab12, shadow"),
            ("rules.push", "shop dim", "shop: sha256 ab12; dim: removed"),
            ("rules.push", "new", "new: sha256 ab12"),
            ("rules.push", "new shop", "new: removed; shop: removed"),
        ]
    );
}

/// Nobody has looked at both changes together.
#[tokio::test]
async fn a_change_of_a_set_that_is_another_by_now_is_not_made() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let empty = store.rules().borrow().clone();
    let first = apply(&store, change(&empty, &[pack("a", "1")], &[])).await.unwrap();
    assert_eq!(apply(&store, change(&empty, &[pack("b", "2")], &[])).await, None);
    assert_eq!(*store.rules().borrow(), first);
    assert_eq!(store.audit_trail().await.unwrap().len(), 1);
    // A request that fails after its change takes it back, and nobody hears of it.
    let lost = change(&first, &[pack("c", "3")], &[]);
    let failed = store.write(move |tx| {
        tx.change_rules(&lost)?;
        Err::<(), _>(StoreError::refused("no"))
    });
    failed.await.unwrap_err();
    assert_eq!(*store.rules().borrow(), first);
    assert!(apply(&store, change(&first, &[pack("b", "2")], &[])).await.is_some());
}
