//! The audit trail over the wire: which rows are there, and what is said of a trail that somebody changed.

use tonic::Code;
use tonic::transport::Channel;
use wa_link::principal::Role;
use wa_proto::OutcomeKind;
use wa_proto::wire::v1;
use wa_proto::wire::v1::fleet_client::FleetClient;

use crate::acting::{act, send};
use crate::desk::{Desk, address, until};
use crate::policy::Ruled;

async fn list(fleet: &mut FleetClient<Channel>, request: v1::ListAuditRequest) -> Vec<v1::AuditEntry> {
    let mut stream = fleet.list_audit(request).await.unwrap().into_inner();
    let mut rows = Vec::new();
    while let Some(row) = stream.message().await.unwrap() {
        rows.push(row);
    }
    rows
}

/// Every kind of decision that a person takes leaves a row that names who, what and about what.
#[tokio::test]
async fn decisions_are_there_with_whom_and_about_what() {
    let mut ruled = Ruled::by("[[rule]]\nwho = 'operator:*'\ndecision = 'allow'\n").await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let mut admin = ruled.desk.admin().await;
    let kill = v1::act_request::Verb::Kill(v1::KillPane {});
    let spawn = v1::act_request::Verb::Spawn(v1::SpawnPane { command: vec!["top".into()], cwd: "/".into() });
    let keys = v1::act_request::Verb::Keys(v1::PressKeys { keys: vec!["C-c".into()] });
    let choose =
        v1::act_request::Verb::Choose(v1::ChooseLabel { labels: vec!["Yes".into()], ..Default::default() });
    for verb in [kill, keys, choose] {
        let request = v1::ActRequest { verb: Some(verb), ..send("") };
        let (told, _) = tokio::join!(act(ada.clone(), request), ruled.carry_out());
        assert_eq!(told.outcome, "submitted");
    }
    let request = v1::ActRequest { pane: None, host: "web-1".into(), verb: Some(spawn), ..send("") };
    let (told, _) = tokio::join!(act(ada.clone(), request), ruled.carry_out());
    assert_eq!(told.outcome, "submitted");
    for paused in [true, false] {
        let pause = v1::PauseRequest { paused, reason: "lunch".into(), ..Default::default() };
        ada.clone().pause(pause).await.unwrap();
    }
    let told = act(ada.clone(), v1::ActRequest { generation: "other".into(), ..send("x") }).await;
    assert_eq!(told.outcome, "refused");
    // It has no answer here, and is written down before one is asked for.
    let reveal = v1::GetScreenRequest { pane: Some(address("web-1", 1)), reveal: true };
    let _away =
        tokio::time::timeout(std::time::Duration::from_millis(300), ada.clone().get_screen(reveal)).await;
    let csr = wa_link::tls::csr().unwrap().0;
    let add =
        v1::AddOperatorRequest { name: "eve".into(), role: "viewer".into(), csr_pem: csr, replace: false };
    admin.add_operator(add).await.unwrap();
    let revoke = v1::RevokeRequest { name: "eve".into(), reason: "left".into(), ..Default::default() };
    admin.revoke(revoke).await.unwrap();
    let packs = vec![crate::rules::pack("mine", "mine.crashed")];
    admin.push_rules(v1::PushRulesRequest { packs, timeout_ms: 1, ..Default::default() }).await.unwrap();

    let rows = list(&mut ada.clone(), v1::ListAuditRequest::default()).await;
    let told = format!("{rows:#?}");
    let has = |who: &str, what: &str, target: &str, decision: &str| {
        let found = rows.iter().any(|row| {
            row.who == who && row.what == what && row.target.contains(target) && row.decision == decision
        });
        assert!(found, "{who} {what} {target} {decision} is missing in {told}");
    };
    for verb in ["kill", "keys", "choose", "spawn"] {
        has("operator:ada", verb, "web-1", "queued");
        has("operator:ada", verb, "web-1", "submitted");
    }
    has("operator:ada", "permit", "web-1/1", "granted");
    has("operator:ada", "send", "web-1/1", "refused");
    has("operator:ada", "pause", "all", "paused");
    has("operator:ada", "pause", "all", "lifted");
    has("operator:ada", "reveal", "web-1/1", "granted");
    has("controller", "policy", "policy.toml", "loaded");
    has("operator:owner", "token", "web-1", "made");
    has("token", "certificate", "node", "made");
    has("operator:owner", "certificate", "eve", "made");
    has("operator:owner", "revoke", "eve", "revoked");
    has("operator:owner", "rules.push", "mine", "pushed");
    assert!(rows.iter().enumerate().all(|(at, row)| row.n == at as u64 + 1));
}

#[tokio::test]
async fn rows_are_listed_by_tail_who_target_and_time() {
    let desk = Desk::start().await;
    for host in ["web-1", "web-2"] {
        desk.enrol(host).await;
    }
    let store = desk.running().store();
    let add = |who: &'static str, target: &'static str| {
        store.write(move |tx| {
            let entry = wa_controller::store::Entry { who, what: "x", target, decision: "d", detail: "" };
            (0..700).try_for_each(|_| tx.audit(&entry))
        })
    };
    add("operator:ada", "web-1 main 3").await.unwrap();
    let since = wa_link::clock::now();
    add("operator:eve", "web-1/3").await.unwrap();
    add("operator:ada", "web-2 main 3").await.unwrap();
    let mut ada = desk.fleet(Role::Operator, "ada").await;
    let mut count = async |request: v1::ListAuditRequest| list(&mut ada, request).await.len();
    let of = |who: &str, target: &str| v1::ListAuditRequest {
        who: who.into(),
        target: target.into(),
        ..Default::default()
    };
    assert_eq!(count(of("operator:ada", "")).await, 1400);
    assert_eq!(count(of("", "web-1/3")).await, 1400);
    assert_eq!(count(of("operator:eve", "web-1/3")).await, 700);
    assert_eq!(count(of("operator:eve", "web-2/3")).await, 0);
    let since_us = since.as_microsecond();
    assert_eq!(count(v1::ListAuditRequest { since_us, ..of("", "") }).await, 1400);
    assert_eq!(count(v1::ListAuditRequest { since_us, ..of("operator:ada", "") }).await, 700);
    assert_eq!(count(v1::ListAuditRequest { tail: 5, ..of("operator:eve", "") }).await, 5);
    assert_eq!(count(v1::ListAuditRequest { tail: u32::MAX, ..of("operator:eve", "") }).await, 700);
    let far = v1::ListAuditRequest { since_us: i64::MAX, ..of("", "") };
    assert_eq!(ada.list_audit(far).await.unwrap_err().code(), Code::InvalidArgument);
    let long = of(&"x".repeat(2000), "");
    assert_eq!(ada.list_audit(long).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_trail_that_was_changed_says_where() {
    let mut desk = Desk::start().await;
    desk.enrol("web-1").await;
    let mut ada = desk.fleet(Role::Operator, "ada").await;
    let whole = ada.verify_audit(v1::VerifyAuditRequest::default()).await.unwrap().into_inner();
    assert!(whole.broken_at == 0 && whole.rows >= 3 && whole.head.len() == 64, "{whole:?}");
    desk.restart().await;
    let mut ada = desk.fleet(Role::Operator, "ada").await;
    let again = ada.verify_audit(v1::VerifyAuditRequest::default()).await.unwrap().into_inner();
    assert_eq!(again, whole, "the head is the same as before");
    let conn = rusqlite::Connection::open(desk.data().join("state.db")).unwrap();
    conn.execute_batch("DROP TRIGGER audit_no_update; UPDATE audit SET who = 'operator:eve' WHERE n = 2")
        .unwrap();
    let broken = ada.verify_audit(v1::VerifyAuditRequest::default()).await.unwrap().into_inner();
    assert_eq!((broken.broken_at, broken.rows), (2, 1));
    assert!(broken.problem.contains("changed"), "{broken:?}");
}

/// With the number and the hash of a row that were kept elsewhere, whatever came after it.
#[tokio::test]
async fn a_row_that_was_kept_is_compared() {
    let mut desk = Desk::start().await;
    desk.enrol("web-1").await;
    let mut ada = desk.fleet(Role::Operator, "ada").await;
    let rows = list(&mut ada, v1::ListAuditRequest::default()).await;
    let whole = ada.verify_audit(v1::VerifyAuditRequest::default()).await.unwrap().into_inner();
    assert_eq!((whole.rows, &whole.head), (rows.len() as u64, &rows.last().unwrap().hash));
    desk.enrol("web-2").await;
    let kept = v1::VerifyAuditRequest { row: whole.rows, hash: whole.head.clone() };
    let compared = ada.verify_audit(kept.clone()).await.unwrap().into_inner();
    assert_eq!((compared.broken_at, compared.compared_row), (0, whole.rows));
    assert!(compared.rows > whole.rows);
    let other = v1::VerifyAuditRequest { hash: rows[0].hash.clone(), ..kept.clone() };
    let other = ada.verify_audit(other).await.unwrap().into_inner();
    assert_eq!((other.broken_at, other.rows), (whole.rows, whole.rows - 1), "{other:?}");
    let far = v1::VerifyAuditRequest { row: 1000, ..kept.clone() };
    let far = ada.verify_audit(far).await.unwrap().into_inner();
    assert_eq!((far.broken_at, far.rows), (compared.rows + 1, compared.rows), "{far:?}");
    for (row, hash) in [(0, kept.hash.as_str()), (1, ""), (u64::MAX, kept.hash.as_str()), (1, "xyz")] {
        let refused = ada.verify_audit(v1::VerifyAuditRequest { row, hash: hash.into() }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{row} {hash}");
    }
    // What is cut off while the controller is away is seen without a head that was kept, too.
    let conn = rusqlite::Connection::open(desk.data().join("state.db")).unwrap();
    conn.execute_batch(&format!(
        "DROP TRIGGER audit_no_delete; DELETE FROM audit WHERE n > {}",
        whole.rows - 1
    ))
    .unwrap();
    desk.restart().await;
    assert!(desk.running().store().audit_end().await.unwrap().problem().is_some());
    desk.enrol("web-3").await;
    let mut ada = desk.fleet(Role::Operator, "ada").await;
    let cut = ada.verify_audit(v1::VerifyAuditRequest::default()).await.unwrap().into_inner();
    assert_eq!((cut.broken_at, cut.rows), (whole.rows, whole.rows - 1), "{cut:?}");
}

/// An action's rows, from the wish to the end, are found by its id.
#[tokio::test]
async fn an_action_can_be_followed_by_its_id() {
    let mut ruled = Ruled::by("[[rule]]\nwho = 'operator:*'\ndecision = 'allow'\n").await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let (told, ()) = tokio::join!(act(ada.clone(), send("x")), async {
        let action = ruled.node.action().await;
        assert_eq!(ruled.node.ask(&action.action_id).await.refused, "");
        ruled.end(&action, OutcomeKind::Unknown, "no proof").await;
    });
    let id = wa_proto::ActionId::from_slice(&told.action_id).unwrap().to_string();
    let decisions = until("the permit in the trail", async || {
        let request = v1::ListAuditRequest { target: "web-1/1".into(), ..Default::default() };
        let rows = list(&mut ada.clone(), request).await;
        let of_it = rows.into_iter().filter(|row| row.detail.contains(&id));
        let mut decisions: Vec<String> = of_it.map(|row| row.decision).collect();
        decisions.sort_unstable();
        (decisions.len() == 3).then_some(decisions)
    })
    .await;
    assert_eq!(decisions, ["granted", "queued", "unknown"]);
}
