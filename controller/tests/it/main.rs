//! The controller from outside: real sockets, real certificates, a node and operators that are made by hand.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod accounts;
mod acting;
mod approvals;
mod audit;
mod automation;
mod conversations;
mod desk;
mod identity;
mod joining;
mod newer;
mod pausing;
mod policy;
mod roles;
mod rules;
mod sessions;
mod switching;
mod workflows;
