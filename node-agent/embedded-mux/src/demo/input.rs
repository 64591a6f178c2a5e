//! Bytes from a terminal as keys and pastes.

/// What a person, or something that types for one, did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Text(String),
    /// Between markers; line ends are newlines.
    Paste(String),
    Enter,
    Backspace,
    Escape,
    Interrupt,
    EndOfInput,
    Clear,
    Up,
    Down,
}

const PASTE_BEGIN: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";
/// Pastes are cut here. In bytes.
const PASTE_LIMIT: usize = 4 << 20;

/// Puts together what was cut into several reads.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pending: Vec<u8>,
    paste: Option<Vec<u8>>,
}

impl Keys {
    /// More bytes came.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Some(used) = self.step(&mut keys) {
            self.pending.drain(..used);
        }
        keys
    }

    /// No more bytes came for a while: an escape by itself was the key.
    pub(super) fn idle(&mut self) -> Option<Key> {
        (self.pending == [0x1b]).then(|| {
            self.pending.clear();
            Key::Escape
        })
    }

    /// Whether an escape waits for what may follow it.
    pub(super) fn is_unfinished(&self) -> bool {
        self.pending == [0x1b]
    }

    /// Takes one thing from the front; how many bytes it was. `None`: not complete.
    fn step(&mut self, keys: &mut Vec<Key>) -> Option<usize> {
        if let Some(paste) = &mut self.paste {
            let end = find(&self.pending, PASTE_END);
            let keep = PASTE_END.len() - 1;
            let used = end.unwrap_or(self.pending.len().saturating_sub(keep));
            let room = PASTE_LIMIT.saturating_sub(paste.len());
            paste.extend(self.pending[..used].iter().take(room));
            if end.is_none() {
                return (used > 0).then_some(used);
            }
            let text = String::from_utf8_lossy(paste).replace("\r\n", "\n");
            keys.push(Key::Paste(text.replace('\r', "\n")));
            self.paste = None;
            return Some(used + PASTE_END.len());
        }
        match *self.pending.first()? {
            0x1b => self.escape(keys),
            byte => self.plain(byte, keys),
        }
    }

    fn plain(&self, byte: u8, keys: &mut Vec<Key>) -> Option<usize> {
        let control = match byte {
            b'\r' | b'\n' => Some(Key::Enter),
            0x7f | 0x08 => Some(Key::Backspace),
            0x03 => Some(Key::Interrupt),
            0x04 => Some(Key::EndOfInput),
            0x15 => Some(Key::Clear),
            _ => None,
        };
        if let Some(key) = control {
            keys.push(key);
            return Some(1);
        }
        if byte < 0x20 {
            return Some(1);
        }
        let run = self.pending.iter().position(|b| *b < 0x20 || *b == 0x7f);
        let run = &self.pending[..run.unwrap_or(self.pending.len())];
        let whole = match std::str::from_utf8(run) {
            Ok(_) => run.len(),
            // Cut within a character: the rest is on its way. Else skip what is none.
            Err(error) if error.valid_up_to() == 0 => return error.error_len(),
            Err(error) => error.valid_up_to(),
        };
        let text = String::from_utf8_lossy(&run[..whole]).into_owned();
        keys.push(Key::Text(text));
        Some(whole)
    }

    fn escape(&mut self, keys: &mut Vec<Key>) -> Option<usize> {
        if self.pending.starts_with(PASTE_BEGIN) {
            self.paste = Some(Vec::new());
            return Some(PASTE_BEGIN.len());
        }
        match *self.pending.get(1)? {
            b'[' => {
                let last = self.pending[2..].iter().position(|b| (0x40..=0x7e).contains(b))?;
                self.arrow(2 + last, keys);
                Some(3 + last)
            }
            b'O' => {
                self.pending.get(2)?;
                self.arrow(2, keys);
                Some(3)
            }
            b'\r' => {
                keys.push(Key::Text("\n".to_owned()));
                Some(2)
            }
            0x1b => {
                keys.push(Key::Escape);
                Some(1)
            }
            // An answer to a question of the terminal, or a key with Alt.
            b']' | b'P' => {
                let end = find(&self.pending, b"\x1b\\").map(|at| at + 2);
                end.or_else(|| self.pending.iter().position(|b| *b == 0x07).map(|at| at + 1))
            }
            _ => Some(2),
        }
    }

    fn arrow(&self, at: usize, keys: &mut Vec<Key>) {
        match self.pending.get(at) {
            Some(b'A') => keys.push(Key::Up),
            Some(b'B') => keys.push(Key::Down),
            _ => {}
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(parts: &[&[u8]]) -> Vec<Key> {
        let mut keys = Keys::default();
        parts.iter().flat_map(|part| keys.feed(part)).collect()
    }

    #[test]
    fn a_paste_is_one_thing_however_it_comes() {
        let whole = b"a\x1b[200~one\r\ntwo \xc3\xa9\r\x1b[201~\r";
        let wanted = [Key::Text("a".into()), Key::Paste("one\ntwo é\n".into()), Key::Enter];
        assert_eq!(keys(&[whole]), wanted);
        for size in 1..whole.len() {
            let parts: Vec<&[u8]> = whole.chunks(size).collect();
            assert_eq!(keys(&parts), wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn an_escape_waits_for_what_may_follow() {
        let mut parser = Keys::default();
        assert_eq!(parser.feed(b"\x1b"), []);
        assert!(parser.is_unfinished());
        assert_eq!(parser.idle(), Some(Key::Escape));
        assert_eq!(parser.idle(), None);
        assert_eq!(parser.feed(b"\x1b"), []);
        assert_eq!(parser.feed(b"[A\x1bOB"), [Key::Up, Key::Down]);
        assert_eq!(parser.feed(b"\x1b]11;rgb:0/0/0\x1b\\\x03"), [Key::Interrupt]);
    }
}
