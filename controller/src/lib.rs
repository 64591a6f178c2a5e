//! The head of the fleet: one global log, identities, workflows, and the way down to every pane.
//!
//! ```text
//!   nodes ══ mTLS ══► session ─► store (one writer, group commit) ─► Ack
//!                        ▲            │ same commit: inbox ─► orchestrator (wa-workflow::step) ─► outbox
//!                        │            ▼
//!                        └── gate: open actions, permits, pauses ◄── api ◄══ mTLS ══ wa, agents
//! ```
//!
//! - [`store`]: the database behind verbs. What it has answered is durable.
//! - [`accounts`]: credentials at rest, and which account a pane continues with.
//! - [`identity`]: CA, tokens, who calls.
//! - [`registry`]: nodes and panes as they stand now. [`gate`]: what may begin now. [`rules`]: what may be pushed to nodes.
//! - `session`: the stream of each node. `api`: what people ask. [`orchestrator`]: runs of workflows.
//! - `conversation`: one timeline of what agents said and what only their screens showed.
//!
//! [`Controller::start`] puts it together, for the program `wa-controller` and for `wa up`.

pub mod accounts;
mod admin;
mod api;
mod config;
mod context;
mod conversation;
pub mod gate;
pub mod identity;
pub mod metrics;
pub mod orchestrator;
pub mod policy;
pub mod registry;
mod retention;
pub mod rules;
mod seldom;
mod session;
pub mod signin;
mod start;
pub mod store;

pub use accounts::keys::VaultConfig;
pub use config::{Config, ConfigFile, InvalidConfig, PANES_PER_MINUTE};
pub use retention::{InvalidRetention, Retention};
pub use start::{Controller, Running, StartError};
pub use wa_workflow::{
    Definition, InvalidDefinition, Moment, Rehearsed, Seen, Vars, builtin as builtin_workflows, rehearse,
};
