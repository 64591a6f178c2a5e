//! A client of the WezTerm multiplexer, usable on its own.
//!
//! It speaks the native wire of `wezterm-mux-server` (codec 42, 43 and 44: every stable release since July 2023) over
//! one long-lived connection. The server tells about every pane unasked; rows, pane lists and client lists are fetched,
//! text is pasted, keys are pressed, programs spawned and killed.
//!
//! ```no_run
//! use std::time::Duration;
//! use wa_mux::discover::{Env, discover};
//! use wa_mux::{Client, ConnectOptions, MuxEvent};
//!
//! # async fn look(now: Duration) -> Result<(), Box<dyn std::error::Error>> {
//! let env = Env::from_lookup(|name| std::env::var_os(name));
//! let socket = discover(&env).into_iter().next().ok_or("no mux server is running")?;
//! let (client, mut events) = Client::connect(&socket.path, ConnectOptions::new("my-host", "me", now)).await?;
//! for pane in client.list_panes().await? {
//!     println!("{} {}", pane.entry.pane_id, pane.entry.title);
//!     // What it holds now comes as its first change.
//!     client.render_changes(pane.entry.pane_id).await?;
//! }
//! while let Some(event) = events.recv().await {
//!     match event {
//!         MuxEvent::Changes(changes) => changes.rows.iter().for_each(|row| println!("{}", row.text)),
//!         MuxEvent::Closed { reason } => println!("{reason}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The parts: [`Client`] and its [`MuxEvent`]s; [`codec`], the wire by itself, both directions, for servers too;
//! [`discover`], which servers are there; [`cli`], a slow look through `wezterm cli` at servers whose wire is not spoken
//! here ([`ConnectError::UnsupportedCodec`]).
//!
//! What it never does, because it hurts servers: a second connection, an inverted range of rows, raw bytes written into
//! a pane, a `wezterm cli` process per poll.

pub mod cli;
pub mod client;
pub mod codec;
pub mod discover;
mod event;

pub use client::{
    Client, ConnectError, ConnectOptions, PaneDimensions, PaneInfo, RequestError, ServerInfo, Spawn,
    SpawnedPane,
};
pub use event::{CloseReason, Damage, MuxEvent};
