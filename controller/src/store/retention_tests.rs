//! What is over goes when its time has come, and nothing else.

use jiff::SignedDuration;
use wa_proto::{Action, ActionId, Lane, Outcome, OutcomeKind, RecordBody, SpoolId, Verb};
use wa_workflow::{Definition, End, Input, Level, Status};

use super::accounts_tests::{lease, pool as accounts, request};
use super::tests::{batch, host, ingest, open, pane, record, time};
use super::*;
use crate::store::retention::Swept;

const WORKFLOW: &str = "name = 'greet'\nversion = 1\non = 'bell'\nmax_actions = 1\n\
    [[step]]\ndo = 'type'\ntext = 'hello'\ntimeout = '5s'\n";

/// A run of pane `n`, and so many inputs of it; `ended`: it is over since then.
pub(super) fn run(tx: &Tx<'_>, n: u64, inputs: usize, ended: Option<Timestamp>) -> Result<RunId, StoreError> {
    let definition = Definition::parse(WORKFLOW).unwrap();
    let trigger = wa_workflow::Trigger {
        event: wa_proto::EventId::generate(),
        host: host(),
        pane: pane(n),
        agent: None,
        agent_pid: 0,
        trace_parent: String::new(),
        fields: std::collections::BTreeMap::new(),
        place: wa_workflow::PlaceOf::default(),
    };
    let vars = wa_workflow::Vars::new();
    let (mut run, _) = Run::start(&definition, RunId::generate(), trigger, &vars, time(0));
    if let Some(at) = ended {
        run.status = Status::Ended { end: End::Failed, reason: "as it was".into(), at };
    }
    tx.save_run(&run, None)?;
    for _ in 0..inputs {
        tx.record_input(run.id, &Input::Timer)?;
    }
    Ok(run.id)
}

pub(super) fn action(n: u64) -> Action {
    Action {
        id: ActionId::generate(),
        pane: pane(n),
        deadline: time(10),
        fence: 0,
        who: "operator:ada".into(),
        expect_agent: None,
        expect_agent_pid: None,
        expect_shell: false,
        trace_parent: String::new(),
        verb: Verb::Kill,
    }
}

async fn queue(store: &Store, action: Action, key: &'static str) -> ActionId {
    let id = action.id;
    store.write(move |tx| tx.enqueue(&host(), action, None, Some(key), "kill")).await.unwrap();
    id
}

fn outcome(action: ActionId) -> RecordBody {
    let kind = OutcomeKind::Submitted;
    let reason = String::new();
    RecordBody::Outcome(Outcome {
        action,
        kind,
        reason,
        pane: None,
        trace_parent: String::new(),
        spawned: None,
    })
}

async fn sweep(store: &Store, cut: Timestamp) -> Swept {
    let mut all = Swept::default();
    loop {
        let swept = store.sweep(cut).await.unwrap();
        assert!(swept.total() <= 500, "one commit is small: {swept:?}");
        all.add(swept);
        if swept.is_last() {
            return all;
        }
    }
}

/// A moment after everything that is stored now.
fn later() -> Timestamp {
    wa_link::clock::now() + SignedDuration::from_secs(1)
}

#[tokio::test]
async fn runs_that_are_over_go_with_their_inputs_and_open_ones_stay() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let (old, new, waits) = store
        .write(|tx| {
            let old = run(tx, 1, 1200, Some(time(100)))?;
            let new = run(tx, 2, 3, Some(time(300)))?;
            Ok((old, new, run(tx, 3, 5, None)?))
        })
        .await
        .unwrap();
    let first = store.sweep(time(200)).await.unwrap();
    assert_eq!((first.run_inputs, first.runs), (500, 0));
    let (_, inputs) = store.run(old).await.unwrap().unwrap();
    assert_eq!(inputs.len(), 700, "what is left is how it began");
    assert_eq!(sweep(&store, time(200)).await, Swept { runs: 1, run_inputs: 700, ..Swept::default() });
    assert_eq!(store.run(old).await.unwrap(), None);
    assert_eq!(store.run(new).await.unwrap().unwrap().1.len(), 3);
    sweep(&store, later()).await;
    assert_eq!(store.run(new).await.unwrap(), None);
    assert_eq!(store.run(waits).await.unwrap().unwrap().1.len(), 5, "it waits on");
    // What comes for a run that is gone is worked off.
    store.write(move |tx| tx.inbox_input(&host(), &pane(1), old, &Input::Timer, "")).await.unwrap();
}

/// Its end says whether the pane is on the account.
#[tokio::test]
async fn a_run_stays_as_long_as_a_lease_names_it() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    accounts(&store).await;
    let id = store.write(|tx| run(tx, 1, 0, Some(time(100)))).await.unwrap();
    lease(&store, request(1, id)).await.unwrap();
    assert_eq!(sweep(&store, later()).await, Swept::default());
    store.write(move |tx| tx.end_leases_of_run(id)).await.unwrap();
    assert_eq!(sweep(&store, later()).await, Swept { runs: 1, ..Swept::default() });
}

#[tokio::test]
async fn settled_actions_go_and_their_fences_do_not_come_again() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let (done, open_one) = (queue(&store, action(1), "a").await, queue(&store, action(1), "b").await);
    let spool = SpoolId::generate();
    ingest(&store, batch(spool, Lane::Events, vec![record(Lane::Events, 1, outcome(done))])).await.unwrap();
    assert_eq!(sweep(&store, time(0)).await, Swept::default(), "not before its time");
    assert_eq!(sweep(&store, later()).await, Swept { actions: 1, ..Swept::default() });
    let left: Vec<ActionId> = store.actions(10).await.unwrap().into_iter().map(|row| row.action).collect();
    assert_eq!(left, [open_one], "what has no outcome stays, however old");
    // The other outcome, and after it the newest row is gone, too.
    ingest(&store, batch(spool, Lane::Events, vec![record(Lane::Events, 2, outcome(open_one))]))
        .await
        .unwrap();
    sweep(&store, later()).await;
    assert_eq!(store.actions(10).await.unwrap(), []);
    let next = store.write(|tx| tx.enqueue(&host(), action(1), None, Some("a"), "kill")).await.unwrap();
    assert_eq!(next.action.fence, 3, "no fence is given out twice; the key begins anew");
    // An outcome that is told again, of another spool, finds nothing to settle.
    let again = batch(SpoolId::generate(), Lane::Events, vec![record(Lane::Events, 1, outcome(done))]);
    ingest(&store, again).await.unwrap();
    let trail = store.audit_trail().await.unwrap();
    assert_eq!(trail.last().unwrap().decision, "ignored");
    assert_eq!(store.actions(10).await.unwrap()[0].outcome, None);
}

#[tokio::test]
async fn an_approval_goes_after_its_action_and_an_open_one_stays() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let hold = |n: u64| {
        let new = NewAction {
            host: host(),
            action: action(n),
            run: None,
            idempotency_key: None,
            summary: "kill".into(),
        };
        store.write(move |tx| {
            let n = tx.hold(&new, "rule[0]", later() + SignedDuration::from_secs(600))?;
            tx.approval_shown(n, b"shown")?;
            Ok((n, new.action.id))
        })
    };
    let (allowed, id) = hold(1).await.unwrap();
    let (denied, _) = hold(2).await.unwrap();
    let (waits, _) = hold(3).await.unwrap();
    let deadline = later();
    store.write(move |tx| tx.allow(allowed, "operator:ada", b"shown", deadline)).await.unwrap().unwrap();
    store.write(move |tx| tx.deny(denied, "operator:ada")).await.unwrap().unwrap();
    let swept = sweep(&store, later()).await;
    assert_eq!((swept.approvals, swept.actions), (1, 0), "the action that was allowed has no outcome yet");
    let spool = SpoolId::generate();
    ingest(&store, batch(spool, Lane::Events, vec![record(Lane::Events, 1, outcome(id))])).await.unwrap();
    let swept = sweep(&store, later()).await;
    assert_eq!((swept.approvals, swept.actions), (1, 1));
    let left = store.approvals(false, None, 10).await.unwrap();
    assert_eq!(left.iter().map(|approval| approval.n).collect::<Vec<_>>(), [waits]);
}

#[tokio::test]
async fn a_question_that_waits_stays_and_what_was_told_goes() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let ask = |tx: &Tx<'_>| {
        let id = run(tx, 1, 0, None)?;
        let run = tx.run(id)?.unwrap();
        tx.notify(&run, Level::Info, "something happened")?;
        tx.ask(&run, "go on?", &["yes".to_owned()], later())
    };
    store.write(ask).await.unwrap();
    assert_eq!(sweep(&store, later()).await, Swept { notices: 1, ..Swept::default() });
    let left = store.notices(false, None, 10).await.unwrap();
    assert_eq!(left.iter().map(|notice| notice.text.as_str()).collect::<Vec<_>>(), ["go on?"]);
    let id = left[0].id;
    store.write(move |tx| tx.answer(id, "yes", "operator:ada")).await.unwrap().unwrap();
    assert_eq!(sweep(&store, later()).await, Swept { notices: 1, ..Swept::default() });
}

#[tokio::test]
async fn what_could_not_be_worked_off_goes_and_what_waits_stays() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let put = |tx: &Tx<'_>| {
        tx.conn.execute_batch(
            "INSERT INTO inbox (host, mux, pane_id, generation, body, trace_parent)
             VALUES ('web-1', 'main', 1, 'g1', x'ffff', '');
             INSERT INTO inbox (host, mux, pane_id, generation, body, trace_parent, queued)
             VALUES ('web-1', 'main', 1, 'g1', x'', '', 1);",
        )?;
        tx.inbox_fresh().map(drop)
    };
    store.write(put).await.unwrap();
    assert_eq!(sweep(&store, time(0)).await, Swept::default(), "it is set aside just now");
    assert_eq!(sweep(&store, later()).await, Swept { inbox: 1, ..Swept::default() });
}

/// None of it reads a whole table.
#[test]
fn what_is_over_is_found_by_an_index() {
    let place = tempfile::tempdir().unwrap();
    let conn = connection::create(&place.path().join("state.db")).unwrap();
    for sql in retention::STATEMENTS {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = rusqlite::params_from_iter(vec![1_i64; statement.parameter_count()]);
        let plan: Vec<String> =
            statement.query_map(parameters, |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{sql}: {plan:?}");
    }
}
