//! Payload bytes: reading and writing, field by field.
//!
//! The payload of a frame is positional: no names, no tags, no lengths but those of strings and lists. One wrong step
//! and everything after it is nonsense, so a reader never guesses: every number is range-checked, every length is
//! compared with what is left before anything is allocated for it, and bytes left over at the end are an error of their
//! own (they mean that the layout is not the one we know).
//!
//! Format: unsigned numbers are LEB128, signed ones sign-extended LEB128, single bytes and booleans are themselves,
//! floats are four little-endian bytes; strings and lists begin with their count; an option is a byte 0, or 1 and the
//! value; enums are a variant number and its fields.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Codec;

/// A list of anything is never longer than this. What grows large on this wire (rows, cells) has its own limits.
const MAX_ITEMS: u64 = 1 << 20;

/// What was wrong with a payload, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset} of the payload: {problem}")]
pub struct DecodeError {
    /// The field that was being read.
    pub what: &'static str,
    /// Byte offset in the (decompressed) payload.
    pub offset: usize,
    pub problem: Problem,
}

/// The kinds of damage a payload can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("ends too early")]
    Truncated,
    #[error("a number longer than its type")]
    NumberTooLong,
    #[error("a number out of range")]
    OutOfRange,
    #[error("a length of {0} with fewer bytes left")]
    LengthBeyondEnd(u64),
    #[error("{0} items, more than any server sends")]
    TooMany(u64),
    #[error("text that is not UTF-8")]
    NotUtf8,
    #[error("variant {0} is not known")]
    UnknownVariant(u64),
    #[error("nested too deeply")]
    TooDeep,
    #[error("message number {0} is not known")]
    UnknownIdent(u64),
    #[error("{0} bytes left over: the layout is not the expected one")]
    LeftOver(usize),
}

/// Reads one payload from front to back.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(crate) codec: Codec,
    /// How deep in a pane tree we are.
    pub(crate) depth: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], codec: Codec) -> Self {
        Self { bytes, at: 0, codec, depth: 0 }
    }

    pub(crate) fn error(&self, problem: Problem) -> DecodeError {
        DecodeError { what: "", offset: self.at, problem }
    }

    /// What has not been read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Bytes from an earlier [`Self::offset`] up to here.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        match self.bytes.get(self.at) {
            Some(&byte) => {
                self.at += 1;
                Ok(byte)
            }
            None => Err(self.error(Problem::Truncated)),
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest().get(..length) {
            Some(slice) => {
                self.at += length;
                Ok(slice)
            }
            None => Err(self.error(Problem::LengthBeyondEnd(length as u64))),
        }
    }

    #[inline]
    pub(crate) fn unsigned(&mut self) -> Result<u64, DecodeError> {
        let first = self.byte()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.unsigned_rest(u64::from(first & 0x7f)) }
    }

    fn unsigned_rest(&mut self, mut value: u64) -> Result<u64, DecodeError> {
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(self.error(Problem::NumberTooLong));
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error(Problem::NumberTooLong))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, DecodeError> {
        let mut value: i64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte carries one bit, repeated as the sign.
            if shift == 63 && byte != 0x00 && byte != 0x7f {
                return Err(self.error(Problem::NumberTooLong));
            }
            value |= i64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let used = shift + 7;
                if used < 64 && byte & 0x40 != 0 {
                    value |= -1 << used;
                }
                return Ok(value);
            }
        }
        Err(self.error(Problem::NumberTooLong))
    }

    /// A byte length or item count: an unsigned number that fits the address space.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, DecodeError> {
        let value = self.unsigned()?;
        usize::try_from(value).map_err(|_| self.error(Problem::LengthBeyondEnd(value)))
    }

    /// The count of a list whose items take at least `min_size` bytes each: refused before anything is allocated when
    /// so many cannot follow, or when it is above `limit`.
    pub(crate) fn count(&mut self, min_size: usize, limit: u64) -> Result<usize, DecodeError> {
        let count = self.unsigned()?;
        if count > (self.rest().len() / min_size.max(1)) as u64 {
            return Err(self.error(Problem::LengthBeyondEnd(count)));
        }
        if count > limit {
            return Err(self.error(Problem::TooMany(count)));
        }
        // At most the number of bytes left.
        Ok(count as usize)
    }

    pub(crate) fn string(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.error(Problem::NotUtf8))
    }

    /// Reads a field and names it in the error, unless an inner one has its name already.
    pub(crate) fn field<T: Wire>(&mut self, what: &'static str) -> Result<T, DecodeError> {
        T::read(self)
            .map_err(|error| if error.what.is_empty() { DecodeError { what, ..error } } else { error })
    }

    pub(crate) fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(DecodeError { what, offset: self.at, problem: Problem::LeftOver(left) }),
        }
    }
}

/// Writes one payload.
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) codec: Codec,
}

impl Writer {
    pub(crate) fn new(codec: Codec) -> Self {
        Self { bytes: Vec::new(), codec }
    }

    #[inline]
    pub(crate) fn unsigned(&mut self, value: u64) {
        put_unsigned(&mut self.bytes, value);
    }

    pub(crate) fn signed(&mut self, mut value: i64) {
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            if (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0) {
                self.bytes.push(low);
                return;
            }
            self.bytes.push(low | 0x80);
        }
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.unsigned(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

/// Appends an unsigned LEB128 number.
#[inline]
pub(crate) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A type that has one form on the wire (per codec).
pub(crate) trait Wire: Sized {
    /// The fewest bytes that a value can take.
    const MIN_SIZE: usize = 1;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer);

    /// A list of these: its count and the items, unless the type has a form of its own.
    fn read_list(reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let count = reader.count(Self::MIN_SIZE, MAX_ITEMS)?;
        (0..count).map(|_| Self::read(reader)).collect()
    }
    fn write_list(items: &[Self], writer: &mut Writer) {
        writer.unsigned(items.len() as u64);
        for item in items {
            item.write(writer);
        }
    }
}

impl Wire for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(reader.error(Problem::UnknownVariant(u64::from(other)))),
        }
    }
    fn write(&self, writer: &mut Writer) {
        writer.bytes.push(u8::from(*self));
    }
}

impl Wire for u8 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.byte()
    }
    fn write(&self, writer: &mut Writer) {
        writer.bytes.push(*self);
    }
    fn read_list(reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let length = reader.length()?;
        reader.take(length).map(<[u8]>::to_vec)
    }
}

macro_rules! unsigned_wire {
    ($($ty:ty),*) => {$(
        impl Wire for $ty {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let value = reader.unsigned()?;
                Self::try_from(value).map_err(|_| reader.error(Problem::OutOfRange))
            }
            fn write(&self, writer: &mut Writer) {
                writer.unsigned(u64::from(*self));
            }
        }
    )*};
}
unsigned_wire!(u16, u32, u64);

impl Wire for i64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.signed()
    }
    fn write(&self, writer: &mut Writer) {
        writer.signed(*self);
    }
}

impl Wire for i32 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let value = reader.signed()?;
        Self::try_from(value).map_err(|_| reader.error(Problem::OutOfRange))
    }
    fn write(&self, writer: &mut Writer) {
        writer.signed(i64::from(*self));
    }
}

impl Wire for f32 {
    const MIN_SIZE: usize = 4;
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.take(4)?;
        Ok(Self::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
    fn write(&self, writer: &mut Writer) {
        writer.bytes.extend_from_slice(&self.to_le_bytes());
    }
}

impl Wire for char {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let value = u32::read(reader)?;
        Self::from_u32(value).ok_or_else(|| reader.error(Problem::OutOfRange))
    }
    fn write(&self, writer: &mut Writer) {
        writer.unsigned(u64::from(u32::from(*self)));
    }
}

impl Wire for String {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.string().map(str::to_owned)
    }
    fn write(&self, writer: &mut Writer) {
        writer.string(self);
    }
}

impl<T: Wire> Wire for Box<T> {
    const MIN_SIZE: usize = T::MIN_SIZE;
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::read(reader).map(Self::new)
    }
    fn write(&self, writer: &mut Writer) {
        T::write(self, writer);
    }
}

impl<T: Wire> Wire for Option<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if bool::read(reader)? { T::read(reader).map(Some) } else { Ok(None) }
    }
    fn write(&self, writer: &mut Writer) {
        self.is_some().write(writer);
        if let Some(value) = self {
            value.write(writer);
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::read_list(reader)
    }
    fn write(&self, writer: &mut Writer) {
        T::write_list(self, writer);
    }
}

impl<T: Wire, const N: usize> Wire for [T; N]
where
    [T; N]: Default,
{
    const MIN_SIZE: usize = N * T::MIN_SIZE;
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut items = Self::default();
        for item in &mut items {
            *item = T::read(reader)?;
        }
        Ok(items)
    }
    fn write(&self, writer: &mut Writer) {
        for item in self {
            item.write(writer);
        }
    }
}

impl<T: Wire> Wire for Range<T> {
    const MIN_SIZE: usize = 2 * T::MIN_SIZE;
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(T::read(reader)?..T::read(reader)?)
    }
    fn write(&self, writer: &mut Writer) {
        self.start.write(writer);
        self.end.write(writer);
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(K::MIN_SIZE + V::MIN_SIZE, MAX_ITEMS)?;
        (0..count).map(|_| Ok((K::read(reader)?, V::read(reader)?))).collect()
    }
    fn write(&self, writer: &mut Writer) {
        writer.unsigned(self.len() as u64);
        for (key, value) in self {
            key.write(writer);
            value.write(writer);
        }
    }
}

/// A struct whose fields stand on the wire in the order of their declaration.
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[$doc])* pub $field: $ty),* }

        impl $crate::codec::wire::Wire for $name {
            const MIN_SIZE: usize = 0 $(+ <$ty as $crate::codec::wire::Wire>::MIN_SIZE)*;

            fn read(
                reader: &mut $crate::codec::wire::Reader<'_>,
            ) -> Result<Self, $crate::codec::wire::DecodeError> {
                Ok(Self { $($field: reader.field(concat!(stringify!($name), ".", stringify!($field)))?),* })
            }

            fn write(&self, writer: &mut $crate::codec::wire::Writer) {
                $(self.$field.write(writer);)*
            }
        }
    };
}

/// An enum of bare words, numbered from 0 in the order of their declaration.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),* }

        impl $crate::codec::wire::Wire for $name {
            fn read(
                reader: &mut $crate::codec::wire::Reader<'_>,
            ) -> Result<Self, $crate::codec::wire::DecodeError> {
                const ALL: &[$name] = &[$($name::$variant),*];
                let number = reader.unsigned()?;
                usize::try_from(number)
                    .ok()
                    .and_then(|at| ALL.get(at).copied())
                    .ok_or_else(|| reader.error($crate::codec::wire::Problem::UnknownVariant(number)))
            }

            fn write(&self, writer: &mut $crate::codec::wire::Writer) {
                writer.unsigned(*self as u64);
            }
        }
    };
}

pub(crate) use {record, words};
