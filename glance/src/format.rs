//! What an image is, by its first bytes.

use std::fmt;

/// How many bytes from the beginning decide: an ISO 9660 image shows itself in its seventeenth sector.
pub const HEAD_BYTES: usize = 16 * 2048 + 6;

/// The layout of an image's bytes, under Glance's names (`disk_format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// The disk's blocks and nothing else. Also a VHD of fixed size looks so: it differs only in its last sector.
    Raw,
    /// QEMU's copy-on-write image; see [`crate::Qcow2Header`].
    Qcow2,
    /// VMware's, sparse or a text that names other files.
    Vmdk,
    /// Microsoft's, of dynamic size.
    Vhd,
    /// Microsoft's newer one.
    Vhdx,
    /// VirtualBox's.
    Vdi,
    /// A CD or DVD.
    Iso,
}

/// Where a format's mark stands, and the mark.
const MARKS: [(DiskFormat, usize, &[u8]); 8] = [
    (DiskFormat::Qcow2, 0, b"QFI\xfb"),
    (DiskFormat::Vmdk, 0, b"KDMV"),
    (DiskFormat::Vmdk, 0, b"COWD"),
    (DiskFormat::Vmdk, 0, b"# Disk DescriptorFile"),
    (DiskFormat::Vhdx, 0, b"vhdxfile"),
    (DiskFormat::Vhd, 0, b"conectix"),
    (DiskFormat::Vdi, 64, &[0x7f, 0x10, 0xda, 0xbe]),
    (DiskFormat::Iso, 16 * 2048 + 1, b"CD001"),
];

impl DiskFormat {
    /// Judges an image by its first [`HEAD_BYTES`], or by all of it when it is shorter. What carries nobody's
    /// mark is raw, because raw images have none.
    pub fn sniff(head: &[u8]) -> Self {
        let shown = MARKS
            .iter()
            .find(|(_, at, mark)| head.get(*at..).is_some_and(|rest| rest.starts_with(mark)));
        shown.map_or(DiskFormat::Raw, |(format, _, _)| *format)
    }

    /// Glance's word for it. VHDX and VHD are told apart.
    pub fn name(self) -> &'static str {
        match self {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
            DiskFormat::Vmdk => "vmdk",
            DiskFormat::Vhd => "vhd",
            DiskFormat::Vhdx => "vhdx",
            DiskFormat::Vdi => "vdi",
            DiskFormat::Iso => "iso",
        }
    }
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image(at: usize, mark: &[u8]) -> Vec<u8> {
        let mut image = vec![0; HEAD_BYTES];
        image[at..at + mark.len()].copy_from_slice(mark);
        image
    }

    #[test]
    fn every_mark_is_known_and_a_cut_one_is_not() {
        for (format, at, mark) in MARKS {
            let image = image(at, mark);
            assert_eq!(DiskFormat::sniff(&image), format);
            assert_eq!(DiskFormat::sniff(&image[..at + mark.len()]), format);
            assert_eq!(DiskFormat::sniff(&image[..at + mark.len() - 1]), DiskFormat::Raw);
        }
    }

    #[test]
    fn a_disk_without_a_mark_is_raw() {
        assert_eq!(DiskFormat::sniff(b""), DiskFormat::Raw);
        // A boot sector's signature says only that somebody may boot from it.
        assert_eq!(DiskFormat::sniff(&image(510, &[0x55, 0xaa])), DiskFormat::Raw);
        assert_eq!(DiskFormat::sniff(&image(1, b"QFI\xfb")).to_string(), "raw");
    }

    #[test]
    fn a_hybrid_disc_with_a_boot_sector_is_an_iso() {
        let mut disc = image(16 * 2048 + 1, b"CD001");
        disc[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(DiskFormat::sniff(&disc), DiskFormat::Iso);
    }

    proptest! {
        #[test]
        fn never_panics(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = DiskFormat::sniff(&head).name();
        }
    }
}
