//! `wa rules scan`: what the node's engine finds in saved screens and recorded byte streams.
//!
//! It stores nothing, so codes and addresses are printed. A file that cannot be read is said, and the others are scanned.
//! Printed times without a zone are read in the zone of this host, as the node does.

use wa_match::{Facts, Foreground};
use wa_proto::{AgentKind, Timestamp};

use super::packs::{self, Loaded};
use super::replay::{self, Replayed, replay};
use super::{source, still};
use crate::args::ScanFiles;
use crate::command::say;
use crate::failure::{Exit, Failure};
use crate::output::Out;
use crate::output::text::{Keep, printable};
use crate::shape::Scanned;

/// Columns and rows of a stream's terminal.
const RAW_SIZE: (u16, u16) = (80, 24);

pub(super) fn scan(args: &ScanFiles, out: &mut Out) -> Result<Exit, Failure> {
    let loaded = packs::load(&args.pack)?;
    let now = args.now.unwrap_or(out.look.now);
    let mut failed: Vec<Failure> = Vec::new();
    let mut stream = out.stream::<Scanned>(false);
    for file in &args.files {
        let scanned = if args.raw { raw(&loaded, args, file, now) } else { screen(&loaded, args, file, now) };
        match scanned {
            Ok(scanned) => stream.push(&scanned)?,
            Err(failure) => failed.push(failure),
        }
    }
    stream.finish()?;
    if failed.len() == 1 && args.files.len() == 1 {
        return failed.pop().map_or(Ok(Exit::Done), Err);
    }
    Ok(end(&failed, args.files.len()))
}

/// Says what could not be read. All of it for one reason: that reason's code.
fn end(failed: &[Failure], files: usize) -> Exit {
    for failure in failed {
        say(&printable(&format!("wa: {failure}"), Keep::Layout));
    }
    match failed {
        [] => Exit::Done,
        [first, rest @ ..] if failed.len() == files => {
            if rest.iter().all(|failure| failure.exit == first.exit) { first.exit } else { Exit::Failed }
        }
        _ => Exit::Partly,
    }
}

/// What is known beside the screen.
pub(super) fn facts(agent: Option<&AgentKind>) -> Facts {
    let foreground = match agent {
        None => Foreground::Unknown,
        Some(kind) if kind.as_str() == "shell" => Foreground::Shell { name: "sh".to_owned() },
        Some(kind) => Foreground::Agent { kind: kind.clone(), version: String::new(), pid: 1 },
    };
    Facts { foreground, zone: Some(wa_link::clock::zone()), ..Facts::default() }
}

/// Reads a saved screen, and says what is odd about it.
pub(super) fn saved(file: &str, size: Option<(u16, u16)>) -> Result<still::Still, Failure> {
    let bytes = source::bytes(file, still::MOST_BYTES).map_err(|failure| match failure.exit {
        Exit::Failed => failure.remedy("what a program wrote to its terminal is scanned with --raw"),
        _ => failure,
    })?;
    let still = still::read(&bytes, size);
    for note in &still.notes {
        say(&printable(&format!("{file}: {note}"), Keep::Layout));
    }
    Ok(still)
}

fn screen(loaded: &Loaded, args: &ScanFiles, file: &str, now: Timestamp) -> Result<Scanned, Failure> {
    let still = saved(file, args.size)?;
    let seen = wa_match::scan(loaded.engine(), &still.frame, &facts(args.agent.as_ref()), now);
    let events = seen.events.into_iter().map(|event| (event, None)).collect();
    Ok(Scanned::of(file, seen.agent.as_ref(), seen.state, events, still.above))
}

fn raw(loaded: &Loaded, args: &ScanFiles, file: &str, now: Timestamp) -> Result<Scanned, Failure> {
    let done = play(loaded, file, &args.stream(), now)?;
    let events = done.events.into_iter().map(|(event, offset)| (event, Some(offset))).collect();
    Ok(Scanned::of(file, done.agent.as_ref(), done.state, events, 0))
}

/// How a recorded stream is to be read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stream<'a> {
    pub(crate) size: Option<(u16, u16)>,
    pub(crate) agent: Option<&'a AgentKind>,
    /// Only the first so many bytes.
    pub(crate) offset: Option<u64>,
}

impl ScanFiles {
    fn stream(&self) -> Stream<'_> {
        Stream { size: self.size, agent: self.agent.as_ref(), offset: self.offset }
    }
}

fn play(loaded: &Loaded, file: &str, stream: &Stream<'_>, end: Timestamp) -> Result<Replayed, Failure> {
    let bytes = match stream.offset {
        Some(offset) if offset <= replay::MOST_BYTES => source::first_bytes(file, offset)?,
        _ => source::bytes(file, replay::MOST_BYTES)?,
    };
    if let Some(offset) = stream.offset.filter(|offset| *offset > bytes.len() as u64) {
        say(&printable(&format!("{file}: has {} bytes, fewer than {offset}", bytes.len()), Keep::Layout));
    }
    Ok(replay(loaded.engine(), &bytes, stream.size.unwrap_or(RAW_SIZE), stream.agent, facts(None), end))
}

/// Plays a recording, with the built-in packs.
pub(in crate::command) fn recorded(
    file: &str,
    stream: &Stream<'_>,
    end: Timestamp,
) -> Result<Replayed, Failure> {
    play(&packs::load::<&str>(&[])?, file, stream, end)
}
