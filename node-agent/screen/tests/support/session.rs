//! Recorded sessions of agents, and playing them.
//!
//! A recording is the bytes that a program wrote, without their times. It is played in pieces, as a server coalesces
//! what it reads: either at the ends of the agent's own frames (synchronised updates; where an agent has none, before it
//! goes up to paint over its last frame), or in pieces of a size. Between pieces the same time passes, and more
//! at the places where the session is known to have stood still.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use wa_mux::codec::Row;
use wa_screen::Input;
use wa_screen::terminal::Size;

use super::node::{Eye, Node, Server as _};
use super::pane::Pane;

/// Bytes of one recording; the largest has 6 MB.
const MOST_BYTES: u64 = 16 << 20;
const SCROLLBACK: usize = 3500;

pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) agent: String,
    pub(crate) size: Size,
    pub(crate) bytes: Vec<u8>,
    /// Where it stood still.
    still: Vec<usize>,
}

/// Where pieces end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    Frames,
    Bytes(usize),
}

/// How to play a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) cut: Cut,
    /// Between pieces, in milliseconds.
    pub(crate) pause: i64,
    /// Where the session stood still, in milliseconds.
    pub(crate) still: i64,
}

fn folder() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = here.join("testdata/sessions");
    if own.is_dir() { own } else { here.join("screen/testdata/sessions") }
}

/// All of them, in the order of their names.
pub(crate) fn sessions() -> Vec<Session> {
    let settled = std::fs::read_to_string(folder().join("settled.txt")).unwrap();
    let session = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        let still = words.map(|offset| offset.parse().unwrap()).collect();
        let file = File::open(folder().join(format!("{name}.raw.zst"))).unwrap();
        let mut bytes = Vec::new();
        zstd::Decoder::new(file).unwrap().take(MOST_BYTES).read_to_end(&mut bytes).unwrap();
        let mut parts = name.split('_');
        let agent = format!("{} {}", parts.next().unwrap(), parts.next().unwrap());
        let (cols, rows) = parts.next().unwrap().split_once('x').unwrap();
        let size = Size { cols: cols.parse().unwrap(), rows: rows.parse().unwrap() };
        Session { name, agent, size, bytes, still }
    };
    settled.lines().filter(|line| !line.starts_with('#')).map(session).collect()
}

impl Session {
    /// Ends of pieces, and how long the pane stands still then.
    pub(crate) fn pieces(&self, pace: Pace) -> Vec<(&[u8], i64)> {
        let mut ends = match pace.cut {
            Cut::Bytes(size) => (0..self.bytes.len()).step_by(size).skip(1).collect(),
            Cut::Frames => frames(&self.bytes),
        };
        // What a clear of the history takes along or another screen covers must have been seen, to know what there was.
        ends.extend(positions(&self.bytes, b"\x1b[3J"));
        ends.extend(positions(&self.bytes, b"\x1b[?1049h"));
        ends.extend(self.still.iter().filter(|still| **still < self.bytes.len()));
        ends.push(self.bytes.len());
        ends.sort_unstable();
        ends.dedup();
        let mut start = 0;
        let piece = |end: usize| {
            let pause = if self.still.contains(&end) { pace.still } else { pace.pause };
            let piece = &self.bytes[start..end];
            start = end;
            (piece, pause)
        };
        ends.into_iter().filter(|end| *end > 0).map(piece).collect()
    }

    /// Plays the session to a node that sees it as `eye` does. After every piece `each` is told,
    /// and again when the time behind it has passed.
    pub(crate) fn play<E: Eye>(
        &self,
        pace: Pace,
        node: &mut Node,
        eye: &mut E,
        mut each: impl FnMut(&mut Pane, &Node, &mut E),
    ) -> Pane {
        let mut pane = Pane::new(self.size, SCROLLBACK);
        node.keep_up(&mut pane, eye);
        for (bytes, pause) in self.pieces(pace) {
            pane.write(bytes);
            node.keep_up(&mut pane, eye);
            each(&mut pane, node, eye);
            node.pass_and_look(pause, &mut pane, eye);
            each(&mut pane, node, eye);
        }
        for _ in 0..100 {
            node.pass_and_look(2000, &mut pane, eye);
            each(&mut pane, node, eye);
            if node.screen.next_wakeup().is_none() {
                break;
            }
        }
        pane
    }

    /// As [`Self::play`], by a node that is slow: it reads a push only now and then, its questions are answered late,
    /// and some fail. `dice` says what happens next.
    pub(crate) fn play_slowly(&self, pace: Pace, node: &mut Node, mut dice: impl FnMut(u32) -> u32) -> Pane {
        let mut pane = Pane::new(self.size, SCROLLBACK);
        let mut answer: Option<Vec<Row>> = None;
        for (bytes, pause) in self.pieces(pace) {
            pane.write(bytes);
            if dice(3) > 0 {
                continue;
            }
            match (node.asked.clone(), answer.take()) {
                (Some(_), Some(rows)) => {
                    // The barrier: what was pushed before the answer comes first.
                    if let Some(changes) = pane.push() {
                        node.apply(Input::Changes(changes));
                    }
                    node.asked = None;
                    node.apply(Input::Rows(rows));
                }
                (Some(_), None) if dice(5) == 0 => {
                    node.asked = None;
                    node.apply(Input::FetchFailed);
                }
                (Some(ranges), None) => answer = Some(pane.get_lines(&ranges)),
                (None, _) => {}
            }
            if let Some(changes) = pane.push() {
                node.apply(Input::Changes(changes));
            }
            node.tick_after(pause);
        }
        node.drain(&mut pane);
        pane
    }
}

fn positions<'a>(bytes: &'a [u8], what: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let found = bytes.windows(what.len()).enumerate();
    found.filter(move |(_, window)| *window == what).map(|(at, _)| at)
}

/// Ends of frames: where synchronised updates begin and end, else where an agent begins to erase its last frame line by line.
fn frames(bytes: &[u8]) -> Vec<usize> {
    const BEGIN: &[u8] = b"\x1b[?2026h";
    const END: &[u8] = b"\x1b[?2026l";
    const ERASE: &[u8] = b"\x1b[2K\x1b[1A";
    let mut ends: Vec<usize> = positions(bytes, END).map(|at| at + END.len()).collect();
    ends.extend(positions(bytes, BEGIN));
    if ends.is_empty() {
        let mut last = None;
        for at in positions(bytes, ERASE) {
            if last != Some(at.wrapping_sub(ERASE.len())) {
                ends.push(at);
            }
            last = Some(at);
        }
    }
    if ends.is_empty() {
        ends = positions(bytes, b"\n").map(|at| at + 1).collect();
    }
    ends
}
