//! The program in each pane: prints a trigger, waits for the first byte, notes how long it took.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// What the bench rule looks for.
pub(crate) const TRIGGER: &str = "wa-bench trigger";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One line per sample, nanoseconds.
    #[arg(long)]
    samples: PathBuf,
    /// Milliseconds to wait before the first trigger.
    #[arg(long)]
    delay_ms: u64,
    /// Milliseconds from one trigger to the next.
    #[arg(long)]
    every_ms: u64,
    #[arg(long)]
    triggers: u32,
    /// The first trigger counts from when this file is there.
    #[arg(long)]
    go: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut stdin = std::io::stdin().lock();
    let mut raw = tcgetattr(&stdin).context("the pane program needs a terminal")?;
    raw.make_raw();
    tcsetattr(&stdin, OptionalActions::Now, &raw)?;
    let mut samples = File::create(&args.samples)?;
    while !args.go.exists() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let begin = Instant::now() + Duration::from_millis(args.delay_ms);
    let mut stdout = std::io::stdout().lock();
    let mut byte = [0_u8; 1];
    for number in 0..args.triggers {
        let due = begin + Duration::from_millis(args.every_ms) * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let text = format!("{TRIGGER} {number}\r\n");
        let start = Instant::now();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        stdin.read_exact(&mut byte)?;
        let took = start.elapsed();
        writeln!(samples, "{}", took.as_nanos())?;
        // The echo by which the node sees that the key arrived.
        write!(stdout, "got it\r\n")?;
        stdout.flush()?;
    }
    // Stays, as an agent does: the pane is still there when the last outcome is verified.
    std::thread::sleep(Duration::from_secs(3600));
    Ok(())
}
