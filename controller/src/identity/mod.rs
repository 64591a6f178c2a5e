//! Identity: who may speak, and as whom.
//!
//! Constraints (promise S1): a caller is what its certificate says and nothing else; certificates come from our own CA,
//! whose key never leaves `DIR/ca`; a node gets in with a token that works once, within minutes, for one name; what was
//! revoked opens nothing.
//!
//! - [`ca`]: makes and keeps the CA, signs.
//! - [`peer`]: reads role, name and serial from a verified certificate.
//! - [`join`]: the one call that needs no certificate.

pub mod ca;
pub mod join;
pub mod peer;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::{Request, Status};
use wa_link::clock;
use wa_link::principal::Role;
use wa_proto::ErrorCode;

use crate::metrics::Metrics;
use peer::Peer;

/// Decides on every call who calls and whether the role may.
pub struct Doorkeeper {
    /// Serials.
    revoked: watch::Sender<HashSet<String>>,
    metrics: Arc<Metrics>,
}

impl Doorkeeper {
    pub fn new(revoked: impl IntoIterator<Item = String>, metrics: Arc<Metrics>) -> Self {
        Self { revoked: watch::Sender::new(revoked.into_iter().collect()), metrics }
    }

    /// The caller, if it has a certificate of one of these roles that was not revoked.
    pub fn admit<T>(&self, request: &Request<T>, roles: &[Role]) -> Result<Peer, Status> {
        self.check(request, roles).inspect_err(|_| Metrics::add(&self.metrics.calls_refused, 1))
    }

    fn check<T>(&self, request: &Request<T>, roles: &[Role]) -> Result<Peer, Status> {
        let refuse = |reason: String| Err(ErrorCode::Refused.status(reason));
        let certificates = request.peer_certs();
        let Some(certificate) = certificates.as_ref().and_then(|certificates| certificates.first()) else {
            return refuse(
                "this call needs a client certificate: use a context file of this controller".into(),
            );
        };
        let peer = match Peer::of(certificate) {
            Ok(peer) => peer,
            Err(error) => return refuse(error.to_string()),
        };
        if self.is_revoked(&peer.serial) {
            return refuse(format!("the certificate of {} was revoked", peer.principal));
        }
        // TLS looked at the times when the connection was made; it may live long after.
        if peer.expires <= clock::now() {
            return refuse(format!("the certificate of {} has expired", peer.principal));
        }
        if !roles.contains(&peer.principal.role) {
            let allowed: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
            return refuse(format!(
                "{} may not do this: it needs the role {}",
                peer.principal,
                allowed.join(" or ")
            ));
        }
        Ok(peer)
    }

    pub fn is_revoked(&self, serial: &str) -> bool {
        self.revoked.borrow().contains(serial)
    }

    /// From now on these serials open nothing, and their live streams end.
    pub fn revoke(&self, serials: impl IntoIterator<Item = String>) {
        self.revoked.send_modify(|revoked| revoked.extend(serials));
    }

    /// Completes when this serial is revoked.
    pub async fn revocation(&self, serial: &str) {
        // The sender lives as long as `self`.
        drop(self.revoked.subscribe().wait_for(|revoked| revoked.contains(serial)).await);
    }

    /// Completes when the caller may no longer listen: revoked, or its certificate has run out.
    pub async fn barred(&self, peer: &Peer) {
        let left = Duration::try_from(peer.expires.duration_since(clock::now())).unwrap_or(Duration::ZERO);
        tokio::select! {
            () = self.revocation(&peer.serial) => {}
            () = tokio::time::sleep(left) => {}
        }
    }
}
