//! The journal: which actions were begun here, how far they came, how they ended.
//!
//! Constraints: an action is begun at most once, over any crash and re-send (A1), hence a step is durable here before
//! it is sent to the pane: `Begun` before the paste (or the first key), `Entered` before Enter. An outcome is durable
//! here before it goes to the spool, and `Delivered` once it is durable there; so it is handed over at least once.
//! Format: `DIR/journal/journal.log`: magic and checked entries, fsynced one by one; it is written anew without what is
//! no longer needed when it is opened and when it grows.
//! Operation: on start, what was begun and not settled gets the outcome `unknown`: nobody can tell whether the last
//! step arrived, and nobody types again blindly. If the file was damaged, an action that may have stood in the lost
//! part is not begun: its id carries the time it was made, by the controller's clock, and it must be later than what
//! the next session says that the time is. That, too, is on record. The same holds on the first session of a spool of
//! which the controller has nothing, and of a journal that is new: they may have been lost, or the whole state
//! directory put back from a backup. By the same clock it is forgotten what was delivered. While the disk refuses,
//! nothing is begun at all: the file is tried again with every action, and from time to time without one.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;
use tokio::sync::watch;
use wa_link::{disk, worker};
use wa_proto::wire::{from_us, to_us, v1};
use wa_proto::{Action, ActionId, Outcome, OutcomeKind, PaneRef, Timestamp};

use crate::framing;

const MAGIC: &[u8; 8] = b"wajourn1";
/// The file is written anew when it has grown by this much, in bytes.
const GROWTH: u64 = 1 << 20;
/// How long a settled action is remembered: the controller sends nothing again after its deadline, and no deadline is
/// further away.
const REMEMBER: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("journal: {0}")]
    Directory(#[from] wa_link::files::FileError),
    #[error("journal {}: {source}; check that the disk is there, writable and not full", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the journal's writer is gone")]
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Unspecified = 0,
    Begun = 1,
    Entered = 2,
    Settled = 3,
    Delivered = 4,
    /// Of no action: something before it was lost. Its time, once that is known, is the controller's.
    Lost = 5,
}

#[derive(Clone, PartialEq, Message)]
struct Step {
    #[prost(bytes = "vec", tag = "1")]
    action_id: Vec<u8>,
    #[prost(enumeration = "Kind", tag = "2")]
    kind: i32,
    #[prost(int64, tag = "3")]
    at_us: i64,
    /// Of the verb with its text: the journal keeps no text.
    #[prost(fixed64, tag = "4")]
    hash: u64,
    #[prost(uint64, tag = "5")]
    fence: u64,
    #[prost(message, optional, tag = "6")]
    pane: Option<v1::PaneRef>,
    #[prost(message, optional, tag = "7")]
    outcome: Option<v1::Outcome>,
}

#[derive(Debug, Clone)]
enum State {
    Open,
    Settled(Outcome),
    Delivered(Outcome),
}

#[derive(Debug, Clone)]
struct Known {
    at: Timestamp,
    hash: u64,
    fence: u64,
    pane: Option<PaneRef>,
    trace_parent: String,
    state: State,
}

/// What the journal says to an action that wants to begin.
#[derive(Debug, Clone, PartialEq)]
pub enum Begin {
    /// It is new, and now on record.
    New,
    /// It was begun before and is under way.
    Open,
    /// It was begun before and has ended so.
    Ended(Outcome),
    /// It may have stood in a part of the journal that was lost, or in another one.
    Doubtful,
}

/// What was found on opening.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Outcomes that may not have reached the spool.
    pub outcomes: Vec<Outcome>,
    /// Damage, in words.
    pub notes: Vec<String>,
}

/// Something was lost: which actions are doubtful.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// All, until the controller has told the time.
    All,
    /// Those made until then.
    Until(Timestamp),
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    end: u64,
    /// Size after it was last written anew.
    base: u64,
    known: BTreeMap<ActionId, Known>,
    floor: Option<Floor>,
    /// The controller's time when it was last told.
    told: Option<Timestamp>,
    /// The file must be written anew before anything is added to it.
    stale: bool,
    /// There was none: this may be a new host, or its journal was lost. What that means is known with the first session,
    /// before which nothing is begun.
    new: bool,
    /// Why the disk refuses, in words.
    trouble: watch::Sender<Option<String>>,
}

/// A handle; clones share the journal.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Mutex<Inner>>);

/// FNV-1a, 64 bits: the same on every host and in every version.
fn hash_of(action: &Action) -> u64 {
    let text = format!("{:?}", action.verb);
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Journal {
    /// Opens the journal in `dir` and settles what a crash left open.
    pub fn open(dir: &Path) -> Result<(Self, Recovered), JournalError> {
        wa_link::files::create_private_dir(dir)?;
        let path = dir.join("journal.log");
        let failed = |source| JournalError::Io { path: path.clone(), source };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let mut recovered = Recovered::default();
        let Read { mut known, mut floor, damaged } = read(&bytes);
        if damaged {
            floor = Some(Floor::All);
            recovered.notes.push(format!(
                "journal {} is damaged: actions made before the next session with the controller are not begun, for they \
                 may have been; check the disk",
                path.display()
            ));
        }
        settle_open(&mut known, &mut recovered.outcomes);
        let file = open_file(&path).map_err(failed)?;
        let (end, base, told, trouble) = (0, 0, None, watch::Sender::new(None));
        let (path, stale, new) = (path.clone(), true, bytes.is_empty());
        let mut inner = Inner { path, file, end, base, known, floor, told, stale, new, trouble };
        // A disk without room is no reason not to watch; nothing is typed until it has some.
        if let Err(error) = inner.rewrite() {
            inner.refused(&error);
        }
        Ok((Self(Arc::new(Mutex::new(inner))), recovered))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the action on record as begun, durably, unless it is known. Nothing of it may be sent before this returns.
    pub async fn begin(&self, action: &Action, now: Timestamp) -> Result<Begin, JournalError> {
        let step = Step {
            action_id: action.id.as_bytes().to_vec(),
            kind: Kind::Begun.into(),
            at_us: to_us(now),
            hash: hash_of(action),
            fence: action.fence,
            pane: Some(action.pane.clone().into()),
            outcome: None,
        };
        let (action, trace_parent) = (action.id, action.trace_parent.clone());
        self.blocking(move |inner| inner.begin(action, step, trace_parent, now)).await
    }

    /// Enter is about to be pressed.
    pub async fn entered(&self, action: ActionId, now: Timestamp) -> Result<(), JournalError> {
        let step = bare(action, Kind::Entered, now);
        self.blocking(move |inner| inner.append(&step)).await
    }

    /// The action has ended. One that never began is put on record too, so that it never will.
    ///
    /// # Errors
    /// The disk refuses; it is known all the same until this program ends.
    pub async fn settle(&self, outcome: Outcome, now: Timestamp) -> Result<(), JournalError> {
        let mut step = bare(outcome.action, Kind::Settled, now);
        step.outcome = Some(outcome.clone().into());
        self.blocking(move |inner| inner.settle(&step)).await
    }

    /// The action is not to begin. One that did already, here or long ago, is left alone: what became of it.
    pub async fn refuse(&self, outcome: Outcome, now: Timestamp) -> Result<Option<Begin>, JournalError> {
        let mut step = bare(outcome.action, Kind::Settled, now);
        step.outcome = Some(outcome.clone().into());
        self.blocking(move |inner| {
            if let Some(known) = inner.find(outcome.action).filter(|known| *known != Begin::Doubtful) {
                return Ok(Some(known));
            }
            inner.settle(&step).map(|()| None)
        })
        .await
    }

    /// The outcome is durable in the spool.
    pub async fn delivered(&self, action: ActionId, now: Timestamp) -> Result<(), JournalError> {
        let step = bare(action, Kind::Delivered, now);
        self.blocking(move |inner| {
            inner.append(&step)?;
            apply(&mut inner.known, &step);
            inner.compact()
        })
        .await
    }

    /// The controller says that the time is `now`. `unknown`: it has nothing of what this host spools, so that the state
    /// directory may be new, or an old one; what was begun from another is on no record here.
    ///
    /// # Errors
    /// What it means cannot be put on record: all that is new stays doubtful.
    pub async fn told(&self, now: Timestamp, unknown: bool) -> Result<(), JournalError> {
        self.blocking(move |inner| inner.told(now, unknown)).await
    }

    /// Begun and not yet settled.
    pub fn open_actions(&self) -> Vec<ActionId> {
        let inner = self.lock();
        inner
            .known
            .iter()
            .filter(|(_, known)| matches!(known.state, State::Open))
            .map(|(id, _)| *id)
            .collect()
    }

    /// What is known of an action that arrives again; `None` if it is new.
    pub fn find(&self, action: ActionId) -> Option<Begin> {
        self.lock().find(action)
    }

    /// The pane of an action that was begun here, and when that was.
    pub fn begun(&self, action: ActionId) -> Option<(PaneRef, Timestamp)> {
        let inner = self.lock();
        let known = inner.known.get(&action)?;
        // What was only refused never had a pane.
        Some((known.pane.clone()?, known.at))
    }

    /// The highest fence seen for a pane.
    pub fn fence(&self, pane: &PaneRef) -> u64 {
        let inner = self.lock();
        inner
            .known
            .values()
            .filter(|known| known.pane.as_ref() == Some(pane))
            .map(|known| known.fence)
            .max()
            .unwrap_or(0)
    }

    /// Changes with why nothing can be put on record, and hence nothing is typed.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.lock().trouble.subscribe()
    }

    /// Tries the disk again, if it refused.
    ///
    /// # Errors
    /// That it still does.
    pub async fn retry(&self) -> Result<(), JournalError> {
        self.blocking(|inner| if inner.trouble.borrow().is_some() { inner.rewrite() } else { Ok(()) }).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let this = self.clone();
        let done = worker::blocking(move || {
            let mut inner = this.lock();
            let done = work(&mut inner);
            match &done {
                Ok(_) => inner.taken(),
                Err(error) => inner.refused(error),
            }
            done.map_err(|source| JournalError::Io { path: inner.path.clone(), source })
        });
        done.await.map_err(|_| JournalError::Gone)?
    }
}

impl Inner {
    fn find(&self, action: ActionId) -> Option<Begin> {
        match self.known.get(&action).map(|known| &known.state) {
            Some(State::Open) => Some(Begin::Open),
            Some(State::Settled(outcome) | State::Delivered(outcome)) => Some(Begin::Ended(outcome.clone())),
            None => {
                let doubtful = self.floor.is_some_and(|floor| match floor {
                    Floor::All => true,
                    Floor::Until(last) => made_at(action).is_none_or(|made| made <= last),
                });
                doubtful.then_some(Begin::Doubtful)
            }
        }
    }

    fn begin(
        &mut self,
        action: ActionId,
        step: Step,
        trace_parent: String,
        now: Timestamp,
    ) -> io::Result<Begin> {
        if let Some(known) = self.find(action) {
            return Ok(known);
        }
        self.append(&step)?;
        let pane = step.pane.and_then(|pane| PaneRef::try_from(pane).ok());
        let known =
            Known { at: now, hash: step.hash, fence: step.fence, pane, trace_parent, state: State::Open };
        self.known.insert(action, known);
        Ok(Begin::New)
    }

    /// What has ended has ended, also where the disk does not take it: it is told again when it is asked for, and is on record
    /// once the file has been written anew.
    fn settle(&mut self, step: &Step) -> io::Result<()> {
        let written = self.append(step);
        apply(&mut self.known, step);
        self.stale |= written.is_err();
        written
    }

    fn refused(&self, error: &io::Error) {
        let text = format!(
            "journal {}: {error}; nothing is typed on this host until it can be written: free space on that disk, or \
             make it writable",
            self.path.display()
        );
        if self.trouble.send_replace(Some(text)).is_none() {
            tracing::error!(path = %self.path.display(), %error, "the journal cannot be written; nothing is typed");
        }
    }

    fn taken(&self) {
        if self.trouble.send_if_modified(|trouble| trouble.take().is_some()) {
            tracing::info!("the journal can be written again");
        }
    }

    fn append(&mut self, step: &Step) -> io::Result<()> {
        if self.stale {
            self.rewrite()?;
        }
        let mut bytes = Vec::new();
        framing::encode(&step.encode_to_vec(), false, &mut bytes);
        self.write(&bytes).inspect_err(|_| {
            // What was written of it must not count; if this fails too, the next write covers it.
            drop(disk::cut(&self.file, self.end));
        })?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        disk::write(&self.file, bytes, self.end)?;
        disk::sync(&self.file)
    }

    fn told(&mut self, now: Timestamp, unknown: bool) -> io::Result<()> {
        let first = self.told.replace(now).is_none();
        let unknown = unknown || self.new;
        let until = match self.floor {
            Some(Floor::All) => now,
            // Whatever was begun since the first session of this program is on record.
            Some(Floor::Until(before)) if unknown && first => before.max(now),
            None if unknown && first => now,
            _ => return Ok(()),
        };
        // Until that is on record.
        self.floor = Some(Floor::All);
        self.append(&lost(Some(until)))?;
        (self.floor, self.new) = (Some(Floor::Until(until)), false);
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        if self.end < self.base + GROWTH {
            return Ok(());
        }
        self.rewrite()
    }

    /// Writes the file anew from what is known.
    fn rewrite(&mut self) -> io::Result<()> {
        if let Some(now) = self.told {
            self.known.retain(|action, known| keep(*action, known, now));
        }
        let mut bytes = MAGIC.to_vec();
        if let Some(floor) = self.floor.or(self.new.then_some(Floor::All)) {
            let until = if let Floor::Until(until) = floor { Some(until) } else { None };
            framing::encode(&lost(until).encode_to_vec(), false, &mut bytes);
        }
        for (action, known) in &self.known {
            for step in steps_of(*action, known) {
                framing::encode(&step.encode_to_vec(), false, &mut bytes);
            }
        }
        wa_link::files::write_private(&self.path, &bytes).map_err(io::Error::other)?;
        self.file = open_file(&self.path)?;
        self.end = bytes.len() as u64;
        self.base = self.end;
        self.stale = false;
        Ok(())
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn bare(action: ActionId, kind: Kind, now: Timestamp) -> Step {
    Step { action_id: action.as_bytes().to_vec(), kind: kind.into(), at_us: to_us(now), ..Step::default() }
}

/// When the action was made, by the clock of whoever made it.
fn made_at(action: ActionId) -> Option<Timestamp> {
    let (seconds, nanos) = action.0.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

/// Something before this was lost. An entry begins with an id.
fn lost(until: Option<Timestamp>) -> Step {
    let action_id = vec![0; 16];
    Step { action_id, kind: Kind::Lost.into(), at_us: until.map_or(0, to_us), ..Step::default() }
}

/// `now`: the controller's time, by which its deadlines are.
fn keep(action: ActionId, known: &Known, now: Timestamp) -> bool {
    match known.state {
        State::Open | State::Settled(_) => true,
        State::Delivered(_) => now.duration_since(made_at(action).unwrap_or(known.at)) < REMEMBER,
    }
}

fn steps_of(action: ActionId, known: &Known) -> Vec<Step> {
    let mut begun = bare(action, Kind::Begun, known.at);
    (begun.hash, begun.fence, begun.pane) = (known.hash, known.fence, known.pane.clone().map(Into::into));
    let mut steps = vec![begun];
    if let State::Settled(outcome) | State::Delivered(outcome) = &known.state {
        let mut settled = bare(action, Kind::Settled, known.at);
        settled.outcome = Some(outcome.clone().into());
        steps.push(settled);
    }
    if matches!(known.state, State::Delivered(_)) {
        steps.push(bare(action, Kind::Delivered, known.at));
    }
    steps
}

/// All that a file says.
struct Read {
    known: BTreeMap<ActionId, Known>,
    floor: Option<Floor>,
    /// Something in its middle cannot be read. A torn end is no damage: what stood there was not yet durable, and nothing
    /// was sent on the strength of it.
    damaged: bool,
}

fn read(bytes: &[u8]) -> Read {
    let scan = framing::scan(bytes, MAGIC);
    let mut damaged = !scan.damaged.is_empty() || (scan.entries.is_empty() && bytes.len() > MAGIC.len());
    let (mut known, mut floor) = (BTreeMap::new(), None);
    for found in scan.entries {
        match Step::decode(found.payload) {
            Ok(step) if step.kind == i32::from(Kind::Lost) => {
                let until = from_us("at", step.at_us).ok().filter(|_| step.at_us != 0);
                floor = Some(until.map_or(Floor::All, Floor::Until));
            }
            Ok(step) => apply(&mut known, &step),
            Err(_) => damaged = true,
        }
    }
    Read { known, floor, damaged }
}

fn apply(known: &mut BTreeMap<ActionId, Known>, step: &Step) {
    let Some(action) = ActionId::from_slice(&step.action_id) else { return };
    let at = from_us("at", step.at_us).unwrap_or_default();
    // It says nothing of what was begun.
    if step.kind == i32::from(Kind::Delivered) && !known.contains_key(&action) {
        return;
    }
    let entry = known.entry(action).or_insert_with(|| Known {
        at,
        hash: step.hash,
        fence: step.fence,
        pane: step.pane.clone().and_then(|pane| PaneRef::try_from(pane).ok()),
        trace_parent: String::new(),
        state: State::Open,
    });
    let outcome = step.outcome.clone().and_then(|outcome| Outcome::try_from(outcome).ok());
    match (Kind::try_from(step.kind).unwrap_or(Kind::Unspecified), outcome) {
        (Kind::Settled, Some(outcome)) => entry.state = State::Settled(outcome),
        (Kind::Delivered, _) => {
            if let State::Settled(outcome) = &entry.state {
                entry.state = State::Delivered(outcome.clone());
            }
        }
        _ => {}
    }
}

/// Gives every open action the outcome `unknown`, and collects what has yet to reach the spool.
fn settle_open(known: &mut BTreeMap<ActionId, Known>, outcomes: &mut Vec<Outcome>) {
    for (action, known) in known.iter_mut() {
        if matches!(known.state, State::Open) {
            known.state = State::Settled(Outcome {
                action: *action,
                kind: OutcomeKind::Unknown,
                reason: "the node was stopped in the middle of this action: look at the pane".to_owned(),
                pane: known.pane.clone(),
                trace_parent: known.trace_parent.clone(),
                spawned: None,
            });
        }
        if let State::Settled(outcome) = &known.state {
            outcomes.push(outcome.clone());
        }
    }
}
