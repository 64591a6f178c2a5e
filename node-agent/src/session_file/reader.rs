//! Reading one session file as it grows.
//!
//! Constraints. At most [`MAX_READ`] bytes per call, whatever the file's size; at first sight only the last
//! [`MAX_FIRST`] of it. What was told is not told again, over restarts of the node too. Files do not only grow: they are
//! cut, replaced and written over. That is noticed by the file's identity, by its size, and by the bytes right before the
//! place where the reading stands; the file is then read anew, as another part of the same session, and its messages get
//! indices of their own. Testimonies are told only of what was written since the following began.
//!
//! Operation. A file of lines is read on from where the reading stands; half a line is read again when it is whole. A
//! file that is one object is read as a whole each time, and gives what has changed.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::Duration;

use wa_match::session::{Counted, Cut, LineSplitter, Said, SessionFacts, SessionParser};
use wa_proto::{AgentKind, Message, Timestamp};

use super::Update;
use super::open;
use super::position::Position;

/// Bytes read at a time.
const MAX_READ: usize = 1 << 20;
/// Bytes at the end of a file that are read when it is first seen.
const MAX_FIRST: u64 = 8 << 20;
/// Largest file that is read as one object.
const MAX_WHOLE: u64 = 32 << 20;
/// Bytes before the place of reading that must not have changed.
const CHECKED: u64 = 256;
/// A batch of messages is told when it has grown to this.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: usize = 512 << 10;

/// Where a session file is, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) agent: AgentKind,
    pub(super) home: PathBuf,
    /// Below the home.
    pub(super) path: PathBuf,
    pub(super) session_id: String,
    pub(super) pid: u32,
    /// When the following of the pane began.
    pub(super) began: Timestamp,
}

#[derive(Debug)]
pub(super) struct Reader {
    place: Place,
    parser: SessionParser,
    shape: Shape,
    identity: (u64, u64),
    start: u64,
    /// Checksum of the bytes before the place of reading.
    check: Option<u32>,
    /// What was written before the following began is up to here; it matters for records without a time.
    history: u64,
    batch: Batch,
    /// What a person should know of this reading.
    notes: Vec<String>,
}

#[derive(Debug)]
enum Shape {
    Lines {
        file: File,
        splitter: LineSplitter,
        /// Where in the file the splitter began.
        base: u64,
        read: u64,
        /// End of the last line that was taken.
        taken: u64,
    },
    Whole {
        /// Size and time of the file as last read.
        seen: Option<(u64, i64, i64)>,
        state: Complete,
        /// Checksums of the messages told, by index.
        told: Vec<u32>,
        /// Messages below this index were told before the restart, if they still are the same.
        before: Option<(u64, u32)>,
    },
}

/// Whether a file that is one object was all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complete {
    Yes,
    /// It may be that its writer was not done.
    NotYet,
    /// It stayed like that.
    No,
}

#[derive(Debug, Default)]
struct Batch {
    messages: Vec<Message>,
    /// Testimonies and notices, told after the messages that they came with.
    told: Vec<Update>,
    bytes: usize,
    /// Not read, right before the next message.
    skipped: u64,
}

/// What positions are made of, beside the place in the file.
struct Teller<'r> {
    place: &'r Place,
    session_id: String,
    identity: (u64, u64),
    start: u64,
    now: Timestamp,
}

/// What a call has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to read right now.
    More,
    AllRead,
    /// The file was cut, replaced or written over, or is gone: it has to be opened anew.
    Replaced,
}

impl Reader {
    /// Opens the file: from where `resume` says, if that fits, else from its beginning, or not far before its end.
    ///
    /// # Errors
    /// When it cannot be opened, is no regular file, or the agent is none whose files are known.
    pub(super) fn open(place: Place, resume: Option<&Position>, now: Timestamp) -> io::Result<Self> {
        let parser = SessionParser::new(&place.agent)
            .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "files of this agent are not known"))?;
        let file = open::regular_file(&place.home, &place.path)?;
        let meta = file.metadata()?;
        let whole = place.path.extension().is_some_and(|kind| kind == "json");
        let mut reader = Self {
            parser,
            shape: if whole {
                Shape::Whole { seen: None, state: Complete::Yes, told: Vec::new(), before: None }
            } else {
                Shape::Lines { file, splitter: LineSplitter::new(), base: 0, read: 0, taken: 0 }
            },
            identity: (meta.dev(), meta.ino()),
            start: 0,
            check: None,
            history: meta.len(),
            batch: Batch::default(),
            notes: Vec::new(),
            place,
        };
        let resumed = match resume {
            Some(position) => reader.resume(position, meta.len(), now)?,
            None => false,
        };
        if !resumed && !whole {
            reader.begin(meta.len());
        }
        Ok(reader)
    }

    /// Opens it anew after it was replaced: as another part of the session.
    pub(super) fn reopen(self, now: Timestamp) -> io::Result<Self> {
        let Counted { next_index, compactions, .. } = self.parser.counted();
        let mut reader = Self::open(self.place.clone(), None, now)?;
        reader.parser.leave_room(next_index);
        let sums = Counted { compactions, ..reader.parser.counted() };
        reader.parser.go_on_from(sums);
        reader.notes = vec![format!("the file was cut or replaced and read anew at {now:.0}")];
        Ok(reader)
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn facts(&self) -> &SessionFacts {
        self.parser.facts()
    }

    /// What keeps it from being read in full, in words.
    pub(super) fn problem(&self) -> String {
        let mut notes = self.notes.clone();
        let broken = self.facts().broken;
        if broken > 0 {
            notes.push(format!("{broken} lines are not JSON and were passed over"));
        }
        if matches!(self.shape, Shape::Whole { state: Complete::No, .. }) {
            notes.push("the file is incomplete, or not JSON".to_owned());
        }
        notes.join("; ")
    }

    /// At first sight: the last part of it.
    fn begin(&mut self, size: u64) {
        let Shape::Lines { splitter, base, read, taken, .. } = &mut self.shape else { return };
        if size > MAX_FIRST {
            let from = size - MAX_FIRST;
            *splitter = LineSplitter::in_the_middle();
            (*base, *read, *taken) = (from, from, from);
            self.start = from;
            self.batch.skipped = from;
            // Every message takes more than a byte, so no index of an earlier part can come here.
            self.parser.leave_room(from);
            self.notes.push(format!("its first {} MiB were not read", from >> 20));
        }
    }

    /// Goes on where an earlier reading stood. Reads again, in silence, what it needs to know for that.
    fn resume(&mut self, position: &Position, size: u64, now: Timestamp) -> io::Result<bool> {
        if position.path != self.place.path || position.agent != self.place.agent {
            self.notes
                .push("the position of the earlier reading was of another file, and was ignored".to_owned());
            return Ok(false);
        }
        if let Shape::Whole { before, .. } = &mut self.shape {
            *before = Some((Counted::from(position.sums).next_index, position.before));
            return Ok(true);
        }
        let Shape::Lines { file, .. } = &self.shape else { return Ok(false) };
        let fits = (position.device, position.inode) == self.identity
            && position.offset <= size
            && checksum_before(file, position.offset)? == position.before;
        if !fits {
            self.notes.push("the file was replaced since the earlier reading, and read anew".to_owned());
            return Ok(false);
        }
        let from = position.start.max(position.offset.saturating_sub(MAX_FIRST)).min(position.offset);
        self.remember(from, position.offset, now)?;
        self.start = position.start;
        self.parser.go_on_from(position.sums.into());
        Ok(true)
    }

    /// Reads a part of the file without telling of it.
    fn remember(&mut self, from: u64, to: u64, now: Timestamp) -> io::Result<()> {
        let Shape::Lines { file, splitter, base, read, taken } = &mut self.shape else { return Ok(()) };
        let mut silent = if from == 0 { LineSplitter::new() } else { LineSplitter::in_the_middle() };
        self.parser.leave_room(from);
        let (mut at, mut buffer) = (from, vec![0; MAX_READ]);
        while at < to {
            let room = usize::try_from(to - at).unwrap_or(MAX_READ).min(MAX_READ);
            let count = file.read_at(&mut buffer[..room], at)?;
            if count == 0 {
                break;
            }
            at += count as u64;
            silent.feed(&buffer[..count], |cut, _| {
                if let Cut::Line(line) = cut {
                    self.parser.line(line, now, |_| ());
                }
            });
        }
        *splitter = LineSplitter::new();
        (*base, *read, *taken) = (to, to, to);
        Ok(())
    }

    /// Reads on. Whatever it finds is appended to `updates`: not more than a bounded piece of the file holds.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(&mut self, now: Timestamp, updates: &mut Vec<Update>) -> io::Result<Progress> {
        match self.shape {
            Shape::Lines { .. } => self.read_lines(now, updates),
            Shape::Whole { .. } => self.read_whole(now, updates),
        }
    }

    /// Where the reading stands, to come back to it.
    pub(super) fn position(&self, now: Timestamp) -> Option<Position> {
        let counted = self.parser.counted();
        let (offset, before) = match &self.shape {
            Shape::Lines { file, taken, .. } => (*taken, checksum_before(file, *taken).ok()?),
            Shape::Whole { told, .. } => (0, checksum_of(told, counted.next_index)),
        };
        let session_id = self.session_id();
        let teller =
            Teller { place: &self.place, session_id, identity: self.identity, start: self.start, now };
        Some(teller.position(counted, offset, before))
    }

    /// Whether the name still stands for the file that is read. To be asked when something happened around it.
    pub(super) fn is_same_file(&self) -> bool {
        if matches!(self.shape, Shape::Whole { .. }) {
            return true;
        }
        open::regular_file(&self.place.home, &self.place.path)
            .and_then(|file| file.metadata())
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity)
    }

    fn read_lines(&mut self, now: Timestamp, updates: &mut Vec<Update>) -> io::Result<Progress> {
        let Shape::Lines { file, splitter, base, read, taken } = &mut self.shape else {
            return Ok(Progress::AllRead);
        };
        let size = file.metadata()?.len();
        if size < *read {
            return Ok(Progress::Replaced);
        }
        if size == *read {
            return Ok(Progress::AllRead);
        }
        let mut buffer = vec![0; MAX_READ.min(usize::try_from(size - *read).unwrap_or(MAX_READ))];
        let count = file.read_at(&mut buffer, *read)?;
        // Read before it is checked: what is written over in between is noticed.
        if self.check.is_some_and(|known| checksum_before(file, *read).ok() != Some(known)) {
            return Ok(Progress::Replaced);
        }
        *read += count as u64;
        let teller = Teller {
            place: &self.place,
            session_id: session_id(&self.place, self.parser.facts()),
            identity: self.identity,
            start: self.start,
            now,
        };
        let (base, history) = (*base, self.history);
        let (batch, parser) = (&mut self.batch, &mut self.parser);
        splitter.feed(&buffer[..count], |cut, end| {
            let end = base + end;
            let before = std::mem::replace(taken, end);
            match cut {
                Cut::Line(line) => {
                    let clock = if end <= history { Timestamp::UNIX_EPOCH } else { now };
                    parser.line(line, clock, |said| batch.take(said, teller.place));
                    if batch.is_full() {
                        teller.tell_lines(batch, parser, file, end, updates);
                    }
                }
                Cut::Skipped(bytes) => {
                    teller.tell_lines(batch, parser, file, before, updates);
                    batch.skipped += bytes;
                }
            }
        });
        teller.tell_lines(batch, parser, file, *taken, updates);
        self.check = Some(checksum_before(file, *read)?);
        Ok(if *read < size { Progress::More } else { Progress::AllRead })
    }

    fn read_whole(&mut self, now: Timestamp, updates: &mut Vec<Update>) -> io::Result<Progress> {
        let Shape::Whole { seen, state, told, before } = &mut self.shape else {
            return Ok(Progress::AllRead);
        };
        let file = open::regular_file(&self.place.home, &self.place.path)?;
        let meta = file.metadata()?;
        let size_and_time = (meta.len(), meta.mtime(), meta.mtime_nsec());
        if *seen == Some(size_and_time) {
            if *state == Complete::NotYet {
                *state = Complete::No;
            }
            return Ok(Progress::AllRead);
        }
        *seen = Some(size_and_time);
        self.identity = (meta.dev(), meta.ino());
        if meta.len() > MAX_WHOLE {
            self.notes = vec![format!("the file has {} MiB, too much to be read as one", meta.len() >> 20)];
            return Ok(Progress::AllRead);
        }
        let mut bytes = Vec::new();
        file.take(MAX_WHOLE).read_to_end(&mut bytes)?;
        let clock = if self.history > 0 { Timestamp::UNIX_EPOCH } else { now };
        self.history = 0;
        let mut said = Vec::new();
        let complete = self.parser.whole(&bytes, clock, |one| said.push(one));
        *state = if complete { Complete::Yes } else { Complete::NotYet };
        for one in &said {
            if let Said::Message(message) = one {
                note(told, message);
            }
        }
        // Told before the restart, and still the same: not again.
        let known = before
            .take()
            .filter(|(count, sum)| checksum_of(told, *count) == *sum)
            .map_or(0, |(count, _)| count);
        let teller = Teller {
            place: &self.place,
            session_id: session_id(&self.place, self.parser.facts()),
            identity: self.identity,
            start: 0,
            now,
        };
        for one in said {
            if matches!(&one, Said::Message(message) if message.index < known) {
                continue;
            }
            self.batch.take(one, &self.place);
            if self.batch.is_full() {
                teller.tell_whole(&mut self.batch, &self.parser, told, updates);
            }
        }
        teller.tell_whole(&mut self.batch, &self.parser, told, updates);
        Ok(Progress::AllRead)
    }

    /// How long to wait between two readings: a file that is read as a whole costs more the larger it is.
    pub(super) fn rest(&self) -> Duration {
        match self.shape {
            Shape::Whole { seen: Some((size, ..)), .. } => Duration::from_millis(50 + (size >> 13)),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn session_id(&self) -> String {
        session_id(&self.place, self.facts())
    }
}

/// The name of the file counts, unless it is only a part of the id.
fn session_id(place: &Place, facts: &SessionFacts) -> String {
    let whole = place.session_id.len() >= 36 || facts.session_id.is_empty();
    if whole { place.session_id.clone() } else { facts.session_id.clone() }
}

impl Batch {
    fn take(&mut self, said: Said, place: &Place) {
        match said {
            Said::Message(message) => {
                self.bytes += message.text.len() + 200;
                self.messages.push(message);
            }
            Said::Testimony(told) if told.at >= place.began => self.told.push(Update::Testimony(told)),
            Said::Notice(told) if told.at >= place.began => self.told.push(Update::Notice(told)),
            // History.
            Said::Testimony(_) | Said::Notice(_) => {}
        }
    }

    fn is_full(&self) -> bool {
        self.messages.len() + self.told.len() >= BATCH_MESSAGES || self.bytes >= BATCH_BYTES
    }
}

impl Teller<'_> {
    fn position(&self, counted: Counted, offset: u64, before: u32) -> Position {
        Position {
            agent: self.place.agent.clone(),
            session_id: self.session_id.clone(),
            path: self.place.path.clone(),
            device: self.identity.0,
            inode: self.identity.1,
            offset,
            start: self.start,
            before,
            sums: counted.into(),
            pid: self.place.pid,
            at: self.now,
        }
    }

    fn tell_lines(
        &self,
        batch: &mut Batch,
        parser: &SessionParser,
        file: &File,
        offset: u64,
        updates: &mut Vec<Update>,
    ) {
        // A position without its checksum would not fit again: the file is read anew then.
        let before = checksum_before(file, offset).unwrap_or_default();
        self.tell(batch, parser.counted(), offset, before, updates);
    }

    fn tell_whole(&self, batch: &mut Batch, parser: &SessionParser, told: &[u32], updates: &mut Vec<Update>) {
        let next_index = batch.messages.iter().map(|message| message.index + 1).max().unwrap_or(0);
        let counted = Counted { next_index, ..parser.counted() };
        self.tell(batch, counted, 0, checksum_of(told, next_index), updates);
    }

    fn tell(&self, batch: &mut Batch, counted: Counted, offset: u64, before: u32, updates: &mut Vec<Update>) {
        let told = std::mem::take(&mut batch.told);
        if batch.messages.is_empty() {
            return updates.extend(told);
        }
        batch.bytes = 0;
        updates.push(Update::Messages {
            agent: self.place.agent.clone(),
            session_id: self.session_id.clone(),
            skipped_bytes: std::mem::take(&mut batch.skipped),
            messages: std::mem::take(&mut batch.messages),
            position: self.position(counted, offset, before).to_bytes(),
        });
        updates.extend(told);
    }
}

/// Of the bytes right before a place in the file.
fn checksum_before(file: &File, offset: u64) -> io::Result<u32> {
    let from = offset.saturating_sub(CHECKED);
    let mut bytes = [0; CHECKED as usize];
    let bytes = &mut bytes[..(offset - from) as usize];
    file.read_exact_at(bytes, from)?;
    Ok(crc32fast::hash(bytes))
}

fn note(told: &mut Vec<u32>, message: &Message) {
    let Ok(index) = usize::try_from(message.index) else { return };
    // Indices are dense here: a file is read as a whole from its beginning.
    if index < told.len() {
        told[index] = crc32fast::hash(message.text.as_bytes());
    } else if index == told.len() {
        told.push(crc32fast::hash(message.text.as_bytes()));
    }
}

/// Of the first messages.
fn checksum_of(told: &[u32], count: u64) -> u32 {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(told.len());
    let mut sum = crc32fast::Hasher::new();
    for one in &told[..count] {
        sum.update(&one.to_le_bytes());
    }
    sum.finalize()
}
