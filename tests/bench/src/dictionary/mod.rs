//! `dictionary`: trains the dictionary that blocks are compressed with, and measures what one is worth.
//!
//! It is trained on about half of our recorded sessions (`is_trained_on`) and measured on the others, so that no figure
//! here, nor in `ship`, is of text that the dictionary has seen. A harder question stands beside it: a dictionary trained on
//! one folder of recordings alone, measured on the other, which holds other versions of the agents.
//!
//! Text is cut into records and blocks as a node does. The figure is bytes of the block per byte of text; TLS and frames
//! are not in it (they are in `ship`). The time is the processor's for packing and compressing, per MiB of text.
//!
//! A new dictionary: `wa-bench dictionary --write proto/link/dictionaries/N.dict --number N`, then a line for it in
//! `wa_link::dictionary`. The old ones stay. A test here fails when a new one would be clearly better.

mod report;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use wa_link::dictionary::{self as shipped, FIRST_ID, LEVEL};
use wa_proto::wire::{packed, v1};
use zstd::bulk::Compressor;
use zstd::dict::EncoderDictionary;

use crate::capture::sessions::{self, Session};
use crate::matching::stopwatch::Stopwatch;
use crate::ship::rows;
pub(crate) use report::Report;
use report::{Cost, Measured};

/// Size of a new dictionary at most; the recordings yield less.
const DICTIONARY_BYTES: usize = 32 << 10;
/// Lines in one record: what a busy pane prints in the time that lines wait for company.
const LINES: usize = 16;
/// Measured sizes of blocks, as records lie in the spool: the largest that a node sends, and the smallest that has a goal.
const SIZES: [usize; 2] = [64 << 10, 16 << 10];
/// So much text at least is compressed for a figure of time.
const TIMED_BYTES: usize = 32 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Writes a newly trained dictionary there.
    #[arg(long, requires = "number")]
    write: Option<PathBuf>,
    /// The number of what is written: one more than that of the newest.
    #[arg(long)]
    number: Option<u32>,
    /// Folders with recorded sessions.
    #[arg(long, default_values = RECORDINGS)]
    recordings: Vec<PathBuf>,
    /// Folder with sources, as agents show them.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../node-agent"))]
    sources: PathBuf,
}

const RECORDINGS: [&str; 2] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../node-agent/screen/testdata/sessions"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../node-agent/testdata/recordings"),
];

/// Whether the recording of this name is of the half that dictionaries are trained on. It follows from the name alone, so
/// that new recordings change sides with no old one.
pub(crate) fn is_trained_on(name: &str) -> bool {
    name.bytes().map(u32::from).sum::<u32>().is_multiple_of(2)
}

/// A recorded session and its rows.
struct Recorded {
    session: Session,
    /// Which of the folders it lies in.
    folder: usize,
    rows: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Report> {
    let all = recorded(&args.recordings)?;
    let (seen, unseen): (Vec<_>, Vec<_>) = all.iter().partition(|one| is_trained_on(&one.session.name));
    let fresh = train(&seen, args.number.unwrap_or(0))?;
    if let Some(path) = &args.write {
        fs::write(path, &fresh).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let shipped = shipped::newest();
    let sources: Vec<String> = rows::source_rows(&args.sources)?;
    let (folder, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.folder == 0);
    let of_folder = train(&folder, 0)?;
    let newest = shipped.map(|dictionary| ("shipped", dictionary.bytes()));
    let dictionaries: Vec<(&str, &[u8])> = newest.into_iter().chain([("new", fresh.as_slice())]).collect();
    let mut measured = Vec::new();
    measured.extend(measure("sessions not trained on", &texts(&unseen), &dictionaries)?);
    measured.extend(measure("sessions trained on", &texts(&seen), &dictionaries)?);
    measured.extend(measure("other versions", &texts(&others), &[("of one folder", &of_folder)])?);
    measured.extend(measure("sources", &sources, &dictionaries)?);
    let costs = costs(&texts(&unseen), shipped.map(shipped::Dictionary::bytes))?;
    Ok(Report {
        schema: "wa.bench.dictionary/1",
        trained_on: seen.len(),
        not_trained_on: unseen.len(),
        shipped: shipped.map_or(0, shipped::Dictionary::number),
        shipped_bytes: shipped.map_or(0, |dictionary| dictionary.bytes().len()),
        new_bytes: fresh.len(),
        measured,
        costs,
    })
}

fn recorded(folders: &[PathBuf]) -> anyhow::Result<Vec<Recorded>> {
    let mut all = Vec::new();
    for (folder, path) in folders.iter().enumerate() {
        for session in sessions::all(path)? {
            let rows = rows::screen(&session)?;
            all.push(Recorded { session, folder, rows });
        }
    }
    Ok(all)
}

fn texts(recorded: &[&Recorded]) -> Vec<String> {
    recorded.iter().flat_map(|one| one.rows.iter().cloned()).collect()
}

/// Trains on records as a node packs them; the number goes into the dictionary.
fn train(recorded: &[&Recorded], number: u32) -> anyhow::Result<Vec<u8>> {
    let mut samples = Vec::new();
    for one in recorded {
        let rows: Vec<&str> = one.rows.iter().map(String::as_str).collect();
        for (at, rows) in rows.chunks(LINES).enumerate() {
            let mut sample = Vec::new();
            packed::pack([&record(at, rows, &one.session.agent)], &mut sample);
            samples.push(sample);
        }
    }
    let mut dictionary = zstd::dict::from_samples(&samples, DICTIONARY_BYTES)?;
    // zstd's own format: four bytes of magic, then the id, which it draws by lot.
    let id = dictionary.get_mut(4..8).context("the trainer made no dictionary")?;
    id.copy_from_slice(&(FIRST_ID + number).to_le_bytes());
    Ok(dictionary)
}

/// The rows as a record of a pane's bulk.
fn record(at: usize, rows: &[&str], agent: &str) -> v1::Record {
    let line = |(row, text): (i64, &&str)| v1::Line {
        row,
        text: (*text).to_owned(),
        rows: 1,
        ..v1::Line::default()
    };
    let first = i64::try_from(at * LINES).unwrap_or(0);
    let lines = v1::Lines {
        pane: Some(v1::PaneRef { mux: "main".into(), generation: "g-1-1".into(), pane_id: 1 }),
        layout: 1,
        agent: agent.to_owned(),
        lines: (first..).zip(rows).map(line).collect(),
    };
    let time_us = 1_790_000_000_000_000 + 100_000 * first;
    let body = Some(v1::record::Body::Lines(lines));
    v1::Record { lane: v1::Lane::Bulk.into(), seq: at as u64 + 1, time_us, trace_parent: String::new(), body }
}

/// The records of one block, and the bytes of text in them.
type Block = (Vec<v1::Record>, usize);

/// Rows in blocks of at most this size, as they lie in the spool.
fn blocks(rows: &[String], size: usize) -> Vec<Block> {
    use prost::Message as _;
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let mut blocks: Vec<Block> = Vec::new();
    let mut left = 0;
    for (at, rows) in rows.chunks(LINES).enumerate() {
        let record = record(at, rows, "codex");
        let bytes = record.encoded_len();
        if left < bytes || blocks.is_empty() {
            blocks.push((Vec::new(), 0));
            left = size;
        }
        left = left.saturating_sub(bytes);
        if let Some((records, text)) = blocks.last_mut() {
            *text += rows.iter().map(|row| row.len()).sum::<usize>();
            records.push(record);
        }
    }
    blocks
}

fn plain(records: &[v1::Record]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        prost::encoding::message::encode(1, record, &mut out);
    }
    out
}

fn pack(records: &[v1::Record]) -> Vec<u8> {
    let mut out = Vec::new();
    packed::pack(records, &mut out);
    out
}

/// Bytes per byte of text.
fn ratio(
    blocks: &[Block],
    form: fn(&[v1::Record]) -> Vec<u8>,
    zstd: &mut Compressor<'_>,
) -> anyhow::Result<f64> {
    let (mut bytes, mut all) = (0, 0);
    for (records, text) in blocks {
        bytes += zstd.compress(&form(records))?.len();
        all += text;
    }
    ensure!(all > 0, "no text");
    Ok(bytes as f64 / all as f64)
}

fn measure(what: &str, rows: &[String], dictionaries: &[(&str, &[u8])]) -> anyhow::Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for size in SIZES {
        let blocks = blocks(rows, size);
        let mut bare = Compressor::new(LEVEL)?;
        let mut with = Vec::new();
        for (name, dictionary) in dictionaries {
            let prepared = EncoderDictionary::try_copy(dictionary, LEVEL)?;
            let mut zstd = Compressor::with_prepared_dictionary(&prepared)?;
            with.push(((*name).to_owned(), ratio(&blocks, pack, &mut zstd)?));
        }
        measured.push(Measured {
            what: what.to_owned(),
            block_kib: size >> 10,
            text: blocks.iter().map(|(_, text)| text).sum(),
            plain: ratio(&blocks, plain, &mut bare)?,
            packed: ratio(&blocks, pack, &mut bare)?,
            with,
        });
    }
    Ok(measured)
}

/// What it costs the node, in time.
fn costs(rows: &[String], dictionary: Option<&[u8]>) -> anyhow::Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for size in SIZES {
        let blocks = blocks(rows, size);
        let prepared = dictionary.map(|bytes| EncoderDictionary::try_copy(bytes, LEVEL)).transpose()?;
        let mut zstd = match &prepared {
            Some(prepared) => Compressor::with_prepared_dictionary(prepared)?,
            None => Compressor::new(LEVEL)?,
        };
        costs.push(Cost {
            block_kib: size >> 10,
            // A context of its own for each block, as it was before.
            plain_ms: time(&blocks, |records| Ok(zstd::bulk::compress(&plain(records), LEVEL)?.len()))?,
            packed_ms: time(&blocks, |records| Ok(zstd.compress(&pack(records))?.len()))?,
        });
    }
    Ok(costs)
}

/// Milliseconds per MiB of text.
fn time(
    blocks: &[Block],
    mut work: impl FnMut(&[v1::Record]) -> anyhow::Result<usize>,
) -> anyhow::Result<f64> {
    let mut text = 0;
    let begin = Stopwatch::start();
    while text < TIMED_BYTES {
        for (records, bytes) in blocks {
            std::hint::black_box(work(records)?);
            text += bytes;
        }
    }
    Ok(begin.elapsed().as_secs_f64() * 1000.0 * f64::from(1 << 20) / text as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Recorded> {
        recorded(&RECORDINGS.map(PathBuf::from)).unwrap()
    }

    /// When this fails: `wa-bench dictionary --write`, as the head of this module says.
    #[test]
    fn the_newest_dictionary_is_nearly_as_good_as_a_new_one() {
        let all = all();
        let (seen, unseen): (Vec<_>, Vec<_>) = all.iter().partition(|one| is_trained_on(&one.session.name));
        let fresh = train(&seen, 0).unwrap();
        let newest = shipped::newest().unwrap();
        for measured in measure("", &texts(&unseen), &[("", newest.bytes()), ("", &fresh)]).unwrap() {
            let [(_, shipped), (_, fresh)] = measured.with.as_slice() else { panic!() };
            assert!(shipped <= &(fresh * 1.05), "{} KiB: {shipped} against {fresh}", measured.block_kib);
            assert!(*shipped < measured.packed * 0.95, "{} KiB: {shipped} with it", measured.block_kib);
        }
    }

    #[test]
    fn training_is_reproducible_and_neither_half_is_small() {
        let all = all();
        let (seen, unseen): (Vec<_>, Vec<_>) = all.iter().partition(|one| is_trained_on(&one.session.name));
        assert!(seen.len() * 3 > all.len() && unseen.len() * 3 > all.len());
        assert_eq!(train(&seen, 7).unwrap(), train(&seen, 7).unwrap());
    }
}
