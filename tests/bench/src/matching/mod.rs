//! `match`: what recognising costs, over frames as a node sees them and over transcripts.
//!
//! - *Frames*: `PaneMatcher::observe` of successive screens of the recorded sessions, each session several times by a
//!   matcher that has seen nothing. That is all that the matcher does about a changed frame: rows made comparable, the
//!   composer read, literals searched, rules tried, turns counted, the state decided. Two parts are measured beside it: the
//!   composer alone, and everything but the rules, by an engine whose packs are empty; so the difference is what literals
//!   and rules cost.
//! - *Transcript*: `scan` over pages of it: pages of the rows of a screen, and long ones. The agent's process is there, its
//!   composer is not: every row counts as transcript. The recorded sessions were made to show what rules look for, so rules
//!   match far more often here than in an ordinary day's text.
//! - *Baseline* of the same run: one pass with the literals of the same packs over the same bytes, by the `aho-corasick`
//!   crate alone, in the faster of its kinds, nothing done with what is found.
//!
//! All times are processor times of the measuring thread (`stopwatch`). A transcript is read in turns with the baseline,
//! and the median of the turns counts, so that a moment in which the machine was slow hits both or neither.

mod frames;
mod literals;
mod material;
mod report;
pub(crate) mod stopwatch;
mod transcript;

use std::path::PathBuf;
use std::time::Instant;

use wa_match::Engine;
use wa_screen::terminal::Size;

use crate::capture::sessions::{self, Session};
use crate::goal::Goal;
use frames::{Cell, Tools};
use material::{Page, Played, Step};
pub(crate) use report::Report;
use transcript::Reading;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A part of the material, once: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Folder with the recorded sessions.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../node-agent/screen/testdata/sessions"))]
    sessions: PathBuf,
}

/// A size, its name, and whether sessions of 120x40 are played in it too.
const SIZES: [(Size, &str, bool); 3] = [
    (Size { cols: 80, rows: 24 }, "80x24", false),
    (Size { cols: 120, rows: 40 }, "120x40", false),
    (Size { cols: 200, rows: 50 }, "200x50", true),
];
const FULL: &str = "200x50, full";
/// Full frames of each session.
const FULL_FRAMES: usize = 20;
/// Rows of a page of transcript.
const PAGES: [usize; 2] = [50, 1000];
/// Bytes of transcript that are read.
const READ: usize = 32 << 20;

const FRAME_80_US: f64 = 50.0;
const FRAME_200_US: f64 = 250.0;
const MIB_PER_S: f64 = 250.0;
const BASELINE_PERCENT: f64 = 50.0;

pub(crate) fn run(args: &Args) -> anyhow::Result<Report> {
    let begin = Instant::now();
    let mut sessions = sessions::all(&args.sessions)?;
    if args.quick {
        sessions.retain(|session| session.name.contains("0.89.0") && !session.name.contains("err"));
    }
    let words = literals::all()?;
    let without_rules = literals::without_rules()?;
    let tools = Tools {
        engine: Engine::builtin(),
        without_rules: &without_rules,
        automata: &literals::automata(&words)?,
        rounds: if args.quick { 1 } else { 5 },
    };
    let (mut frames, mut pages) = (Vec::new(), [const { Vec::<Page>::new() }; PAGES.len()]);
    for (size, name, larger) in SIZES {
        eprintln!("{:4} s  frames of {name}", begin.elapsed().as_secs());
        let played = play(&sessions, size, larger)?;
        let steps: Vec<&[Step]> = played.iter().map(|(_, played)| played.steps.as_slice()).collect();
        frames.extend(Cell::of(name, &steps, &tools));
        if larger {
            let full: Vec<Vec<Step>> = played.iter().map(|(_, played)| full(played)).collect();
            let full: Vec<&[Step]> = full.iter().map(Vec::as_slice).collect();
            frames.extend(Cell::of(FULL, &full, &tools));
        }
        for (pages, rows) in pages.iter_mut().zip(PAGES) {
            let own = played.iter().filter(|(own, _)| *own);
            pages.extend(own.flat_map(|(_, played)| material::pages(played, rows)));
        }
    }
    eprintln!("{:4} s  transcript", begin.elapsed().as_secs());
    let most = if args.quick { 0 } else { READ };
    let read =
        |(rows, pages): (usize, &Vec<Page>)| Reading::of(rows, pages, tools.engine, tools.automata, most);
    let transcript: Vec<Reading> = PAGES.into_iter().zip(&pages).map(read).collect();
    Ok(Report {
        schema: "wa.bench.match/1",
        quick: args.quick,
        seconds: begin.elapsed().as_secs_f64(),
        literals: words.len(),
        goals: judge(&frames, &transcript),
        frames,
        transcript,
    })
}

/// The sessions of this size, and where asked for those of 120x40 played in it; with whether the size is their own.
fn play(sessions: &[Session], size: Size, larger: bool) -> anyhow::Result<Vec<(bool, Played)>> {
    let mut played = Vec::new();
    for session in sessions {
        let own = (session.cols, session.rows) == (size.cols, size.rows);
        if own || (larger && (session.cols, session.rows) == (120, 40)) {
            played.push((own, material::play(session, size)?));
        }
    }
    Ok(played)
}

fn full(played: &Played) -> Vec<Step> {
    (0..FULL_FRAMES).filter_map(|shift| material::full(played, shift)).collect()
}

fn judge(frames: &[Cell], transcript: &[Reading]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for cell in frames {
        let (p50, p99) = (cell.observe.p50_us, cell.observe.p99_us);
        match cell.name {
            "80x24" => {
                goals.push(Goal::at_most("80x24 frame, p50", p50, FRAME_80_US, " us"));
                goals.push(Goal::at_most("80x24 frame, p99", p99, FRAME_80_US, " us"));
            }
            "200x50" => {
                goals.push(Goal::at_most("200x50 frame, p50", p50, FRAME_200_US, " us"));
                goals.push(Goal::at_most("200x50 frame, p99", p99, FRAME_200_US, " us"));
            }
            FULL => goals.push(Goal::at_most("200x50 full frame, p99", p99, FRAME_200_US, " us")),
            _ => {}
        }
    }
    for reading in transcript {
        let (rate, share) = match reading.rows {
            50 => ("transcript, pages of 50", "of the bare pass, pages of 50"),
            _ => ("transcript, long pages", "of the bare pass, long pages"),
        };
        goals.push(Goal::at_least(rate, reading.mib_per_s, MIB_PER_S, " MiB/s"));
        goals.push(Goal::at_least(share, reading.percent(), BASELINE_PERCENT, " %"));
    }
    goals
}
