//! The figures on paper.

use std::fmt;

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    /// Recorded sessions.
    pub(crate) trained_on: usize,
    pub(crate) not_trained_on: usize,
    /// Number of the newest that both ends have; 0 = none.
    pub(crate) shipped: u32,
    pub(crate) shipped_bytes: usize,
    pub(crate) new_bytes: usize,
    pub(crate) measured: Vec<Measured>,
    pub(crate) costs: Vec<Cost>,
}

/// Bytes per byte of text.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) what: String,
    pub(crate) block_kib: usize,
    /// In bytes.
    pub(crate) text: usize,
    /// Records as they lie in the spool, without a dictionary.
    pub(crate) plain: f64,
    /// Packed, without a dictionary.
    pub(crate) packed: f64,
    /// Packed, with dictionaries, by name.
    pub(crate) with: Vec<(String, f64)>,
}

/// Milliseconds of one core per MiB of text.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) block_kib: usize,
    /// Plain records, no dictionary.
    pub(crate) plain_ms: f64,
    /// Packed, with the dictionary that is shipped.
    pub(crate) packed_ms: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trained_on, not_trained_on, shipped, shipped_bytes, new_bytes, .. } = self;
        writeln!(
            f,
            "dictionary {shipped} of {shipped_bytes} bytes is shipped; a new one has {new_bytes}, trained on {trained_on} sessions, not on {not_trained_on}"
        )?;
        writeln!(f, "  bytes per byte of text")?;
        for Measured { what, block_kib, text, plain, packed, with } in &self.measured {
            write!(f, "  {what:<24} {block_kib:>2} KiB  plain {plain:.3}  packed {packed:.3}")?;
            for (name, ratio) in with {
                write!(f, "  {name} {ratio:.3}")?;
            }
            writeln!(f, "  ({text} bytes of text)")?;
        }
        for Cost { block_kib, plain_ms, packed_ms } in &self.costs {
            writeln!(
                f,
                "  node's time, {block_kib} KiB: plain without a dictionary {plain_ms:.2} ms/MiB, packed with it {packed_ms:.2} ms/MiB"
            )?;
        }
        Ok(())
    }
}
