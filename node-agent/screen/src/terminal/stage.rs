//! The byte stage in front of the grid.
//!
//! The grid does not know some sequences, and others must be seen before it acts on them:
//!
//! * DEC mode 2026: bytes between set and reset are held and given out as one piece. As in the
//!   real terminal there is no time limit; the held bytes are bounded ([`HOLD_LIMIT`]).
//! * RIS: given out by itself, because the row count must be read right before it.
//! * `CSI s`, `CSI u`, `ESC D`, `ESC E`: rewritten to what the grid knows.
//! * U+FE0F: replaced, see [`super::cells`].
//! * OSC strings: dropped beyond [`STRING_LIMIT`], since the parser behind collects without limit.
//!
//! Everything may be split anywhere between two reads, so an unfinished sequence or character is
//! kept back.

use super::cells::{VS16, VS16_IN_GRID};

/// The most bytes that are held for a synchronised update.
const HOLD_LIMIT: usize = 2 << 20;
/// The longest OSC string that is passed on, in bytes.
const STRING_LIMIT: usize = 64 << 10;
/// The longest CSI sequence that is looked at; a longer one passes as it is.
const CSI_LIMIT: usize = 64;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;

/// What the stage gives out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes for the grid.
    Bytes(Vec<u8>),
    /// A full reset.
    Reset,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Ground,
    // In these the bytes since the escape are in `pending`.
    Escape,
    Csi,
    Osc,
    /// The rest of an OSC string that was too long; nothing of it is passed on.
    OscTooLong,
    /// Inside the bytes of a variation selector.
    Selector,
}

#[derive(Debug, Default)]
pub(super) struct Stage {
    state: State,
    pending: Vec<u8>,
    /// The first bytes of a character.
    unfinished: Vec<u8>,
    holding: bool,
    ready: Vec<Piece>,
    held: Vec<Piece>,
    held_bytes: usize,
}

impl Stage {
    /// Takes what the program wrote; gives what the grid may see now.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        if !self.unfinished.is_empty() && !bytes.is_empty() {
            let unfinished = std::mem::take(&mut self.unfinished);
            self.ready.push(Piece::Bytes(unfinished));
        }
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if matches!(self.state, State::Ground) {
                let plain = rest.iter().position(|b| matches!(*b, ESC | 0xef)).unwrap_or(rest.len());
                if plain > 0 {
                    self.emit(&rest[..plain]);
                    rest = &rest[plain..];
                    continue;
                }
            }
            self.step(byte);
            rest = after;
        }
        if !self.holding || self.held_bytes > HOLD_LIMIT {
            self.release();
        }
        self.keep_unfinished_character();
        std::mem::take(&mut self.ready)
    }

    /// A character that is cut in two must not reach the parser behind, which loses bytes then.
    fn keep_unfinished_character(&mut self) {
        let Some(Piece::Bytes(bytes)) = self.ready.last_mut() else {
            return;
        };
        let start = bytes.len().saturating_sub(3);
        let cut = (start..bytes.len()).find(|at| {
            std::str::from_utf8(&bytes[*at..])
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        });
        if let Some(cut) = cut {
            let unfinished = bytes.split_off(cut);
            if bytes.is_empty() {
                self.ready.pop();
            }
            self.unfinished = unfinished;
        }
    }

    fn release(&mut self) {
        self.held_bytes = 0;
        for piece in self.held.drain(..) {
            match (self.ready.last_mut(), piece) {
                (Some(Piece::Bytes(out)), Piece::Bytes(more)) => out.extend(more),
                (_, piece) => self.ready.push(piece),
            }
        }
    }

    fn step(&mut self, byte: u8) {
        match self.state {
            State::Ground => {
                self.pending.push(byte);
                self.state = if byte == ESC { State::Escape } else { State::Selector };
            }
            State::Escape => self.escape(byte),
            State::Csi => self.csi(byte),
            State::Osc => self.osc(byte),
            State::OscTooLong => self.osc_too_long(byte),
            State::Selector => self.selector(byte),
        }
    }

    fn escape(&mut self, byte: u8) {
        self.state = State::Ground;
        match byte {
            b'[' => {
                self.pending.push(byte);
                self.state = State::Csi;
            }
            b']' => {
                self.pending.push(byte);
                self.state = State::Osc;
            }
            b'c' => {
                self.pending.clear();
                self.held.push(Piece::Reset);
            }
            b'D' => self.replace(b"\n"),
            b'E' => self.replace(b"\r\n"),
            ESC => {
                self.flush_pending();
                self.pending.push(ESC);
                self.state = State::Escape;
            }
            _ => {
                self.pending.push(byte);
                self.flush_pending();
            }
        }
    }

    fn csi(&mut self, byte: u8) {
        if byte == ESC {
            self.flush_pending();
            self.pending.push(ESC);
            self.state = State::Escape;
            return;
        }
        self.pending.push(byte);
        if self.pending.len() > CSI_LIMIT {
            self.flush_pending();
            self.state = State::Ground;
            return;
        }
        if !(0x40..=0x7e).contains(&byte) {
            return;
        }
        self.state = State::Ground;
        match self.pending.as_slice() {
            b"\x1b[s" => self.replace(b"\x1b7"),
            b"\x1b[u" => self.replace(b"\x1b8"),
            [_, _, b'?', params @ .., b'h' | b'l'] if params.split(|b| *b == b';').any(|p| p == b"2026") => {
                self.flush_pending();
                self.release();
                self.holding = byte == b'h';
            }
            _ => self.flush_pending(),
        }
    }

    fn osc(&mut self, byte: u8) {
        match byte {
            BEL | CAN | SUB => {
                self.pending.push(byte);
                self.flush_pending();
                self.state = State::Ground;
            }
            // Ends the string, whatever comes next.
            ESC => {
                self.flush_pending();
                self.pending.push(ESC);
                self.state = State::Escape;
            }
            _ if self.pending.len() >= STRING_LIMIT => {
                self.pending.clear();
                self.state = State::OscTooLong;
            }
            _ => self.pending.push(byte),
        }
    }

    fn osc_too_long(&mut self, byte: u8) {
        match byte {
            BEL | CAN | SUB => self.state = State::Ground,
            ESC => {
                self.pending.push(ESC);
                self.state = State::Escape;
            }
            _ => {}
        }
    }

    fn selector(&mut self, byte: u8) {
        self.pending.push(byte);
        let mut encoded = [0; 4];
        let wanted = VS16.encode_utf8(&mut encoded).as_bytes();
        if self.pending == wanted {
            let mut replaced = [0; 4];
            let replaced = VS16_IN_GRID.encode_utf8(&mut replaced);
            self.replace(replaced.as_bytes());
        } else if wanted.starts_with(&self.pending) {
            return;
        } else {
            // Not the selector: everything but the last byte is text; that one decides afresh.
            self.pending.pop();
            self.flush_pending();
            self.state = State::Ground;
            self.restart(byte);
            return;
        }
        self.state = State::Ground;
    }

    /// The byte is the first of something new.
    fn restart(&mut self, byte: u8) {
        match byte {
            ESC | 0xef => self.step(byte),
            _ => self.emit(&[byte]),
        }
    }

    fn replace(&mut self, with: &[u8]) {
        self.pending.clear();
        self.emit(with);
    }

    fn flush_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.emit(&pending);
    }

    fn emit(&mut self, bytes: &[u8]) {
        self.held_bytes += bytes.len();
        match self.held.last_mut() {
            Some(Piece::Bytes(out)) => out.extend_from_slice(bytes),
            _ => self.held.push(Piece::Bytes(bytes.to_vec())),
        }
    }
}
