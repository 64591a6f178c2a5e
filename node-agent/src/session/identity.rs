//! The host's identity over time: asking for the next one, keeping it, and coming back with one that has run out.
//!
//! Constraints: keys are made here and never leave; nothing is replaced before certificate and key were seen to belong
//! together; the node's own context is written first, for without it nothing else matters. Operation: on the live stream
//! the node asks at half life (`link.rs`). A node that was away for longer signs a number of the controller's with its old
//! key; the controller proves itself by the CA that is known here. The agents' context is asked for along with it, once it
//! is past half of its own life, is gone, or names another controller or CA.

use std::path::Path;
use std::time::Duration;

use wa_link::context::{Context, ContextError};
use wa_link::dial::{self, DialError};
use wa_link::principal::Role;
use wa_link::recovery::{self, NONCE};
use wa_link::tls::{self, CLOCK_MARGIN, Identity, TlsError};
use wa_proto::Timestamp;
use wa_proto::wire::v1;

use super::{DIAL_LIMIT, Paths};

/// For each answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a certificate was not followed by another.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{}", .0.message())]
    Refused(#[from] tonic::Status),
    #[error("the controller did not answer within {} s", LIMIT.as_secs())]
    TimedOut,
    #[error("the controller's answer cannot be used: {0}")]
    Answer(String),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error("the node is shutting down")]
    Interrupted,
}

/// A certificate that is asked for, and the key for it.
pub(super) struct Wanted {
    pub(super) csr_pem: String,
    key_pem: String,
    agent: Option<(String, String)>,
}

/// What came of it, in PEM.
pub(super) struct Given {
    pub(super) certificate_pem: String,
    pub(super) ca_pem: String,
    /// Empty where the controller gave none.
    pub(super) agent_certificate_pem: String,
}

impl Wanted {
    /// Makes the keys. Blocks.
    pub(super) fn new(paths: &Paths, context: &Context, now: Timestamp) -> Result<Self, TlsError> {
        let (csr_pem, key_pem) = tls::csr()?;
        let agent = if is_due(&paths.agent_context, context, now) { Some(tls::csr()?) } else { None };
        Ok(Self { csr_pem, key_pem, agent })
    }

    /// Empty where none is wanted.
    pub(super) fn agent_csr_pem(&self) -> String {
        self.agent.as_ref().map(|(csr_pem, _)| csr_pem.clone()).unwrap_or_default()
    }

    /// Checks and stores what came: the node's context from now on. Blocks.
    pub(super) fn keep(self, given: Given, paths: &Paths, before: &Context) -> Result<Context, RenewError> {
        let identity = Identity {
            certificate_pem: given.certificate_pem,
            key_pem: self.key_pem,
            ca_pem: given.ca_pem.clone(),
        };
        tls::client_config(&identity)?;
        let context = Context { identity, ..before.clone() };
        context.save(&paths.identity)?;
        if let Some((_, key_pem)) = self.agent.filter(|_| !given.agent_certificate_pem.is_empty()) {
            let identity =
                Identity { certificate_pem: given.agent_certificate_pem, key_pem, ca_pem: given.ca_pem };
            // The node goes on with its own; agents keep theirs until the next time.
            if let Err(error) = keep_agent(identity, paths, &context) {
                tracing::error!(%error, "the context of agents in panes was not renewed");
            }
        }
        Ok(context)
    }
}

fn keep_agent(identity: Identity, paths: &Paths, node: &Context) -> Result<(), RenewError> {
    tls::client_config(&identity)?;
    let agent = Context { role: Role::Agent, identity, ..node.clone() };
    agent.save(&paths.agent_context)?;
    tracing::info!("the context of agents in panes was renewed");
    Ok(())
}

/// Whether agents need another context.
fn is_due(path: &Path, node: &Context, now: Timestamp) -> bool {
    let Ok(agent) = Context::load(path) else { return true };
    let other = agent.controller != node.controller || agent.identity.ca_pem != node.identity.ca_pem;
    other || half_life(&agent.identity).is_none_or(|half| half <= now)
}

/// The middle of a certificate's life, which began when it was made.
pub(super) fn half_life(identity: &Identity) -> Option<Timestamp> {
    let (from, to) = tls::certificate_validity(&identity.certificate_pem).ok()?;
    let made = from.saturating_add(CLOCK_MARGIN).unwrap_or(from).min(to);
    let middle = i128::midpoint(made.as_nanosecond(), to.as_nanosecond());
    Timestamp::from_nanosecond(middle).ok()
}

/// Gets a new certificate by the old one's key, and stores it.
pub(super) async fn recover(paths: &Paths, old: &Context) -> Result<Context, RenewError> {
    let config = tls::client_config_anonymous(&old.identity.ca_pem)?;
    let channel = dial::connect(&old.controller, config, DIAL_LIMIT).await?;
    let mut door = v1::enrollment_client::EnrollmentClient::new(channel);
    let challenge = answer(door.challenge(v1::ChallengeRequest {})).await?;
    let nonce = <[u8; NONCE]>::try_from(challenge.nonce)
        .map_err(|_| RenewError::Answer("its challenge is of another size".to_owned()))?;
    let (of_paths, of_old) = (paths.clone(), old.clone());
    let now = at_least_its_end(old, wa_link::clock::now());
    let wanted = blocking(move || Ok(Wanted::new(&of_paths, &of_old, now)?)).await?;
    let agent_csr_pem = wanted.agent_csr_pem();
    let message = recovery::message(&nonce, &wanted.csr_pem, &agent_csr_pem);
    let request = v1::RecoverRequest {
        certificate_pem: old.identity.certificate_pem.clone(),
        nonce: nonce.to_vec(),
        signature: recovery::sign(&old.identity.key_pem, &message)?,
        csr_pem: wanted.csr_pem.clone(),
        agent_csr_pem,
    };
    let v1::RecoverResponse { certificate_pem, ca_pem, agent_certificate_pem } =
        answer(door.recover(request)).await?;
    let given = Given { certificate_pem, ca_pem, agent_certificate_pem };
    let (paths, old) = (paths.clone(), old.clone());
    let context = blocking(move || wanted.keep(given, &paths, &old)).await?;
    tracing::info!("the certificate had run out; the controller gave a new one");
    Ok(context)
}

/// The time is at least that at which the certificate ran out: the controller said that it has.
fn at_least_its_end(old: &Context, now: Timestamp) -> Timestamp {
    tls::certificate_expiry(&old.identity.certificate_pem).map_or(now, |end| end.max(now))
}

async fn answer<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, RenewError> {
    let answer = tokio::time::timeout(LIMIT, call).await.map_err(|_| RenewError::TimedOut)?;
    Ok(answer?.into_inner())
}

/// Runs what makes keys or touches the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RenewError> + Send + 'static,
) -> Result<T, RenewError> {
    wa_link::worker::blocking(work).await.unwrap_or(Err(RenewError::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn identity(from: Timestamp, to: Timestamp) -> Identity {
        let second = |at: Timestamp| {
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at.as_second().try_into().unwrap())
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        (params.not_before, params.not_after) = (second(from), second(to));
        let pem = params.self_signed(&key).unwrap().pem();
        Identity { certificate_pem: pem.clone(), key_pem: key.serialize_pem(), ca_pem: pem }
    }

    /// A certificate begins before it was made, and that part of it is no part of its life.
    #[test]
    fn the_clocks_margin_does_not_count_for_half_of_a_life() {
        let made = at("2026-11-22T12:00:00Z");
        for minutes in [1, 10, 24 * 60] {
            let life = SignedDuration::from_mins(minutes);
            let half = half_life(&identity(made - CLOCK_MARGIN, made + life)).unwrap();
            assert_eq!(half, made + life / 2, "a life of {life:#}");
        }
        // One that never held has no middle before its end.
        let short = identity(made, made + SignedDuration::from_secs(60));
        assert_eq!(half_life(&short), Some(made + SignedDuration::from_secs(60)));
        let broken = Identity { certificate_pem: "no certificate".into(), ..short };
        assert_eq!(half_life(&broken), None);
    }

    fn saved(dir: &Path, role: Role, identity: Identity) -> (std::path::PathBuf, Context) {
        let (controller, name) = ("https://wa.example:7443".to_owned(), "web-1".parse().unwrap());
        let context = Context { name, controller, role, identity };
        let path = dir.join(format!("{role}.context.toml"));
        context.save(&path).unwrap();
        (path, context)
    }

    /// The controller has said that the node's own has run out, whatever this host's clock says.
    #[test]
    fn a_node_that_comes_back_asks_for_its_agents_by_the_end_of_its_own_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let made = at("2026-11-22T12:00:00Z");
        let own = identity(made, made + SignedDuration::from_hours(24));
        let (agent_context, agent) =
            saved(dir.path(), Role::Agent, identity(made, made + SignedDuration::from_hours(40)));
        let identity = Identity { ca_pem: agent.identity.ca_pem, ..own };
        let (identity, node) = saved(dir.path(), Role::Node, identity);
        let paths = Paths { identity, agent_context };
        let year_back = made - SignedDuration::from_hours(24 * 365);
        assert_eq!(Wanted::new(&paths, &node, year_back).unwrap().agent_csr_pem(), "");
        let wanted = Wanted::new(&paths, &node, at_least_its_end(&node, year_back)).unwrap();
        assert_ne!(wanted.agent_csr_pem(), "");
        let later = made + SignedDuration::from_hours(48);
        assert_eq!(at_least_its_end(&node, later), later);
    }
}
