//! One process per data directory.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Held as long as the data directory is in use; released when dropped or when the process dies.
#[derive(Debug)]
pub struct DataLock(#[expect(dead_code, reason = "held for its lock")] File);

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error(
        "the data directory {0} is in use by another process; stop that one, or name another directory with --data"
    )]
    InUse(PathBuf),
    /// It cannot be written.
    #[error(
        "the data directory {path} cannot be used; it must be on a disk that can be written, by this user"
    )]
    Io {
        /// What was opened.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataLock {
    /// Makes the directory if need be, and takes it for this process.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: dir.to_owned(), source };
        // What is inside is for this user alone: listings tell names.
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("LOCK"))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(DataLock(file)),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = DataLock::take(dir.path()).expect("free");
        assert!(matches!(DataLock::take(dir.path()), Err(LockError::InUse(_))));
        drop(first);
        DataLock::take(dir.path()).expect("free again");
    }
}
