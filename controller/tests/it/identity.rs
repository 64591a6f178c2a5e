//! Revocation, operators and recovery, over real TLS.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic::{Code, Status};
use wa_link::principal::{Principal, Role};
use wa_link::tls::{self, Identity};
use wa_link::{clock, recovery};
use wa_proto::SpoolId;
use wa_proto::wire::v1;
use wa_proto::wire::v1::enrollment_client::EnrollmentClient;
use wa_proto::wire::v1::fleet_client::FleetClient;

use crate::acting::{desk_with_pane, send};
use crate::desk::{Desk, LIMIT, Node};

/// What is revoked is cut off within this.
const CUT: Duration = Duration::from_secs(5);

async fn revoke(desk: &Desk, name: &str, scope: v1::RevokeScope) -> Result<Vec<(String, u32)>, Status> {
    let request =
        v1::RevokeRequest { name: name.into(), reason: "the laptop was lost".into(), scope: scope.into() };
    let revoked = desk.admin().await.revoke(request).await?.into_inner().revoked;
    Ok(revoked.into_iter().map(|who| (who.role, who.certificates)).collect())
}

async fn add(desk: &Desk, name: &str, role: &str, replace: bool) -> Result<Identity, Status> {
    let (csr_pem, key_pem) = tls::csr().unwrap();
    let request = v1::AddOperatorRequest { name: name.into(), role: role.into(), csr_pem, replace };
    let added = desk.admin().await.add_operator(request).await?.into_inner();
    let (_, until) = tls::certificate_validity(&added.certificate_pem).unwrap();
    assert_eq!(until.as_second(), added.expires_us / 1_000_000);
    Ok(Identity { certificate_pem: added.certificate_pem, key_pem, ca_pem: added.ca_pem })
}

async fn look(desk: &Desk, identity: &Identity) -> Result<(), Status> {
    let mut fleet = FleetClient::new(desk.channel(identity).await);
    fleet.fleet_status(v1::FleetStatusRequest {}).await.map(drop)
}

async fn audit(desk: &Desk, what: &str) -> Vec<(String, String, String, String)> {
    let rows = desk.running().store().audit_trail().await.unwrap();
    let rows = rows.into_iter().filter(|row| row.what == what);
    rows.map(|row| (row.who, row.target, row.decision, row.detail)).collect()
}

#[track_caller]
fn refused(status: &Status, word: &str) {
    assert!(status.code() == Code::PermissionDenied && status.message().contains(word), "{status}");
}

#[tokio::test]
async fn a_revoked_host_is_cut_off_and_stays_out() {
    let mut desk = Desk::start().await;
    let token = desk.token("web-1", false).await.unwrap();
    let (identity, agent) = desk.join(&token).await.unwrap();
    look(&desk, &agent).await.unwrap();
    let other = desk.enrol("web-2").await;
    let mut bystander = Node::connect(&desk, &other, SpoolId::generate()).await;
    let node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    // Made before, and meant for whoever was to take the name.
    let waiting = desk.token("web-1", true).await.unwrap();

    let began = Instant::now();
    let revoked = revoke(&desk, "web-1", v1::RevokeScope::Any).await.unwrap();
    assert_eq!(revoked, [("node".to_owned(), 1), ("agent".to_owned(), 1)]);
    refused(&node.ended().await, "was revoked");
    assert!(began.elapsed() < CUT, "{:?}", began.elapsed());
    println!("a revoked node was cut off after {:?}", began.elapsed());

    for round in 0..2 {
        let again = Node::try_connect(&desk, &identity, SpoolId::generate(), &[1]).await.err().unwrap();
        refused(&again, "was revoked: enrol the host again with a token of `wa fleet token web-1`");
        refused(&look(&desk, &agent).await.unwrap_err(), "was revoked");
        refused(&desk.join(&waiting).await.unwrap_err(), "expired");
        if round == 0 {
            assert_eq!(bystander.ask(&[7; 16]).await.action_id, [7; 16]);
            desk.restart().await;
        }
    }
    // The name is free; who had it is out still.
    let token = desk.token("web-1", false).await.unwrap();
    let (fresh, _) = desk.join(&token).await.unwrap();
    let node = Node::connect(&desk, &fresh, SpoolId::generate()).await;
    let old = Node::try_connect(&desk, &identity, SpoolId::generate(), &[1]).await.err().unwrap();
    refused(&old, "was revoked");
    drop(node);
    let trail = audit(&desk, "revoke").await;
    let expected = |role: &str| {
        let words =
            ["operator:owner", &format!("spiffe://wa/{role}/web-1"), "revoked", "the laptop was lost"];
        words.map(str::to_owned).into()
    };
    assert_eq!(trail, [expected("node"), expected("agent")]);
}

#[tokio::test]
async fn a_revoked_operator_loses_streams_and_calls() {
    let desk = Desk::start().await;
    let identity = add(&desk, "alice", "operator", false).await.unwrap();
    let mut fleet = FleetClient::new(desk.channel(&identity).await);
    let follow = v1::EventsRequest { follow: true, ..Default::default() };
    let mut stream = fleet.events(follow).await.unwrap().into_inner();
    let mut waiter = fleet.clone();
    let wait = v1::WaitRequest { condition: "bell".into(), ..Default::default() };
    let began = Instant::now();
    let waiting = async { waiter.wait(wait).await.unwrap_err() };
    let following = async {
        loop {
            if let Err(ended) = stream.message().await.transpose().expect("it ends with a reason") {
                break ended;
            }
        }
    };
    let revoking = async {
        // Once the wait is under way, which its caller cannot see: either way it ends.
        tokio::task::yield_now().await;
        revoke(&desk, "alice", v1::RevokeScope::Operator).await.unwrap()
    };
    let all = async { tokio::join!(waiting, following, revoking) };
    let (waited, followed, revoked) = timeout(CUT, all).await.expect("cut off in time");
    println!("a revoked operator was cut off after {:?}", began.elapsed());
    assert_eq!(revoked, [("operator".to_owned(), 1)]);
    for ended in [waited, followed, look(&desk, &identity).await.unwrap_err()] {
        refused(
            &ended,
            "was revoked: an admin gives a new context with `wa fleet operator add alice --role operator`",
        );
    }
}

#[tokio::test]
async fn what_a_revoked_person_asked_for_does_not_begin() {
    for restart in [false, true] {
        let (mut desk, identity, spool, mut node) = desk_with_pane().await;
        let ada = add(&desk, "ada", "operator", false).await.unwrap();
        let mut fleet = FleetClient::new(desk.channel(&ada).await);
        let revoking = async {
            let action = node.action().await;
            revoke(&desk, "ada", v1::RevokeScope::Any).await.unwrap();
            action
        };
        let (asked, action) = timeout(CUT, async { tokio::join!(fleet.act(send("hello")), revoking) })
            .await
            .expect("cut off in time");
        refused(&asked.unwrap_err(), "was revoked");
        if restart {
            desk.kill_and_restart().await;
            node = Node::connect(&desk, &identity, spool).await;
        }
        let permit = node.ask(&action.action_id).await;
        assert!(permit.expired, "{permit:?}");
        let trail = audit(&desk, "act").await;
        assert!(trail.iter().any(|(who, _, decision, _)| who == "operator:ada" && decision == "withdrawn"));
    }
}

#[tokio::test]
async fn tokens_of_a_revoked_person_open_nothing() {
    let desk = Desk::start().await;
    let ada = FleetClient::new(desk.channel(&add(&desk, "ada", "admin", false).await.unwrap()).await);
    let request = v1::CreateTokenRequest { name: "web-9".into(), ttl_seconds: 0, replace: false };
    let token = ada.clone().create_token(request).await.unwrap().into_inner().token;
    let kept = desk.token("web-8", false).await.unwrap();
    revoke(&desk, "ada", v1::RevokeScope::Operator).await.unwrap();
    refused(&desk.join(&token).await.unwrap_err(), "expired");
    desk.join(&kept).await.unwrap();
}

/// Each was admitted before the other's revocation was stored; somebody must be left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_admins_do_not_revoke_each_other() {
    let desk = Desk::start().await;
    for round in 0..20 {
        let names = [format!("ada-{round}"), format!("bob-{round}")];
        let mut calls = Vec::new();
        for (own, other) in [(&names[0], &names[1]), (&names[1], &names[0])] {
            let identity = add(&desk, own, "admin", false).await.unwrap();
            let mut fleet = FleetClient::new(desk.channel(&identity).await);
            fleet.fleet_status(v1::FleetStatusRequest {}).await.unwrap();
            let (name, scope) = (other.clone(), v1::RevokeScope::Operator.into());
            let request = v1::RevokeRequest { name, reason: String::new(), scope };
            calls.push(async move { fleet.revoke(request).await });
        }
        let done = futures_util::future::join_all(calls).await;
        assert!(done.iter().any(Result::is_err), "round {round}: nobody is left");
    }
}

#[tokio::test]
async fn what_is_revoked_is_named_and_not_oneself() {
    let desk = Desk::start().await;
    desk.enrol("alice").await;
    let alice = add(&desk, "alice", "viewer", false).await.unwrap();
    // A host and a person of one name: each can be revoked alone.
    assert_eq!(revoke(&desk, "alice", v1::RevokeScope::Host).await.unwrap().len(), 2);
    look(&desk, &alice).await.unwrap();
    let error = revoke(&desk, "owner", v1::RevokeScope::Any).await.unwrap_err();
    refused(&error, "your own name");
    assert_eq!(revoke(&desk, "owner", v1::RevokeScope::Host).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(revoke(&desk, "nobody", v1::RevokeScope::Any).await.unwrap_err().code(), Code::NotFound);
    for name in ["", "../x", "a/b"] {
        let error = revoke(&desk, name, v1::RevokeScope::Any).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{name}");
    }
    let newer = v1::RevokeRequest { name: "alice".into(), reason: String::new(), scope: 99 };
    assert_eq!(desk.admin().await.revoke(newer).await.unwrap_err().code(), Code::InvalidArgument);
    look(&desk, &alice).await.unwrap();
    let long = v1::RevokeRequest { name: "alice".into(), reason: "x".repeat(1001), scope: 0 };
    assert_eq!(desk.admin().await.revoke(long).await.unwrap_err().code(), Code::InvalidArgument);
    // The reason stays for good: what is secret in it does not.
    let reason = format!("leaked {}\nand more", ["ghp_", &"a1B2c3D4e5F6".repeat(3)].concat());
    let request = v1::RevokeRequest { name: "alice".into(), reason, scope: 0 };
    desk.admin().await.revoke(request).await.unwrap();
    let trail = audit(&desk, "revoke").await;
    assert!(trail.iter().all(|row| !row.3.contains("ghp_a1B2") && !row.3.contains('\n')), "{trail:?}");
}

#[tokio::test]
async fn operators_are_added_listed_and_replaced() {
    let desk = Desk::start().await;
    let first = add(&desk, "alice", "viewer", false).await.unwrap();
    look(&desk, &first).await.unwrap();
    let mut viewer = FleetClient::new(desk.channel(&first).await);
    let error = viewer.list_operators(v1::ListOperatorsRequest {}).await.unwrap_err();
    refused(&error, "needs the role admin");
    // No second certificate by mistake, whatever its role.
    let error = add(&desk, "alice", "admin", false).await.unwrap_err();
    refused(&error, "--replace");
    let second = add(&desk, "alice", "admin", true).await.unwrap();
    refused(&look(&desk, &first).await.unwrap_err(), "was revoked");
    let mut admin = FleetClient::new(desk.channel(&second).await);
    let listed = admin.list_operators(v1::ListOperatorsRequest {}).await.unwrap().into_inner().operators;
    let shown: Vec<_> =
        listed.iter().map(|who| (who.name.as_str(), who.role.as_str(), who.revoked_us != 0)).collect();
    assert_eq!(shown, [("alice", "admin", false), ("alice", "viewer", true), ("owner", "admin", false)]);
    let days = (listed[0].expires_us - listed[0].issued_us) / 86_400_000_000;
    assert_eq!(days, 90);
    let error = add(&desk, "owner", "admin", true).await.unwrap_err();
    refused(&error, "your own name");
}

#[tokio::test]
async fn bad_requests_for_operators_are_refused() {
    let desk = Desk::start().await;
    let (csr_pem, _) = tls::csr().unwrap();
    let certificate = desk.identity(Role::Admin, "x").certificate_pem;
    let huge = "x".repeat(20_000);
    for (name, role, csr) in [
        ("bob", "node", csr_pem.as_str()),
        ("bob", "agent", &csr_pem),
        ("bob", "", &csr_pem),
        ("bob", "Admin", &csr_pem),
        ("bob/..", "viewer", &csr_pem),
        ("", "viewer", &csr_pem),
        ("bob", "viewer", ""),
        ("bob", "viewer", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"),
        ("bob", "viewer", &certificate),
        ("bob", "viewer", &huge),
    ] {
        let request = v1::AddOperatorRequest {
            name: name.into(),
            role: role.into(),
            csr_pem: csr.into(),
            replace: false,
        };
        let error = desk.admin().await.add_operator(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{name} {role}: {error}");
    }
    let listed = desk.admin().await.list_operators(v1::ListOperatorsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.operators.len(), 1);
}

// ---- recovery

/// A node's certificate that was made so long ago, as the controller knows it.
async fn made_ago(desk: &Desk, role: Role, name: &str, ago: Duration) -> Identity {
    let who = Principal { role, name: name.parse().unwrap() };
    let (identity, record) = desk.authority().make_identity(who, clock::now() - ago).unwrap();
    desk.running().store().write(move |tx| tx.record_certificate(&record, "test")).await.unwrap();
    identity
}

fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

struct Recovery {
    request: v1::RecoverRequest,
    key_pem: String,
}

async fn challenge(desk: &Desk) -> Vec<u8> {
    let mut door = EnrollmentClient::new(desk.anonymous().await);
    door.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce
}

async fn recovery_of(desk: &Desk, old: &Identity) -> Recovery {
    let nonce = challenge(desk).await;
    let ((csr_pem, key_pem), (agent_csr_pem, _)) = (tls::csr().unwrap(), tls::csr().unwrap());
    let message = recovery::message(&nonce.as_slice().try_into().unwrap(), &csr_pem, &agent_csr_pem);
    let signature = recovery::sign(&old.key_pem, &message).unwrap();
    let certificate_pem = old.certificate_pem.clone();
    Recovery {
        request: v1::RecoverRequest { certificate_pem, nonce, signature, csr_pem, agent_csr_pem },
        key_pem,
    }
}

async fn ask(desk: &Desk, request: v1::RecoverRequest) -> Result<v1::RecoverResponse, Status> {
    let mut door = EnrollmentClient::new(desk.anonymous().await);
    door.recover(request).await.map(tonic::Response::into_inner)
}

async fn recover(desk: &Desk, old: &Identity) -> Result<Identity, Status> {
    let Recovery { request, key_pem } = recovery_of(desk, old).await;
    let given = ask(desk, request).await?;
    assert!(given.agent_certificate_pem.contains("BEGIN CERTIFICATE"));
    Ok(Identity { certificate_pem: given.certificate_pem, key_pem, ca_pem: given.ca_pem })
}

#[tokio::test]
async fn a_node_that_was_away_recovers_within_thirty_days() {
    let desk = Desk::start().await;
    for (name, ago) in [("web-1", days(2)), ("web-2", days(31) - Duration::from_secs(60))] {
        let old = made_ago(&desk, Role::Node, name, ago).await;
        let config = tls::client_config(&old).unwrap();
        wa_link::dial::connect(&desk.running().url, config, LIMIT).await.unwrap_err();
        let fresh = recover(&desk, &old).await.unwrap();
        Node::connect(&desk, &fresh, SpoolId::generate()).await;
    }
    let late = made_ago(&desk, Role::Node, "web-3", days(31) + Duration::from_secs(60)).await;
    let error = recover(&desk, &late).await.unwrap_err();
    refused(&error, "more than 30 days ago: enrol the host again");
}

#[tokio::test]
async fn what_was_revoked_does_not_recover() {
    let mut desk = Desk::start().await;
    let old = made_ago(&desk, Role::Node, "web-1", days(3)).await;
    let replaced = made_ago(&desk, Role::Node, "web-2", days(3)).await;
    let unknown = {
        let who = Principal { role: Role::Node, name: "web-3".parse().unwrap() };
        desk.authority().make_identity(who, clock::now() - days(3)).unwrap().0
    };
    // Revoked after it had run out: nothing of it was live.
    assert_eq!(revoke(&desk, "web-1", v1::RevokeScope::Any).await.unwrap(), [("node".to_owned(), 0)]);
    let token = desk.token("web-2", true).await.unwrap();
    desk.join(&token).await.unwrap();
    desk.restart().await;
    refused(&recover(&desk, &old).await.unwrap_err(), "was revoked: enrol the host again");
    refused(&recover(&desk, &replaced).await.unwrap_err(), "was revoked");
    refused(&recover(&desk, &unknown).await.unwrap_err(), "not known here");
    let trail = audit(&desk, "recover").await;
    let targets: Vec<_> = trail.iter().map(|row| (row.1.as_str(), row.2.as_str())).collect();
    assert_eq!(
        targets,
        [
            ("spiffe://wa/node/web-1", "refused"),
            ("spiffe://wa/node/web-2", "refused"),
            ("spiffe://wa/node/web-3", "refused")
        ]
    );
}

/// Somebody has an old key; the node itself is there.
#[tokio::test]
async fn nobody_recovers_the_name_of_a_node_that_is_connected() {
    let desk = Desk::start().await;
    let own = desk.enrol("web-1").await;
    let stolen = made_ago(&desk, Role::Node, "web-1", days(2)).await;
    let node = Node::connect(&desk, &own, SpoolId::generate()).await;
    let error = recover(&desk, &stolen).await.unwrap_err();
    assert!(error.code() == Code::ResourceExhausted && error.message().contains("connected"), "{error}");
    assert_eq!(audit(&desk, "recover").await.len(), 1);
    drop(node);
}

/// The certificate of the former node had run out, so nobody said that it is replaced.
#[tokio::test]
async fn what_a_former_host_of_the_name_has_opens_nothing() {
    let desk = Desk::start().await;
    let former = made_ago(&desk, Role::Node, "web-1", days(2)).await;
    let its_agent = made_ago(&desk, Role::Agent, "web-1", days(2)).await;
    look(&desk, &its_agent).await.unwrap();
    desk.enrol("web-1").await;
    refused(&recover(&desk, &former).await.unwrap_err(), "was revoked");
    refused(&look(&desk, &its_agent).await.unwrap_err(), "was revoked");
}

#[tokio::test]
async fn a_challenge_is_good_once_and_for_what_was_signed() {
    let (desk, elsewhere) = (Desk::start().await, Desk::start().await);
    let old = made_ago(&desk, Role::Node, "web-1", days(2)).await;
    let good = recovery_of(&desk, &old).await.request;
    ask(&desk, good.clone()).await.unwrap();
    let replayed = ask(&desk, good).await.unwrap_err();
    assert!(replayed.message().contains("ask for another"), "{replayed}");
    // Made up, or of another controller.
    for nonce in [vec![7; 32], challenge(&elsewhere).await] {
        let mut request = recovery_of(&desk, &old).await.request;
        request.nonce = nonce;
        let error = ask(&desk, request).await.unwrap_err();
        assert!(error.message().contains("ask for another"), "{error}");
    }
}

type Change = fn(&mut v1::RecoverRequest, &Identity);

/// Each on a desk of its own, whose rate limit is fresh.
#[tokio::test]
async fn what_is_not_as_it_was_signed_is_refused() {
    const BAD: Code = Code::InvalidArgument;
    const REFUSED: Code = Code::PermissionDenied;
    let changes: [(Change, Code, &str); 12] = [
        (|r, _| r.csr_pem = tls::csr().unwrap().0, REFUSED, "signature"),
        (|r, _| r.agent_csr_pem = tls::csr().unwrap().0, REFUSED, "signature"),
        (|r, _| r.agent_csr_pem = String::new(), REFUSED, "signature"),
        (|r, _| r.signature = vec![], REFUSED, "signature"),
        (|r, _| r.signature = vec![0x30; 1000], REFUSED, "signature"),
        (|r, other| r.certificate_pem.clone_from(&other.certificate_pem), REFUSED, "signature"),
        (|r, _| r.certificate_pem = String::new(), REFUSED, "cannot be read"),
        (|r, _| r.certificate_pem.truncate(200), REFUSED, "cannot be read"),
        (|r, _| r.certificate_pem = "x".repeat(20_000), REFUSED, "cannot be read"),
        (|r, _| r.nonce.truncate(31), BAD, "nonce"),
        (|r, _| r.csr_pem = "no".into(), BAD, "request"),
        (|r, _| r.agent_csr_pem = "no".into(), BAD, "request"),
    ];
    for (change, code, word) in changes {
        let desk = Desk::start().await;
        let old = made_ago(&desk, Role::Node, "web-1", days(2)).await;
        let other = made_ago(&desk, Role::Node, "web-2", days(2)).await;
        let mut request = recovery_of(&desk, &old).await.request;
        change(&mut request, &other);
        let error = ask(&desk, request).await.unwrap_err();
        assert!(error.code() == code && error.message().contains(word), "{error}");
        recover(&desk, &other).await.unwrap();
    }
}

#[tokio::test]
async fn only_nodes_of_this_fleet_recover() {
    let (desk, elsewhere) = (Desk::start().await, Desk::start().await);
    for role in [Role::Operator, Role::Agent] {
        let old = made_ago(&desk, role, "web-1", days(91)).await;
        refused(&recover(&desk, &old).await.unwrap_err(), "only nodes recover");
    }
    let stranger = made_ago(&elsewhere, Role::Node, "web-1", days(2)).await;
    refused(&recover(&desk, &stranger).await.unwrap_err(), "not of this fleet");
    // Ours in name, signed by itself.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names.push(rcgen::SanType::URI("spiffe://wa/node/web-1".try_into().unwrap()));
    let forged = Identity {
        certificate_pem: params.self_signed(&key).unwrap().pem(),
        key_pem: key.serialize_pem(),
        ca_pem: String::new(),
    };
    refused(&recover(&desk, &forged).await.unwrap_err(), "not of this fleet");
}

#[tokio::test]
async fn attempts_to_recover_are_counted_and_limited() {
    let desk = Desk::start().await;
    let mut door = EnrollmentClient::new(desk.anonymous().await);
    let mut busy = 0;
    for _ in 0..20 {
        let request = v1::RecoverRequest { nonce: vec![0; 32], ..Default::default() };
        let error = door.recover(request).await.unwrap_err();
        busy += u32::from(error.code() == Code::ResourceExhausted);
    }
    assert!((5..=10).contains(&busy), "{busy}");
    // Joining is another door.
    desk.enrol("web-1").await;
}

// ---- another CA

async fn renew(desk: &Desk, identity: &Identity) -> Identity {
    use wa_proto::wire::v1::controller_message::Kind as Down;
    use wa_proto::wire::v1::node_message::Kind as Up;
    let mut node = Node::connect(desk, identity, SpoolId::generate()).await;
    let (csr_pem, key_pem) = tls::csr().unwrap();
    node.send(Up::Renew(v1::RenewRequest { csr_pem, agent_csr_pem: String::new() })).await;
    let reply = |m: &Down| if let Down::Renew(reply) = m { Some(reply.clone()) } else { None };
    let reply = node.next(reply).await.unwrap();
    assert_eq!(reply.error, "");
    Identity { certificate_pem: reply.certificate_pem, key_pem, ca_pem: reply.ca_pem }
}

async fn dial(desk: &Desk, identity: &Identity) -> Result<(), wa_link::dial::DialError> {
    let config = tls::client_config(identity).unwrap();
    wa_link::dial::connect(&desk.running().url, config, LIMIT).await.map(drop)
}

#[tokio::test]
async fn a_ca_is_replaced_and_who_keeps_in_touch_does_not_notice() {
    use wa_controller::identity::rotation::{Step, rotate};
    use wa_link::dial::DialError;
    let mut desk = Desk::start().await;
    let ca = desk.data().join("ca");
    let away = desk.enrol("web-1").await;
    let before = desk.enrol("web-2").await;

    rotate(&ca, Step::Prepare, clock::now()).unwrap();
    desk.restart().await;
    let prepared = renew(&desk, &before).await;
    assert_eq!(prepared.ca_pem.matches("BEGIN CERTIFICATE").count(), 2);
    dial(&desk, &away).await.unwrap();

    rotate(&ca, Step::Switch, clock::now() + Duration::from_secs(25 * 3600)).unwrap();
    desk.restart().await;
    let switched = renew(&desk, &prepared).await;
    // Whoever came in contact with neither step does not take the controller for its own.
    let error = dial(&desk, &away).await.unwrap_err();
    assert!(matches!(error, DialError::Untrusted { .. }), "{error}");
    let joined = desk.enrol("web-3").await;

    rotate(&ca, Step::Finish, clock::now() + Duration::from_secs(50 * 3600)).unwrap();
    desk.restart().await;
    for identity in [&switched, &joined] {
        Node::connect(&desk, identity, SpoolId::generate()).await;
    }
    let error = dial(&desk, &prepared).await.unwrap_err();
    assert!(matches!(error, DialError::NotAccepted { expired: false, .. }), "{error}");
    desk.stop().await;
}

/// The revocation was first in the store, and the call was let in a moment before it held.
#[tokio::test]
async fn what_a_caller_asks_while_being_revoked_does_not_happen() {
    let (desk, _, _, _node) = desk_with_pane().await;
    let identity = add(&desk, "ada", "operator", false).await.unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let ada = Principal { role: Role::Operator, name: wa_proto::Host::new("ada").unwrap() };
    let mut fleet = FleetClient::new(desk.channel(&identity).await);
    // Connected, so that only the call itself is under way then.
    fleet.list_panes(v1::ListPanesRequest::default()).await.unwrap();
    let revoking = desk.running().store().write(move |tx| {
        wait.recv_timeout(LIMIT).unwrap();
        tx.revoke(&ada, "operator:owner", "left").map(drop)
    });
    let asking = async {
        let told = timeout(LIMIT, fleet.act(v1::ActRequest { timeout_ms: 500, ..send("x") }));
        let release = async {
            // Time for the call to stand behind the revocation; without it, the call is refused at the door.
            tokio::time::sleep(Duration::from_millis(300)).await;
            go.send(()).unwrap();
        };
        tokio::join!(told, release).0.unwrap()
    };
    let (revoked, told) = tokio::join!(revoking, asking);
    revoked.unwrap();
    assert_eq!(told.unwrap_err().code(), Code::PermissionDenied);
    assert!(desk.running().store().actions(10).await.unwrap().is_empty());
}
