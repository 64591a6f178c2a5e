//! What the tests drive a [`PaneScreen`] with: a small terminal with the server's pushes and answers, and a node that
//! stores what comes out, may be killed, and checks the manners of every output.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses its part

pub(crate) mod node;
pub(crate) mod term;

pub(crate) use node::Node;
pub(crate) use term::Term;
