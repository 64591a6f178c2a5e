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
//! - [`identity`]: CA, tokens, who calls.
//! - [`registry`]: nodes and panes as they stand now. [`gate`]: what may begin now. [`rules`]: what may be pushed to nodes.
//! - `session`: the stream of each node. `api`: what people ask. [`orchestrator`]: runs of workflows.
//! - `conversation`: one timeline of what agents said and what only their screens showed.
//!
//! [`Controller::start`] puts it together, for the program `wa-controller` and for `wa up`.

mod admin;
mod api;
mod config;
mod context;
mod conversation;
pub mod gate;
pub mod identity;
pub mod metrics;
pub mod orchestrator;
pub mod registry;
pub mod rules;
mod session;
mod start;
pub mod store;

pub use config::{Config, ConfigFile, InvalidConfig, PANES_PER_MINUTE};
pub use start::{Controller, Running, StartError};
pub use wa_workflow::{Definition, InvalidDefinition};
