//! A pane: a program on a PTY and the terminal that its output goes to.
//!
//! Three threads each, all of them asleep as long as the program says nothing and nobody types:
//!
//! * the *reader* takes bytes from the PTY. At its end the pane is removed, at once: bytes that
//!   still wait to be applied are lost, as they are in the real server;
//! * the *parser* waits a little after the first bytes for more, applies them as one batch to the
//!   terminal and tells the connections;
//! * the *writer* owns the way to the program, so that one that does not read blocks nobody else.
//!   What waits for it is bounded.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portable_pty::{Child, MasterPty, PtySize};
use rustix::process::{Pid, Signal, kill_process_group};
use wa_screen::terminal::{CELL_PIXELS, Size, Terminal};

use super::command::Command;
use super::turns::Turns;
use super::{Shared, lock, process};

/// The most bytes that wait for a program to read them.
const INPUT_LIMIT: usize = 4 << 20;
/// A batch is not made larger than this.
const BATCH_LIMIT: usize = 128 << 10;
/// A large batch is applied in pieces of this size, so that nobody waits long to look at the terminal.
const PIECE: usize = 8 << 10;
/// One read from a PTY.
const READ_SIZE: usize = 16 << 10;
/// How long a program may take to end by itself.
const GRACE: Duration = Duration::from_millis(300);
/// Reads that wait for the parser.
const READS_AHEAD: usize = 8;

type Writer = Arc<Mutex<Box<dyn Write + Send>>>;

/// See the head of the module.
pub(super) struct Pane {
    pub(super) id: u64,
    pub(super) tty_name: Option<String>,
    pub(super) terminal: Turns<Terminal>,
    pub(super) process: process::Watch,
    master: Mutex<Box<dyn MasterPty + Send>>,
    /// The way around the writer thread, for the switch that freezes.
    direct: Writer,
    input: Sender<Vec<u8>>,
    /// Bytes in `input`.
    waiting: Arc<AtomicUsize>,
    gone: AtomicBool,
    /// Of the program that was started.
    pid: Option<i32>,
    /// Whether that program has ended.
    ended: Mutex<bool>,
    end: Condvar,
}

/// What a new pane's threads work with.
pub(super) struct Threads {
    reader: Box<dyn Read + Send>,
    child: Box<dyn Child + Send + Sync>,
    writer: Writer,
    input: Receiver<Vec<u8>>,
}

/// The program does not take its input.
#[derive(Debug, thiserror::Error)]
#[error("the program in pane {0} does not read its input")]
pub(super) struct InputFull(u64);

pub(super) fn pty_size(size: Size) -> PtySize {
    let (wide, high) = CELL_PIXELS;
    PtySize {
        rows: size.rows,
        cols: size.cols,
        pixel_width: size.cols.saturating_mul(wide),
        pixel_height: size.rows.saturating_mul(high),
    }
}

impl Pane {
    /// Starts the program. Its threads start with [`Pane::run`].
    pub(super) fn start(
        id: u64,
        command: &Command,
        size: Size,
        shared: &Shared,
    ) -> anyhow::Result<(Arc<Self>, Threads)> {
        let size = size.clamped();
        let pty = portable_pty::native_pty_system().openpty(pty_size(size))?;
        let child = pty.slave.spawn_command(command.builder(id, &shared.options.socket))?;
        // Else the end of the program would not be the end of the PTY.
        drop(pty.slave);
        let reader = pty.master.try_clone_reader()?;
        let writer: Writer = Arc::new(Mutex::new(pty.master.take_writer()?));
        let (input, inbox) = channel();
        let mut terminal = Terminal::new(size, shared.options.scrollback_lines);
        if shared.is_codec_42() {
            terminal = terminal.with_advancing_alternate();
        }
        let pane = Arc::new(Self {
            id,
            tty_name: pty.master.tty_name().map(|name| name.to_string_lossy().into_owned()),
            terminal: Turns::new(terminal),
            process: process::Watch::new(command.name(), !shared.is_codec_42()),
            master: Mutex::new(pty.master),
            direct: Arc::clone(&writer),
            input,
            waiting: Arc::new(AtomicUsize::new(0)),
            gone: AtomicBool::new(false),
            pid: child.process_id().and_then(|pid| i32::try_from(pid).ok()),
            ended: Mutex::new(false),
            end: Condvar::new(),
        });
        let threads = Threads { reader, child, writer, input: inbox };
        Ok((pane, threads))
    }

    /// Starts the threads of a pane that is registered.
    pub(super) fn run(self: &Arc<Self>, threads: Threads, shared: &Arc<Shared>) {
        let Threads { reader, child, writer, input } = threads;
        let (reads, batches) = sync_channel(READS_AHEAD);
        let name = |role: &str| format!("pane-{}-{role}", self.id);
        let (pane, home) = (Arc::clone(self), Arc::clone(shared));
        shared.spawn(name("read"), move || pane.read(reader, child, &reads, &home));
        let (pane, home) = (Arc::clone(self), Arc::clone(shared));
        shared.spawn(name("parse"), move || pane.parse(&batches, &home));
        // Holds no pane: it ends when the pane is dropped, and the way to the program with it.
        let waiting = Arc::clone(&self.waiting);
        shared.spawn(name("write"), move || {
            for bytes in input {
                let written = lock(&writer).write_all(&bytes);
                waiting.fetch_sub(bytes.len(), Ordering::AcqRel);
                if written.is_err() {
                    break;
                }
            }
        });
    }

    fn read(
        &self,
        mut reader: Box<dyn Read + Send>,
        mut child: Box<dyn Child + Send + Sync>,
        reads: &SyncSender<Vec<u8>>,
        shared: &Shared,
    ) {
        let mut buffer = vec![0; READ_SIZE];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    if reads.send(buffer[..n].to_vec()).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        shared.remove_pane(self.id);
        if let Err(error) = child.wait() {
            tracing::debug!(pane = self.id, %error, "waiting for the program");
        }
        *lock(&self.ended) = true;
        self.end.notify_all();
    }

    fn parse(&self, batches: &Receiver<Vec<u8>>, shared: &Shared) {
        while let Ok(mut batch) = batches.recv() {
            let deadline = Instant::now() + shared.options.coalesce;
            while batch.len() < BATCH_LIMIT {
                let left = deadline.saturating_duration_since(Instant::now());
                match batches.recv_timeout(left) {
                    Ok(more) => batch.extend_from_slice(&more),
                    Err(RecvTimeoutError::Timeout) => break,
                    // The end of the PTY; what waits here is lost.
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            let (mut applied, mut notices) = (false, Vec::new());
            for piece in batch.chunks(PIECE) {
                if self.is_gone() {
                    return;
                }
                let outcome = {
                    let _turn = shared.queues.turn(self.id);
                    self.terminal.lock().advance(piece)
                };
                applied |= outcome.applied;
                notices.extend(outcome.notices);
                if !outcome.replies.is_empty() && self.type_bytes(outcome.replies).is_err() {
                    tracing::debug!(pane = self.id, "an answer to the program was dropped");
                }
            }
            if applied {
                shared.output(self.id, notices);
            }
        }
    }

    /// Queues bytes for the program.
    pub(super) fn type_bytes(&self, bytes: Vec<u8>) -> Result<(), InputFull> {
        let count = bytes.len();
        let before = self.waiting.fetch_add(count, Ordering::AcqRel);
        if before + count > INPUT_LIMIT || self.input.send(bytes).is_err() {
            self.waiting.fetch_sub(count, Ordering::AcqRel);
            return Err(InputFull(self.id));
        }
        Ok(())
    }

    /// Writes past the queue, and blocks until the program has read.
    pub(super) fn write_blocking(&self, bytes: &[u8]) -> std::io::Result<()> {
        lock(&self.direct).write_all(bytes)
    }

    pub(super) fn size(&self) -> Size {
        let dims = self.terminal.lock().dimensions();
        Size { cols: dims.cols, rows: dims.viewport_rows }
    }

    pub(super) fn resize(&self, size: Size) {
        let size = size.clamped();
        self.terminal.lock().resize(size);
        if let Err(error) = lock(&self.master).resize(pty_size(size)) {
            tracing::debug!(pane = self.id, %error, "resizing a terminal whose program is gone");
        }
    }

    /// The process group in the foreground of the terminal.
    pub(super) fn foreground(&self) -> Option<i32> {
        lock(&self.master).process_group_leader()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Marks the pane as removed. False: it was so already.
    pub(super) fn set_gone(&self) -> bool {
        !self.gone.swap(true, Ordering::AcqRel)
    }

    /// Ends the program: asks, waits a little, insists.
    pub(super) fn end(&self) {
        self.signal(Signal::HUP);
        let ended = lock(&self.ended);
        let (ended, _) = self
            .end
            .wait_timeout_while(ended, GRACE, |ended| !*ended)
            .unwrap_or_else(PoisonError::into_inner);
        if !*ended {
            self.signal(Signal::KILL);
        }
    }

    /// Signals the program's group and the one in the foreground.
    fn signal(&self, signal: Signal) {
        let mut groups = vec![self.pid, self.foreground()];
        groups.dedup();
        for group in groups.into_iter().flatten().filter_map(Pid::from_raw) {
            // Gone already: nothing to do.
            if kill_process_group(group, signal).is_err() {
                tracing::debug!(pane = self.id, ?group, "no such process group");
            }
        }
    }
}
