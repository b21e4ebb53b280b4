//! What a directory takes of the disk, and what this process has moved.

use anyhow::Context;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that this process has had read from disks, and written to them, so far (proc(5), `/proc/pid/io`). Writes
/// of cached pages count when the page is made dirty.
pub fn moved() -> anyhow::Result<(u64, u64)> {
    let told = std::fs::read_to_string("/proc/self/io")?;
    let of = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.trim_start_matches(':').trim().parse().ok());
        number.with_context(|| format!("/proc/self/io does not tell {name}"))
    };
    Ok((of("read_bytes")?, of("write_bytes")?))
}

/// Bytes that a directory takes, with all below it.
pub fn taken(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for file in files(dir)? {
        // A file may go while this looks.
        bytes += file.metadata().map_or(0, |metadata| metadata.blocks() * 512);
    }
    Ok(bytes)
}

/// Makes the kernel forget cached pages of all files below a directory, so that the next reads are cold.
pub fn forget_cached(dir: &Path) -> anyhow::Result<()> {
    for file in files(dir)? {
        let file = File::open(file)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

fn files(dir: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let (mut found, mut waiting) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => waiting.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    Ok(found)
}
