//! An agent that only plays what a real one once wrote, and takes no notice of what is typed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::arguments::duration;
use super::tty::{Input, Tty};

/// Bytes are written in steps of this length.
const STEP: Duration = Duration::from_millis(20);

/// Plays a recorded stream of terminal bytes and stays.
#[derive(Debug, Clone, Parser)]
#[command(after_help = "Example:
  gemini replay gemini-0.24.0-80x24.raw --pace 16000")]
pub(super) struct Arguments {
    /// The recording
    file: PathBuf,
    /// First byte
    #[arg(long, default_value_t = 0)]
    from: usize,
    /// First byte that is left out; the end if it is not named
    #[arg(long)]
    to: Option<usize>,
    /// Bytes per second; all at once if it is not named
    #[arg(long, value_name = "BYTES")]
    pace: Option<u32>,
    /// Begin anew at the end
    #[arg(long = "loop")]
    again: bool,
    /// How long to rest before it begins anew
    #[arg(long, default_value = "2s", value_parser = duration)]
    rest: Duration,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bytes = std::fs::read(&arguments.file)
        .map_err(|error| anyhow::anyhow!("{}: {error}", arguments.file.display()))?;
    let to = arguments.to.unwrap_or(bytes.len()).min(bytes.len());
    let piece = bytes.get(arguments.from..to).unwrap_or_default();
    let per_step = match arguments.pace {
        None => piece.len(),
        Some(pace) => (pace as usize / 50).max(1),
    };
    let tty = Tty::raw()?;
    loop {
        for chunk in piece.chunks(per_step.max(1)) {
            tty.write(chunk)?;
            if arguments.pace.is_some() && !ignore(&tty, STEP)? {
                return Ok(());
            }
        }
        if !arguments.again {
            while !matches!(tty.read(None)?, Input::End) {}
            return Ok(());
        }
        if !ignore(&tty, arguments.rest)? {
            return Ok(());
        }
        tty.write(b"\x1b[?1049l\x1b[0m\x1b[r\x1b[2J\x1b[H")?;
    }
}

/// Reads and forgets for a while. False: the terminal is gone.
fn ignore(tty: &Tty, time: Duration) -> io::Result<bool> {
    let end = std::time::Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(true);
        }
        if matches!(tty.read(Some(left))?, Input::End) {
            return Ok(false);
        }
    }
}
