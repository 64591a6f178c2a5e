//! Names of things. Each id is its own type, so that a node's id cannot be passed where a pane's is meant.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What is wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("{what} {text:?} is longer than {max} bytes")]
    TooLong { what: &'static str, text: String, max: usize },
    #[error(
        "{what} {text:?} may hold only letters, digits, '-', '_' and '.', and begins with a letter or digit"
    )]
    Character { what: &'static str, text: String },
    #[error("pane {text:?} is not of the form HOST/PANE or HOST/MUX/PANE, for example web-1/3")]
    PaneAddress { text: String },
}

fn check_name(what: &'static str, text: &str) -> Result<(), InvalidName> {
    const MAX: usize = 63;
    if text.is_empty() {
        return Err(InvalidName::Empty { what });
    }
    if text.len() > MAX {
        return Err(InvalidName::TooLong { what, text: text.chars().take(MAX).collect(), max: MAX });
    }
    let ok = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if ok { Ok(()) } else { Err(InvalidName::Character { what, text: text.to_owned() }) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                check_name($what, &text)?;
                Ok(Self(text))
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name_type! {
    /// An account of an agent's provider, as its owner calls it. It also names a directory on the hosts.
    AccountAlias, "account"
}

name_type! {
    /// A host: the name that its node enrolled under, short hostname by default. 63 bytes of `[A-Za-z0-9._-]`.
    Host, "host name"
}
name_type! {
    /// A mux server on a host; `main` is the one that pane addresses leave out.
    MuxName, "mux name"
}
name_type! {
    /// One server process of a mux: boot id, pid and start time. Pane ids start again with each.
    Generation, "generation"
}

impl MuxName {
    /// The mux that pane addresses leave out.
    pub fn main() -> Self {
        Self("main".to_owned())
    }
    pub fn is_main(&self) -> bool {
        self.0 == "main"
    }
}

/// Gives ids in the place of clock and chance.
pub type IdSource = Box<dyn FnMut() -> Uuid>;

thread_local! {
    static SOURCE: RefCell<Option<IdSource>> = const { RefCell::new(None) };
}

/// From now on new ids of this thread come from `source`; with none, from clock and chance again. For simulations, which
/// must give the same ids each time.
pub fn take_ids_from(source: Option<IdSource>) {
    SOURCE.set(source);
}

fn fresh() -> Uuid {
    SOURCE.with_borrow_mut(|source| source.as_mut().map(|source| source())).unwrap_or_else(Uuid::now_v7)
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new one: UUID v7 from the present time and random bits.
            pub fn generate() -> Self {
                Self(fresh())
            }
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
            /// `None` unless there are exactly 16 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_type! {
    /// One spool directory in one life: a new id whenever it is new or was restored.
    SpoolId
}
uuid_type! {
    /// One thing to do, begun at most once.
    ActionId
}
uuid_type! {
    /// One event.
    EventId
}
uuid_type! {
    /// One run of a workflow.
    RunId
}

/// A pane of the host that speaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PaneRef {
    pub mux: MuxName,
    pub generation: Generation,
    pub pane_id: u64,
}

/// A pane as people write it: `host/3` on the mux `main`, `host/NAME/3` on another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaneAddress {
    pub host: Host,
    pub mux: MuxName,
    pub pane_id: u64,
}

impl fmt::Display for PaneAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mux.is_main() {
            write!(f, "{}/{}", self.host, self.pane_id)
        } else {
            write!(f, "{}/{}/{}", self.host, self.mux, self.pane_id)
        }
    }
}

impl FromStr for PaneAddress {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bad = || InvalidName::PaneAddress { text: text.chars().take(200).collect() };
        let parts: Vec<&str> = text.split('/').collect();
        let (host, mux, pane) = match parts.as_slice() {
            [host, pane] => (*host, MuxName::main(), *pane),
            [host, mux, pane] => (*host, MuxName::new(*mux).map_err(|_| bad())?, *pane),
            _ => return Err(bad()),
        };
        let digits = !pane.is_empty() && pane.bytes().all(|b| b.is_ascii_digit());
        let pane_id = if digits { pane.parse().map_err(|_| bad())? } else { return Err(bad()) };
        Ok(Self { host: Host::new(host).map_err(|_| bad())?, mux, pane_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pane_addresses_read_as_written() {
        for text in ["web-1/3", "web-1/gui/0"] {
            assert_eq!(text.parse::<PaneAddress>().unwrap().to_string(), text);
        }
        assert_eq!("a/main/3".parse::<PaneAddress>().unwrap().to_string(), "a/3");
        for bad in ["", "a", "a/", "/3", "a/x", "a/+3", "a/b/c/3", "a/ /3", "a/99999999999999999999999"] {
            let error = bad.parse::<PaneAddress>().unwrap_err().to_string();
            assert!(error.contains("HOST/PANE"), "{bad:?}: {error}");
        }
    }

    #[test]
    fn names_refuse_what_could_leave_a_path_or_a_line() {
        for bad in ["", "a/b", "a b", "../x", ".hidden", "a\n", "ü", &"x".repeat(64)] {
            assert!(Host::new(bad).is_err(), "{bad:?}");
        }
    }
}
