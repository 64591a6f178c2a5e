//! Who a certificate speaks for: a role and a name, written in its one URI name as `spiffe://wa/ROLE/NAME`.
//!
//! The controller writes it when it signs and reads it from the client's certificate on every call; no message field
//! ever says who is speaking.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wa_proto::Host;

const PREFIX: &str = "spiffe://wa/";

/// What a certificate may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The program beside the panes.
    Node,
    /// A person who looks.
    Viewer,
    /// A person who acts.
    Operator,
    /// A person who also makes tokens, operators and rules.
    Admin,
    /// An agent in a pane.
    Agent,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Node, Self::Viewer, Self::Operator, Self::Admin, Self::Agent];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Agent => "agent",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Role and name. The name of a node is its host's, the name of an agent context too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    pub role: Role,
    /// 63 bytes of `[A-Za-z0-9._-]`.
    pub name: Host,
}

impl Principal {
    /// The name under which it stands in audit, actions and policy files: `node:NAME`, `agent:NAME`, and
    /// `operator:NAME` for people of any role.
    pub fn author(&self) -> String {
        let kind = match self.role {
            Role::Node => "node",
            Role::Agent => "agent",
            Role::Viewer | Role::Operator | Role::Admin => "operator",
        };
        format!("{kind}:{}", self.name)
    }

    /// As people say it: `viewer vic`.
    pub fn in_words(&self) -> String {
        format!("{} {}", self.role, self.name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names nobody: expected spiffe://wa/ROLE/NAME")]
pub struct NotAPrincipal(pub String);

impl fmt::Display for Principal {
    /// The URI as it stands in the certificate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.role, self.name)
    }
}

impl FromStr for Principal {
    type Err = NotAPrincipal;

    fn from_str(uri: &str) -> Result<Self, NotAPrincipal> {
        let bad = || NotAPrincipal(uri.chars().take(120).collect());
        let (role, name) = uri.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')).ok_or_else(bad)?;
        let role = Role::ALL.into_iter().find(|known| known.as_str() == role).ok_or_else(bad)?;
        Ok(Self { role, name: Host::new(name).map_err(|_| bad())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_read_as_written() {
        for role in Role::ALL {
            let uri = format!("spiffe://wa/{role}/web-1.example");
            assert_eq!(uri.parse::<Principal>().unwrap().to_string(), uri);
        }
        for bad in
            ["", "spiffe://wa/node", "spiffe://wa/root/a", "spiffe://other/node/a", "spiffe://wa/node/a/b"]
        {
            assert!(bad.parse::<Principal>().is_err(), "{bad}");
        }
    }
}
