//! Lines out of bytes that come in pieces.

/// A line longer than this is not kept: it is skipped, and counted.
const MAX_LINE: usize = 16 << 20;

/// What a piece of a file completed.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole line without its end. Never blank.
    Line(&'a [u8]),
    /// The end of a line that was too long to keep, with all its bytes.
    Skipped(u64),
}

/// Cuts bytes into lines. Half a line waits for its rest.
#[derive(Debug, Default)]
pub struct LineSplitter {
    held: Vec<u8>,
    /// The current line is not kept: too long, or begun before the reading.
    skipping: bool,
    /// Bytes of it that were thrown away.
    thrown: u64,
    /// All bytes so far.
    fed: u64,
}

impl LineSplitter {
    pub fn new() -> Self {
        Self::default()
    }

    /// For a beginning in the middle of a file: the rest of the line there is skipped.
    pub fn in_the_middle() -> Self {
        Self { skipping: true, ..Self::default() }
    }

    /// Tells of every line that is complete now, each with all the bytes so far up to its end.
    pub fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Cut<'_>, u64)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            self.fed += end as u64 + 1;
            let mut found = |cut: Cut<'_>| found(cut, self.fed);
            if self.skipping {
                found(Cut::Skipped(self.thrown + line.len() as u64 + 1));
            } else if self.held.is_empty() {
                tell(line, &mut found);
            } else {
                self.held.extend_from_slice(line);
                tell(&self.held, &mut found);
            }
            (self.skipping, self.thrown) = (false, 0);
            self.held.clear();
            // One long line must not hold its memory for the life of the file.
            self.held.shrink_to(64 << 10);
            bytes = rest;
        }
        self.fed += bytes.len() as u64;
        if self.skipping || self.held.len() + bytes.len() > MAX_LINE {
            self.skipping = true;
            self.thrown += (self.held.len() + bytes.len()) as u64;
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }
}

fn tell(line: &[u8], found: &mut impl FnMut(Cut<'_>)) {
    let line = line.trim_ascii();
    if line.len() > MAX_LINE {
        found(Cut::Skipped(line.len() as u64 + 1));
    } else if !line.is_empty() {
        found(Cut::Line(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(splitter: &mut LineSplitter, bytes: &[u8]) -> Vec<Result<Vec<u8>, u64>> {
        let mut all = Vec::new();
        splitter.feed(bytes, |cut, _| {
            all.push(match cut {
                Cut::Line(line) => Ok(line.to_vec()),
                Cut::Skipped(bytes) => Err(bytes),
            });
        });
        all
    }

    #[test]
    fn a_line_of_a_hundred_megabytes_is_counted_and_the_next_is_read() {
        let mut splitter = LineSplitter::new();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            assert_eq!(cut(&mut splitter, &piece), []);
            assert!(splitter.held.capacity() <= 2 * MAX_LINE);
        }
        assert_eq!(cut(&mut splitter, b"yz\nnext\n"), [Err((100 << 20) + 3), Ok(b"next".to_vec())]);
    }

    proptest! {
        #[test]
        fn pieces_make_the_same_lines_as_the_whole(
            text in "[ab\n ]{0,80}", at in proptest::collection::vec(0_usize..80, 0..6)
        ) {
            let mut splitter = LineSplitter::new();
            let (mut pieces, mut from) = (Vec::new(), 0);
            let mut ends: Vec<usize> = at.into_iter().map(|end| end.min(text.len())).collect();
            ends.sort_unstable();
            ends.push(text.len());
            for end in ends {
                pieces.extend(cut(&mut splitter, &text.as_bytes()[from..end]));
                from = end;
            }
            let complete = text.rfind('\n').map_or("", |end| &text[..end]);
            let lines: Vec<_> = complete.split('\n').map(str::trim).filter(|line| !line.is_empty())
                .map(|line| Ok(line.as_bytes().to_vec())).collect();
            prop_assert_eq!(pieces, lines);
        }
    }
}
