//! A server in a temporary folder and a client that speaks the bare wire.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared by several tests")]

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use wa_embedded_mux::{Command, EmbeddedMux, Options, Running};
use wa_mux::codec::{Codec, FrameReader, Pdu, RenderChanges, put_frame};

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    pub running: Running,
    pub folder: tempfile::TempDir,
}

/// A shell that says nothing by itself but a prompt.
pub fn shell() -> Command {
    Command {
        args: vec!["/bin/sh".into()],
        env: Some(vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("PS1".into(), "$ ".into()),
            ("LANG".into(), "C.UTF-8".into()),
        ]),
        cwd: Some("/".into()),
    }
}

impl Server {
    pub fn start(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path().join("run/sock"));
        options.first_command = Some(shell());
        change(&mut options);
        let running = EmbeddedMux::start(options).unwrap();
        Self { running, folder }
    }

    pub fn client(&self) -> Wire {
        Wire::connect(self.running.handle().socket(), Codec::V44)
    }
}

pub struct Wire {
    stream: UnixStream,
    reader: FrameReader,
    codec: Codec,
    serial: u64,
    /// Pushes that nobody has looked at.
    pub pushes: VecDeque<Pdu>,
}

impl Wire {
    pub fn connect(socket: &Path, codec: Codec) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, reader: FrameReader::default(), codec, serial: 0, pushes: VecDeque::new() }
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, pdu: &Pdu) -> u64 {
        self.serial += 1;
        let (ident, payload) = pdu.encode(self.codec);
        let mut frame = Vec::new();
        put_frame(&mut frame, self.serial, ident, &payload);
        self.raw(&frame);
        self.serial
    }

    /// The next frame, or `None` at the end of the connection.
    pub fn receive(&mut self) -> Option<(u64, Pdu)> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                let pdu = Pdu::decode(frame.ident, frame.payload, self.codec).unwrap();
                return Some((frame.serial, pdu));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.reader.extend(&buffer[..n]),
                // A read with a time limit is not restarted after a signal: the shells that end send theirs.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                    return None;
                }
            }
        }
    }

    /// The answer to a request that was sent; pushes before it are kept.
    pub fn answer(&mut self, wanted: u64) -> Pdu {
        loop {
            let (serial, pdu) = self.receive().unwrap();
            if serial == wanted {
                return pdu;
            }
            assert_eq!(serial, 0, "an answer to something else: {pdu:?}");
            self.pushes.push_back(pdu);
        }
    }

    pub fn ask(&mut self, pdu: &Pdu) -> Pdu {
        let serial = self.send(pdu);
        self.answer(serial)
    }

    /// Whether an answer comes in time. If none does, the connection is of no further use.
    pub fn asked_within(&mut self, pdu: &Pdu, patience: Duration) -> bool {
        let serial = self.send(pdu);
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = vec![0; 1 << 16];
        loop {
            while let Some(frame) = self.reader.next_frame().unwrap() {
                if frame.serial == serial {
                    return true;
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(n) => self.reader.extend(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// Takes pushes until one will do.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&Pdu) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let pdu = match self.pushes.pop_front() {
                Some(pdu) => pdu,
                None => self.receive().unwrap().1,
            };
            if let Some(found) = wanted(&pdu) {
                return found;
            }
            assert!(Instant::now() < end, "did not come");
        }
    }

    /// Takes pushes until one shows a row of the pane that contains the text.
    pub fn until_text(&mut self, pane: u64, text: &str) -> RenderChanges {
        self.until(|pdu| changes(pdu, pane).filter(|c| c.rows.iter().any(|row| row.text.contains(text))))
    }

    pub fn write(&mut self, pane_id: u64, text: &str) {
        let data = text.as_bytes().to_vec();
        assert_eq!(self.ask(&Pdu::WriteToPane { pane_id, data }), Pdu::UnitResponse);
    }
}

pub fn changes(pdu: &Pdu, pane: u64) -> Option<RenderChanges> {
    match pdu {
        Pdu::GetPaneRenderChangesResponse { changes } if changes.pane_id == pane => Some((**changes).clone()),
        _ => None,
    }
}
