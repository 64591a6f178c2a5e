//! The operator's context: the file by which the person who started the controller may do everything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use jiff::SignedDuration;
use wa_link::context::{Context, ContextError};
use wa_link::principal::{Principal, Role};
use wa_link::tls;
use wa_proto::{Host, Timestamp};

use crate::identity::Doorkeeper;
use crate::identity::ca::{Authority, CaError};
use crate::identity::peer::Peer;
use crate::store::{Store, StoreError};

/// The name in the first operator's certificate.
const NAME: &str = "owner";
/// A context that runs out sooner is made anew at the start.
const LEFT: SignedDuration = SignedDuration::from_hours(24 * 30);

#[derive(Debug, thiserror::Error)]
pub enum OperatorContextError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the name of the operator: {0}")]
    Name(#[from] wa_proto::ids::InvalidName),
}

/// The URL under which this machine reaches the listener.
pub(crate) fn local_url(listening: SocketAddr) -> String {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("https://{}", SocketAddr::new(ip, listening.port()))
}

/// Makes sure that the file at `path` is a context of role admin for this controller: an older one is kept as long as it
/// is of this CA, not revoked and not about to run out.
pub(crate) async fn ensure(
    path: &Path,
    url: &str,
    authority: &Authority,
    doorkeeper: &Doorkeeper,
    store: &Store,
    now: Timestamp,
) -> Result<(), OperatorContextError> {
    if let Some(mut kept) = usable(path, authority, |peer| doorkeeper.is_revoked(peer), now) {
        if kept.controller != url {
            url.clone_into(&mut kept.controller);
            kept.save(path)?;
        }
        return Ok(());
    }
    let who = Principal { role: Role::Admin, name: Host::new(NAME)? };
    let (identity, record) = authority.make_identity(who.clone(), now)?;
    store.write(move |tx| tx.record_certificate(&record, "first start")).await?;
    let context = Context { name: who.name, controller: url.to_owned(), role: who.role, identity };
    Ok(context.save(path)?)
}

fn usable(
    path: &Path,
    authority: &Authority,
    is_revoked: impl Fn(&Peer) -> bool,
    now: Timestamp,
) -> Option<Context> {
    if !path.exists() {
        return None;
    }
    let context = Context::load(path).inspect_err(|error| {
        tracing::warn!(%error, "the operator's context cannot be used; a new one is made");
    });
    let context = context.ok()?;
    // One that was made by a clock that went ahead does not hold yet.
    let (from, expires) = tls::certificate_validity(&context.identity.certificate_pem).ok()?;
    let peer = Peer::of_pem(&context.identity.certificate_pem)?;
    let holds = context.role == Role::Admin
        && context.identity.ca_pem == authority.certificate_pem()
        && !is_revoked(&peer)
        && from <= now
        && expires.duration_since(now) > LEFT;
    holds.then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_context_that_a_clock_made_which_went_ahead_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let (ahead, right) = (at("2026-11-23T12:00:00Z"), at("2026-11-22T12:00:00Z"));
        let authority = Authority::open(&place.path().join("ca"), right).unwrap();
        let who = Principal { role: Role::Admin, name: Host::new(NAME).unwrap() };
        let (identity, _) = authority.make_identity(who.clone(), ahead).unwrap();
        let path = place.path().join("operator.context.toml");
        let controller = "https://localhost:7443".to_owned();
        Context { name: who.name, controller, role: who.role, identity }.save(&path).unwrap();
        assert!(usable(&path, &authority, |_| false, ahead).is_some());
        assert!(usable(&path, &authority, |_| false, right).is_none());
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_the_loopback() {
        let url = |listening: &str| local_url(listening.parse().unwrap());
        assert_eq!(url("0.0.0.0:7443"), "https://127.0.0.1:7443");
        assert_eq!(url("[::]:7443"), "https://[::1]:7443");
        assert_eq!(url("10.1.2.3:1"), "https://10.1.2.3:1");
    }
}
