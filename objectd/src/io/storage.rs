//! Files of a directory, shared by the two implementations on real disks.

use super::{BLOCK, FileId};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// An open file. Its length never changes, so it is remembered rather than asked for at every write.
pub(super) struct OpenFile {
    pub(super) file: File,
    blocks: u32,
}

/// What may be done with a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// All, past the page cache where the file system allows it.
    All { direct: bool },
    /// Nothing that leaves a trace.
    Reading,
}

/// The open files of a directory.
pub(super) struct Storage {
    dir: PathBuf,
    files: RwLock<Vec<Arc<OpenFile>>>,
    access: Access,
}

impl Storage {
    /// Opens the directory, and finds out whether its file system allows O_DIRECT.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let probe = dir.join(".direct-probe");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
        let direct = match rustix::fs::open(&probe, flags, Mode::from_raw_mode(0o600)) {
            Ok(_) => true,
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {
                tracing::warn!(dir = %dir.display(), "O_DIRECT is refused here; disk I/O goes through the page cache");
                false
            }
            Err(error) => return Err(error.into()),
        };
        std::fs::remove_file(&probe)?;
        // What a crash left half made.
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Storage::with(dir, Access::All { direct }))
    }

    /// Opens a directory that is there for reading only. Nothing in it changes, whoever else has it open.
    pub(super) fn open_read_only(dir: &Path) -> io::Result<Self> {
        std::fs::read_dir(dir)?;
        Ok(Storage::with(dir, Access::Reading))
    }

    fn with(dir: &Path, access: Access) -> Self {
        Storage { dir: dir.to_owned(), files: RwLock::default(), access }
    }

    pub(super) fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Makes the file under a temporary name, so that a crash leaves either all of it or nothing.
    pub(super) fn create(&self, name: &str, blocks: u32) -> io::Result<FileId> {
        self.check_writable()?;
        let temporary = self.dir.join(format!(".{name}.new"));
        let _ = std::fs::remove_file(&temporary);
        let made = self.make(&temporary, name, blocks);
        made.inspect_err(|_| {
            let _ = std::fs::remove_file(&temporary);
        })
    }

    fn make(&self, temporary: &Path, name: &str, blocks: u32) -> io::Result<FileId> {
        let file = self.open_file(temporary, OFlags::CREATE | OFlags::EXCL)?;
        let len = u64::from(blocks) * BLOCK as u64;
        match rustix::fs::fallocate(file.as_fd(), FallocateFlags::empty(), 0, len) {
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(len)?,
            other => other?,
        }
        file.sync_all()?;
        std::fs::rename(temporary, self.dir.join(name))?;
        File::open(&self.dir)?.sync_all()?;
        self.keep(file, blocks)
    }

    pub(super) fn open_existing(&self, name: &str) -> io::Result<(FileId, u32)> {
        let file = self.open_file(&self.dir.join(name), OFlags::empty())?;
        let blocks =
            u32::try_from(file.metadata()?.len() / BLOCK as u64).map_err(io::Error::other)?;
        Ok((self.keep(file, blocks)?, blocks))
    }

    fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        use rustix::io::Errno;
        let open = |more| {
            rustix::fs::open(path, flags | more | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))
        };
        let file = match self.access {
            Access::All { direct: true } => open(OFlags::RDWR | OFlags::DIRECT),
            Access::All { direct: false } => open(OFlags::RDWR),
            // Whether it is granted cannot be tried out beforehand without making a file.
            Access::Reading => match open(OFlags::RDONLY | OFlags::DIRECT) {
                Err(Errno::INVAL | Errno::OPNOTSUPP) => open(OFlags::RDONLY),
                other => other,
            },
        };
        Ok(file?.into())
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            Access::All { .. } => Ok(()),
            Access::Reading => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the device was opened for reading only",
            )),
        }
    }

    fn keep(&self, file: File, blocks: u32) -> io::Result<FileId> {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let id = u32::try_from(files.len()).map_err(io::Error::other)?;
        files.push(Arc::new(OpenFile { file, blocks }));
        Ok(FileId(id))
    }

    pub(super) fn file(&self, id: FileId) -> io::Result<Arc<OpenFile>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(id.0 as usize).cloned().ok_or_else(unopened)
    }

    /// The file, if a write of `blocks` blocks from `at` on lies within it.
    pub(super) fn file_to_write(
        &self,
        id: FileId,
        at: u32,
        blocks: u32,
    ) -> io::Result<Arc<OpenFile>> {
        self.check_writable()?;
        let file = self.file(id)?;
        let end = at.checked_add(blocks);
        if end.is_some_and(|end| end <= file.blocks) { Ok(file) } else { Err(past_end()) }
    }

    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

pub(super) fn unopened() -> io::Error {
    io::Error::other("no such file is open")
}

/// Files have a fixed length; a write behind it is our own mistake, and must not make them grow.
pub(super) fn past_end() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a write goes past the end of its file")
}

/// A transfer that moved fewer bytes than it was to.
pub(super) fn short(what: &str, done: usize, wanted: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the disk did {what} only {done} of {wanted} bytes"),
    )
}
