//! Revocation: of all that a name has, known or not, and of nothing that is issued after.

use jiff::SignedDuration;
use proptest::prelude::*;
use wa_link::principal::{Principal, Role};

use super::tests::{open, time};
use super::*;
use crate::identity::peer::Peer;

fn node(name: &str) -> Principal {
    Principal { role: Role::Node, name: Host::new(name).unwrap() }
}

fn peer(name: &str, serial: &str, issued: Timestamp) -> Peer {
    let expires = issued + SignedDuration::from_hours(24);
    Peer { principal: node(name), serial: serial.into(), issued, expires }
}

async fn record(store: &Store, name: &str, serial: &str, expires: Timestamp) {
    let issued = IssuedCertificate { serial: serial.into(), principal: node(name), expires };
    store.write(move |tx| tx.record_certificate(&issued, "test")).await.unwrap();
}

#[tokio::test]
async fn a_revocation_holds_for_certificates_that_nobody_noted() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let now = wa_link::clock::now();
    record(&store, "web-1", "01", now + SignedDuration::from_hours(24)).await;
    let revoked = store.revoked();
    let unnoted = peer("web-1", "02", now - SignedDuration::from_hours(1));
    assert!(!revoked.borrow().bars(&unnoted));
    let live = store.write(|tx| tx.revoke(&node("web-1"), "operator:ada", "lost")).await.unwrap();
    assert_eq!(live, 1);
    let later = peer("web-1", "03", wa_link::clock::now() + SignedDuration::from_secs(2));
    let other = peer("web-2", "04", now - SignedDuration::from_hours(1));
    let check = async |store: &Store| {
        let known = peer("web-1", "01", now);
        for (who, barred) in [(&known, true), (&unnoted, true), (&later, false), (&other, false)] {
            assert_eq!(store.revoked().borrow().bars(who), barred, "{who:?}");
            let asked = who.clone();
            assert_eq!(store.write(move |tx| tx.bars(&asked)).await.unwrap(), barred, "{who:?}");
        }
    };
    check(&store).await;
    drop((store, revoked));
    check(&open(place.path())).await;
}

/// The controller's clock was a day ahead when it revoked.
#[tokio::test]
async fn a_clock_that_was_ahead_does_not_lock_out_who_joins_later() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    store.write(|tx| tx.revoke(&node("web-1"), "operator:ada", "")).await.unwrap();
    let ahead = wa_proto::wire::to_us(wa_link::clock::now() + SignedDuration::from_hours(24));
    store
        .write(move |tx| Ok(tx.conn.execute("UPDATE revocations SET revoked_us = ?1", [ahead])?))
        .await
        .unwrap();
    drop(store);
    let store = open(place.path());
    let fresh = peer("web-1", "05", wa_link::clock::now() + SignedDuration::from_secs(1));
    assert!(store.revoked().borrow().bars(&fresh));
    store.write(|tx| tx.reinstate(&node("web-1"))).await.unwrap();
    assert!(!store.revoked().borrow().bars(&fresh));
}

/// The clock was set back after the host had joined again: what it renews then opens the door still.
#[tokio::test]
async fn a_clock_that_was_set_back_does_not_lock_out_who_renews() {
    use crate::identity::ca::Authority;
    use crate::identity::host::{Wanted, give};
    let place = tempfile::tempdir().unwrap();
    let authority = Authority::open(&place.path().join("ca"), wa_link::clock::now()).unwrap();
    let store = open(place.path());
    store.write(|tx| tx.revoke(&node("web-1"), "token", "replaced")).await.unwrap();
    let ahead = wa_proto::wire::to_us(wa_link::clock::now() + SignedDuration::from_hours(24));
    store
        .write(move |tx| Ok(tx.conn.execute("UPDATE revocations SET revoked_us = ?1", [ahead])?))
        .await
        .unwrap();
    drop(store);
    let store = open(place.path());
    let wanted = Wanted::parse(&wa_link::tls::csr().unwrap().0, "").unwrap();
    let host = Host::new("web-1").unwrap();
    let given = store.write(move |tx| give(tx, &authority, &host, &wanted, "renewal")).await.unwrap();
    let renewed = Peer::of_pem(&given.node.certificate_pem).unwrap();
    assert!(!store.revoked().borrow().bars(&renewed));
}

/// Replaced, and then away for longer than its certificate: it recovers, and nobody needs to let it in again.
#[tokio::test]
async fn a_host_that_was_given_a_certificate_since_is_not_called_revoked() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let now = wa_link::clock::now();
    record(&store, "web-1", "01", now + SignedDuration::from_hours(24)).await;
    store.write(|tx| tx.revoke(&node("web-1"), "token", "replaced")).await.unwrap();
    assert_eq!(store.revoked_hosts().await.unwrap().len(), 1);
    record(&store, "web-1", "02", now - SignedDuration::from_hours(1)).await;
    assert_eq!(store.revoked_hosts().await.unwrap(), []);
}

#[tokio::test]
async fn what_failed_revoked_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    record(&store, "web-1", "01", wa_link::clock::now() + SignedDuration::from_hours(24)).await;
    let failed = store.write(|tx| {
        tx.revoke(&node("web-1"), "operator:ada", "")?;
        Err::<(), _>(StoreError::refused("no"))
    });
    failed.await.unwrap_err();
    assert!(!store.revoked().borrow().bars(&peer("web-1", "01", time(1))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever came in which order: barred is who was issued before the last revocation of its own name.
    #[test]
    fn who_is_barred_follows_from_the_last_revocation(steps in prop::collection::vec((0_u8..3, any::<bool>()), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = tempfile::tempdir().unwrap();
            let store = open(place.path());
            let mut issued: Vec<(u8, String, bool)> = Vec::new();
            for (n, (name, revokes)) in steps.into_iter().enumerate() {
                let host = format!("web-{name}");
                if revokes {
                    let who = node(&host);
                    store.write(move |tx| tx.revoke(&who, "operator:ada", "")).await.unwrap();
                    issued.iter_mut().filter(|(of, ..)| *of == name).for_each(|(.., barred)| *barred = true);
                } else {
                    let serial = format!("{n:02x}");
                    record(&store, &host, &serial, wa_link::clock::now() + SignedDuration::from_hours(24)).await;
                    issued.push((name, serial, false));
                }
            }
            for (name, serial, barred) in issued {
                // All within one second or two: serials tell them apart.
                let who = peer(&format!("web-{name}"), &serial, wa_link::clock::now() + SignedDuration::from_secs(5));
                assert_eq!(store.revoked().borrow().bars(&who), barred, "{who:?}");
                assert_eq!(store.write(move |tx| tx.bars(&who)).await.unwrap(), barred);
            }
        });
    }
}
