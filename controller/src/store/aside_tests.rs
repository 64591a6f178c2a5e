//! One row that cannot be read keeps no others from being looked after.

use std::path::Path;

use prost::Message as _;
use rusqlite::Connection;
use wa_link::principal::{Principal, Role};
use wa_proto::{ActionId, Event, EventKind};
use wa_workflow::{End, Input, Status};

use super::accounts_tests::{lease, pool as accounts, request};
use super::retention_tests::{action, run};
use super::tests::{Idle, host, keys, line, lines, log, pane, record, texts, time};
use super::*;
use crate::identity::peer::Peer;

fn open(path: &Path) -> (Store, Kept) {
    let metrics = Arc::new(Metrics::default());
    Store::open(&path.join("state.db"), keys(path), |_| Arc::new(Idle), metrics, wa_link::clock::now())
        .unwrap()
}

/// Closes the store, and does something to its file.
fn damage(store: Store, path: &Path, sql: &str) {
    drop(store);
    let changed = Connection::open(path.join("state.db")).unwrap().execute(sql, []).unwrap();
    assert!(changed > 0, "{sql}");
}

async fn held(store: &Store, n: u64, of: Option<RunId>) -> (u64, ActionId) {
    let action = action(n);
    let id = action.id;
    let new = NewAction { host: host(), action, run: of, idempotency_key: None, summary: "kill".into() };
    let until = wa_link::clock::now() + Duration::from_secs(600);
    (store.write(move |tx| tx.hold(&new, "rule[0]", until)).await.unwrap(), id)
}

#[tokio::test]
async fn a_run_of_a_newer_program_ends_as_unknown_and_the_others_go_on() {
    let place = tempfile::tempdir().unwrap();
    let (store, _) = open(place.path());
    let (bad, good) = store.write(|tx| Ok((run(tx, 1, 2, None)?, run(tx, 2, 0, None)?))).await.unwrap();
    let of_bad =
        store.write(move |tx| tx.enqueue(&host(), action(1), Some(bad), None, "kill")).await.unwrap();
    let (approval, _) = held(&store, 1, Some(bad)).await;
    store
        .write(move |tx| {
            let run = tx.run(bad)?.unwrap();
            tx.ask(&run, "go on?", &["yes".to_owned()], time(10))
        })
        .await
        .unwrap();
    damage(
        store,
        place.path(),
        "UPDATE runs SET body = replace(body, '\"status\":\"acting\"', '\"status\":\"dreaming\"') WHERE pane_id = 1",
    );

    let (store, kept) = open(place.path());
    assert_eq!(kept.runs.iter().map(|run| run.id).collect::<Vec<_>>(), [good]);
    let (shown, inputs) = store.run(bad).await.unwrap().unwrap();
    let Status::Ended { end: End::Unknown, reason, .. } = &shown.run.status else { panic!("{shown:?}") };
    assert!(reason.contains("cannot be read") && reason.contains("dreaming"), "{reason}");
    assert_eq!((inputs.len(), shown.run.workflow.as_str()), (2, "greet"));
    assert_eq!(shown.run.started, time(0));
    // Nothing of it begins any more, and its pane is free.
    let action = kept.actions.iter().find(|queued| queued.action.id == of_bad.action.id).unwrap();
    assert!(action.action.deadline <= wa_link::clock::now());
    let state = store.approval(approval).await.unwrap().unwrap().state;
    assert_eq!(state, ApprovalState::Expired);
    assert!(store.notices(true, None, 10).await.unwrap().is_empty(), "its question is closed");
    let free = store.write(|tx| Ok(tx.open_run(&host(), &pane(1))?.is_none())).await.unwrap();
    assert!(free);
    let notices = store.notices(false, None, 10).await.unwrap();
    assert!(notices.iter().any(|notice| notice.run == Some(bad) && notice.text.contains("set aside")));
    let trail = store.audit_trail().await.unwrap();
    assert_eq!(trail.iter().filter(|row| row.decision == "set_aside").count(), 1);
    // It is not set aside twice, and what comes for it changes nothing.
    store.write(move |tx| tx.inbox_input(&host(), &pane(1), bad, &Input::Timer, "")).await.unwrap();
    drop(store);
    let (store, _) = open(place.path());
    assert_eq!(store.runs(None, None, 10).await.unwrap().len(), 2);
    assert_eq!(store.audit_trail().await.unwrap().len(), trail.len());
}

#[tokio::test]
async fn an_action_that_cannot_be_read_is_settled_as_unknown() {
    let place = tempfile::tempdir().unwrap();
    let (store, _) = open(place.path());
    let of = store.write(|tx| run(tx, 1, 0, None)).await.unwrap();
    let bad = store.write(move |tx| tx.enqueue(&host(), action(1), Some(of), None, "kill")).await.unwrap();
    let good = store.write(move |tx| tx.enqueue(&host(), action(2), None, None, "kill")).await.unwrap();
    damage(store, place.path(), "UPDATE outbox SET body = x'0102' WHERE n = 1");
    let (store, kept) = open(place.path());
    assert_eq!(kept.actions.iter().map(|queued| queued.action.id).collect::<Vec<_>>(), [good.action.id]);
    let listed = store.actions(10).await.unwrap();
    let row = listed.iter().find(|row| row.action == bad.action.id).unwrap();
    assert_eq!(row.outcome.as_deref(), Some("unknown"));
    // Its run hears of it.
    let inputs = store.write(|tx| tx.inbox_fresh()).await.unwrap();
    let InboxItem::Input { run, input: Input::Outcome { action, .. } } = &inputs[0].item else {
        panic!("{inputs:?}")
    };
    assert_eq!((*run, *action), (of, bad.action.id));
    // And the key can be changed.
    store.rotate_vault("operator:o".into()).await.unwrap();
}

#[tokio::test]
async fn an_approval_that_cannot_be_read_lapses() {
    let place = tempfile::tempdir().unwrap();
    let (store, _) = open(place.path());
    let ((bad, _), (good, _)) = (held(&store, 1, None).await, held(&store, 2, None).await);
    damage(store, place.path(), "UPDATE approvals SET body = x'0102' WHERE n = 1");
    let (store, _) = open(place.path());
    let open_now = store.approvals(true, None, 10).await.unwrap();
    assert_eq!(open_now.iter().map(|approval| approval.n).collect::<Vec<_>>(), [good]);
    assert_eq!(store.approval(bad).await.unwrap().unwrap().state, ApprovalState::Expired);
    store.write(|tx| tx.wake_runs()).await.unwrap();
}

#[tokio::test]
async fn other_rows_that_cannot_be_read_end_no_start_either() {
    let place = tempfile::tempdir().unwrap();
    let (mut store, _) = open(place.path());
    for name in ["web-1", "web-2"] {
        store.write(move |tx| tx.node_joined(&Host::new(name).unwrap())).await.unwrap();
    }
    store.write(|tx| tx.add_pause("pane web-1/1", "operator:ada", "lunch")).await.unwrap();
    for (sql, nodes) in [
        ("UPDATE nodes SET heartbeat = x'ff' WHERE host = 'web-1'", 2),
        ("UPDATE nodes SET last_seen_us = 9223372036854775807 WHERE host = 'web-1'", 2),
        ("UPDATE nodes SET host = 'not a host' WHERE host = 'web-1'", 1),
        ("UPDATE pauses SET since_us = 9223372036854775807", 1),
        (
            "INSERT INTO rule_packs VALUES ('bad', 'text', 0, '1', 'x', 1, 'operator:ada', 9223372036854775807)",
            1,
        ),
        ("INSERT INTO revocations VALUES ('emperor', 'nero', 9223372036854775806, 'a', 'b')", 1),
        ("INSERT INTO revocations VALUES ('node', 'web-9', 9223372036854775806, 'a', 'b')", 1),
    ] {
        damage(store, place.path(), sql);
        let (again, kept) = open(place.path());
        assert_eq!(kept.nodes.len(), nodes, "{sql}");
        assert_eq!(kept.pauses.len(), 1, "{sql}");
        store = again;
    }
    let revoked = store.revoked().borrow().clone();
    let node = Peer {
        principal: Principal { role: Role::Node, name: Host::new("web-9").unwrap() },
        serial: "1".into(),
        issued: time(0),
        expires: time(1),
    };
    assert!(revoked.bars(&node), "what a damaged row bars stays barred");
    // A pause that nobody can read holds everything.
    damage(store, place.path(), "UPDATE pauses SET scope = x'ff'");
    let (_store, kept) = open(place.path());
    assert!(kept.pauses[0].scope.parse::<crate::gate::Scope>().is_err());
}

#[tokio::test]
async fn a_run_that_is_over_is_listed_also_if_it_cannot_be_read() {
    let place = tempfile::tempdir().unwrap();
    let (store, _) = open(place.path());
    let ids =
        store.write(|tx| Ok([run(tx, 1, 1, Some(time(5)))?, run(tx, 2, 0, Some(time(6)))?])).await.unwrap();
    damage(store, place.path(), "UPDATE runs SET body = '{}' WHERE pane_id = 1");
    let (store, _) = open(place.path());
    let listed = store.runs(None, None, 10).await.unwrap();
    assert_eq!(listed.len(), 2);
    let (shown, inputs) = store.run(ids[0]).await.unwrap().unwrap();
    assert_eq!((shown.ended, inputs.len()), (Some(time(5)), 1));
    let Status::Ended { reason, .. } = shown.run.status else { panic!() };
    assert!(reason.contains("cannot be read"), "{reason}");
}

/// It names no pane that could be on the account.
#[tokio::test]
async fn a_lease_that_cannot_be_read_keeps_nobody_from_anything() {
    let place = tempfile::tempdir().unwrap();
    let (store, _) = open(place.path());
    accounts(&store).await;
    lease(&store, request(1, RunId::generate())).await.unwrap();
    damage(store, place.path(), "UPDATE account_leases SET generation = ''");
    let (store, _) = open(place.path());
    assert!(store.accounts(None).await.unwrap().iter().all(|state| state.leases.is_empty()));
    lease(&store, request(2, RunId::generate())).await.unwrap();
}

/// Of the records that an older program could not read, one that does not fit is no reason to keep the others out.
#[tokio::test]
async fn a_kept_record_that_cannot_enter_keeps_no_other_out() {
    let place = tempfile::tempdir().unwrap();
    let (store, _) = open(place.path());
    let spool = wa_proto::SpoolId::generate();
    let record = |seq: u64, layout: u64| {
        let wa_proto::RecordBody::Lines(lines) = lines(vec![line(1, 0, "kept")]) else { panic!() };
        let body = wa_proto::RecordBody::Lines(wa_proto::Lines { layout, ..lines });
        let record: wa_proto::wire::v1::Record = record(wa_proto::Lane::Bulk, seq, body).into();
        UnknownRecord { seq, time_us: 0, why: "new".into(), bytes: record.encode_to_vec() }
    };
    let (bad, good) = (record(1, u64::MAX), record(2, 1));
    store
        .write(move |tx| {
            [bad, good].iter().try_for_each(|one| tx.keep_unknown(&host(), spool, wa_proto::Lane::Bulk, one))
        })
        .await
        .unwrap();
    assert_eq!(store.write(|tx| tx.take_in_unknown()).await.unwrap(), 1);
    assert_eq!(texts(&log(&store, 1).await), ["kept"]);
}

/// The clock was set back since: what was put off for seconds does not wait for the time that it was then.
#[tokio::test]
async fn what_was_put_off_by_a_clock_that_was_ahead_comes_up_soon() {
    let place = tempfile::tempdir().unwrap();
    let (store, _) = open(place.path());
    let put_off = |wait: i64| {
        let due = wa_link::clock::now() + jiff::SignedDuration::from_secs(wait);
        store.write(move |tx| {
            let event = Event::new(EventKind::Bell, [("count", "1")]);
            tx.inbox_trigger(&host(), &pane(1), &event, "first")?;
            let row = tx.inbox_fresh()?.pop().expect("it was just put there");
            tx.inbox_put_off(&row, &event, "again", due)?;
            tx.inbox_done(row.n)?;
            Ok((due, tx.inbox_fresh()?.len()))
        })
    };
    let (soon, fresh) = put_off(40).await.unwrap();
    let wake = store.next_wake().await.unwrap().map(Timestamp::as_microsecond);
    assert_eq!((fresh, wake), (0, Some(soon.as_microsecond())), "it waits for its time");
    let (_, fresh) = put_off(26 * 3600).await.unwrap();
    assert_eq!(fresh, 1, "that time is a day away");
}
