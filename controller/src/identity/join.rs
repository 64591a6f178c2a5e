//! Joining: a one-time token and a certificate request in, a node's certificate out.
//!
//! The only call without a client certificate, so it is bounded: a bucket per address and one for all. The request is
//! read before the token is spent. Token, revocation of a replaced node, and both certificates are one commit; a token
//! whose answer got lost is spent, and the person makes another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status};
use wa_link::clock;
use wa_link::token::TokenSecret;
use wa_proto::wire::v1;
use wa_proto::{ErrorCode, Host};

use super::ca::Authority;
use super::host::{Wanted, give};
use super::recover::Nonces;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::store::{Store, TokenRefusal};

pub(crate) struct Enrollment {
    pub(crate) store: Arc<Store>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: RateLimit,
    /// Of challenges and recoveries: a fleet that comes back keeps nobody from joining.
    pub(crate) recovery_limits: RateLimit,
    pub(crate) nonces: Nonces,
}

#[tonic::async_trait]
impl v1::enrollment_server::Enrollment for Enrollment {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let address = request.remote_addr().map(|address| address.ip());
        if !self.limits.admit(address, clock::monotonic()) {
            Metrics::add(&self.metrics.joins_refused, 1);
            return Err(ErrorCode::Busy.status("too many attempts to join: wait a few seconds and try again"));
        }
        let joined = self.redeem(request.into_inner()).await;
        let counter = if joined.is_ok() { &self.metrics.joins } else { &self.metrics.joins_refused };
        Metrics::add(counter, 1);
        joined.map(Response::new)
    }

    async fn challenge(
        &self,
        request: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeResponse>, Status> {
        self.admit_recovery(&request)?;
        self.new_challenge().map(Response::new)
    }

    async fn recover(
        &self,
        request: Request<v1::RecoverRequest>,
    ) -> Result<Response<v1::RecoverResponse>, Status> {
        self.admit_recovery(&request)?;
        let recovered = self.recover_node(request.into_inner()).await;
        let Metrics { recoveries, recoveries_refused, .. } = &*self.metrics;
        Metrics::add(if recovered.is_ok() { recoveries } else { recoveries_refused }, 1);
        recovered.map(Response::new)
    }
}

impl Enrollment {
    fn admit_recovery<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let address = request.remote_addr().map(|address| address.ip());
        if self.recovery_limits.admit(address, clock::monotonic()) {
            return Ok(());
        }
        Metrics::add(&self.metrics.recoveries_refused, 1);
        Err(ErrorCode::Busy.status("too many attempts to recover: wait a few seconds and try again"))
    }

    async fn redeem(&self, request: v1::JoinRequest) -> Result<v1::JoinResponse, Status> {
        let wanted = Wanted::parse(&request.csr_pem, &request.agent_csr_pem)
            .map_err(|e| ErrorCode::Usage.status(e.to_string()))?;
        let asked = Some(request.name).filter(|name| !name.is_empty()).map(Host::new).transpose();
        let asked = asked.map_err(|e| ErrorCode::Usage.status(e.to_string()))?;
        // A text that is no secret is an unknown token, audited like one.
        let secret_hash = request.token.parse::<TokenSecret>().map_or([0; 32], |secret| secret.hash());
        let authority = Arc::clone(&self.authority);
        let joined = self
            .store
            .write(move |tx| {
                let host = match tx.redeem_token(&secret_hash, asked.as_ref())? {
                    Ok(host) => host,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                let given = give(tx, &authority, &host, &wanted, "token")?;
                tx.node_joined(&host)?;
                let response = v1::JoinResponse {
                    certificate_pem: given.node.certificate_pem,
                    ca_pem: authority.certificate_pem().to_owned(),
                    name: host.to_string(),
                    agent_certificate_pem: given.agent_pem,
                };
                Ok(Ok((host, response)))
            })
            .await
            .map_err(|error| {
                // Whoever asks is a stranger still.
                tracing::error!(%error, "a node could not join");
                ErrorCode::Internal.status("the controller cannot let anybody join now; its log says why")
            })?;
        let (host, response) = joined.map_err(refused)?;
        self.welcome(&host);
        Ok(response)
    }

    /// The name belongs to the new node alone: a session of a former one ends.
    fn welcome(&self, host: &Host) {
        self.registry.end_session(host, "another node took this name");
        self.registry.joined(host);
        tracing::info!(%host, "a node joined");
    }
}

fn refused(refusal: TokenRefusal) -> Status {
    ErrorCode::Refused.status(refusal.to_string())
}

/// Buckets that fill by themselves: one per address, and one for everybody.
pub(crate) struct RateLimit {
    buckets: Mutex<Buckets>,
}

struct Buckets {
    all: Bucket,
    by_address: HashMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Attempts at once, and per second.
const ADDRESS: (f64, f64) = (10.0, 1.0);
const EVERYBODY: (f64, f64) = (200.0, 50.0);
/// Addresses that are remembered; a full bucket need not be.
const ADDRESSES: usize = 4096;

impl Bucket {
    fn take(&mut self, (size, per_second): (f64, f64), now: Instant) -> bool {
        let since: Duration = now.saturating_duration_since(self.at);
        self.tokens = (self.tokens + since.as_secs_f64() * per_second).min(size);
        self.at = now;
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }
}

impl RateLimit {
    pub(crate) fn new(now: Instant) -> Self {
        let all = Bucket { tokens: EVERYBODY.0, at: now };
        Self { buckets: Mutex::new(Buckets { all, by_address: HashMap::new() }) }
    }

    fn admit(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { all, by_address } = &mut *buckets;
        if let Some(address) = address {
            if by_address.len() >= ADDRESSES {
                let full = |bucket: &Bucket| {
                    now.saturating_duration_since(bucket.at).as_secs_f64() * ADDRESS.1 >= ADDRESS.0
                };
                by_address.retain(|_, bucket| !full(bucket));
            }
            if by_address.len() >= ADDRESSES && !by_address.contains_key(&address) {
                return false;
            }
            let bucket = by_address.entry(address).or_insert(Bucket { tokens: ADDRESS.0, at: now });
            if !bucket.take(ADDRESS, now) {
                return false;
            }
        }
        all.take(EVERYBODY, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_use_up_the_door() {
        let start = Instant::now();
        let limit = RateLimit::new(start);
        let address = |last| Some(IpAddr::from([10, 0, 0, last]));
        let granted = (0..50).filter(|_| limit.admit(address(1), start)).count();
        assert_eq!(granted, 10);
        assert!(limit.admit(address(2), start));
        assert!(limit.admit(address(1), start + Duration::from_secs(1)));
        assert!(!limit.admit(address(1), start + Duration::from_secs(1)));
    }

    #[test]
    fn the_memory_of_addresses_is_bounded() {
        let start = Instant::now();
        let limit = RateLimit::new(start);
        for n in 0..20_000_u32 {
            limit.admit(Some(IpAddr::from(n.to_be_bytes())), start);
        }
        assert!(limit.buckets.lock().unwrap().by_address.len() <= ADDRESSES);
        assert!(limit.admit(Some(IpAddr::from([1, 2, 3, 4])), start + Duration::from_secs(60)));
    }
}
