//! What the tests drive a [`PaneScreen`](wa_screen::PaneScreen) with: a small terminal with the server's pushes and
//! answers, the terminal model with the same, recorded sessions, and a node that stores what comes out, may be killed,
//! and checks the manners of every output.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses its part

pub(crate) mod figures;
pub(crate) mod node;
pub(crate) mod pane;
pub(crate) mod session;
pub(crate) mod term;

pub(crate) use node::Node;
#[allow(unused_imports)] // likewise
pub(crate) use term::Term;
