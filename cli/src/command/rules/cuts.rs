//! Where a recorded byte stream is cut into frames, and how long each stands.
//!
//! Constraints. A stream has no clock and does not say where it stood still. What it does have are the frames of the
//! program: synchronised updates; where there are none, the places at which it goes up to paint over its last frame. A
//! shell says when it waits for a line and when it has one (bracketed paste on and off); between the two a command prints
//! lines. So the pace is made up, and always the same ([`Cut::stands`]). The number of frames is bounded: of a stream that
//! has more, some are taken together, as a multiplexer does when it reads late.

/// Frames of a stream at most.
const MOST: usize = 50_000;
/// Bytes of a shell's prompt at most, escapes among them.
const PROMPT: usize = 256;

const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";
const ERASE: &[u8] = b"\x1b[2K\x1b[1A";
const WAITS: &[u8] = b"\x1b[?2004h";
const HAS_LINE: &[u8] = b"\x1b[?2004l";
const WIPE: &[u8] = b"\x1b[3J";
const COVER: &[u8] = b"\x1b[?1049h";

/// Why the stream is cut there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    /// A frame of a full-screen program, or what is wiped or covered next.
    Frame,
    /// A line of a command.
    Line,
    /// A command has printed its last line. It is seen to be gone a moment later: a process table is not read all the time.
    Done,
    /// Somebody has typed a line, and the program takes it next; or a program lets go of the terminal.
    Typed,
    /// A prompt stands there.
    Prompt,
    /// The end of the stream.
    End,
}

impl Cut {
    /// Milliseconds that the screen stands.
    pub(super) fn stands(self) -> i64 {
        match self {
            Self::Frame => 250,
            Self::Line => 150,
            Self::Done => 600,
            // Nobody types faster.
            Self::Typed | Self::Prompt => 1000,
            Self::End => 60_000,
        }
    }
}

/// Ends of frames in their order, the end of the stream last.
pub(super) fn cuts(bytes: &[u8]) -> Vec<(usize, Cut)> {
    let marks = marks(bytes);
    let synchronised = marks.iter().any(|(_, mark)| *mark == END);
    let (mut cuts, mut plain, mut begins) = (Vec::new(), true, 0);
    let mut erased = None;
    for (at, mark) in marks {
        let was_plain = plain;
        let begin = begins;
        begins = at + mark.len();
        match mark {
            END => cuts.push((begins, Cut::Frame)),
            BEGIN => cuts.push((at, Cut::Frame)),
            ERASE if synchronised || erased == Some(at.wrapping_sub(ERASE.len())) => {}
            ERASE => cuts.push((before_move(bytes, at), Cut::Frame)),
            WIPE | COVER => cuts.push((at, Cut::Frame)),
            // The newline behind the typed line is the program's echo.
            HAS_LINE => {
                let typed = bytes[..at].strip_suffix(b"\r\n").unwrap_or(&bytes[..at]);
                cuts.push((typed.strip_suffix(b"\r").unwrap_or(typed).len(), Cut::Typed));
            }
            _ => {
                cuts.push((at, Cut::Done));
                cuts.extend(prompt_end(bytes, begins).map(|end| (end, Cut::Prompt)));
            }
        }
        if mark == ERASE {
            erased = Some(at);
        }
        if was_plain {
            cuts.extend(lines(bytes, begin, at));
        }
        plain = mark == HAS_LINE || (was_plain && mark == WIPE);
    }
    if plain {
        cuts.extend(lines(bytes, begins, bytes.len()));
    }
    bounded(cuts, bytes.len())
}

/// Where the way down begins that a program may go before it erases.
fn before_move(bytes: &[u8], at: usize) -> usize {
    let Some(head) = bytes[..at].strip_suffix(b"B") else { return at };
    let digits = head.iter().rev().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    let begin = head.len() - digits;
    if head[..begin].ends_with(b"\x1b[") { begin - 2 } else { at }
}

/// All marks with their places.
fn marks(bytes: &[u8]) -> Vec<(usize, &'static [u8])> {
    const MARKS: [&[u8]; 7] = [BEGIN, END, ERASE, WAITS, HAS_LINE, WIPE, COVER];
    let escapes = bytes.iter().enumerate().filter(|(_, byte)| **byte == 0x1b);
    let mark = |(at, _): (usize, &u8)| {
        let found = MARKS.into_iter().find(|mark| bytes[at..].starts_with(mark));
        found.map(|mark| (at, mark))
    };
    escapes.filter_map(mark).collect()
}

fn lines(bytes: &[u8], from: usize, to: usize) -> impl Iterator<Item = (usize, Cut)> {
    let newlines = bytes[from..to].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    newlines.map(move |(at, _)| (from + at + 1, Cut::Line))
}

/// Where the prompt ends that begins here: behind its sign and a blank, on one line.
fn prompt_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = &bytes[from..bytes.len().min(from + PROMPT)];
    let line = rest.split(|byte| *byte == b'\n').next()?;
    ["$ ", "% ", "# ", "❯ ", "> "]
        .iter()
        .filter_map(|sign| {
            let at = line.windows(sign.len()).position(|window| window == sign.as_bytes())?;
            Some(from + at + sign.len())
        })
        .min()
}

/// In order, each place once, not too many.
fn bounded(mut cuts: Vec<(usize, Cut)>, length: usize) -> Vec<(usize, Cut)> {
    cuts.sort_unstable();
    let apart = length / MOST;
    let mut kept: Vec<(usize, Cut)> = Vec::new();
    for (end, cut) in cuts {
        let held = kept.last_mut();
        let least = held.as_ref().map_or(0, |(last, _)| *last + apart);
        match held {
            Some((last, held)) if *last == end => *held = (*held).max(cut),
            _ if end > least && end < length => kept.push((end, cut)),
            _ => {}
        }
    }
    if length > 0 {
        kept.push((length, Cut::End));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use Cut::*;

    #[test]
    fn frames_end_where_the_program_says() {
        assert_eq!(cuts(b""), []);
        assert_eq!(cuts(b"a\nb\nc"), [(2, Line), (4, Line), (5, End)]);
        assert_eq!(cuts(b"a\x1b[?2026hb\nc\x1b[?2026ld"), [(1, Frame), (20, Frame), (21, End)]);
        assert_eq!(cuts(b"ab\x1b[2K\x1b[1A\x1b[2K\x1b[1Acd\n"), [(2, Frame), (21, End)]);
        assert_eq!(cuts(b"ab\x1b[4B\x1b[2K\x1b[1A\x1b[2K"), [(2, Frame), (18, End)]);
    }

    #[test]
    fn a_shell_says_when_it_waits_and_when_it_has_a_line() {
        let stream = b"\x1b[?2004hme$ ls\r\n\x1b[?2004l\ra\nb\n\x1b[?2004hme$ ";
        assert_eq!(cuts(stream), [(12, Prompt), (14, Typed), (27, Line), (29, Done), (41, End)]);
        // A program that turns pastes on is no shell, and its newlines are no lines.
        assert_eq!(cuts(b"\x1b[?2004hx\ny\nz"), [(13, End)]);
    }

    #[test]
    fn a_flood_of_frames_is_bounded() {
        let ends = cuts(&b"\n".repeat(4 * MOST));
        assert!(ends.len() <= MOST + 1, "{}", ends.len());
        assert_eq!(ends.last(), Some(&(4 * MOST, End)));
    }
}
