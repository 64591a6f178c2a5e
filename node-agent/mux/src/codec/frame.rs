//! Frames: where one message ends and the next begins.
//!
//! Constraints: the length comes from outside and is capped before a byte is kept for it; a compressed payload is
//! decompressed piece by piece into a capped buffer (the sender writes no content size, and a size would be hearsay
//! anyway), with a capped window; a frame that is cut in two by the socket is the normal case.
//!
//! Format: `tagged length` (LEB128 of a u64: the low 63 bits count the bytes that follow, bit 63 says that the payload
//! is zstd), `serial` (LEB128), `ident` (LEB128), payload.
//!
//! After an error the stream has no known next frame: the connection must be dropped.

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::wire::put_unsigned;

/// No frame and no decompressed payload is larger than this, in bytes, unless a reader is told otherwise.
pub const MAX_FRAME: usize = 64 << 20;

/// Payloads up to this size are never compressed, in bytes.
const COMPRESS_ABOVE: usize = 32;
const COMPRESSED: u64 = 1 << 63;
/// Largest zstd window accepted: 16 MiB. The level that servers use needs 2 MiB.
const MAX_WINDOW_LOG: u32 = 24;
/// Decompression grows its buffer in these steps.
const CHUNK: usize = 64 << 10;
/// Buffers larger than this are given back when they fall empty.
const KEEP: usize = 1 << 20;

/// A stream that cannot be cut into frames any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame header that is not a number")]
    BadHeader,
    #[error("a frame of {length} bytes, the limit is {limit}")]
    TooLarge { length: u64, limit: usize },
    #[error("a frame too short for its own header")]
    TooShort,
    #[error("a compressed payload larger than the limit of {limit} bytes")]
    InflatesTooFar { limit: usize },
    #[error("a compressed payload that does not decompress: {0}")]
    BadCompression(String),
}

/// One frame, payload decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// 0 = a push; else the number of the request.
    pub serial: u64,
    /// Which message, see [`super::Pdu::ident`].
    pub ident: u64,
    pub payload: &'a [u8],
    pub compressed: bool,
    /// Counted from 0 on this stream.
    pub number: u64,
    /// Where the frame begins in the stream, in bytes.
    pub offset: u64,
    /// Bytes of the whole frame as it came.
    pub wire_length: usize,
}

/// Cuts a byte stream into frames. Feed it with [`Self::extend`], then take frames until there is none.
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were handed out already.
    consumed: usize,
    inflated: Vec<u8>,
    decoder: Option<Decoder<'static>>,
    limit: usize,
    number: u64,
    offset: u64,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::with_limit(MAX_FRAME)
    }
}

impl std::fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameReader")
            .field("number", &self.number)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

struct Header {
    compressed: bool,
    serial: u64,
    ident: u64,
    /// Both relative to the start of the frame.
    payload_start: usize,
    end: usize,
}

impl FrameReader {
    /// A reader that refuses frames, and payloads, above `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            consumed: 0,
            inflated: Vec::new(),
            decoder: None,
            limit,
            number: 0,
            offset: 0,
        }
    }

    /// Adds bytes as they came from the stream.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.consumed == self.buffer.len() {
            self.buffer.clear();
            self.consumed = 0;
            if self.buffer.capacity() > KEEP {
                self.buffer.shrink_to(CHUNK);
            }
        } else if self.consumed > self.buffer.len() / 2 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The number of the next frame and where it begins: for reports about a frame that failed.
    pub fn position(&self) -> (u64, u64) {
        (self.number, self.offset)
    }

    /// True when a frame has begun and not ended.
    pub fn is_mid_frame(&self) -> bool {
        self.consumed < self.buffer.len()
    }

    /// The next frame, or `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some(header) = parse_header(&self.buffer[self.consumed..], self.limit)? else { return Ok(None) };
        let start = self.consumed;
        let raw = start + header.payload_start..start + header.end;
        if header.compressed {
            if self.inflated.capacity() > KEEP {
                self.inflated = Vec::new();
            }
            inflate(&mut self.decoder, &self.buffer[raw.clone()], &mut self.inflated, self.limit)?;
        }
        let (number, offset) = self.position();
        self.consumed += header.end;
        self.number += 1;
        self.offset += header.end as u64;
        Ok(Some(Frame {
            serial: header.serial,
            ident: header.ident,
            payload: if header.compressed { &self.inflated } else { &self.buffer[raw] },
            compressed: header.compressed,
            number,
            offset,
            wire_length: header.end,
        }))
    }
}

fn parse_header(bytes: &[u8], limit: usize) -> Result<Option<Header>, FrameError> {
    let Some((tagged, body_start)) = leading_number(bytes, 0)? else { return Ok(None) };
    let length = tagged & !COMPRESSED;
    if length > limit as u64 {
        return Err(FrameError::TooLarge { length, limit });
    }
    // Not above the limit, so it fits; the sum cannot overflow either.
    let end = body_start + length as usize;
    if bytes.len() < end {
        return Ok(None);
    }
    let frame = &bytes[..end];
    let (serial, at) = leading_number(frame, body_start)?.ok_or(FrameError::TooShort)?;
    let (ident, payload_start) = leading_number(frame, at)?.ok_or(FrameError::TooShort)?;
    Ok(Some(Header { compressed: tagged & COMPRESSED != 0, serial, ident, payload_start, end }))
}

/// A LEB128 number at `at` and where it ends; `None` when the bytes end first.
fn leading_number(bytes: &[u8], at: usize) -> Result<Option<(u64, usize)>, FrameError> {
    let mut value = 0_u64;
    for (index, &byte) in bytes[at..].iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        if index == 9 && byte > 1 {
            return Err(FrameError::BadHeader);
        }
        value |= part << (7 * index);
        if byte < 0x80 {
            return Ok(Some((value, at + index + 1)));
        }
    }
    Ok(None)
}

fn inflate(
    decoder: &mut Option<Decoder<'static>>,
    data: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), FrameError> {
    let bad = |error: std::io::Error| FrameError::BadCompression(error.to_string());
    let decoder = match decoder {
        Some(decoder) => {
            decoder.reinit().map_err(bad)?;
            decoder
        }
        None => {
            let mut fresh = Decoder::new().map_err(bad)?;
            fresh.set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(MAX_WINDOW_LOG)).map_err(bad)?;
            decoder.insert(fresh)
        }
    };
    out.clear();
    let mut input = InBuffer::around(data);
    loop {
        let filled = out.len();
        if filled > limit {
            return Err(FrameError::InflatesTooFar { limit });
        }
        // One byte more than allowed, so that too much shows.
        let room = CHUNK.min(limit + 1 - filled);
        out.resize(filled + room, 0);
        let mut output = OutBuffer::around(&mut out[filled..]);
        let expected = decoder.run(&mut input, &mut output).map_err(bad)?;
        let written = output.pos();
        out.truncate(filled + written);
        if expected == 0 {
            break;
        }
        if input.pos() == data.len() && written < room {
            return Err(FrameError::BadCompression("ends too early".to_owned()));
        }
    }
    if out.len() > limit {
        return Err(FrameError::InflatesTooFar { limit });
    }
    if input.pos() < data.len() {
        return Err(FrameError::BadCompression("bytes after its end".to_owned()));
    }
    Ok(())
}

/// Appends one uncompressed frame. Servers take requests in this form whatever their size.
pub fn put_frame(out: &mut Vec<u8>, serial: u64, ident: u64, payload: &[u8]) {
    put_tagged(out, serial, ident, payload, 0);
}

fn put_tagged(out: &mut Vec<u8>, serial: u64, ident: u64, data: &[u8], tag: u64) {
    let mut head = Vec::with_capacity(20);
    put_unsigned(&mut head, serial);
    put_unsigned(&mut head, ident);
    put_unsigned(out, (head.len() + data.len()) as u64 | tag);
    out.extend_from_slice(&head);
    out.extend_from_slice(data);
}

/// Writes frames as a server does: payloads above 32 bytes are compressed when that makes them smaller.
pub struct FrameWriter {
    compressor: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
}

impl std::fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameWriter")
    }
}

impl FrameWriter {
    /// Fails only when zstd cannot get memory for its context.
    pub fn new() -> std::io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
        // Real servers stream, so they write no content size.
        compressor.include_contentsize(false)?;
        Ok(Self { compressor, packed: Vec::new() })
    }

    /// Appends one frame.
    pub fn put(&mut self, out: &mut Vec<u8>, serial: u64, ident: u64, payload: &[u8]) {
        if payload.len() > COMPRESS_ABOVE {
            self.packed.resize(zstd::zstd_safe::compress_bound(payload.len()), 0);
            match self.compressor.compress_to_buffer(payload, self.packed.as_mut_slice()) {
                Ok(size) if size < payload.len() => {
                    put_tagged(out, serial, ident, &self.packed[..size], COMPRESSED);
                    return;
                }
                // Not smaller, or no memory: uncompressed is always right.
                Ok(_) | Err(_) => {}
            }
        }
        put_tagged(out, serial, ident, payload, 0);
    }
}
