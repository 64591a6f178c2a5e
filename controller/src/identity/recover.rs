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
        let unreadable = |()| NotRecoverable::Unreadable;
        if pem.len() > MAX_CERTIFICATE {
            return Err(NotRecoverable::Unreadable);
        }
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| unreadable(()))?;
        let peer = Peer::of(&der).map_err(|_| unreadable(()))?;
        tls::verify_client(&der, ca_pem, peer.expires).map_err(|_| NotRecoverable::OtherCa)?;
        if peer.principal.role != Role::Node {
            return Err(NotRecoverable::Role(peer.principal.role));
        }
        if now.duration_since(peer.expires) > WINDOW {
            return Err(NotRecoverable::TooLate { expired: peer.expires });
        }
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| unreadable(()))?;
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
