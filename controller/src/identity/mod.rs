//! Identity: who may speak, and as whom.
//!
//! Constraints (promise S1): a caller is what its certificate says and nothing else; certificates come from our own CA,
//! whose key never leaves `DIR/ca`; a node gets in with a token that works once, within minutes, for one name; what was
//! revoked opens nothing.
//!
//! - [`ca`]: makes and keeps the CA, signs.
//! - [`rotation`]: another CA in its place, with an overlap.
//! - [`peer`]: reads role, name and serial from a verified certificate.
//! - [`join`], [`recover`]: the calls that need no certificate.
//! - [`host`]: what a node and the agents beside it are given.
//! - [`refused`]: who was turned away.

pub mod ca;
pub(crate) mod host;
pub mod join;
pub mod peer;
pub(crate) mod recover;
pub(crate) mod refused;
pub mod rotation;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::{Request, Status};
use wa_link::clock;
use wa_link::principal::{Principal, Role};
use wa_proto::ErrorCode;

use crate::store::Revoked;
use peer::Peer;
use refused::{Call, Refused};

/// Decides on every call who calls and whether the role may.
pub struct Doorkeeper {
    revoked: watch::Receiver<Arc<Revoked>>,
    refused: Arc<Refused>,
}

impl Doorkeeper {
    /// `revoked` is the store's.
    pub(crate) fn new(revoked: watch::Receiver<Arc<Revoked>>, refused: Arc<Refused>) -> Self {
        Self { revoked, refused }
    }

    /// The caller, if it has a certificate of one of these roles that was not revoked.
    pub fn admit<T>(&self, request: &Request<T>, roles: &[Role]) -> Result<Peer, Status> {
        let turned_away =
            |who: Option<String>, refusal: &Status| self.refused.call(who, &Call::of(request), refusal);
        let peer = Self::caller(request).inspect_err(|refusal| turned_away(None, refusal))?;
        self.check(&peer, roles).inspect_err(|refusal| turned_away(Some(peer.who()), refusal))?;
        Ok(peer)
    }

    /// Who calls, by the certificate that TLS has verified.
    fn caller<T>(request: &Request<T>) -> Result<Peer, Status> {
        let refuse = |reason: String| Err(ErrorCode::Refused.status(reason));
        let certificates = request.peer_certs();
        let Some(certificate) = certificates.as_ref().and_then(|certificates| certificates.first()) else {
            return refuse(
                "this call needs a client certificate: use a context file of this controller".into(),
            );
        };
        Peer::of(certificate).or_else(|error| refuse(error.to_string()))
    }

    fn check(&self, peer: &Peer, roles: &[Role]) -> Result<(), Status> {
        self.holds(peer)?;
        if !roles.contains(&peer.principal.role) {
            let allowed: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
            return Err(ErrorCode::Refused.status(format!(
                "{} may not do this: it needs the role {}",
                peer.principal.in_words(),
                allowed.join(" or ")
            )));
        }
        Ok(())
    }

    /// Whether the certificate holds now: it was not revoked and has not run out.
    ///
    /// # Errors
    /// The refusal, with what to do.
    pub fn holds(&self, peer: &Peer) -> Result<(), Status> {
        let Principal { role, name } = &peer.principal;
        let again = match role {
            Role::Node | Role::Agent => {
                format!(
                    "enrol the host again with a token of `wa fleet token {name}`, by `wa-node enroll --replace` while its \
                     node is stopped"
                )
            }
            Role::Viewer | Role::Operator | Role::Admin => {
                format!("an admin gives a new context with `wa fleet operator add {name} --role {role}`")
            }
        };
        // TLS looked at the times when the connection was made; it may live long after.
        let problem = match (self.is_revoked(peer), peer.expires <= clock::now()) {
            (true, _) => "was revoked",
            (false, true) => "has expired",
            (false, false) => return Ok(()),
        };
        let whose = peer.principal.in_words();
        Err(ErrorCode::Refused.status(format!("the certificate of {whose} {problem}: {again}")))
    }

    pub fn is_revoked(&self, peer: &Peer) -> bool {
        self.revoked.borrow().bars(peer)
    }

    /// Completes when this certificate is revoked.
    pub async fn revocation(&self, peer: &Peer) {
        // An error says that the store is closed: then nothing is revoked any more.
        if self.revoked.clone().wait_for(|revoked| revoked.bars(peer)).await.is_err() {
            std::future::pending().await
        }
    }

    /// Completes, with the refusal, when the caller may no longer listen: revoked, or its certificate has run out.
    pub async fn barred(&self, peer: &Peer) -> Status {
        loop {
            let left =
                Duration::try_from(peer.expires.duration_since(clock::now())).unwrap_or(Duration::ZERO);
            tokio::select! {
                biased;
                () = self.revocation(peer) => {}
                () = tokio::time::sleep(left) => {}
            }
            if let Err(refusal) = self.holds(peer) {
                return refusal;
            }
        }
    }
}
