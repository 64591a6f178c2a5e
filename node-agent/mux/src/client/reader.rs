//! The task that reads a connection: answers to their callers, pushes to the consumer.
//!
//! The consumer's queue is bounded. When it is full the reader stops reading, the socket fills, and the server folds
//! what it has to say into one catch-up push per pane: that is the backpressure of this protocol, and nothing is lost
//! by it. One exception: while a request waits for its answer the reader reads on, because the consumer may be the very
//! task that waits. What comes meanwhile is kept here, up to [`READ_AHEAD`] events.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::link::Link;
use crate::codec::{Codec, Frame, FrameReader, Pdu, Problem};
use crate::event::{CloseReason, Damage, MuxEvent};

/// Events kept for a consumer that waits for an answer itself. Reached only when a server sends this much before it
/// answers; the request then runs into its timeout.
const READ_AHEAD: usize = 4096;
/// Bytes taken from the socket at once.
const CHUNK: usize = 64 << 10;

pub(crate) struct Reader<R> {
    pub(crate) stream: R,
    pub(crate) frames: FrameReader,
    pub(crate) codec: Codec,
    pub(crate) link: Arc<Link>,
    pub(crate) events: mpsc::Sender<MuxEvent>,
    /// Read, not yet handed over.
    pub(crate) ahead: VecDeque<MuxEvent>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Runs until the connection ends; the last event is [`MuxEvent::Closed`].
    pub(crate) async fn run(mut self) {
        let reason = self.read_to_the_end().await;
        let reason = self.link.close(reason);
        self.ahead.push_back(MuxEvent::Closed { reason });
        for event in self.ahead {
            if self.events.send(event).await.is_err() {
                return;
            }
        }
    }

    async fn read_to_the_end(&mut self) -> CloseReason {
        let mut chunk = vec![0; CHUNK];
        let events = self.events.clone();
        // Frames that came with the greeting.
        if let Err(reason) = self.take_frames() {
            return reason;
        }
        loop {
            self.hand_over();
            let may_read =
                self.ahead.is_empty() || (self.ahead.len() < READ_AHEAD && self.link.is_waited_for());
            tokio::select! {
                biased;
                permit = events.reserve(), if !self.ahead.is_empty() => {
                    if let (Ok(permit), Some(event)) = (permit, self.ahead.pop_front()) {
                        permit.send(event);
                    }
                }
                () = self.link.added.notified(), if !may_read => {}
                read = self.stream.read(&mut chunk), if may_read => match read {
                    Ok(0) => return CloseReason::ServerClosed,
                    Ok(length) => {
                        self.frames.extend(&chunk[..length]);
                        if let Err(reason) = self.take_frames() {
                            return reason;
                        }
                    }
                    Err(error) => return CloseReason::Io(error.to_string()),
                },
            }
        }
    }

    /// Gives the consumer what it has room for. One that has hung up gets nothing; answers still find their callers.
    fn hand_over(&mut self) {
        while let Some(event) = self.ahead.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.ahead.push_front(event);
                    return;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => self.ahead.clear(),
            }
        }
    }

    fn take_frames(&mut self) -> Result<(), CloseReason> {
        loop {
            let (number, offset) = self.frames.position();
            let malformed = |damage: Damage| CloseReason::Malformed { frame: number, offset, damage };
            match self.frames.next_frame() {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => {
                    let Frame { serial, ident, payload, .. } = frame;
                    take_message(serial, ident, payload, self.codec, &self.link, &mut self.ahead)
                        .map_err(malformed)?;
                }
                Err(error) => return Err(malformed(error.into())),
            }
        }
    }
}

/// One message to whom it belongs.
pub(crate) fn take_message(
    serial: u64,
    ident: u64,
    payload: &[u8],
    codec: Codec,
    link: &Link,
    ahead: &mut VecDeque<MuxEvent>,
) -> Result<(), Damage> {
    let pdu = match Pdu::decode(ident, payload, codec) {
        Ok(pdu) => pdu,
        Err(error) if serial == 0 && matches!(error.problem, Problem::UnknownIdent(_)) => {
            if link.count_unknown_push() == 1 {
                tracing::warn!(ident, "the mux server pushes messages of a kind that is not known here");
            }
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if serial == 0 {
        ahead.extend(MuxEvent::from_push(pdu));
        return Ok(());
    }
    if let Pdu::LivenessResponse { pane_id, is_alive } = &pdu {
        ahead.push_back(MuxEvent::Barrier { pane_id: *pane_id, alive: *is_alive });
    }
    // A caller that has given up needs no answer.
    if let Some(answer) = link.take(serial) {
        drop(answer.send(pdu));
    }
    Ok(())
}
