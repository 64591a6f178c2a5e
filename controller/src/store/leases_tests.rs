//! Leases against what they promise: none on an account that is disabled, none out of a pool that only a node names, and a
//! key for those alone that sign in by it.

use wa_proto::RunId;

use super::accounts_tests::{add, alias, lease, pool, request, row, told};
use super::tests::{host, open};
use super::*;
use crate::accounts::choice::SignIn;

async fn disable(store: &Store, name: &str) {
    let (of, change) = (alias(name), AccountChange { disabled: Some(true), ..AccountChange::default() });
    store.write(move |tx| tx.change_account(&of, &change, "operator:o")).await.unwrap();
}

#[tokio::test]
async fn a_disabled_account_is_neither_kept_by_its_run_nor_signed_in() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    pool(&store).await;
    let run = RunId::generate();
    assert_eq!(lease(&store, request(1, run)).await.unwrap(), "b");
    disable(&store, "b").await;
    let refused = lease(&store, request(1, run)).await.unwrap_err();
    assert!(refused.contains("no account of the pool"), "asked again after a restart: {refused}");
    let leases = store.accounts(None).await.unwrap().into_iter().map(|state| state.leases.len());
    assert_eq!(leases.collect::<Vec<_>>(), [0, 0], "it is given back");
    let login = LeaseRequest { wanted: Some(alias("b")), login: true, ..request(1, RunId::generate()) };
    let refused = lease(&store, login).await.unwrap_err();
    assert!(refused.contains("b is disabled"), "{refused}");
    let begun = store.write(move |tx| tx.begin_sign_in(&alias("b"), &host(), run)).await.unwrap();
    assert_eq!(begun, Err(SignInRefusal::Disabled(alias("b"))), "no code is entered for it either");
}

#[tokio::test]
async fn a_key_goes_only_into_homes_of_accounts_that_sign_in_by_it() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    pool(&store).await;
    add(&store, AccountRow { sign_in: SignIn::ApiKey, ..row("c") }).await;
    for (name, expected) in [("b", false), ("c", true)] {
        let wanted = LeaseRequest { wanted: Some(alias(name)), ..request(1, RunId::generate()) };
        let answer = store.write(move |tx| tx.lease_account(&wanted)).await.unwrap();
        let LeaseAnswer::Leased { api_key, .. } = answer else { panic!("{name}: {answer:?}") };
        assert_eq!(api_key, expected, "{name}: the vault holds a key of both");
    }
}

#[tokio::test]
async fn a_node_cannot_name_the_pool_that_its_panes_get_accounts_of() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    for (name, pool) in [("mine", "default"), ("theirs", "theirs"), ("also-theirs", "theirs")] {
        add(&store, AccountRow { pool: pool.into(), ..row(name) }).await;
        store.write(move |tx| tx.set_pool(pool, true, "operator:o")).await.unwrap();
    }
    let claimed = told(1, Some("theirs"), 7);
    let choice = async |claimed: Pane| {
        let asked =
            store.account_choice(host(), claimed, None, wa_link::clock::now()).await.unwrap().unwrap();
        (asked.0.name, asked.1.account.map(|alias| alias.to_string()))
    };
    let ours = ("default".to_owned(), Some("mine".to_owned()));
    assert_eq!(choice(claimed.clone()).await, ours, "it has no home there");
    let from = LeaseRequest { from: Some(alias("theirs")), ..request(1, RunId::generate()) };
    assert_eq!(lease(&store, from.clone()).await.unwrap(), "mine");
    // What the controller itself had made there counts.
    store.write(|tx| tx.note_home(&alias("theirs"), &host(), true)).await.unwrap();
    assert_eq!(choice(claimed).await, ("theirs".to_owned(), Some("also-theirs".to_owned())));
    let from = LeaseRequest { run: RunId::generate(), ..from };
    assert_eq!(lease(&store, from).await.unwrap(), "also-theirs");
}
