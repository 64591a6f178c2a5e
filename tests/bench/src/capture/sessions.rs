//! Recorded agent sessions as workloads: which there are, and where and when a stream is cut into pieces.
//!
//! The recordings hold bytes and no times, but `settled.txt` beside them says where each session stood still. A piece ends
//! where the agent ended a drawing: behind the end of a synchronized update, or before the run of "erase this line, go up"
//! with which Ink (Gemini CLI) begins the next one; in streams that have neither, behind each line; and where the session
//! stood still. Forty pieces are written a second, and where it stood still nothing for a while that is long enough to
//! read. Sessions that would take longer than three quarters of a minute are left out.
//!
//! A recording holds the shell too that the agent was started from. The agent's own parts, from the echo of a command line
//! that names it to the next prompt, are written by a process of the agent's name, which the node can see come and go.

use std::fs::{self, File};
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// Bytes of one recording; the largest has 6 MB.
const MOST_BYTES: u64 = 32 << 20;
/// Time of one session.
const LONGEST: Duration = Duration::from_secs(45);
/// Between two pieces.
const PAUSE: Duration = Duration::from_millis(25);
/// Where a session stood still; lines settle in one second.
const STILL: Duration = Duration::from_millis(1300);
/// One write is not larger.
const LARGEST_PIECE: usize = 16 << 10;

/// What the shell writes when it runs a command, and where its prompt begins.
const RUN: &[u8] = b"\x1b[?2004l\r";
const PROMPT: &[u8] = b"\x1b[?2004hdev@box:";
const SYNC_END: &[u8] = b"\x1b[?2026l";
const ERASE_UP: &[u8] = b"\x1b[2K\x1b[1A";

/// One recorded session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The program's name: its pane runs under it.
    pub(crate) agent: String,
    pub(crate) cols: u16,
    pub(crate) rows: u16,
}

/// A stream and its pieces, each with the pause behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Play {
    pub(crate) bytes: Vec<u8>,
    pub(crate) pieces: Vec<(Range<usize>, Duration)>,
    /// What the agent wrote.
    pub(crate) agent: Vec<Range<usize>>,
}

impl Session {
    /// `codex_0.169.0_120x40_session-e2e.raw.zst`: agent, version, size, what was done.
    fn of(path: PathBuf) -> Option<Self> {
        let name = name(&path)?;
        let mut parts = name.split('_');
        let (agent, _version, size) = (parts.next()?, parts.next()?, parts.next()?);
        let (cols, rows) = size.split_once('x')?;
        let (agent, cols, rows) = (agent.to_owned(), cols.parse().ok()?, rows.parse().ok()?);
        Some(Self { agent, cols, rows, path, name })
    }
}

fn name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.strip_suffix(".raw.zst")?.to_owned())
}

impl Play {
    /// The recording, and where it stood still as the list beside it says.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Self> {
        let bytes = read(path)?;
        let list = path.with_file_name("settled.txt");
        let list = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let name = name(path).context("not the name of a recording")?;
        let line = list.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
        let stills: Vec<usize> = line.unwrap_or_default().split(' ').flat_map(str::parse).collect();
        let agent = agent_parts(&bytes, name.split('_').next().unwrap_or_default());
        let pieces = cut(&bytes, &stills, &agent);
        Ok(Self { bytes, pieces, agent })
    }

    /// Whether the agent wrote the byte.
    pub(crate) fn is_agent(&self, at: usize) -> bool {
        self.agent.iter().any(|part| part.contains(&at))
    }

    fn time(&self) -> Duration {
        self.pieces.iter().map(|(_, pause)| *pause).sum()
    }
}

/// What was recorded.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut bytes = Vec::new();
    zstd::Decoder::new(file)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The sessions of a folder, by name.
pub(crate) fn all(folder: &Path) -> anyhow::Result<Vec<Session>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut sessions = Vec::new();
    for entry in entries {
        sessions.extend(Session::of(entry?.path()));
    }
    ensure!(!sessions.is_empty(), "no recorded session in {}", folder.display());
    sessions.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(sessions)
}

/// The sessions of a folder that are short enough to be played, the longest first; and the names of the others.
pub(crate) fn playable(folder: &Path) -> anyhow::Result<(Vec<Session>, Vec<String>)> {
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for session in all(folder)? {
        let time = Play::of(&session.path)?.time();
        if time <= LONGEST {
            short.push((time, session));
        } else {
            long.push(session.name);
        }
    }
    ensure!(!short.is_empty(), "no recorded session in {} is short enough", folder.display());
    short.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.name.cmp(&other.name)));
    long.sort();
    Ok((short.into_iter().map(|(_, session)| session).collect(), long))
}

/// The bytes between each command line that names the agent and the next prompt.
fn agent_parts(bytes: &[u8], agent: &str) -> Vec<Range<usize>> {
    let find = |from: usize, what: &[u8]| {
        bytes[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let (mut parts, mut at) = (Vec::new(), 0);
    while let Some(run) = find(at, RUN) {
        at = run + RUN.len();
        let line = bytes[..run].trim_ascii_end();
        let line = line.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        if !String::from_utf8_lossy(line).split_whitespace().any(|word| word == agent) {
            continue;
        }
        let end = find(at, PROMPT).unwrap_or(bytes.len());
        parts.push(at..end);
        at = end;
    }
    parts
}

/// Where the pieces of a stream are.
fn cut(bytes: &[u8], stills: &[usize], parts: &[Range<usize>]) -> Vec<(Range<usize>, Duration)> {
    let mut ends = drawings(bytes);
    if ends.len() < 4 {
        ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    }
    ends.extend(stills.iter().copied().filter(|still| *still < bytes.len()));
    ends.extend(parts.iter().flat_map(|part| [part.start, part.end]));
    ends.push(bytes.len());
    ends.sort_unstable();
    let (mut pieces, mut start) = (Vec::new(), 0);
    for end in ends {
        while start < end {
            let until = end.min(start + LARGEST_PIECE);
            pieces.push((start..until, if stills.contains(&until) { STILL } else { PAUSE }));
            start = until;
        }
    }
    pieces
}

fn drawings(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    let mut erasing = false;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(ERASE_UP) {
            if !erasing {
                ends.push(at);
            }
            erasing = true;
            at += ERASE_UP.len();
            continue;
        }
        erasing = false;
        if rest.starts_with(SYNC_END) {
            at += SYNC_END.len();
            ends.push(at);
        } else {
            at += 1;
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_where_a_drawing_ends_and_nothing_is_lost() {
        let codex = b"a\x1b[?2026hone\x1b[?2026l\x1b[?2026htwo\x1b[?2026lx\x1b[?2026l\x1b[?2026l".as_slice();
        let ink = b"one\n\x1b[2K\x1b[1A\x1b[2K\x1b[1A\x1b[2K\x1b[Gtwo\n\x1b[2K\x1b[1A\x1b[2K\x1b[Gthree\n\
                    \x1b[2K\x1b[1A\x1b[2K\x1b[G\x1b[2K\x1b[1Afour"
            .as_slice();
        for (stream, count) in [(codex, 4), (ink, 5), (b"ls\nfile\n$ ".as_slice(), 3), (&[b'x'; 40_000], 3)] {
            let pieces = cut(stream, &[], &[]);
            assert_eq!(pieces.len(), count, "{}", String::from_utf8_lossy(stream));
            let whole: Vec<u8> = pieces.into_iter().flat_map(|(piece, _)| stream[piece].to_vec()).collect();
            assert_eq!(whole, stream);
        }
        assert_eq!(cut(b"ab\ncd\n", &[1, 3], &[]), [(0..1, STILL), (1..3, STILL), (3..6, PAUSE)]);
    }

    #[test]
    fn the_agent_wrote_what_stands_between_its_command_line_and_the_next_prompt() {
        let stream =
            b"codex\r\n\x1b[?2004l\rhello\x1b[?2004hworld\x1b[?2004hdev@box:~$ ls codex.md\r\n\x1b[?2004l\r\
                       codex.md\r\n\x1b[?2004hdev@box:~$ codex resume 1\r\n\x1b[?2004l\rlast";
        let parts = agent_parts(stream, "codex");
        let texts: Vec<_> = parts.iter().map(|part| String::from_utf8_lossy(&stream[part.clone()])).collect();
        assert_eq!(texts, ["hello\x1b[?2004hworld", "last"]);
        let pieces = cut(stream, &[], &parts);
        assert!(parts.iter().all(|part| pieces.iter().any(|(piece, _)| piece.start == part.start)));
    }

    #[test]
    fn the_name_says_agent_and_size() {
        let session = Session::of("/x/codex_0.89.0_200x50_session-neg.raw.zst".into()).unwrap();
        assert_eq!((session.agent.as_str(), session.cols, session.rows), ("codex", 200, 50));
        assert_eq!(Session::of("/x/README.md".into()), None);
    }
}
