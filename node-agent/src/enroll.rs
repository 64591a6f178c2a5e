//! Joining a fleet, once: a token becomes an identity.
//!
//! The keys are made here and never leave. The controller proves itself by the fingerprint in the token before the secret is
//! shown to it. What is written (0600): identity, the context for agents in panes of this host, and a policy if there is
//! none. Nothing is written unless everything came, and for the name that the token is for.
//!
//! A state directory is one host's. It is left alone while a node runs on it; an identity that holds, and one of another
//! name, is replaced on purpose only. A host that takes another name leaves its spool behind: what it holds was seen under
//! the name before. The journal stays, so that nothing that was begun is begun again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wa_link::context::{Context, ContextError};
use wa_link::dial::{self, DialError};
use wa_link::files::{self, FileError, LockFile};
use wa_link::principal::Role;
use wa_link::tls::{self, Fingerprint, Identity, TlsError};
use wa_link::token::{JoinToken, TokenError};
use wa_proto::ids::InvalidName;
use wa_proto::wire::v1;
use wa_proto::{Host, Timestamp};

use crate::config::{agent_context_path, identity_path, lock_path, policy_path, spool_path};
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
    /// Also over an identity that holds, or one of another name.
    pub replace: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Enrolled {
    /// The name that the node has from now on.
    pub name: Host,
    /// What a person should know besides, in words.
    pub notes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {source}", path.display())]
    Token { path: PathBuf, source: TokenError },
    #[error("the token is for the name {token}, not for {asked}: make one with `wa fleet token {asked}`")]
    OtherName { token: Host, asked: Host },
    #[error("a node runs on this state directory: {0}")]
    Running(FileError),
    #[error(
        "{} is enrolled as {name} already, until {until}: a node there needs no token; if this one is to be in its place, give --replace",
        dir.display()
    )]
    Enrolled { dir: PathBuf, name: Host, until: Timestamp },
    #[error(
        "{} belongs to the host {former}: name another state directory for {name}, or give --replace to make this host {name}",
        dir.display()
    )]
    OtherHost { dir: PathBuf, former: Host, name: Host },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "{0}. A token holds for one CA: if that was replaced since, make a new one with `wa fleet token`"
    )]
    OtherCa(#[source] DialError),
    #[error(transparent)]
    Dial(DialError),
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

/// Joins and writes what was given.
///
/// # Errors
/// See [`EnrolError`]; the host is then what it was before.
pub async fn enroll(enrolment: &Enrolment) -> Result<Enrolled, EnrolError> {
    let Enrolment { controller, state_dir, replace, .. } = enrolment;
    let (token, mut notes) = read_token(enrolment)?;
    // Before the token is spent: what must be written later can be.
    files::create_private_dir(state_dir)?;
    let _lock = LockFile::acquire(&lock_path(state_dir)).map_err(running)?;
    let former = Former::find(state_dir);
    if !replace {
        former.allows(&token.name, state_dir, wa_link::clock::now())?;
    }
    let identity = identity_path(state_dir);
    if let Some(parent) = identity.parent() {
        files::create_private_dir(parent)?;
    }
    let ((csr_pem, key_pem), (agent_csr_pem, agent_key_pem)) = (tls::csr()?, tls::csr()?);
    let name = token.name.to_string();
    let request = v1::JoinRequest { token: token.secret.expose(), csr_pem, agent_csr_pem, name };
    let answer = join(controller, &token, request).await?;
    let node = node_context(enrolment, &token, &answer, key_pem)?;
    let agent = Context {
        name: node.name.clone(),
        controller: controller.clone(),
        role: Role::Agent,
        identity: Identity {
            certificate_pem: answer.agent_certificate_pem,
            key_pem: agent_key_pem,
            ca_pem: answer.ca_pem,
        },
    };
    tls::client_config(&agent.identity)?;
    notes.extend(former.leave_spool(&node.name, state_dir)?);
    agent.save(&agent_context_path(state_dir))?;
    write_policy(state_dir)?;
    // Last: with this file the node is enrolled.
    node.save(&identity)?;
    Ok(Enrolled { name: node.name, notes })
}

/// The token, and what is wrong with its file.
fn read_token(enrolment: &Enrolment) -> Result<(JoinToken, Vec<String>), EnrolError> {
    let path = &enrolment.token_file;
    let text = files::read_text(path, MAX_TOKEN)?;
    let token: JoinToken = text.parse().map_err(|source| EnrolError::Token { path: path.clone(), source })?;
    if let Some(asked) = enrolment.name.clone().filter(|asked| *asked != token.name) {
        return Err(EnrolError::OtherName { token: token.name, asked });
    }
    let mut notes = Vec::new();
    if files::is_open_to_others(path)? {
        notes.push(format!(
            "others can read the token in {}: whoever came first with it would have been this host; write it with \
             `wa fleet token NAME --out FILE`",
            path.display()
        ));
    }
    Ok((token, notes))
}

fn running(error: FileError) -> EnrolError {
    match error {
        FileError::Locked { .. } | FileError::LockedByUnknown { .. } => EnrolError::Running(error),
        error => EnrolError::File(error),
    }
}

/// Whose state directory this was until now.
struct Former {
    name: Option<Host>,
    /// Until when its certificate holds; `None`: there is none that could be used.
    until: Option<Timestamp>,
}

impl Former {
    /// What cannot be read is of no use to a node either, and in nobody's way.
    fn find(state_dir: &Path) -> Self {
        let node = Context::load(&identity_path(state_dir)).ok();
        let certificate = node.as_ref().map(|node| &node.identity.certificate_pem);
        let until = certificate.and_then(|certificate| tls::certificate_expiry(certificate).ok());
        let agent = || Context::load(&agent_context_path(state_dir)).ok();
        Self { name: node.or_else(agent).map(|context| context.name), until }
    }

    /// Whether a host of this name may come in here without being told to.
    fn allows(&self, name: &Host, state_dir: &Path, now: Timestamp) -> Result<(), EnrolError> {
        let Some(former) = &self.name else { return Ok(()) };
        let dir = state_dir.to_owned();
        match self.until {
            _ if former != name => {
                Err(EnrolError::OtherHost { dir, former: former.clone(), name: name.clone() })
            }
            Some(until) if until > now => Err(EnrolError::Enrolled { dir, name: former.clone(), until }),
            _ => Ok(()),
        }
    }

    /// Sets the spool of a host of another name aside. What was done, in words.
    fn leave_spool(&self, name: &Host, state_dir: &Path) -> Result<Option<String>, EnrolError> {
        let spool = spool_path(state_dir);
        let Some(former) = self.name.as_ref().filter(|former| *former != name && spool.exists()) else {
            return Ok(None);
        };
        let aside = state_dir.join(format!("spool-of-{former}-{}", wa_link::clock::now().as_microsecond()));
        files::move_within(&spool, &aside)?;
        Ok(Some(format!(
            "the records of {former} that its controller may not have are in {} now; {name} begins with none",
            aside.display()
        )))
    }
}

async fn join(
    controller: &str,
    token: &JoinToken,
    request: v1::JoinRequest,
) -> Result<v1::JoinResponse, EnrolError> {
    let config = tls::client_config_anonymous_pinned(token.ca_fingerprint)?;
    let dialled = dial::connect(controller, config, LIMIT).await;
    let channel = dialled.map_err(|error| match error {
        DialError::Untrusted { .. } => EnrolError::OtherCa(error),
        error => EnrolError::Dial(error),
    })?;
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
    if name != token.name {
        return Err(EnrolError::Answer(format!(
            "it gives the name {name} for a token of {}; nothing was written, make another with `wa fleet token`",
            token.name
        )));
    }
    Ok(Context { name, controller: enrolment.controller.clone(), role: Role::Node, identity })
}

/// A policy that is there already stays.
fn write_policy(state_dir: &Path) -> Result<(), FileError> {
    let path = policy_path(state_dir);
    if path.exists() { Ok(()) } else { files::write_private(&path, policy::DEFAULT.as_bytes()) }
}
