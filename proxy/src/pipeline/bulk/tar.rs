//! Archives of tar, read as they come: ustar, with the extensions of pax and of GNU for long names, large files and attributes.
//!
//! It does no I/O: bytes go in with [`TarReader::feed`], what they mean comes out of [`TarReader::next`]. Names are
//! only bytes here; nothing is ever put into a file system, so there is no path that could lead astray.

use bytes::Bytes;
use std::borrow::Cow;
use std::collections::BTreeMap;

const BLOCK: usize = 512;
/// A long name, or all attributes of one file.
const EXTENSION_BYTES_MAX: u64 = 1024 * 1024;
/// Attributes of one file that are remembered; more than the metadata of an object may have.
const ATTRIBUTES_MAX: usize = 1_000;

/// Why something is no archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TarError {
    #[error("a header is damaged, or this is no tar archive")]
    Header,
    #[error("it ends in the middle of a file")]
    Truncated,
    #[error("it is empty")]
    Empty,
    #[error("a name or the attributes of a file are too long")]
    TooLong,
    #[error("sparse files are not supported")]
    Sparse,
}

/// A regular file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
    /// Extended attributes of the file that matter to an object, by their names in pax headers.
    pub(super) attributes: BTreeMap<String, Vec<u8>>,
}

/// What the archive says next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, before more was fed.
    Hungry,
    /// A file begins.
    Entry(Entry),
    /// Some of the bytes of the file that began last.
    Data(Bytes),
    /// The archive ended, whatever follows.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    Name,
    Local,
    Global,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Extension(Extension, u64),
    Data(u64),
    Skip(u64),
    Ended,
}

/// See the module's page.
pub(super) struct TarReader {
    input: Bytes,
    state: State,
    /// A block or an extension that is not complete.
    partial: Vec<u8>,
    /// What belongs to the next file.
    long_name: Option<Vec<u8>>,
    local: BTreeMap<String, Vec<u8>>,
    /// What belongs to all that follow.
    global: BTreeMap<String, Vec<u8>>,
    /// What follows the data of the file, or of the extension, up to the next block.
    padding: u64,
    begun: bool,
}

/// Sizes fill blocks.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

impl TarReader {
    pub(super) fn new() -> Self {
        TarReader {
            input: Bytes::new(),
            state: State::Header,
            partial: Vec::new(),
            long_name: None,
            local: BTreeMap::new(),
            global: BTreeMap::new(),
            padding: 0,
            begun: false,
        }
    }

    /// The next bytes of the archive, once it is [`Step::Hungry`].
    pub(super) fn feed(&mut self, input: Bytes) {
        self.begun |= !input.is_empty();
        if self.input.is_empty() {
            self.input = input;
        } else {
            self.input = [&self.input[..], &input[..]].concat().into();
        }
    }

    /// Whether the archive may end here. One without an end mark may, between two files.
    pub(super) fn finish(&self) -> Result<(), TarError> {
        match self.state {
            State::Ended => Ok(()),
            _ if !self.begun => Err(TarError::Empty),
            // Some do not fill the last block.
            State::Skip(left) if left < BLOCK as u64 => Ok(()),
            State::Header if self.partial.is_empty() && self.local.is_empty() => Ok(()),
            _ => Err(TarError::Truncated),
        }
    }

    /// What the archive says next.
    pub(super) fn next(&mut self) -> Result<Step, TarError> {
        loop {
            match self.state {
                State::Ended => return Ok(Step::End),
                State::Skip(0) | State::Data(0) => self.pass_over(),
                _ if self.input.is_empty() => return Ok(Step::Hungry),
                State::Header => {
                    if !self.collect(BLOCK as u64) {
                        return Ok(Step::Hungry);
                    }
                    let block = std::mem::take(&mut self.partial);
                    if let Some(entry) = self.header(&block)? {
                        return Ok(Step::Entry(entry));
                    }
                }
                State::Extension(kind, size) => {
                    if !self.collect(size) {
                        return Ok(Step::Hungry);
                    }
                    let bytes = std::mem::take(&mut self.partial);
                    self.extend(kind, bytes)?;
                    self.state = State::Skip(self.padding);
                }
                State::Data(left) => {
                    let piece = self.take(left);
                    self.state = State::Data(left - piece.len() as u64);
                    return Ok(Step::Data(piece));
                }
                State::Skip(left) => {
                    let skipped = self.take(left).len() as u64;
                    self.state = State::Skip(left - skipped);
                }
            }
        }
    }

    fn pass_over(&mut self) {
        self.state = match self.state {
            State::Data(_) => State::Skip(self.padding),
            _ => State::Header,
        };
        if matches!(self.state, State::Skip(0)) {
            self.state = State::Header;
        }
    }

    fn take(&mut self, most: u64) -> Bytes {
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(self.input.len());
        self.input.split_to(length)
    }

    /// Whether so many bytes are together.
    fn collect(&mut self, wanted: u64) -> bool {
        let piece = self.take(wanted - self.partial.len() as u64);
        self.partial.extend_from_slice(&piece);
        self.partial.len() as u64 == wanted
    }

    fn header(&mut self, block: &[u8]) -> Result<Option<Entry>, TarError> {
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::Ended;
            return Ok(None);
        }
        let header = Header::parse(block).ok_or(TarError::Header)?;
        let extension = match header.kind {
            b'L' => Some(Extension::Name),
            b'x' | b'X' => Some(Extension::Local),
            b'g' => Some(Extension::Global),
            b'S' => return Err(TarError::Sparse),
            _ => None,
        };
        if let Some(extension) = extension {
            if header.size > EXTENSION_BYTES_MAX {
                return Err(TarError::TooLong);
            }
            self.padding = padding(header.size);
            self.state = State::Extension(extension, header.size);
            if header.size == 0 {
                self.state = State::Header;
            }
            return Ok(None);
        }
        if header.kind == b'K' {
            // The long target of a link, which is no file.
            self.state = State::Skip(header.size.saturating_add(padding(header.size)));
            return Ok(None);
        }
        self.entry(&header)
    }

    fn entry(&mut self, header: &Header<'_>) -> Result<Option<Entry>, TarError> {
        let long_name = self.long_name.take();
        let mut attributes = std::mem::take(&mut self.local);
        for (name, value) in &self.global {
            attributes.entry(name.clone()).or_insert_with(|| value.clone());
        }
        if attributes.keys().any(|name| name.starts_with("GNU.sparse")) {
            return Err(TarError::Sparse);
        }
        let size = match attributes.remove("size") {
            None => header.size,
            Some(size) => decimal(&size).ok_or(TarError::Header)?,
        };
        let path = attributes.remove("path").or(long_name);
        let path = path.unwrap_or_else(|| header.path().into_owned());
        // Before there were kinds, a directory was a name with a slash at its end.
        let is_directory = header.kind == 0 && path.ends_with(b"/");
        match header.kind {
            // These have no data, whatever their size says.
            b'1'..=b'6' => self.state = State::Header,
            0 | b'0' | b'7' if !is_directory => {
                self.padding = padding(size);
                self.state = State::Data(size);
                return Ok(Some(Entry { path, size, attributes }));
            }
            _ => self.state = State::Skip(size.saturating_add(padding(size))),
        }
        Ok(None)
    }

    fn extend(&mut self, kind: Extension, bytes: Vec<u8>) -> Result<(), TarError> {
        let known = match kind {
            Extension::Name => {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                self.long_name = Some(bytes[..end].to_vec());
                return Ok(());
            }
            Extension::Local => &mut self.local,
            Extension::Global => &mut self.global,
        };
        for (name, value) in pax_records(&bytes).ok_or(TarError::Header)? {
            if !matters(name) {
                continue;
            }
            if known.len() >= ATTRIBUTES_MAX {
                return Err(TarError::TooLong);
            }
            known.insert(name.to_owned(), value.to_vec());
        }
        Ok(())
    }
}

/// Times, owners and the like are not remembered.
fn matters(name: &str) -> bool {
    matches!(name, "path" | "size")
        || name.starts_with("GNU.sparse")
        || name.starts_with("SCHILY.xattr.user.")
        || name.starts_with("LIBARCHIVE.xattr.user.")
}

/// Records of a pax header: `<length> <name>=<value>\n`, the length being that of the whole record.
fn pax_records(mut bytes: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        // Some end with zeros.
        if bytes.iter().all(|byte| *byte == 0) {
            break;
        }
        let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
        let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
        let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        if let Ok(name) = std::str::from_utf8(&record[..equals]) {
            records.push((name, &record[equals + 1..]));
        }
        bytes = &bytes[length..];
    }
    Some(records)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// The block before each file.
struct Header<'a> {
    block: &'a [u8],
    kind: u8,
    size: u64,
}

impl<'a> Header<'a> {
    /// `None` when its checksum is not right, or it is no header.
    fn parse(block: &'a [u8]) -> Option<Self> {
        let field = |from: usize, to: usize| block.get(from..to);
        let checksum = octal(field(148, 156)?)?;
        let bytes = block.iter().enumerate();
        let counted = bytes.map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for byte in counted {
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        let checksum = i64::try_from(checksum).ok()?;
        let kind = *block.get(156)?;
        let size = number(field(124, 136)?)?;
        (checksum == unsigned || checksum == signed).then_some(Header { block, kind, size })
    }

    /// With the prefix that ustar has for longer names.
    fn path(&self) -> Cow<'a, [u8]> {
        let text = |from: usize, to: usize| {
            let field = self.block.get(from..to).unwrap_or_default();
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            &field[..end]
        };
        let name = text(0, 100);
        let is_ustar = self.block.get(257..263) == Some(b"ustar\0");
        let prefix = if is_ustar { text(345, 500) } else { b"" };
        match prefix {
            b"" => name.into(),
            prefix => [prefix, b"/", name].concat().into(),
        }
    }
}

/// Octal digits among spaces and zeros.
fn octal(field: &[u8]) -> Option<u64> {
    let is_filler = |byte: &u8| matches!(byte, b' ' | 0);
    let begin = field.iter().position(|byte| !is_filler(byte)).unwrap_or(field.len());
    let digits = &field[begin..];
    let end = digits.iter().position(is_filler).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// A size: octal, or a big number in bytes (GNU).
fn number(field: &[u8]) -> Option<u64> {
    match field.first()? {
        0x80 => field[1..]
            .iter()
            .try_fold(0u64, |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte))),
        0xff => None,
        _ => octal(field),
    }
}

/// An archive in pieces, for fuzzing.
pub(super) fn read_anything<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) {
    let mut reader = TarReader::new();
    loop {
        match (reader.next(), pieces.next()) {
            (Err(_) | Ok(Step::End), _) => return,
            (Ok(Step::Hungry), None) => {
                let _ = reader.finish();
                return;
            }
            (Ok(_), Some(piece)) => reader.feed(Bytes::copy_from_slice(piece)),
            (Ok(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What an archive holds: names, data and attributes.
    type Files = Vec<(String, Vec<u8>, Vec<String>)>;

    fn read(archive: &[u8], piece: usize) -> Result<Files, TarError> {
        let mut reader = TarReader::new();
        let mut files: Files = Vec::new();
        let mut pieces = archive.chunks(piece.max(1));
        loop {
            match reader.next()? {
                Step::End => return Ok(files),
                Step::Entry(entry) => {
                    let name = String::from_utf8_lossy(&entry.path).into_owned();
                    files.push((name, Vec::new(), entry.attributes.into_keys().collect()));
                }
                Step::Data(data) => {
                    files.last_mut().expect("a file").1.extend_from_slice(&data);
                }
                Step::Hungry => match pieces.next() {
                    Some(piece) => reader.feed(Bytes::copy_from_slice(piece)),
                    None => return reader.finish().map(|()| files),
                },
            }
        }
    }

    /// Made by the program everybody has, or by the library that others use.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (name, data) in files {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *data).expect("appended");
        }
        builder.into_inner().expect("an archive")
    }

    #[test]
    fn files_come_out_as_they_went_in() {
        let long = format!("{}/file", "directory/".repeat(30));
        let large = vec![7u8; 70_000];
        let files: [(&str, &[u8]); 4] =
            [("a", b"one"), (&long, b""), ("dir/é", &[1u8; 512]), ("large", &large)];
        let whole = archive(&files);
        let read = read(&whole, 1000).expect("an archive");
        assert_eq!(read.len(), 4);
        for ((name, data, _), (expected, bytes)) in read.iter().zip(files) {
            let expected = expected.replace("//", "/");
            assert_eq!((name.replace("//", "/"), data.as_slice()), (expected, bytes));
        }
    }

    #[test]
    fn other_things_than_files_are_passed_over() {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (kind, name) in [
            (::tar::EntryType::Directory, "d/"),
            (::tar::EntryType::Symlink, "l"),
            (::tar::EntryType::Fifo, "f"),
        ] {
            let mut header = ::tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_path(name).expect("a path");
            header.set_cksum();
            builder.append(&header, &b""[..]).expect("appended");
        }
        let pax =
            [("SCHILY.xattr.user.mime_type", &b"x/y"[..]), ("mtime", b"1.5"), ("path", b"long")];
        builder.append_pax_extensions(pax).expect("appended");
        let mut header = ::tar::Header::new_ustar();
        header.set_size(2);
        builder.append_data(&mut header, "short", &b"ok"[..]).expect("appended");
        let whole = builder.into_inner().expect("an archive");
        let expected =
            vec![("long".into(), b"ok".to_vec(), vec!["SCHILY.xattr.user.mime_type".into()])];
        assert_eq!(read(&whole, 512), Ok(expected));
    }

    #[test]
    fn what_is_no_archive_is_told_from_one() {
        assert_eq!(read(b"", 10), Err(TarError::Empty));
        assert_eq!(read(&[0; 1024], 10), Ok(vec![]));
        assert_eq!(read(&[b'x'; 2000], 10), Err(TarError::Header));
        assert_eq!(read(b"short", 10), Err(TarError::Truncated));
        let whole = archive(&[("a", &[1; 600]), ("b", b"2")]);
        assert_eq!(read(&whole[..1000], 100), Err(TarError::Truncated));
        assert_eq!(read(&whole[..512 + 600], 100).map(|files| files.len()), Ok(1));
        let mut damaged = whole;
        damaged[512 + 1024] ^= 1;
        assert_eq!(read(&damaged, 100), Err(TarError::Header));
    }

    #[test]
    fn sparse_files_and_endless_names_are_refused() {
        let mut header = ::tar::Header::new_gnu();
        header.set_entry_type(::tar::EntryType::GNUSparse);
        header.set_size(0);
        header.set_cksum();
        assert_eq!(read(header.as_bytes(), 512), Err(TarError::Sparse));
        header.set_entry_type(::tar::EntryType::GNULongName);
        header.set_size(EXTENSION_BYTES_MAX + 1);
        header.set_cksum();
        assert_eq!(read(header.as_bytes(), 512), Err(TarError::TooLong));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            files in proptest::collection::vec(("[a-z]{1,150}", 0usize..1500), 0..5),
            piece in 1usize..3000,
        ) {
            let data = [5u8; 1500];
            let files: Vec<(&str, &[u8])> =
                files.iter().map(|(name, size)| (name.as_str(), &data[..*size])).collect();
            let whole = archive(&files);
            let read = read(&whole, piece).expect("an archive");
            prop_assert_eq!(read.len(), files.len());
            for ((name, data, _), (expected, bytes)) in read.iter().zip(files) {
                prop_assert_eq!((name.as_str(), data.as_slice()), (expected, bytes));
            }
        }

        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..2048), kind in "[0-7LKxgSV]", size in any::<[u8; 12]>()) {
            let _ = read(&bytes, 100);
            // The same with a header that is right, but for what it says.
            bytes.resize(2048, 0);
            let mut header = ::tar::Header::new_gnu();
            header.as_mut_bytes()[124..136].copy_from_slice(&size);
            header.as_mut_bytes()[156] = kind.as_bytes()[0];
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
            let _ = read(&bytes, 700);
        }

        #[test]
        fn records_never_panic(bytes in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'='), Just(b'\n'), b'0'..=b'9', any::<u8>()], 0..60)) {
            let _ = pax_records(&bytes);
        }
    }
}
