//! Recovery: a node that was away for longer than its certificate comes back by its old key.
//!
//! Constraints: the caller has no certificate that holds, so everything is bounded and rate-limited as for joining; the
//! old certificate must be of this CA, of a node, run out for at most 30 days and never revoked, itself or with its name;
//! its key must have signed a number that was made here a moment ago and is good once; and while a node of that name is
//! connected nobody else becomes it. Whoever has the key of a certificate of ours and is refused stands in the audit
//! trail; a stranger's garbage is only counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::time::Instant;
use tonic::Status;
use wa_link::principal::Role;
use wa_link::recovery::{self, NONCE};
use wa_link::{clock, tls};
use wa_proto::wire::v1;
use wa_proto::{ErrorCode, Timestamp};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::host::{Wanted, give};
use super::join::Enrollment;
use super::peer::Peer;

/// So long after it has run out, a certificate's key is good for another.
const WINDOW: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How long a number waits for its signature.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Numbers that wait: more than the rate limit lets be made in that time.
const MOST: usize = 8192;
/// Bytes of a certificate in PEM.
const MAX_CERTIFICATE: usize = 16 * 1024;

/// Numbers that were made and not yet signed.
#[derive(Default)]
pub(crate) struct Nonces(Mutex<HashMap<[u8; NONCE], Instant>>);

impl Nonces {
    /// `false`: too many are waiting.
    fn keep(&self, nonce: [u8; NONCE], now: Instant) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST {
            waiting.retain(|_, made| now.saturating_duration_since(*made) < ANSWER_WITHIN);
        }
        waiting.len() < MOST && waiting.insert(nonce, now).is_none()
    }

    /// Uses one up: whether it was made here, lately, and not used before.
    fn take(&self, nonce: &[u8; NONCE], now: Instant) -> bool {
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(nonce);
        made.is_some_and(|made| now.saturating_duration_since(made) < ANSWER_WITHIN)
    }
}

/// A certificate of a node of ours.
#[derive(Debug)]
struct OldCertificate {
    peer: Peer,
    public_key: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum NotRecoverable {
    #[error("the old certificate cannot be read")]
    Unreadable,
    #[error("the old certificate is not of this fleet")]
    OtherCa,
    #[error("the old certificate is of role {0}; only nodes recover")]
    Role(Role),
    #[error("the old certificate ran out on {expired}, more than 30 days ago")]
    TooLate { expired: Timestamp },
}

impl OldCertificate {
    fn read(pem: &str, ca_pem: &str, now: Timestamp) -> Result<Self, NotRecoverable> {
        if pem.len() > MAX_CERTIFICATE {
            return Err(NotRecoverable::Unreadable);
        }
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| NotRecoverable::Unreadable)?;
        Self::of(&der, ca_pem, now)
    }

    fn of(der: &CertificateDer<'_>, ca_pem: &str, now: Timestamp) -> Result<Self, NotRecoverable> {
        let peer = Peer::of(der).map_err(|_| NotRecoverable::Unreadable)?;
        tls::verify_client(der, ca_pem, peer.expires).map_err(|_| NotRecoverable::OtherCa)?;
        if peer.principal.role != Role::Node {
            return Err(NotRecoverable::Role(peer.principal.role));
        }
        if now.duration_since(peer.expires) > WINDOW {
            return Err(NotRecoverable::TooLate { expired: peer.expires });
        }
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| NotRecoverable::Unreadable)?;
        let public_key = certificate.public_key().subject_public_key.data.to_vec();
        Ok(Self { peer, public_key })
    }
}

fn refused(reason: impl std::fmt::Display) -> Status {
    ErrorCode::Refused.status(format!("{reason}: enrol the host again with a token of `wa fleet token`"))
}

impl Enrollment {
    pub(super) fn new_challenge(&self) -> Result<v1::ChallengeResponse, Status> {
        let mut nonce = [0; NONCE];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| ErrorCode::Internal.status("this system gives no random numbers"))?;
        if !self.nonces.keep(nonce, clock::monotonic()) {
            return Err(ErrorCode::Busy.status("too many nodes recover at once: try again in a minute"));
        }
        Ok(v1::ChallengeResponse { nonce: nonce.to_vec() })
    }

    pub(super) async fn recover_node(
        &self,
        request: v1::RecoverRequest,
    ) -> Result<v1::RecoverResponse, Status> {
        let usage = |e: super::ca::CaError| ErrorCode::Usage.status(e.to_string());
        let wanted = Wanted::parse(&request.csr_pem, &request.agent_csr_pem).map_err(usage)?;
        let nonce = <[u8; NONCE]>::try_from(request.nonce.as_slice())
            .map_err(|_| ErrorCode::Usage.status(format!("nonce: not {NONCE} bytes")))?;
        if !self.nonces.take(&nonce, clock::monotonic()) {
            return Err(ErrorCode::TimedOut.status("the challenge is not open: ask for another"));
        }
        let ca_pem = self.authority.certificate_pem();
        let old = OldCertificate::read(&request.certificate_pem, ca_pem, clock::now()).map_err(refused)?;
        let said = recovery::message(&nonce, &request.csr_pem, &request.agent_csr_pem);
        if !recovery::is_signed(&old.public_key, &said, &request.signature) {
            return Err(refused("the signature is not by the key of the old certificate"));
        }
        self.renew_old(old.peer, wanted).await
    }

    /// The caller has proved to be who the certificate names.
    async fn renew_old(&self, peer: Peer, wanted: Wanted) -> Result<v1::RecoverResponse, Status> {
        let host = peer.principal.name.clone();
        let connected = self.registry.session(&host).is_some();
        let authority = Arc::clone(&self.authority);
        let given = self.store.write(move |tx| {
            if let Err(refusal) = tx.recoverable(&peer)? {
                return Ok(Err(refused(refusal)));
            }
            if connected {
                let reason = "a node of this name is connected";
                tx.audit_refused_recovery(&peer, reason)?;
                return Ok(Err(ErrorCode::Busy.status(format!("{reason}: is another one running?"))));
            }
            if tx.has_enough(&peer.principal.name)? {
                return Ok(Err(
                    ErrorCode::Busy.status("too many certificates within an hour: try again later")
                ));
            }
            give(tx, &authority, &peer.principal.name, &wanted, "recovery").map(Ok)
        });
        let given = given.await.map_err(|error| {
            // Whoever asks has no certificate that holds.
            tracing::error!(%error, "a node could not recover");
            ErrorCode::Internal.status("the controller cannot let anybody recover now; its log says why")
        })?;
        let given = given.inspect_err(|refusal| {
            tracing::warn!(%host, reason = refusal.message(), "a node was not recovered");
        })?;
        tracing::info!(%host, "a node recovered with an old certificate");
        Ok(v1::RecoverResponse {
            certificate_pem: given.node.certificate_pem,
            ca_pem: self.authority.certificate_pem().to_owned(),
            agent_certificate_pem: given.agent_pem,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ca::Authority;
    use proptest::prelude::*;
    use wa_link::principal::Principal;

    fn authority() -> Authority {
        let place = tempfile::tempdir().unwrap();
        Authority::open(place.path(), at(0)).unwrap()
    }

    fn at(days: i64) -> Timestamp {
        let start: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        start + SignedDuration::from_hours(24 * days)
    }

    fn made(authority: &Authority, role: Role) -> String {
        let who = Principal { role, name: "web-1".parse().unwrap() };
        authority.make_identity(who, at(1)).unwrap().0.certificate_pem
    }

    #[test]
    fn a_certificate_is_good_for_thirty_days_after_its_own() {
        let authority = authority();
        let pem = made(&authority, Role::Node);
        let read = |now| OldCertificate::read(&pem, authority.certificate_pem(), now);
        // It holds from day 1 to day 2.
        for now in [at(1), at(2), at(31), at(32)] {
            assert_eq!(read(now).unwrap().peer.expires, at(2), "{now}");
        }
        let late = read(at(32) + SignedDuration::from_secs(1)).unwrap_err();
        assert_eq!(late, NotRecoverable::TooLate { expired: at(2) });
    }

    #[test]
    fn only_what_was_signed_here_is_read() {
        let (ours, theirs) = (authority(), authority());
        let read = |pem: &str| OldCertificate::read(pem, ours.certificate_pem(), at(3)).unwrap_err();
        assert_eq!(read(&made(&theirs, Role::Node)), NotRecoverable::OtherCa);
        assert_eq!(read(ours.certificate_pem()), NotRecoverable::Unreadable);
        assert_eq!(read(&made(&ours, Role::Admin)), NotRecoverable::Role(Role::Admin));
        let server = ours.server_identity(at(1)).unwrap().certificate_pem;
        assert_eq!(read(&server), NotRecoverable::Unreadable);
    }

    #[test]
    fn a_number_is_good_once_and_for_a_minute() {
        let (nonces, start) = (Nonces::default(), Instant::now());
        assert!(nonces.keep([1; NONCE], start) && nonces.keep([2; NONCE], start));
        assert!(nonces.take(&[1; NONCE], start));
        assert!(!nonces.take(&[1; NONCE], start));
        assert!(!nonces.take(&[2; NONCE], start + ANSWER_WITHIN));
        assert!(!nonces.take(&[3; NONCE], start));
    }

    #[test]
    fn the_memory_of_numbers_is_bounded() {
        let (nonces, start) = (Nonces::default(), Instant::now());
        let number = |n: usize| {
            let mut nonce = [0; NONCE];
            nonce[..8].copy_from_slice(&n.to_be_bytes());
            nonce
        };
        let kept = (0..MOST + 100).filter(|n| nonces.keep(number(*n), start)).count();
        assert_eq!(kept, MOST);
        // What waits in vain makes room.
        assert!(nonces.keep([9; NONCE], start + ANSWER_WITHIN));
        assert_eq!(nonces.0.lock().unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn garbage_is_nobodys_certificate(text in ".{0,200}", der: Vec<u8>) {
            let authority = authority();
            let ca_pem = authority.certificate_pem();
            prop_assert!(OldCertificate::read(&text, ca_pem, at(3)).is_err());
            prop_assert!(OldCertificate::of(&der.into(), ca_pem, at(3)).is_err());
        }

        /// A bit that is turned over in transit, or on purpose.
        #[test]
        fn a_changed_certificate_is_not_one(byte: prop::sample::Index, bit in 0_u8..8) {
            let authority = authority();
            let pem = made(&authority, Role::Node);
            let mut der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
            let place = byte.index(der.len());
            der[place] ^= 1 << bit;
            prop_assert!(OldCertificate::of(&der.into(), authority.certificate_pem(), at(3)).is_err());
        }
    }
}
