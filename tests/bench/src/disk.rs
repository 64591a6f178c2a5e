//! What one durable append costs on the disk in use.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Appends 512 bytes and calls fdatasync, this many times, in a file of `dir`.
pub(crate) fn fsync_times(dir: &Path, times: usize) -> anyhow::Result<Vec<Duration>> {
    let path = dir.join("fsync-probe");
    let mut file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let block = [0x5a_u8; 512];
    let mut samples = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        samples.push(start.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(samples)
}

/// Whether the folder lies in memory: then fsync costs nothing and the figure means little.
pub(crate) fn is_memory(dir: &Path) -> anyhow::Result<bool> {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let stat = rustix::fs::statfs(dir).with_context(|| format!("cannot ask about {}", dir.display()))?;
    Ok(stat.f_type as i64 == TMPFS_MAGIC)
}
