//! Dictionaries for compression: what blocks of records have in common, known to both ends before the first.
//!
//! Constraints: each dictionary has a number, and what stands under a number never changes; whoever ever had one can be
//! spoken to, so none is taken away; each is prepared once for the whole program, not for each block.
//!
//! Format: made by zstd's trainer from recorded sessions of agents, `wa-bench dictionary --write FILE`. zstd's own id in it is
//! [`FIRST_ID`] + number, which zstd writes into what it compresses and compares when it decompresses.
//!
//! Operation: the controller tells in its welcome which it has, and a node uses the newest of them that it has, too. A new
//! one is added below as the last, with its checksum in the test.

use std::sync::OnceLock;

use zstd::dict::{DecoderDictionary, EncoderDictionary};

/// zstd's level of compression, of blocks as of dictionaries.
pub const LEVEL: i32 = 3;
/// zstd's id of a dictionary is this plus its number: ids below are not for private use.
pub const FIRST_ID: u32 = 32_768;

/// One dictionary, and what was made ready of it.
pub struct Dictionary {
    number: u32,
    bytes: &'static [u8],
    encoder: OnceLock<Option<EncoderDictionary<'static>>>,
    decoder: OnceLock<Option<DecoderDictionary<'static>>>,
}

/// Oldest first.
static ALL: [Dictionary; 1] = [Dictionary::new(1, include_bytes!("../dictionaries/1.dict"))];

impl Dictionary {
    const fn new(number: u32, bytes: &'static [u8]) -> Self {
        Self { number, bytes, encoder: OnceLock::new(), decoder: OnceLock::new() }
    }

    /// Its name on the wire.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// As it was trained.
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// To compress with, at [`LEVEL`]. `None` when there is no memory for it.
    pub fn encoder(&self) -> Option<&EncoderDictionary<'static>> {
        self.encoder.get_or_init(|| EncoderDictionary::try_copy(self.bytes, LEVEL).ok()).as_ref()
    }

    /// To decompress with. `None` when there is no memory for it.
    pub fn decoder(&self) -> Option<&DecoderDictionary<'static>> {
        self.decoder.get_or_init(|| DecoderDictionary::try_copy(self.bytes).ok()).as_ref()
    }
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary").field("number", &self.number).finish_non_exhaustive()
    }
}

/// The numbers of all, oldest first.
pub fn numbers() -> Vec<u32> {
    ALL.iter().map(Dictionary::number).collect()
}

/// The one of this number.
pub fn find(number: u32) -> Option<&'static Dictionary> {
    ALL.iter().find(|dictionary| dictionary.number == number)
}

/// The newest of those that a peer has.
pub fn newest_of(peer: &[u32]) -> Option<&'static Dictionary> {
    ALL.iter().rev().find(|dictionary| peer.contains(&dictionary.number))
}

/// The newest of all.
pub fn newest() -> Option<&'static Dictionary> {
    ALL.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever changes a file under its number makes what others send unreadable.
    #[test]
    fn what_was_shipped_stays_as_it_was() {
        let checksums = ["e269dc3d5e267fc7889249207f3e4c40a97b42c1b5488a99b430a068a4f4fa17"];
        assert_eq!(ALL.len(), checksums.len());
        for (at, (dictionary, wanted)) in ALL.iter().zip(checksums).enumerate() {
            let sum = ring::digest::digest(&ring::digest::SHA256, dictionary.bytes);
            let sum: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(sum, wanted, "dictionary {}", dictionary.number);
            assert_eq!(dictionary.number as usize, at + 1);
            assert!(dictionary.bytes.len() <= 64 << 10);
            let id = zstd::zstd_safe::get_dict_id_from_dict(dictionary.bytes).map(u32::from);
            assert_eq!(id, Some(FIRST_ID + dictionary.number));
        }
    }

    #[test]
    fn the_newest_that_both_have_is_used() {
        assert_eq!(newest_of(&[]).map(Dictionary::number), None);
        assert_eq!(newest_of(&[0, 4_000_000]).map(Dictionary::number), None);
        let all: Vec<u32> = numbers().into_iter().chain([4_000_000]).collect();
        assert_eq!(newest_of(&all).map(Dictionary::number), newest().map(Dictionary::number));
        assert!(find(0).is_none(), "0 stands for none");
    }

    #[test]
    fn what_was_compressed_with_one_is_read_with_it_alone() {
        for dictionary in &ALL {
            let text = b"To continue this session, run codex resume".repeat(3);
            let encoder = dictionary.encoder().unwrap();
            let small =
                zstd::bulk::Compressor::with_prepared_dictionary(encoder).unwrap().compress(&text).unwrap();
            let decoder = dictionary.decoder().unwrap();
            let mut with = zstd::bulk::Decompressor::with_prepared_dictionary(decoder).unwrap();
            assert_eq!(with.decompress(&small, text.len()).unwrap(), text);
            assert!(zstd::bulk::decompress(&small, text.len()).is_err());
        }
    }
}
