//! Tokens: each works once, for one name, for a while.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use tonic::Code;
use wa_controller::store::NewToken;
use wa_link::clock;
use wa_link::context::Context;
use wa_link::principal::Role;
use wa_link::tls;
use wa_link::token::JoinToken;
use wa_proto::wire::v1;
use wa_proto::wire::v1::fleet_client::FleetClient;
use wa_proto::{Host, SpoolId};

use crate::desk::{Desk, Node};

async fn audit(desk: &Desk) -> Vec<(String, String, String, String)> {
    let rows = desk.running().store().audit_trail().await.unwrap();
    rows.into_iter().map(|row| (row.what, row.target, row.decision, row.detail)).collect()
}

#[tokio::test]
async fn a_node_joins_once_and_gets_its_own_certificate() {
    let desk = Desk::start().await;
    let token = desk.token("web-1", false).await.unwrap();
    let (identity, agent) = desk.join(&token).await.unwrap();
    let (from, until) = tls::certificate_validity(&identity.certificate_pem).unwrap();
    assert_eq!(until.duration_since(from).as_mins(), 24 * 60 + 5);
    Node::connect(&desk, &identity, SpoolId::generate()).await;

    let mut agent = FleetClient::new(desk.channel(&agent).await);
    let seen = agent.fleet_status(v1::FleetStatusRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!(seen.len(), 1);

    // Replayed.
    let replay = desk.join(&token).await.unwrap_err();
    assert_eq!(replay.code(), Code::PermissionDenied);
    assert!(replay.message().contains("used before"), "{replay}");
    let trail = audit(&desk).await;
    let refused = |(what, target, decision, detail): &(String, String, String, String)| {
        what == "join" && target == "web-1" && decision == "refused" && detail.contains("used before")
    };
    assert!(trail.iter().any(refused), "{trail:?}");
    let secret = token.parse::<JoinToken>().unwrap().secret.expose();
    assert!(!format!("{trail:?}").contains(&secret));
}

#[tokio::test]
async fn wrong_expired_and_taken_are_refused_with_the_reason() {
    let desk = Desk::start().await;
    desk.token("web-1", false).await.unwrap();
    let other = JoinToken::generate(Host::new("web-1").unwrap(), desk.authority().fingerprint()).unwrap();
    for wrong in [other.secret.expose(), "hello".into(), String::new()] {
        let error = desk.join_with(&wrong, "web-1").await.unwrap_err();
        assert!(error.message().contains("not known here"), "{error}");
    }

    let expired = JoinToken::generate(Host::new("web-2").unwrap(), desk.authority().fingerprint()).unwrap();
    let row = NewToken {
        secret_hash: expired.secret.hash(),
        name: Host::new("web-2").unwrap(),
        created_by: "operator:o".into(),
        expires: clock::now() - Duration::from_secs(1),
        replaces: false,
    };
    desk.running().store().write(move |tx| tx.create_token(&row)).await.unwrap();
    let error = desk.join(&expired.expose()).await.unwrap_err();
    assert!(error.message().contains("expired"), "{error}");

    // Two tokens for one name: the second finds the name taken.
    let (first, second) =
        (desk.token("web-3", false).await.unwrap(), desk.token("web-3", false).await.unwrap());
    desk.join(&first).await.unwrap();
    let error = desk.join(&second).await.unwrap_err();
    assert!(error.message().contains("--replace"), "{error}");
    let error = desk.token("web-3", false).await.unwrap_err();
    assert!(error.message().contains("--replace"), "{error}");

    // A damaged request does not use the token up.
    let token = desk.token("web-4", false).await.unwrap();
    let secret = token.parse::<JoinToken>().unwrap().secret.expose();
    let mut enrollment = v1::enrollment_client::EnrollmentClient::new(desk.anonymous().await);
    let bad = enrollment
        .join(v1::JoinRequest { token: secret, csr_pem: "x".into(), ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    desk.join(&token).await.unwrap();
}

/// Somebody changed the word in the token, or cut two tokens together.
#[tokio::test]
async fn a_token_for_another_name_is_refused_and_stays_good() {
    let desk = Desk::start().await;
    let token: JoinToken = desk.token("web-1", false).await.unwrap().parse().unwrap();
    let secret = token.secret.expose();
    let error = desk.join_with(&secret, "web-2").await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert!(error.message().contains("not for the name in its text"), "{error}");
    assert_eq!(desk.join_with(&secret, "../web").await.unwrap_err().code(), Code::InvalidArgument);
    let trail = audit(&desk).await;
    let refused = |(what, target, decision, _): &(String, String, String, String)| {
        what == "join" && target == "web-1" && decision == "refused"
    };
    assert_eq!(trail.iter().filter(|row| refused(row)).count(), 1, "{trail:?}");
    // As nodes ask that were built before names were sent.
    desk.join_with(&secret, "").await.unwrap();
    let error = desk.join_with(&secret, "web-1").await.unwrap_err();
    assert!(error.message().contains("used before"), "{error}");
}

#[tokio::test]
async fn a_token_lives_no_longer_than_an_hour_and_names_are_names() {
    let desk = Desk::start().await;
    let mut admin = desk.admin().await;
    for (name, ttl_seconds) in [("web-1", 3601), ("../web", 60), ("", 60)] {
        let request = v1::CreateTokenRequest { name: name.into(), ttl_seconds, replace: false };
        assert_eq!(admin.create_token(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let request = v1::CreateTokenRequest { name: "web-1".into(), ttl_seconds: 0, replace: false };
    let made = admin.create_token(request).await.unwrap().into_inner();
    let left = made.expires_us - clock::now().as_microsecond();
    assert!((590_000_000..=600_000_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_replaced_node_is_cut_off() {
    let desk = Desk::start().await;
    let old = desk.enrol("web-1").await;
    let session = Node::connect(&desk, &old, SpoolId::generate()).await;
    let token = desk.token("web-1", true).await.unwrap();
    let (new, _) = desk.join(&token).await.unwrap();
    let reason = session.ended().await;
    // It is told one of the two, whichever comes first.
    let told = ["another node took this name", "was revoked"];
    assert!(told.iter().any(|word| reason.message().contains(word)), "{reason}");
    let refused = Node::try_connect(&desk, &old, SpoolId::generate(), &[1]).await.err().unwrap();
    assert!(refused.message().contains("revoked"), "{refused}");
    Node::connect(&desk, &new, SpoolId::generate()).await;
}

#[tokio::test]
async fn revocation_outlives_a_restart() {
    let mut desk = Desk::start().await;
    let old = desk.enrol("web-1").await;
    let token = desk.token("web-1", true).await.unwrap();
    desk.join(&token).await.unwrap();
    desk.restart().await;
    let refused = Node::try_connect(&desk, &old, SpoolId::generate(), &[1]).await.err().unwrap();
    assert!(refused.message().contains("revoked"), "{refused}");
}

#[tokio::test]
async fn the_first_start_leaves_private_files_and_a_context_that_works() {
    let mut desk = Desk::start().await;
    let context = desk.running().operator_context.clone();
    let first = Context::load(&context).unwrap();
    assert_eq!((first.role, first.controller.as_str()), (Role::Admin, desk.running().url.as_str()));
    for (file, mode) in [
        ("", 0o700),
        ("ca", 0o700),
        ("ca/ca.key", 0o600),
        ("ca/ca.pem", 0o600),
        ("state.db", 0o600),
        ("state.db-wal", 0o600),
        ("operator.context.toml", 0o600),
    ] {
        let found = std::fs::metadata(desk.data().join(file)).unwrap().mode() & 0o777;
        assert_eq!(found, mode, "{file}");
    }
    // The same certificate after a restart, with the new address.
    desk.restart().await;
    let second = Context::load(&context).unwrap();
    assert_eq!(second.identity, first.identity);
    assert_eq!(second.controller, desk.running().url);
    desk.admin().await.fleet_status(v1::FleetStatusRequest {}).await.unwrap();
    // Damaged: made anew.
    std::fs::write(&context, "not a context").unwrap();
    desk.restart().await;
    desk.admin().await.fleet_status(v1::FleetStatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_second_controller_on_the_directory_is_told_who_has_it() {
    let desk = Desk::start().await;
    let tasks = wa_link::shutdown::Tasks::new(wa_link::shutdown::Shutdown::new());
    let config = wa_controller::Config::local(desk.data());
    let error = wa_controller::Controller::start(config, tasks).await.err().unwrap().to_string();
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    desk.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let tasks = wa_link::shutdown::Tasks::new(wa_link::shutdown::Shutdown::new());
    let mut config = wa_controller::Config::local(place.path().join("data"));
    config.listen = taken.local_addr().unwrap();
    let error = wa_controller::Controller::start(config, tasks).await.err().unwrap().to_string();
    assert!(
        error.contains(&taken.local_addr().unwrap().to_string()) && error.contains("--listen"),
        "{error}"
    );
}

#[tokio::test]
async fn the_admin_address_tells_counters_and_health() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let place = tempfile::tempdir().unwrap();
    let mut config = wa_controller::Config::local(place.path().join("data"));
    config.admin_listen = Some("127.0.0.1:0".parse().unwrap());
    let desk = Desk::with(place, config).await;
    let identity = desk.enrol("web-1").await;
    let address = desk.running().admin_addr.unwrap();
    let get = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200 OK"));
    let metrics = get("/metrics").await;
    assert!(metrics.contains("\nwa_controller_joins_total 1\n"), "{metrics}");
    assert!(!metrics.contains("web-1"));
    let _node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    assert!(get("/metrics").await.contains("\nwa_controller_nodes_rules_off 0\n"));
    let packs = vec![crate::rules::pack("shop", "shop.one")];
    let push = v1::PushRulesRequest { packs, timeout_ms: 1, ..Default::default() };
    desk.admin().await.push_rules(push).await.unwrap();
    assert!(get("/metrics").await.contains("\nwa_controller_nodes_rules_off 1\n"));
    assert!(get("/state.db").await.starts_with("HTTP/1.1 404"));
    desk.stop().await;
}
