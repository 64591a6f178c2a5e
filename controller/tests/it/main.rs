//! The controller from outside: real sockets, real certificates, a node and operators that are made by hand.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod accounts;
mod acting;
mod approvals;
mod audit;
mod automation;
mod bomb;
mod brakes;
mod conversations;
mod desk;
mod edited;
mod flood;
mod identity;
mod joining;
mod late;
mod newer;
mod pausing;
mod policy;
mod roles;
mod rules;
mod sessions;
mod switching;
mod turned_away;
mod waiting;
mod wide_panes;
mod workflows;
