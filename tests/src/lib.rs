//! Shared helpers of the story tests: real programs, real sockets, real PTYs.
//!
//! A [`Stage`] is a temporary directory in which the programs of one test live, each as a process of its own with its
//! output in a file there. A test starts them, does to them what the world does (kill -9, stop, restart) and looks at
//! what `wa` says. Everything is waited for by condition with a deadline; when a deadline passes, the panic shows the
//! tail of every program's log.

mod account;
mod browser;
mod collector;
mod identity_page;
mod model_service;
mod namespace;
mod process;
mod proxy;
mod scene;
mod stage;

pub use account::{Account, log_of, number_of};
pub use browser::no_browser;
pub use collector::{Collector, Span};
pub use identity_page::{IdentityPage, Mood, Person};
pub use model_service::{Asked, ModelService};
pub use namespace::{Namespace, inside, mount_small};
pub use process::{Program, binary};
pub use proxy::{Proxy, Weather};
pub use scene::Scene;
pub use stage::{Answer, Stage, Started, wait_for};
