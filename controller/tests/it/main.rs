//! The controller from outside: real sockets, real certificates, a node and operators that are made by hand.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod acting;
mod automation;
mod conversations;
mod desk;
mod identity;
mod joining;
mod newer;
mod roles;
mod rules;
mod sessions;
mod workflows;
