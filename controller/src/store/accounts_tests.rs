//! Accounts against what they promise: sealed at rest, leased once, limits noted for the account that met them.

use std::path::Path;

use jiff::SignedDuration;
use wa_proto::{
    AccountAlias, AgentKind, AgentSession, Event, EventKind, Pane, PaneRef, PaneState, RateLimitWindow, RunId,
};
use zeroize::Zeroizing;

use super::tests::{host, keys, open, pane, time};
use super::*;
use crate::accounts::choice::SignIn;
use crate::accounts::vault::VaultError;
use crate::accounts::{Accounts, Credentials, CredentialsError};

pub(super) fn alias(text: &str) -> AccountAlias {
    AccountAlias::new(text).unwrap()
}

pub(super) fn row(name: &str) -> AccountRow {
    AccountRow {
        alias: alias(name),
        agent: AgentKind::codex(),
        pool: DEFAULT_POOL.into(),
        sign_in: SignIn::DeviceCode,
        provider: String::new(),
        max_panes: 0,
        disabled: false,
        default_hosts: Vec::new(),
        last_used: None,
    }
}

/// As exact as the database.
fn now() -> Timestamp {
    Timestamp::from_microsecond(wa_link::clock::now().as_microsecond()).unwrap()
}

/// Words that no file may have in it.
fn secrets() -> Credentials {
    let word = |text: &str| Some(Zeroizing::new(format!("{text}-{}", "q".repeat(9))));
    Credentials {
        username: Some("mail@example.com".into()),
        password: word("horse"),
        one_time_secret: None,
        api_key: word("staple"),
    }
}

pub(super) async fn add(store: &Store, new: AccountRow) {
    store.write(move |tx| tx.add_account(&new, &secrets(), "operator:o")).await.unwrap();
}

/// `a`, the account of this host's ordinary home, and `b`, in a pool that switches.
pub(super) async fn pool(store: &Store) {
    add(store, AccountRow { default_hosts: vec![host().to_string()], ..row("a") }).await;
    add(store, row("b")).await;
    store.write(|tx| tx.set_pool(DEFAULT_POOL, true, "operator:o")).await.unwrap();
}

pub(super) fn request(pane_id: u64, run: RunId) -> LeaseRequest {
    LeaseRequest {
        run,
        host: host(),
        pane: pane(pane_id),
        agent: AgentKind::codex(),
        from: Some(alias("a")),
        wanted: None,
        model: String::new(),
        login: false,
        now: now(),
    }
}

pub(super) async fn lease(store: &Store, request: LeaseRequest) -> Result<String, String> {
    match store.write(move |tx| tx.lease_account(&request)).await.unwrap() {
        LeaseAnswer::Leased { alias, .. } => Ok(alias.to_string()),
        LeaseAnswer::None { reason, .. } => Err(reason),
    }
}

pub(super) fn told(pane_id: u64, account: Option<&str>, pid: u32) -> Pane {
    Pane {
        agent: Some(AgentKind::codex()),
        agent_pid: pid,
        state: PaneState::Working,
        account: account.map(alias),
        ..super::nodes_tests::told(pane_id, "")
    }
}

fn change(panes: Vec<Pane>, gone: Vec<PaneRef>) -> NodeChange {
    NodeChange {
        host: host(),
        version: String::new(),
        last_seen: None,
        skew_ms: 0,
        heartbeat: wa_proto::wire::v1::Heartbeat::default(),
        whole: false,
        panes,
        gone: gone.into_iter().map(|pane| (pane.mux, pane.pane_id)).collect(),
    }
}

async fn report(store: &Store, panes: Vec<Pane>, gone: Vec<PaneRef>) {
    store.save_nodes(vec![change(panes, gone)]).await.unwrap();
}

fn limit(kind: EventKind, pid: u32, fields: &[(&str, &str)]) -> Event {
    Event {
        pane: Some(pane(1)),
        agent: Some(AgentKind::codex()),
        agent_pid: pid,
        ..Event::new(kind, fields.iter().copied())
    }
}

async fn event(store: &Store, kind: EventKind, pid: u32, at: Timestamp, fields: &[(&str, &str)]) {
    let event = limit(kind, pid, fields);
    store.write(move |tx| tx.enter_event(&host(), &event, at, "")).await.unwrap();
}

async fn state(store: &Store, name: &str) -> AccountState {
    let states = store.accounts(None).await.unwrap();
    states.into_iter().find(|state| state.account.alias == alias(name)).unwrap()
}

/// Until when it cannot be used, of all its windows.
async fn blocked(store: &Store, name: &str, now: Timestamp) -> Option<Timestamp> {
    let windows = state(store, name).await.windows;
    crate::accounts::choice::blocked(&windows, "", now).map(|(until, _)| until)
}

fn sql(place: &Path, text: &str) {
    rusqlite::Connection::open(place.join("state.db")).unwrap().execute_batch(text).unwrap();
}

pub(super) fn reopen(place: &Path) -> Result<Store, StoreError> {
    let metrics = Arc::new(Metrics::default());
    Store::open(&place.join("state.db"), keys(place), |_| Arc::new(super::tests::Idle), metrics, time(0))
        .map(|(store, _)| store)
}

#[tokio::test]
async fn nothing_secret_is_in_any_file_but_the_key() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    add(&store, row("a")).await;
    let accounts = Accounts::new(Arc::new(store), place.path().to_owned());
    assert_eq!(accounts.credentials(&alias("a")).await.unwrap(), secrets());
    assert!(matches!(accounts.credentials(&alias("b")).await, Err(CredentialsError::Unknown(_))));
    let mut files = 0;
    for entry in std::fs::read_dir(place.path()).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        for (_, word) in secrets().fields() {
            assert!(!content.windows(word.len()).any(|bytes| bytes == word.as_bytes()));
        }
    }
    assert!(files >= 2, "database and key at least");
    assert_eq!(format!("{:?}", secrets()), r#"{"username", "password", "api_key"}"#);
}

#[tokio::test]
async fn what_was_moved_to_another_account_or_field_does_not_open() {
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(open(place.path()));
    add(&store, row("a")).await;
    add(&store, row("b")).await;
    let accounts = Accounts::new(Arc::clone(&store), place.path().to_owned());
    let swaps = [
        "UPDATE account_secrets SET sealed = (SELECT sealed FROM account_secrets WHERE alias = 'b' AND field = 'password')
         WHERE alias = 'a' AND field = 'password'",
        "UPDATE account_secrets SET sealed = (SELECT sealed FROM account_secrets WHERE alias = 'a' AND field = 'api_key')
         WHERE alias = 'a' AND field = 'password'",
        "UPDATE account_secrets SET sealed = x'01' WHERE alias = 'a' AND field = 'password'",
    ];
    for swap in swaps {
        sql(place.path(), swap);
        let error = accounts.credentials(&alias("a")).await.unwrap_err();
        assert!(matches!(error, CredentialsError::Vault(VaultError::Tampered { .. })), "{swap}: {error}");
        assert!(error.to_string().contains("account a password"), "{error}");
    }
    accounts.credentials(&alias("b")).await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_opens_no_store_and_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    add(&open(place.path()), row("a")).await;
    let key = place.path().join("vault.key");
    let sealed = || -> Vec<Vec<u8>> {
        let conn = rusqlite::Connection::open(place.path().join("state.db")).unwrap();
        let mut all =
            conn.prepare("SELECT sealed FROM account_secrets UNION ALL SELECT key_id FROM vault").unwrap();
        all.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let kept = std::fs::read(&key).unwrap();
    wa_link::files::write_private(&key, &[1; 32]).unwrap();
    let before = sealed();
    let error = reopen(place.path()).err().unwrap();
    assert!(matches!(error, StoreError::Vault(VaultError::WrongKey { .. })), "{error}");
    assert!(before.len() == 4 && sealed() == before);
    assert_eq!(std::fs::read(&key).unwrap(), [1; 32]);
    wa_link::files::write_private(&key, &kept).unwrap();
    let accounts = Accounts::new(Arc::new(reopen(place.path()).unwrap()), place.path().to_owned());
    assert_eq!(accounts.credentials(&alias("a")).await.unwrap(), secrets());
}

#[tokio::test]
async fn a_rotation_is_whole_or_has_not_happened() {
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(open(place.path()));
    for name in ["a", "b"] {
        add(&store, row(name)).await;
    }
    let key = std::fs::read(place.path().join("vault.key")).unwrap();
    let rotated = store.rotate_vault("operator:o".into()).await.unwrap();
    assert_eq!(rotated.entries, 6);
    assert_ne!(std::fs::read(place.path().join("vault.key")).unwrap(), key);
    sql(place.path(), "UPDATE account_secrets SET sealed = x'00' WHERE alias = 'b' AND field = 'api_key'");
    store.rotate_vault("operator:o".into()).await.unwrap_err();
    for again in [false, true] {
        let store = if again { Arc::new(reopen(place.path()).unwrap()) } else { Arc::clone(&store) };
        let accounts = Accounts::new(store, place.path().to_owned());
        assert_eq!(accounts.credentials(&alias("a")).await.unwrap(), secrets(), "after a restart: {again}");
        accounts.credentials(&alias("b")).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_run_leases_once_and_only_where_switching_is_on() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    pool(&store).await;
    add(&store, AccountRow { max_panes: 1, ..row("c") }).await;
    store.write(|tx| tx.set_pool(DEFAULT_POOL, false, "operator:o")).await.unwrap();
    let run = RunId::generate();
    let refused = lease(&store, request(1, run)).await.unwrap_err();
    assert!(refused.contains("switching is off in pool default"), "{refused}");
    store.write(|tx| tx.set_pool(DEFAULT_POOL, true, "operator:o")).await.unwrap();
    assert_eq!(lease(&store, request(1, run)).await.unwrap(), "b");
    let again = LeaseRequest { wanted: Some(alias("c")), ..request(1, run) };
    assert_eq!(lease(&store, again).await.unwrap(), "b", "whatever is asked again");
    assert_eq!(
        lease(&store, request(2, RunId::generate())).await.unwrap(),
        "c",
        "b is in use in another pane"
    );
    let wanted = LeaseRequest { wanted: Some(alias("c")), ..request(3, RunId::generate()) };
    let refused = lease(&store, wanted).await.unwrap_err();
    assert!(refused.contains("in use in 1 of 1 panes"), "{refused}");
    let home = state(&store, "b").await;
    assert_eq!((home.homes[0].host.clone(), home.leases.len()), (host(), 1));
}

#[tokio::test]
async fn a_lease_ends_with_its_pane_or_when_the_pane_is_elsewhere() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    pool(&store).await;
    let runs = [RunId::generate(), RunId::generate()];
    report(&store, vec![told(1, Some("a"), 7), told(2, Some("a"), 8)], vec![]).await;
    for (pane_id, run) in [(1, runs[0]), (2, runs[1])] {
        let wanted = LeaseRequest { wanted: Some(alias("b")), ..request(pane_id, run) };
        lease(&store, wanted).await.unwrap();
    }
    // Both runs are unknown, thus over, but the leases are fresh.
    store.write(|tx| tx.tidy_leases(None)).await.unwrap();
    assert_eq!(state(&store, "b").await.leases.len(), 2);
    sql(place.path(), "UPDATE account_leases SET since_us = 1");
    report(&store, vec![told(2, Some("b"), 9)], vec![]).await;
    let left = state(&store, "b").await.leases;
    assert_eq!(left.iter().map(|lease| lease.run).collect::<Vec<_>>(), [runs[1]], "pane 1 is on a still");
    report(&store, vec![], vec![pane(2)]).await;
    assert!(state(&store, "b").await.leases.is_empty());
    let trail = store.audit_trail().await.unwrap();
    let ended: Vec<_> = trail.iter().filter(|row| row.decision == "lease ended").collect();
    assert!(
        ended.len() == 2 && ended[0].detail.contains("on a") && ended[1].detail.contains("gone"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_limit_is_noted_for_the_account_of_the_process_that_met_it() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    pool(&store).await;
    let now = now();
    let (reset, later) = (now + SignedDuration::from_hours(2), now + SignedDuration::from_hours(5));
    report(&store, vec![told(1, None, 7)], vec![]).await;
    event(&store, EventKind::LimitReached, 7, now, &[("window", "5h"), ("reset_time", &reset.to_string())])
        .await;
    assert_eq!((blocked(&store, "a", now).await, blocked(&store, "b", now).await), (Some(reset), None));
    assert_eq!(lease(&store, LeaseRequest { now, ..request(1, RunId::generate()) }).await.unwrap(), "b");
    // The new process is not reported yet, and runs into a limit whose reset nobody knows.
    event(&store, EventKind::LimitReached, 9, now, &[("window", "weekly")]).await;
    assert_eq!(blocked(&store, "b", now).await, Some(later));
    let request = LeaseRequest { now, from: Some(alias("b")), ..request(1, RunId::generate()) };
    let asked = store.write(move |tx| tx.lease_account(&request)).await.unwrap();
    let LeaseAnswer::None { reason, earliest, considered } = asked else { panic!("{asked:?}") };
    assert!(reason.contains(&reset.to_string()) && earliest == Some(reset), "{reason}");
    assert_eq!(considered.len(), 2);
    let before = now - SignedDuration::from_secs(1);
    event(&store, EventKind::LimitLifted, 9, before, &[]).await;
    assert_eq!(blocked(&store, "b", now).await, Some(later), "what was lifted before is another limit");
    event(&store, EventKind::LimitLifted, 9, self::now(), &[]).await;
    assert_eq!((blocked(&store, "a", now).await, blocked(&store, "b", now).await), (Some(reset), None));
}

#[tokio::test]
async fn a_resumed_session_does_not_carry_its_figures_to_the_next_account() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    pool(&store).await;
    let now = now();
    let figure = |used: f64, ago: i64| RateLimitWindow {
        window: "5h".into(),
        percent_used: used,
        resets_at: Some(now + SignedDuration::from_hours(3)),
        observed_at: now - SignedDuration::from_secs(ago),
    };
    let showing = |account: Option<&str>, figure: RateLimitWindow| {
        let session = AgentSession { rate_limits: vec![figure], ..AgentSession::default() };
        Pane { session: Some(session), ..told(1, account, 7) }
    };
    report(&store, vec![showing(None, figure(100.0, 60))], vec![]).await;
    assert!(blocked(&store, "a", now).await.is_some());
    let leased = now - SignedDuration::from_secs(30);
    assert_eq!(
        lease(&store, LeaseRequest { now: leased, ..request(1, RunId::generate()) }).await.unwrap(),
        "b"
    );
    report(&store, vec![showing(Some("b"), figure(100.0, 60))], vec![]).await;
    assert_eq!(state(&store, "b").await.windows, [], "that was a's");
    report(&store, vec![showing(Some("b"), figure(12.0, 10))], vec![]).await;
    assert_eq!(state(&store, "b").await.windows[0].percent_used, Some(12.0));
    report(&store, vec![showing(Some("b"), figure(99.0, 20))], vec![]).await;
    assert_eq!(state(&store, "b").await.windows[0].percent_used, Some(12.0), "older");
}

#[tokio::test]
async fn a_host_says_nothing_of_accounts_that_are_not_at_home_there() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    pool(&store).await;
    report(&store, vec![told(1, Some("b"), 7)], vec![]).await;
    event(&store, EventKind::LimitReached, 7, now(), &[]).await;
    assert_eq!(state(&store, "b").await.windows, []);
}

#[tokio::test]
async fn names_of_windows_from_nodes_are_bounded() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    pool(&store).await;
    let now = now();
    report(&store, vec![told(1, None, 7)], vec![]).await;
    for n in 0..40 {
        let name = format!("{n:02}{}", "é".repeat(60));
        let far = "9999-01-01T00:00:00Z";
        event(
            &store,
            EventKind::LimitReached,
            7,
            now - SignedDuration::from_secs(100 - n),
            &[("window", &name), ("reset_time", far)],
        )
        .await;
    }
    let windows = state(&store, "a").await.windows;
    assert_eq!(windows.len(), 32);
    assert!(windows.iter().all(|w| w.window.len() <= 80 && w.resets.is_none()), "{windows:?}");
    assert!(windows[0].window.starts_with("08"), "the oldest went");
}

#[tokio::test]
async fn one_run_at_a_time_signs_an_account_in_on_a_host() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    pool(&store).await;
    let login = |run| LeaseRequest { wanted: Some(alias("b")), login: true, ..request(1, run) };
    let (one, two) = (RunId::generate(), RunId::generate());
    let open_run = |run: RunId| {
        let text = format!(
            "INSERT INTO runs (run_id, workflow, host, mux, pane_id, generation, state, reason, started_us, body)
             VALUES (x'{}', 'account-login', 'web-1', 'main', {}, 'g1', 'waiting', '', 1, '')",
            run.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            run.as_bytes()[15],
        );
        sql(place.path(), &text);
    };
    open_run(one);
    assert_eq!(lease(&store, login(one)).await.unwrap(), "b");
    assert_eq!(lease(&store, login(one)).await.unwrap(), "b", "the same run again");
    let refused = lease(&store, login(two)).await.unwrap_err();
    assert!(refused.contains(&one.to_string()) && refused.contains("already"), "{refused}");
    let waits = lease(&store, request(2, RunId::generate())).await.unwrap();
    assert_eq!(waits, "b", "who is switched to it waits, as its home does");
    let elsewhere = LeaseRequest { host: Host::new("web-2").unwrap(), ..login(two) };
    assert_eq!(lease(&store, elsewhere).await.unwrap(), "b");
    sql(place.path(), "UPDATE runs SET ended_us = 2");
    assert_eq!(lease(&store, login(two)).await.unwrap(), "b");
    event(&store, EventKind::AuthSucceeded, 0, now(), &[]).await;
    store.write(|tx| tx.note_home(&alias("b"), &host(), true)).await.unwrap();
    assert_eq!(state(&store, "b").await.homes[0].signed_in, Some(true));
    let unknown = LeaseRequest { wanted: Some(alias("z")), ..login(RunId::generate()) };
    assert!(lease(&store, unknown).await.unwrap_err().contains("no account z"));
}

#[tokio::test]
async fn a_host_of_its_own_counts_before_all_hosts() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    add(&store, AccountRow { default_hosts: vec!["*".into()], ..row("a") }).await;
    add(&store, AccountRow { default_hosts: vec!["web-1".into()], ..row("b") }).await;
    add(&store, AccountRow { agent: AgentKind::claude(), ..row("c") }).await;
    let of = |host: &'static str, pane: Pane| {
        store.write(move |tx| tx.account_of(&Host::new(host).unwrap(), &pane))
    };
    assert_eq!(of("web-1", told(1, None, 7)).await.unwrap(), Some(alias("b")));
    assert_eq!(of("web-2", told(1, None, 7)).await.unwrap(), Some(alias("a")));
    assert_eq!(of("web-2", told(1, Some("b"), 7)).await.unwrap(), Some(alias("b")));
    assert_eq!(of("web-2", told(1, Some("c"), 7)).await.unwrap(), None, "another agent's");
    assert_eq!(of("web-2", Pane { agent: None, ..told(1, None, 0) }).await.unwrap(), None);
}

fn typed(text: &str) -> wa_proto::Action {
    wa_proto::Action {
        id: wa_proto::ActionId::generate(),
        pane: pane(1),
        deadline: time(60),
        fence: 0,
        who: "operator:o".into(),
        expect_agent: None,
        expect_agent_pid: None,
        expect_shell: false,
        trace_parent: String::new(),
        verb: wa_proto::Verb::Send { text: text.into(), enter: true },
    }
}

fn stands_in(place: &Path, word: &str) -> bool {
    ["state.db", "state.db-wal"].iter().any(|name| {
        let content = std::fs::read(place.join(name)).unwrap_or_default();
        content.windows(word.len()).any(|bytes| bytes == word.as_bytes())
    })
}

#[tokio::test]
async fn the_text_of_an_action_is_sealed_until_it_is_settled() {
    let place = tempfile::tempdir().unwrap();
    let word = ["a", "private", "word"].join("-");
    let action = typed(&word);
    let (id, mut queued) = (action.id, action.clone());
    let store = open(place.path());
    store.write(move |tx| tx.enqueue(&host(), action, None, None, "send …").map(drop)).await.unwrap();
    assert_eq!(store.rotate_vault("operator:o".into()).await.unwrap().entries, 1);
    drop(store);
    assert!(!stands_in(place.path(), &word));
    let metrics = Arc::new(Metrics::default());
    let idle = |_: &Kept| -> Arc<dyn Observer> { Arc::new(super::tests::Idle) };
    let (store, kept) =
        Store::open(&place.path().join("state.db"), keys(place.path()), idle, metrics, time(0)).unwrap();
    queued.fence = 1;
    assert_eq!(kept.actions.iter().map(|queued| &queued.action).collect::<Vec<_>>(), [&queued]);
    let outcome = wa_proto::Outcome {
        action: id,
        kind: wa_proto::OutcomeKind::Submitted,
        reason: String::new(),
        pane: None,
        trace_parent: String::new(),
        spawned: None,
    };
    store.write(move |tx| tx.settle(&host(), outcome, "")).await.unwrap();
    drop(store);
    let conn = rusqlite::Connection::open(place.path().join("state.db")).unwrap();
    let left: i64 = conn.query_row("SELECT length(body) FROM outbox", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

/// As a version of this program without a vault has left it.
#[tokio::test]
async fn what_was_left_open_is_sealed_at_the_first_start_with_a_vault() {
    use prost::Message as _;
    let place = tempfile::tempdir().unwrap();
    drop(open(place.path()));
    let action = typed("an old word");
    let body = wa_proto::wire::v1::Action::from(action.clone()).encode_to_vec();
    let conn = rusqlite::Connection::open(place.path().join("state.db")).unwrap();
    conn.execute_batch("DELETE FROM vault").unwrap();
    conn.execute(
        "INSERT INTO outbox (action_id, host, who, body, summary, created_us) VALUES (?1, 'web-1', 'operator:o', ?2, '', 1)",
        rusqlite::params![action.id.as_bytes(), body],
    )
    .unwrap();
    drop(conn);
    let store = reopen(place.path()).unwrap();
    let again = store.rotate_vault("operator:o".into()).await.unwrap();
    assert_eq!(again.entries, 1, "it opens");
    drop(store);
    let conn = rusqlite::Connection::open(place.path().join("state.db")).unwrap();
    let sealed: Vec<u8> = conn.query_row("SELECT body FROM outbox", [], |row| row.get(0)).unwrap();
    assert!(!sealed.windows(11).any(|bytes| bytes == b"an old word"));
}

#[tokio::test]
async fn without_the_key_the_accounts_stay_and_what_was_under_way_is_unknown() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    add(&store, row("a")).await;
    let action = typed("hello");
    store.write(move |tx| tx.enqueue(&host(), action, None, None, "send …").map(drop)).await.unwrap();
    drop(store);
    std::fs::remove_file(place.path().join("vault.key")).unwrap();
    let error = reopen(place.path()).err().unwrap().to_string();
    assert!(error.contains("--forget-credentials"), "{error}");
    let forgotten = forget_vault(&place.path().join("state.db"), now()).unwrap();
    assert_eq!(forgotten, Forgotten { credentials: 3, actions: 1 });
    let store = reopen(place.path()).unwrap();
    let a = state(&store, "a").await;
    assert!(a.fields.is_empty() && a.account == row("a"));
    assert_eq!(store.actions(1).await.unwrap()[0].outcome.as_deref(), Some("unknown"));
    assert_eq!(store.audit_trail().await.unwrap().last().unwrap().decision, "forgotten");
    add(&store, row("b")).await;
}
