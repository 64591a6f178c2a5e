//! How words travel: everything that the programs of `wa` share around their own work.
//!
//! - [`tls`], [`dial`], [`accept`]: TLS 1.3 with our own CA, from both ends; [`principal`]: who a certificate speaks for;
//!   [`recovery`]: how one that has run out is followed by another.
//! - [`context`], [`token`]: what an operator keeps in a file, and what a new node is given.
//! - [`config`], [`files`]: reading what people wrote, and keeping what nobody else may read.
//! - [`backoff`], [`clock`], [`shutdown`]: time between attempts, the time itself, and the end.
//! - [`net`], [`disk`], [`worker`]: streams, files that survive a crash, and threads that own them; [`world`]: what a simulation
//!   puts under all of it.
//! - [`dictionary`]: what compressed blocks of records have in common.
//! - [`supervisor`]: what systemd is told; [`limits`]: what the system allows; [`cause`]: what an error says.
//! - [`telemetry`], [`trace`]: logs on stderr, spans over OTLP, and the thread that runs through records and actions.

pub mod accept;
pub mod backoff;
pub mod cause;
pub mod clock;
pub mod config;
pub mod context;
pub mod dial;
pub mod dictionary;
pub mod disk;
pub mod files;
pub mod limits;
pub mod net;
pub mod principal;
pub mod recovery;
pub mod shutdown;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod trace;
mod validity;
pub mod worker;
pub mod world;
