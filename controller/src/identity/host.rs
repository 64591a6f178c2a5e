//! What a host holds: the certificate of its node and, where it is asked for, that of the agents in its panes.

use wa_link::principal::{Principal, Role};
use wa_proto::Host;

use super::ca::{Authority, CaError, Csr, Issued};
use crate::store::{StoreError, Tx};

/// What a node asks for.
pub(crate) struct Wanted {
    node: Csr,
    agent: Option<Csr>,
}

impl Wanted {
    /// Both in PEM; the second may be empty.
    pub(crate) fn parse(csr_pem: &str, agent_csr_pem: &str) -> Result<Self, CaError> {
        let agent = if agent_csr_pem.is_empty() { None } else { Some(Csr::parse(agent_csr_pem)?) };
        Ok(Self { node: Csr::parse(csr_pem)?, agent })
    }
}

/// What it is given.
pub(crate) struct Given {
    pub(crate) node: Issued,
    /// PEM; empty unless it was asked for.
    pub(crate) agent_pem: String,
}

/// Signs and notes what was asked for.
pub(crate) fn give(
    tx: &Tx<'_>,
    authority: &Authority,
    host: &Host,
    wanted: &Wanted,
    by: &str,
) -> Result<Given, StoreError> {
    let issue = |role, csr: &Csr| {
        let who = Principal { role, name: host.clone() };
        // A clock that was set back must not date what is issued now before what was revoked.
        tx.reinstate(&who)?;
        let issued =
            authority.sign(who, csr, tx.now).map_err(|e| StoreError::Failed(e.to_string().into()))?;
        tx.record_certificate(&issued.record, by)?;
        Ok::<_, StoreError>(issued)
    };
    let node = issue(Role::Node, &wanted.node)?;
    let agent = wanted.agent.as_ref().map(|csr| issue(Role::Agent, csr)).transpose()?;
    Ok(Given { node, agent_pem: agent.map(|issued| issued.certificate_pem).unwrap_or_default() })
}
