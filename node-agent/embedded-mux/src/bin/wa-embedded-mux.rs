//! A multiplexer in the foreground: `wa-embedded-mux --socket PATH [-- CMD…]`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use wa_embedded_mux::{Command, EmbeddedMux, InvertedRange, Options};
use wa_mux::codec::Codec;
use wa_screen::terminal::Size;

/// A small multiplexer that speaks the WezTerm multiplexer's wire. For demonstrations and tests.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  wa-embedded-mux --socket /tmp/mine/sock
  wa-embedded-mux --socket /tmp/mine/sock --size 120x40 -- /bin/bash --norc
It runs until SIGTERM or Ctrl+C, ends its programs, and removes its socket and nothing else."
)]
struct Arguments {
    /// Where clients connect; the folder is made if it is missing
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Size of the first pane
    #[arg(long, value_name = "COLSxROWS", default_value = "80x24", value_parser = parse_size)]
    size: Size,
    /// Rows kept above each pane
    #[arg(long, value_name = "ROWS", default_value_t = 3500)]
    scrollback: u32,
    /// How long output waits for more, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3)]
    coalesce: u64,
    /// The version of the wire: 42, 43 or 44
    #[arg(long, default_value = "44", value_parser = parse_codec)]
    codec: Codec,
    /// Start without a pane
    #[arg(long, conflicts_with = "command")]
    empty: bool,
    /// Die when a client asks for an inverted range of rows, as the real server does
    #[arg(long)]
    die_on_inverted_range: bool,
    /// Stand still while a program does not read raw input, as the real server does
    #[arg(long)]
    freeze_on_unread_input: bool,
    /// The program of the first pane; the user's shell if there is none
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn parse_size(text: &str) -> Result<Size, String> {
    text.split_once('x')
        .and_then(|(cols, rows)| Some(Size { cols: cols.parse().ok()?, rows: rows.parse().ok()? }))
        .filter(|size| size.clamped() == *size)
        .ok_or_else(|| "say it like 80x24: columns (2 to 2000), x, rows (1 to 1000)".to_owned())
}

fn parse_codec(text: &str) -> Result<Codec, String> {
    text.parse().ok().and_then(Codec::from_number).ok_or_else(|| "42, 43 and 44 are spoken".to_owned())
}

impl Arguments {
    fn options(self) -> Options {
        Options {
            size: self.size,
            scrollback_lines: self.scrollback as usize,
            coalesce: Duration::from_millis(self.coalesce),
            codec: self.codec,
            first_command: (!self.empty).then(|| Command::new(self.command)),
            inverted_range: if self.die_on_inverted_range { InvertedRange::Die } else { InvertedRange::Drop },
            freeze_on_unread_input: self.freeze_on_unread_input,
            ..Options::new(self.socket)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let options = Arguments::parse().options();
    // Before the server starts, so that no signal finds nobody.
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let running = EmbeddedMux::start(options)?;
    tracing::info!(socket = %running.handle().socket().display(), "listening");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.stop();
    Ok(())
}
