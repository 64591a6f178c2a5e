//! Joining a fleet, once: a token becomes an identity.
//!
//! The keys are made here and never leave. The controller proves itself by the fingerprint in the token before the secret is
//! shown to it. What is written (0600): identity, the context for agents in panes of this host, and a policy if there is
//! none. Nothing is written unless everything came.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wa_link::context::{Context, ContextError};
use wa_link::dial::{self, DialError};
use wa_link::files::{self, FileError};
use wa_link::principal::Role;
use wa_link::tls::{self, Fingerprint, Identity, TlsError};
use wa_link::token::{JoinToken, TokenError};
use wa_proto::Host;
use wa_proto::ids::InvalidName;
use wa_proto::wire::v1;

use crate::config::{agent_context_path, identity_path, policy_path};
use crate::policy;

/// For dialling and for the answer, each.
const LIMIT: Duration = Duration::from_secs(15);
/// No token is longer, in bytes.
const MAX_TOKEN: u64 = 4096;

/// How to join.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// `https://HOST:PORT`.
    pub controller: String,
    pub token_file: PathBuf,
    pub state_dir: PathBuf,
    /// When set, the token must be for this name.
    pub name: Option<Host>,
}

#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {source}", path.display())]
    Token { path: PathBuf, source: TokenError },
    #[error("the token is for the name {token}, not for {asked}: make one with `wa fleet token {asked}`")]
    OtherName { token: Host, asked: Host },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the controller refused: {0}")]
    Refused(String),
    #[error("the controller did not answer within {} s", LIMIT.as_secs())]
    TimedOut,
    #[error("the controller's answer cannot be used: {0}")]
    Answer(String),
    #[error(transparent)]
    Context(#[from] ContextError),
}

impl From<InvalidName> for EnrolError {
    fn from(error: InvalidName) -> Self {
        Self::Answer(error.to_string())
    }
}

/// Joins and writes what was given. Returns the name that the node has from now on.
pub async fn enroll(enrolment: &Enrolment) -> Result<Host, EnrolError> {
    let path = &enrolment.token_file;
    let text = files::read_text(path, MAX_TOKEN)?;
    let token: JoinToken = text.parse().map_err(|source| EnrolError::Token { path: path.clone(), source })?;
    if let Some(asked) = enrolment.name.clone().filter(|asked| *asked != token.name) {
        return Err(EnrolError::OtherName { token: token.name, asked });
    }
    // Before the token is spent: what must be written later can be.
    files::create_private_dir(&enrolment.state_dir)?;
    let identity = identity_path(&enrolment.state_dir);
    if let Some(parent) = identity.parent() {
        files::create_private_dir(parent)?;
    }
    let ((csr_pem, key_pem), (agent_csr_pem, agent_key_pem)) = (tls::csr()?, tls::csr()?);
    let request = v1::JoinRequest { token: token.secret.expose(), csr_pem, agent_csr_pem };
    let answer = join(&enrolment.controller, &token, request).await?;
    let node = node_context(enrolment, &token, &answer, key_pem)?;
    let agent = Context {
        name: node.name.clone(),
        controller: enrolment.controller.clone(),
        role: Role::Agent,
        identity: Identity {
            certificate_pem: answer.agent_certificate_pem,
            key_pem: agent_key_pem,
            ca_pem: answer.ca_pem,
        },
    };
    tls::client_config(&agent.identity)?;
    agent.save(&agent_context_path(&enrolment.state_dir))?;
    write_policy(&enrolment.state_dir)?;
    // Last: with this file the node is enrolled.
    node.save(&identity)?;
    Ok(node.name)
}

async fn join(
    controller: &str,
    token: &JoinToken,
    request: v1::JoinRequest,
) -> Result<v1::JoinResponse, EnrolError> {
    let config = tls::client_config_anonymous_pinned(token.ca_fingerprint)?;
    let channel = dial::connect(controller, config, LIMIT).await?;
    let mut client = v1::enrollment_client::EnrollmentClient::new(channel);
    let answer = tokio::time::timeout(LIMIT, client.join(request)).await.map_err(|_| EnrolError::TimedOut)?;
    let answer = answer.map_err(|status| EnrolError::Refused(status.message().to_owned()))?;
    Ok(answer.into_inner())
}

fn node_context(
    enrolment: &Enrolment,
    token: &JoinToken,
    answer: &v1::JoinResponse,
    key_pem: String,
) -> Result<Context, EnrolError> {
    if Fingerprint::of_pem(&answer.ca_pem)? != token.ca_fingerprint {
        return Err(EnrolError::Answer("its CA is not the one that the token names".to_owned()));
    }
    let identity =
        Identity { certificate_pem: answer.certificate_pem.clone(), key_pem, ca_pem: answer.ca_pem.clone() };
    // Certificate and key belong together.
    tls::client_config(&identity)?;
    let name = Host::new(answer.name.clone())?;
    Ok(Context { name, controller: enrolment.controller.clone(), role: Role::Node, identity })
}

/// A policy that is there already stays.
fn write_policy(state_dir: &Path) -> Result<(), FileError> {
    let path = policy_path(state_dir);
    if path.exists() { Ok(()) } else { files::write_private(&path, policy::DEFAULT.as_bytes()) }
}
