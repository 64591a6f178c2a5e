//! The programs in the panes of `capture`.
//!
//! Each waits until the go file is there, does its work, says in a file of its own what it printed, and stays: the end of
//! a program takes its last words with it, and that is not what is measured here.

use std::fs;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde::{Deserialize, Serialize};

use super::sessions::Play;
use super::text::{END, Line};

const SPINNER: &[char] = &['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// The status line is drawn ten times a second.
const REDRAW: Duration = Duration::from_millis(100);
/// A settled line comes after so many redraws.
const REDRAWS_PER_LINE: u32 = 8;
/// The least that is written at once.
const LEAST_WRITE: f64 = 512.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The work begins when this file is there.
    #[arg(long)]
    go: PathBuf,
    /// What was printed is told here.
    #[arg(long)]
    done: PathBuf,
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// A few lines, then nothing.
    Idle {
        #[arg(long)]
        pane: u32,
    },
    /// A status line that is drawn again and again, with a settled line above it now and then.
    Spinner {
        #[arg(long)]
        pane: u32,
        #[arg(long)]
        seconds: f64,
    },
    /// Numbered lines at an even rate.
    Rate {
        #[arg(long)]
        pane: u32,
        #[arg(long)]
        seconds: f64,
        /// Bytes per second.
        #[arg(long)]
        rate: f64,
    },
    /// `seq 1 LAST`.
    Seq {
        #[arg(long)]
        last: u32,
    },
    /// A recorded session of a shell, from which an agent is started.
    Play {
        recording: PathBuf,
        /// This program under the agent's name.
        agent: PathBuf,
    },
    /// A part of a recorded session that an agent wrote. It ends with the part.
    Part { recording: PathBuf, from: usize },
}

/// What a pane has printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Printed {
    /// Lines, without the last one that says the end.
    pub(crate) lines: u32,
    /// As written to the terminal.
    pub(crate) bytes: u64,
    /// From the first byte to the last.
    pub(crate) seconds: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut out = Out { stdout: io::stdout(), bytes: 0 };
    if let Kind::Part { recording, from } = &args.kind {
        return out.part(&Play::of(recording)?, *from);
    }
    while !args.go.exists() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let start = Instant::now();
    let lines = match &args.kind {
        Kind::Idle { pane } => out.idle(*pane)?,
        Kind::Spinner { pane, seconds } => out.spinner(*pane, Duration::from_secs_f64(*seconds))?,
        Kind::Rate { pane, seconds, rate } => out.rate(*pane, *seconds, *rate)?,
        Kind::Seq { last } => out.seq(*last)?,
        Kind::Play { recording, agent } => out.play(recording, agent)?,
        Kind::Part { .. } => 0,
    };
    if !matches!(args.kind, Kind::Play { .. }) {
        out.put(format!("{END}\n").as_bytes())?;
    }
    let printed = Printed { lines, bytes: out.bytes, seconds: start.elapsed().as_secs_f64() };
    tell(&args.done, &printed)?;
    std::thread::sleep(Duration::from_secs(3600));
    Ok(())
}

/// In one step: who sees the file sees all of it.
fn tell(path: &Path, printed: &Printed) -> anyhow::Result<()> {
    let half = path.with_extension("half");
    fs::write(&half, serde_json::to_vec(printed)?)?;
    fs::rename(half, path)?;
    Ok(())
}

struct Out {
    stdout: io::Stdout,
    bytes: u64,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stdout.write_all(bytes)?;
        self.stdout.flush()?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn idle(&mut self, pane: u32) -> anyhow::Result<u32> {
        let lines = 5;
        for number in 0..lines {
            self.line(pane, number)?;
        }
        Ok(lines)
    }

    fn line(&mut self, pane: u32, number: u32) -> anyhow::Result<()> {
        let mut text = Vec::new();
        Line::numbered(pane, number).write(&mut text);
        self.put(&text)
    }

    /// The status line stands one row above the cursor's, which holds a prompt, as agents draw it.
    fn spinner(&mut self, pane: u32, time: Duration) -> anyhow::Result<u32> {
        let start = Instant::now();
        let (mut redraws, mut lines) = (0_u32, 0);
        self.put(b"\n> ")?;
        while start.elapsed() < time {
            if redraws.is_multiple_of(REDRAWS_PER_LINE) {
                self.put(b"\x1b[1A\r\x1b[J")?;
                self.line(pane, lines)?;
                self.put(b"\n> ")?;
                lines += 1;
            }
            let glyph = SPINNER[redraws as usize % SPINNER.len()];
            let status = format!("{glyph} Working… ({}s • esc to interrupt)", start.elapsed().as_secs());
            self.put(format!("\x1b[1A\r\x1b[2K{status}\x1b[1B\r\x1b[2C").as_bytes())?;
            redraws += 1;
            std::thread::sleep((start + REDRAW * redraws).saturating_duration_since(Instant::now()));
        }
        self.put(b"\x1b[1A\r\x1b[J")?;
        Ok(lines)
    }

    fn rate(&mut self, pane: u32, seconds: f64, rate: f64) -> anyhow::Result<u32> {
        let tick = Duration::from_secs_f64((LEAST_WRITE / rate).clamp(0.01, 1.0));
        let start = Instant::now();
        let (mut lines, mut ticks) = (0, 0);
        loop {
            let elapsed = start.elapsed().as_secs_f64();
            let due = (rate * elapsed.min(seconds)) as u64;
            let mut text = Vec::new();
            while self.bytes + (text.len() as u64) < due {
                Line::numbered(pane, lines).write(&mut text);
                lines += 1;
            }
            self.put(&text)?;
            if elapsed >= seconds {
                return Ok(lines);
            }
            ticks += 1;
            std::thread::sleep((start + tick * ticks).saturating_duration_since(Instant::now()));
        }
    }

    fn seq(&mut self, last: u32) -> anyhow::Result<u32> {
        let status = Command::new("seq").args(["1", &last.to_string()]).status().context("cannot run seq")?;
        ensure!(status.success(), "seq: {status}");
        // Each number and its line end.
        self.bytes += (1..=last).map(|number| u64::from(number.ilog10()) + 2).sum::<u64>();
        Ok(last)
    }

    fn play(&mut self, recording: &Path, agent: &Path) -> anyhow::Result<u32> {
        let play = Play::of(recording)?;
        let stdin = io::stdin();
        let mut raw = tcgetattr(&stdin).context("the pane program needs a terminal")?;
        // The stream is what the terminal got: nothing is translated any more, and no answer of it is echoed.
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        let mut next = 0;
        while next < play.bytes.len() {
            next = match play.agent.iter().find(|part| part.start == next) {
                Some(part) => {
                    let status = Command::new(agent)
                        .args(["capture-pane", "--go", "/", "--done", "/", "part"])
                        .arg(recording)
                        .arg(next.to_string())
                        .status()
                        .context("cannot run the agent's part")?;
                    ensure!(status.success(), "the agent's part: {status}");
                    self.bytes += part.len() as u64;
                    part.end
                }
                None => {
                    let end = play.agent.iter().map(|part| part.start).find(|start| *start > next);
                    let end = end.unwrap_or(play.bytes.len());
                    self.pieces(&play, next..end)?;
                    end
                }
            };
        }
        Ok(u32::try_from(play.pieces.len())?)
    }

    fn part(&mut self, play: &Play, from: usize) -> anyhow::Result<()> {
        let part = play.agent.iter().find(|part| part.start == from).context("no such part")?;
        self.pieces(play, part.clone())
    }

    fn pieces(&mut self, play: &Play, part: Range<usize>) -> anyhow::Result<()> {
        let mut due = Instant::now();
        for (piece, pause) in play.pieces.iter().filter(|(piece, _)| part.contains(&piece.start)) {
            self.put(&play.bytes[piece.clone()])?;
            due += *pause;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }
}
