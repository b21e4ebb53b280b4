//! The header of a qcow2 image, read with suspicion.
//!
//! The format (QEMU: docs/interop/qcow2.txt) lets an image name other files: a backing file, and an external
//! data file. Whoever opens such an image on a host reads those files with the rights of the host, so an
//! uploaded image that names any is an attack and refused. All numbers are big endian:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `QFI\xfb` |
//! | 4 | 4 | version, 2 or 3 |
//! | 8 | 8 | offset of the backing file's name, 0 for none |
//! | 20 | 4 | log2 of the cluster size, 9 to 21 |
//! | 24 | 8 | size of the disk in bytes |
//! | 32 | 4 | encryption, 0 for none |
//! | 72 | 8 | version 3: features without which the image cannot be read |
//! | 100 | 4 | version 3: length of the header |

/// What a qcow2 image says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qcow2Header {
    /// 2 or 3.
    pub version: u32,
    /// Size of the disk it holds, in bytes.
    pub virtual_bytes: u64,
    /// Size of its clusters, in bytes.
    pub cluster_bytes: u32,
}

/// Why a qcow2 image is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Qcow2Error {
    /// Another format, or cut off.
    #[error("this is no qcow2 image, or its header is cut off")]
    Header,
    /// Neither 2 nor 3.
    #[error("qcow2 version {0} is not known; versions 2 and 3 are")]
    Version(u32),
    /// It would be completed from another file.
    #[error("the image has a backing file; flatten it with `qemu-img convert` first")]
    BackingFile,
    /// Its data are in another file.
    #[error("the image keeps its data in another file; convert it with `qemu-img convert` first")]
    ExternalData,
    /// Nobody here has the key.
    #[error("the image is encrypted; decrypt it first")]
    Encrypted,
    /// Its own tools mark it so.
    #[error("the image is marked as corrupt; repair it with `qemu-img check -r all` first")]
    Corrupt,
    /// It was made by something newer.
    #[error("the image uses features that are not known here")]
    Features,
    /// Clusters smaller than a sector or larger than 2 MiB.
    #[error("the image's clusters have an impossible size")]
    ClusterSize,
    /// A disk without blocks, or with more than can be addressed.
    #[error("the image's disk has an impossible size")]
    DiskSize,
}

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

const HEADER_BYTES_V2: usize = 72;
const HEADER_BYTES_V3: u32 = 104;

impl Qcow2Header {
    /// Reads the header from an image's first bytes; 104 are enough.
    pub fn parse(head: &[u8]) -> Result<Self, Qcow2Error> {
        if head.len() < HEADER_BYTES_V2 || !head.starts_with(b"QFI\xfb") {
            return Err(Qcow2Error::Header);
        }
        let version = u32_at(head, 4)?;
        match version {
            2 => {}
            3 => check_features(head)?,
            other => return Err(Qcow2Error::Version(other)),
        }
        if u64_at(head, 8)? != 0 {
            return Err(Qcow2Error::BackingFile);
        }
        if u32_at(head, 32)? != 0 {
            return Err(Qcow2Error::Encrypted);
        }
        let cluster_bits = u32_at(head, 20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(Qcow2Error::ClusterSize);
        }
        let virtual_bytes = u64_at(head, 24)?;
        if virtual_bytes == 0 || virtual_bytes > i64::MAX as u64 {
            return Err(Qcow2Error::DiskSize);
        }
        Ok(Qcow2Header { version, virtual_bytes, cluster_bytes: 1 << cluster_bits })
    }
}

fn check_features(head: &[u8]) -> Result<(), Qcow2Error> {
    if u32_at(head, 100)? < HEADER_BYTES_V3 {
        return Err(Qcow2Error::Header);
    }
    let features = u64_at(head, 72)?;
    if features & EXTERNAL_DATA != 0 {
        return Err(Qcow2Error::ExternalData);
    }
    if features & CORRUPT != 0 {
        return Err(Qcow2Error::Corrupt);
    }
    // Dirty means that reference counts may be wrong, which only writing needs.
    let readable = DIRTY | COMPRESSION_TYPE | EXTENDED_L2;
    if features & !readable != 0 {
        return Err(Qcow2Error::Features);
    }
    Ok(())
}

fn u32_at(head: &[u8], at: usize) -> Result<u32, Qcow2Error> {
    let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_be_bytes).ok_or(Qcow2Error::Header)
}

fn u64_at(head: &[u8], at: usize) -> Result<u64, Qcow2Error> {
    let bytes = head.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_be_bytes).ok_or(Qcow2Error::Header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As `qemu-img create -f qcow2 x.qcow2 1G` writes it.
    fn good() -> Vec<u8> {
        let mut head = vec![0; 104];
        head[..4].copy_from_slice(b"QFI\xfb");
        put(&mut head, 4, &3u32.to_be_bytes());
        put(&mut head, 20, &16u32.to_be_bytes());
        put(&mut head, 24, &(1u64 << 30).to_be_bytes());
        put(&mut head, 96, &4u32.to_be_bytes());
        put(&mut head, 100, &104u32.to_be_bytes());
        head
    }

    fn put(head: &mut [u8], at: usize, bytes: &[u8]) {
        head[at..at + bytes.len()].copy_from_slice(bytes);
    }

    #[test]
    fn a_plain_image_is_read() {
        let expected = Qcow2Header { version: 3, virtual_bytes: 1 << 30, cluster_bytes: 65_536 };
        assert_eq!(Qcow2Header::parse(&good()), Ok(expected));
        let mut old = good()[..72].to_vec();
        put(&mut old, 4, &2u32.to_be_bytes());
        assert_eq!(Qcow2Header::parse(&old), Ok(Qcow2Header { version: 2, ..expected }));
        let mut dirty = good();
        put(&mut dirty, 72, &DIRTY.to_be_bytes());
        assert_eq!(Qcow2Header::parse(&dirty), Ok(expected));
    }

    #[test]
    fn what_is_dangerous_or_impossible_is_refused() {
        let cases: [(usize, &[u8], Qcow2Error); 11] = [
            (0, b"QFJ", Qcow2Error::Header),
            (4, &[0, 0, 0, 4], Qcow2Error::Version(4)),
            (8, &[0, 0, 0, 0, 0, 0, 2, 0], Qcow2Error::BackingFile),
            (20, &[0, 0, 0, 8], Qcow2Error::ClusterSize),
            (20, &[0, 0, 0, 22], Qcow2Error::ClusterSize),
            (24, &[0; 8], Qcow2Error::DiskSize),
            (24, &[0xff; 8], Qcow2Error::DiskSize),
            (32, &[0, 0, 0, 2], Qcow2Error::Encrypted),
            (72, &EXTERNAL_DATA.to_be_bytes(), Qcow2Error::ExternalData),
            (72, &CORRUPT.to_be_bytes(), Qcow2Error::Corrupt),
            (72, &(1u64 << 5).to_be_bytes(), Qcow2Error::Features),
        ];
        for (at, bytes, error) in cases {
            let mut head = good();
            put(&mut head, at, bytes);
            assert_eq!(Qcow2Header::parse(&head), Err(error), "at {at}");
        }
        for cut in 0..104 {
            assert_eq!(Qcow2Header::parse(&good()[..cut]), Err(Qcow2Error::Header), "at {cut}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(tail in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut head = b"QFI\xfb\0\0\0\x03".to_vec();
            head.extend(tail);
            let _ = Qcow2Header::parse(&head);
        }
    }
}
