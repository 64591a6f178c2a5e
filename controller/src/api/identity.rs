//! Who may come in: operators, and those who may no longer.
//!
//! An admin does not revoke itself: a slip would lock it out of the fleet. Another one does; and whoever has the
//! controller's machine gets a fresh context of the first admin when the controller starts again.

use std::sync::Arc;

use tonic::Status;
use wa_link::principal::{Principal, Role};
use wa_match::Redactor;
use wa_proto::wire::{to_us, v1};
use wa_proto::{ErrorCode, Host};

use super::{Fleet, status, usage};
use crate::identity::ca::Csr;
use crate::identity::peer::Peer;
use crate::store::{Revocation, RevokedHost, StoreError};

const HOST: [Role; 2] = [Role::Node, Role::Agent];
pub(super) const PEOPLE: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];
/// Bytes of a reason.
const MAX_REASON: usize = 1000;

impl Fleet {
    pub(super) async fn revoke_name(
        &self,
        peer: &Peer,
        request: v1::RevokeRequest,
    ) -> Result<v1::RevokeResponse, Status> {
        // A word of a newer `wa` must not revoke more than it meant.
        let scope = v1::RevokeScope::try_from(request.scope)
            .map_err(|_| usage(format!("scope {} is not known to this controller", request.scope)))?;
        let name = Host::new(request.name).map_err(usage)?;
        if request.reason.len() > MAX_REASON {
            return Err(usage(format!("reason: at most {MAX_REASON} bytes")));
        }
        let roles = match scope {
            v1::RevokeScope::Any => Role::ALL.to_vec(),
            v1::RevokeScope::Host => HOST.to_vec(),
            v1::RevokeScope::Operator => PEOPLE.to_vec(),
        };
        if name == peer.principal.name && roles.contains(&peer.principal.role) {
            return Err(ErrorCode::Refused.status(format!(
                "{name} is your own name: another admin revokes it; `wa fleet operator add` makes one"
            )));
        }
        // It stays in the audit trail for good.
        let reason = Redactor::builtin().redact(&request.reason).replace(char::is_control, " ");
        let revocation = Revocation { name: name.clone(), roles, who: peer.who(), reason };
        let caller = peer.clone();
        let ended = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            tx.revoke_name(&revocation)
        });
        let ended = ended.await.map_err(|e| status(&e))?;
        if ended.is_empty() {
            return Err(ErrorCode::NotFound.status(format!(
                "nobody called {name} was ever given a certificate; `wa fleet status` names hosts, `wa fleet operator list` people"
            )));
        }
        tracing::warn!(%name, who = peer.who(), "certificates were revoked");
        let revoked = ended.into_iter().map(|(who, live)| v1::RevokedPrincipal {
            role: who.role.to_string(),
            name: who.name.to_string(),
            certificates: u32::try_from(live).unwrap_or(u32::MAX),
        });
        Ok(v1::RevokeResponse { revoked: revoked.collect() })
    }

    pub(super) async fn make_operator(
        &self,
        peer: &Peer,
        request: v1::AddOperatorRequest,
    ) -> Result<v1::AddOperatorResponse, Status> {
        let name = Host::new(request.name).map_err(usage)?;
        let role = PEOPLE.into_iter().find(|role| role.as_str() == request.role);
        let role = role.ok_or_else(|| usage("role: viewer, operator or admin"))?;
        if name == peer.principal.name && request.replace {
            return Err(ErrorCode::Refused
                .status(format!("{name} is your own name: another admin replaces its certificate")));
        }
        let csr = Csr::parse(&request.csr_pem).map_err(usage)?;
        let (who, by, replace) = (Principal { role, name }, peer.who(), request.replace);
        let (authority, caller) = (Arc::clone(&self.authority), peer.clone());
        let issued = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            for role in PEOPLE {
                let earlier = Principal { role, name: who.name.clone() };
                if tx.has_live_certificate(&earlier)? {
                    if !replace {
                        return Err(StoreError::refused(format!(
                            "{} has a live certificate of role {role}: give --replace to revoke it",
                            who.name
                        )));
                    }
                    tx.revoke(&earlier, &by, "replaced")?;
                }
                tx.reinstate(&earlier)?;
            }
            let issued =
                authority.sign(who, &csr, tx.now).map_err(|e| StoreError::Failed(e.to_string().into()))?;
            tx.record_certificate(&issued.record, &by)?;
            Ok(issued)
        });
        let issued = issued.await.map_err(|e| status(&e))?;
        Ok(v1::AddOperatorResponse {
            certificate_pem: issued.certificate_pem,
            ca_pem: self.authority.certificate_pem().to_owned(),
            expires_us: to_us(issued.record.expires),
        })
    }

    /// Says of hosts that were revoked that they were.
    pub(super) async fn note_revoked(&self, nodes: &mut [v1::NodeStatus]) -> Result<(), Status> {
        let revoked = self.store.revoked_hosts().await.map_err(|e| status(&e))?;
        for RevokedHost { host, at, who, reason } in revoked {
            let Some(node) = nodes.iter_mut().find(|node| node.host == host.as_str()) else { continue };
            let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
            let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            node.problems.push(format!(
                "revoked {at} by {who}{why}: it comes back with a token of `wa fleet token {host}`"
            ));
        }
        Ok(())
    }

    pub(super) async fn operators(&self) -> Result<v1::ListOperatorsResponse, Status> {
        let rows = self.store.operators().await.map_err(|e| status(&e))?;
        let operators = rows.into_iter().map(|row| v1::Operator {
            name: row.principal.name.to_string(),
            role: row.principal.role.to_string(),
            issued_us: to_us(row.issued),
            expires_us: to_us(row.expires),
            revoked_us: row.revoked.map_or(0, to_us),
        });
        Ok(v1::ListOperatorsResponse { operators: operators.collect() })
    }
}
