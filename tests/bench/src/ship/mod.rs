//! `ship`: from the spool to the acknowledged commit.
//!
//! The spool of a node is filled by its own library, then a node process and a controller process run as in a fleet:
//! mutual TLS over loopback, the files on a disk and not in memory. The node has no multiplexer: all that it does is ship.
//! What is committed is read in the controller's database by a third, every millisecond; the rate counts from the first
//! commit that was seen to the last, so that neither start nor handshake is in it.
//!
//! - *Baseline*: the same rows put into SQLite by hand, with as many in a commit as the controller had; see `baseline`. It
//!   is run twice afterwards, and the faster run counts.
//! - *Bytes on the wire*: in a second run over a way that counts what the node sends, TLS and heartbeats and all.
//! - *Replay*: the spool opened as after a crash, each record checked, then read to its end. Beside it the same files, read
//!   bare. Both from the page cache.

mod baseline;
mod report;
pub(crate) mod rows;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use tokio::runtime::Runtime;
use wa_node::spool::{Options, Spool};
use wa_proto::{Lane, Timestamp};
use wa_tests::Stage;

use crate::disk;
use crate::figures::Distribution;
use crate::goal::Goal;
pub(crate) use report::Report;
use report::{Replay, Shipped, Wired};
use wire::Wire;

const BASELINE_PERCENT: f64 = 70.0;
const WIRE_PER_TEXT: f64 = 0.25;
const REPLAY_MIB: f64 = 20.0;
const MIB: f64 = 1024.0 * 1024.0;
/// Without a commit for so long nothing more is expected.
const STALLED: Duration = Duration::from_secs(60);
/// As a session reads.
const READ: usize = 64 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Little of it: whether it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Text to be shipped, in MiB.
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u16).range(1..=512))]
    mib: u16,
    /// Folder with the recorded sessions.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../node-agent/screen/testdata/sessions"))]
    sessions: PathBuf,
    /// Folder with sources, as agents show them.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../node-agent"))]
    sources: PathBuf,
    /// Folder for the files of the run: on the disk to be measured. Default: the present one.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Report> {
    let begin = Instant::now();
    let bytes = if args.quick { 1 << 20 } else { usize::from(args.mib) << 20 };
    let material = rows::material(&args.sessions, &args.sources)?;
    let stage = Stage::new_in(&args.dir)?;
    let fsync = Distribution::of(disk::fsync_times(&stage.path(""), 200)?).context("no fsync sample")?;
    let now = wa_link::clock::now();
    let _controller = stage.start_controller(&[])?;
    stage.enroll_node()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    let filled = runtime.block_on(fill(&stage, &material, bytes, 1, now))?;
    let replay = replay(&stage, &runtime)?;
    let shipped = ship(&stage, filled.rows, filled.last)?;
    let in_commit = filled.rows / shipped.commits.max(1);
    let mut baseline = Duration::MAX;
    for turn in 0..2 {
        let path = stage.path(format!("baseline-{turn}.db"));
        baseline = baseline.min(baseline::run(&path, &material, bytes, in_commit, now)?);
    }
    let baseline = filled.rows as f64 / baseline.as_secs_f64();
    let wired = wired(&stage, &runtime, &material, bytes / 4, now)?;
    let goals = vec![
        Goal::at_least("of SQLite by hand", 100.0 * shipped.rows_per_s / baseline, BASELINE_PERCENT, " %"),
        Goal::at_most("bytes on the wire per text", wired.per_text, WIRE_PER_TEXT, ""),
        Goal::at_least("spool replay", replay.mib_per_s, REPLAY_MIB, " MiB/s"),
    ];
    Ok(Report {
        schema: "wa.bench.ship/1",
        quick: args.quick,
        seconds: begin.elapsed().as_secs_f64(),
        text_mib: filled.text as f64 / MIB,
        rows: filled.rows,
        rows_in_commit: in_commit,
        shipped,
        baseline_rows_per_s: baseline,
        wired,
        replay,
        goals,
        fsync,
        in_memory: disk::is_memory(&stage.path(""))?,
    })
}

fn spool_dir(stage: &Stage) -> PathBuf {
    stage.path("node/spool")
}

struct Filled {
    rows: usize,
    text: usize,
    /// Seq of the last record.
    last: u64,
}

/// Puts the rows into the spool of the node, which does not run.
async fn fill(
    stage: &Stage,
    material: &[String],
    bytes: usize,
    layout: u64,
    now: Timestamp,
) -> anyhow::Result<Filled> {
    let (spool, _) = Spool::open(&spool_dir(stage), Options::with_max_bytes(4 << 30))?;
    for group in rows::groups(material, bytes, layout, now) {
        spool.append(group).await?;
    }
    spool.close().await;
    let last = spool.status().bulk.next - 1;
    let (rows, text) =
        rows::rows(material, bytes).fold((0, 0), |(n, all), (_, text)| (n + 1, all + text.len()));
    Ok(Filled { rows, text, last })
}

/// Opens the spool as after a crash and reads it to its end.
fn replay(stage: &Stage, runtime: &Runtime) -> anyhow::Result<Replay> {
    let dir = spool_dir(stage);
    let begin = Instant::now();
    let (spool, found) = Spool::open(&dir, Options::with_max_bytes(4 << 30))?;
    let opened = begin.elapsed();
    let (mut at, mut records) = (1, 0);
    loop {
        let batch = spool.read(Lane::Bulk, at, READ);
        if batch.records.is_empty() {
            break;
        }
        (at, records) = (batch.next, records + batch.records.len());
    }
    let took = begin.elapsed();
    ensure!(found.notes.is_empty(), "the spool is damaged: {:?}", found.notes);
    let mib = spool.status().bytes as f64 / MIB;
    runtime.block_on(spool.close());
    let begin = Instant::now();
    for entry in fs::read_dir(&dir)? {
        std::hint::black_box(fs::read(entry?.path())?);
    }
    Ok(Replay {
        mib,
        records,
        open_mib_per_s: mib / opened.as_secs_f64(),
        mib_per_s: mib / took.as_secs_f64(),
        bare_mib_per_s: mib / begin.elapsed().as_secs_f64(),
    })
}

/// Runs a node until all is committed up to `last`.
fn ship(stage: &Stage, rows: usize, last: u64) -> anyhow::Result<Shipped> {
    let committed = Committed::open(&stage.path("controller/state.db"))?;
    let before = committed.acked()?;
    let node = stage.start_node(&[])?;
    let (mut first, mut newest, mut commits) = (None, (Instant::now(), before), 0_usize);
    while newest.1 < last {
        let acked = committed.acked()?;
        let now = Instant::now();
        if acked > newest.1 {
            newest = (now, acked);
            commits += 1;
            first.get_or_insert(newest);
        }
        ensure!(now - newest.0 < STALLED, "nothing was committed for a minute: {} of {last}", newest.1);
        std::thread::sleep(Duration::from_millis(1));
    }
    node.terminate()?;
    let (began, from) = first.context("nothing was to be shipped")?;
    let seconds = (newest.0 - began).as_secs_f64();
    let records_per_s = (last - from) as f64 / seconds;
    let rows_per_s = records_per_s * rows as f64 / (last - before) as f64;
    Ok(Shipped { records: last - before, commits, seconds, records_per_s, rows_per_s })
}

/// What the controller has committed of the node's bulk.
struct Committed(Connection);

impl Committed {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        conn.busy_timeout(Duration::from_secs(10))?;
        Ok(Self(conn))
    }

    fn acked(&self) -> anyhow::Result<u64> {
        let mut find = self.0.prepare_cached("SELECT max(acked) FROM spools WHERE lane = 2")?;
        let acked: Option<i64> = find.query_row([], |row| row.get(0)).optional()?.flatten();
        Ok(acked.map_or(0, i64::cast_unsigned))
    }
}

/// Ships once more, over a way on which bytes are counted.
fn wired(
    stage: &Stage,
    runtime: &Runtime,
    material: &[String],
    bytes: usize,
    now: Timestamp,
) -> anyhow::Result<Wired> {
    let filled = runtime.block_on(fill(stage, material, bytes, 2, now))?;
    let url = stage.controller_url();
    let address = url.strip_prefix("https://").context("an address without TLS")?;
    let wire = Wire::start(address.to_owned())?;
    let identity = stage.path("node/identity/node.context.toml");
    let context = fs::read_to_string(&identity)?;
    ensure!(context.contains(&url), "the node's context names another controller");
    fs::write(&identity, context.replace(&url, &format!("https://{}", wire.address)))?;
    ship(stage, filled.rows, filled.last)?;
    let bytes = wire.up();
    Ok(Wired { bytes, text: filled.text as u64, per_text: bytes as f64 / filled.text as f64 })
}
