//! Who is turned away leaves a trace: in the audit trail a few rows an hour, in the counters every time.

use std::io::Write as _;
use std::net::TcpStream;

use tonic::Code;
use wa_controller::store::AuditRow;
use wa_link::clock;
use wa_link::principal::{Principal, Role};
use wa_link::tls::{self, Identity};
use wa_proto::wire::v1;
use wa_proto::wire::v1::fleet_client::FleetClient;

use crate::desk::{Desk, LIMIT, until};

/// The rows of refused calls and handshakes, once there are so many.
async fn refused(desk: &Desk, count: usize) -> Vec<AuditRow> {
    until("the refusals in the trail", async || {
        let mut rows = desk.running().store().audit_trail().await.unwrap();
        rows.retain(|row| matches!(row.what.as_str(), "call" | "handshake"));
        (rows.len() >= count).then_some(rows)
    })
    .await
}

fn counter(desk: &Desk, name: &str) -> u64 {
    let metrics = desk.running().metrics().render();
    let line = format!("\nwa_controller_{name} ");
    let (_, value) = metrics.split_once(&line).unwrap();
    value.lines().next().unwrap().parse().unwrap()
}

/// A viewer's context in the wrong hands is tried out, and tried out again.
#[tokio::test]
async fn calls_that_the_role_does_not_open_are_on_record_and_do_not_flood_it() {
    let desk = Desk::start().await;
    let mut vic = desk.fleet(Role::Viewer, "vic").await;
    for _ in 0..30 {
        let error = vic.create_token(v1::CreateTokenRequest::default()).await.unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied);
    }
    vic.revoke(v1::RevokeRequest::default()).await.unwrap_err();
    vic.act(v1::ActRequest::default()).await.unwrap_err();
    let rows = refused(&desk, 3).await;
    let told: Vec<_> = rows.iter().map(|row| (row.who.as_str(), row.target.as_str())).collect();
    let vic_asked = |method| ("operator:vic", method);
    assert_eq!(told, ["CreateToken", "Revoke", "Act"].map(vic_asked));
    assert!(rows.iter().all(|row| row.decision == "refused"), "{rows:?}");
    assert!(
        rows[0].detail.contains("127.0.0.1") && rows[0].detail.contains("needs the role admin"),
        "{rows:?}"
    );
    assert_eq!(counter(&desk, "calls_refused_total"), 32);
}

#[tokio::test]
async fn what_was_revoked_or_has_no_certificate_is_on_record() {
    let desk = Desk::start().await;
    let node = desk.enrol("web-1").await;
    let revoke = v1::RevokeRequest { name: "web-1".into(), ..Default::default() };
    desk.admin().await.revoke(revoke).await.unwrap();
    crate::desk::Node::try_connect(&desk, &node, wa_proto::SpoolId::generate(), &[1]).await.err().unwrap();
    let mut nobody = FleetClient::new(desk.anonymous().await);
    nobody.fleet_status(v1::FleetStatusRequest {}).await.unwrap_err();
    let rows = refused(&desk, 2).await;
    assert_eq!((rows[0].who.as_str(), rows[0].target.as_str()), ("node:web-1", "Session"));
    assert!(rows[0].detail.contains("was revoked"), "{rows:?}");
    assert_eq!((rows[1].who.as_str(), rows[1].target.as_str()), ("anonymous", "FleetStatus"));
    assert!(rows[1].detail.contains("needs a client certificate"), "{rows:?}");
}

/// Neither comes through TLS, so no call tells of them.
#[tokio::test]
async fn certificates_of_another_ca_or_that_have_expired_are_on_record() {
    let (desk, other) = (Desk::start().await, Desk::start().await);
    let ca_pem = desk.authority().certificate_pem().to_owned();
    let stranger = Identity { ca_pem, ..other.identity(Role::Admin, "owner") };
    let long_ago = clock::now() - std::time::Duration::from_secs(400 * 86_400);
    let who = Principal { role: Role::Viewer, name: "vic".parse().unwrap() };
    let (expired, _) = desk.authority().make_identity(who, long_ago).unwrap();
    for (count, (identity, word)) in [(stranger, "another CA"), (expired, "has expired")].iter().enumerate() {
        for _ in 0..3 {
            let config = tls::client_config(identity).unwrap();
            wa_link::dial::connect(&desk.running().url, config, LIMIT).await.unwrap_err();
        }
        let rows = refused(&desk, count + 1).await;
        let row = rows.last().unwrap();
        assert_eq!(
            (rows.len(), row.what.as_str(), row.who.as_str(), row.target.as_str()),
            (count + 1, "handshake", "anonymous", "127.0.0.1")
        );
        assert!(row.detail.contains(word), "{rows:?}");
    }
    assert_eq!(counter(&desk, "handshakes_failed_total"), 6);
    // What is no TLS at all is counted only.
    TcpStream::connect(desk.running().local_addr).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    until("the count", async || (counter(&desk, "handshakes_failed_total") == 7).then_some(())).await;
    assert_eq!(refused(&desk, 2).await.len(), 2);
}
