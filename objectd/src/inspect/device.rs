//! A device, opened for reading only.

use super::InspectError;
use crate::format::{FormatError, SegmentClass, SegmentHeader, Superblock};
use crate::index::{Applied, Index, IndexBudget};
use crate::io::{BLOCK, BlockBuf, BlockIo, FileId, open_read_only};
use crate::state::Rule;
use futures_executor::block_on;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SUPER: &str = "SUPER";
const INDEX_CACHE: usize = 64 << 20;
const INDEX_BUFFER: usize = 1 << 20;

/// A device that is looked into.
pub struct Device {
    pub(super) io: Arc<dyn BlockIo>,
    superblock: [Result<Superblock, FormatError>; 2],
    pub(super) files: BTreeMap<u32, SegmentFile>,
    pub(super) index: Option<Index>,
    pub(super) applied: Applied,
    pub(super) rule: Rule,
}

/// A segment's file.
pub struct SegmentFile {
    pub(super) file: FileId,
    /// Its length.
    pub blocks: u32,
    /// What its first block says.
    pub header: Header,
}

/// What the first block of a segment says.
#[derive(Debug)]
pub enum Header {
    /// Nothing: it is prepared, and was never used.
    Unused,
    /// What it is used for, or was until it was freed.
    Whole(SegmentHeader),
    /// Not what was written.
    Damaged(FormatError),
    /// The disk does not give it.
    Unreadable(io::Error),
}

impl SegmentFile {
    /// The header, if the segment is in use.
    pub fn in_use(&self) -> Option<&SegmentHeader> {
        match &self.header {
            Header::Whole(header) if header.class != SegmentClass::Free => Some(header),
            _ => None,
        }
    }
}

impl Device {
    /// Opens the device in a directory, which is the device's or `pack` in it.
    pub fn open(dir: &Path) -> Result<Device, InspectError> {
        let pack = dir.join("pack");
        let dir = if pack.join("log").is_dir() { pack } else { dir.to_owned() };
        let io = match open_read_only(&dir.join("log")) {
            Ok(io) => io,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(InspectError::NoDevice(dir));
            }
            Err(error) => return Err(InspectError::Disk(error)),
        };
        let budget = IndexBudget::new(INDEX_CACHE, INDEX_BUFFER);
        Device::on(io, &dir.join("index"), &budget)
    }

    /// The same on a disk that is open. The index is opened last: a segment is freed only when an index is durable that
    /// does not name it, so this one names nothing that was free when the segments were looked at, unless they have
    /// changed since, which can be seen.
    pub fn on(
        io: Arc<dyn BlockIo>,
        index_dir: &Path,
        budget: &IndexBudget,
    ) -> Result<Device, InspectError> {
        let names = block_on(io.list()).map_err(InspectError::Disk)?;
        let superblock = if names.iter().any(|name| name == SUPER) {
            superblocks(&io)
        } else {
            [Err(FormatError::Short), Err(FormatError::Short)]
        };
        let device_id = superblock.iter().flatten().next().map(|superblock| superblock.device_id);
        let mut files = BTreeMap::new();
        for id in names.iter().filter_map(|name| SegmentHeader::parse_file_name(name)) {
            let opened = block_on(io.open(&SegmentHeader::file_name(id)));
            let (file, blocks) = opened.map_err(InspectError::Disk)?;
            let header = match read_header(&io, file) {
                Header::Whole(header)
                    if header.id != id
                        || header.blocks != blocks
                        || device_id.is_some_and(|device| device != header.device_id) =>
                {
                    Header::Damaged(FormatError::Misplaced)
                }
                header => header,
            };
            files.insert(id, SegmentFile { file, blocks, header });
        }
        if files.is_empty() && !names.iter().any(|name| name == SUPER) {
            let dir = index_dir.parent().map_or(PathBuf::new(), Path::to_owned);
            return Err(InspectError::NoDevice(dir));
        }
        let index = Index::open_read_only(index_dir, budget)?;
        let applied = match &index {
            Some(index) => index.applied()?.unwrap_or_default(),
            None => Applied::default(),
        };
        Ok(Device { io, superblock, files, index, applied, rule: Rule::Replicated })
    }

    /// Both copies of the superblock.
    pub fn superblocks(&self) -> &[Result<Superblock, FormatError>; 2] {
        &self.superblock
    }

    /// The superblock, if a copy of it holds.
    pub fn superblock(&self) -> Option<&Superblock> {
        self.superblock.iter().flatten().next()
    }

    /// All segments, by number.
    pub fn segments(&self) -> impl Iterator<Item = (u32, &SegmentFile)> {
        self.files.iter().map(|(id, file)| (*id, file))
    }

    /// Whether there is an index that can be read.
    pub fn has_index(&self) -> bool {
        self.index.is_some()
    }

    /// Segments in use of a class, in the order in which they came into use.
    pub(super) fn of_class(&self, class: SegmentClass) -> Vec<&SegmentHeader> {
        let in_use = self.files.values().filter_map(SegmentFile::in_use);
        let mut headers: Vec<&SegmentHeader> =
            in_use.filter(|header| header.class == class).collect();
        headers.sort_by_key(|header| header.epoch);
        headers
    }

    /// All frames from this one on stood in segments in use when the last header was written.
    pub(super) fn unbroken_from(&self) -> u64 {
        let from = |file: &SegmentFile| match &file.header {
            Header::Whole(header) => header.first_lsn.saturating_sub(u64::from(header.unbroken)),
            _ => 0,
        };
        self.files.values().map(from).max().unwrap_or(0).max(1)
    }

    /// Reads blocks of a segment.
    pub(super) fn read(&self, segment: u32, at: u32, blocks: u32) -> io::Result<BlockBuf> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no such segment");
        let file = self.files.get(&segment).ok_or_else(missing)?;
        match at.checked_add(blocks) {
            Some(end) if end <= file.blocks => block_on(self.io.read(file.file, at, blocks)),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "that is behind the segment's end",
            )),
        }
    }

    /// Whether a segment is still used as it was when the device was opened.
    pub(super) fn is_unchanged(&self, segment: u32) -> bool {
        let Some(file) = self.files.get(&segment) else {
            // It may have been made since.
            return block_on(self.io.open(&SegmentHeader::file_name(segment))).is_err();
        };
        match (&file.header, read_header(&self.io, file.file)) {
            (Header::Whole(then), Header::Whole(now)) => then.epoch == now.epoch,
            (Header::Unused, Header::Whole(_)) => false,
            _ => true,
        }
    }
}

fn superblocks(io: &Arc<dyn BlockIo>) -> [Result<Superblock, FormatError>; 2] {
    let read = block_on(async {
        let (file, _) = io.open(SUPER).await?;
        io.read(file, 0, 2).await
    });
    match read {
        Ok(blocks) => {
            let (first, second) = blocks.as_ref().split_at(BLOCK);
            [Superblock::decode(first), Superblock::decode(second)]
        }
        Err(_) => [Err(FormatError::Short), Err(FormatError::Short)],
    }
}

fn read_header(io: &Arc<dyn BlockIo>, file: FileId) -> Header {
    match block_on(io.read(file, 0, 1)) {
        Err(error) => Header::Unreadable(error),
        Ok(block) => match SegmentHeader::decode(block.as_ref()) {
            Ok(Some(header)) => Header::Whole(header),
            Ok(None) => Header::Unused,
            Err(error) => Header::Damaged(error),
        },
    }
}
