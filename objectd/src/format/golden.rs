//! Each version as it was first written. What these bytes hold must be readable for ever.

use super::*;
use crate::io::{BLOCK, BlockBuf};
use crate::state::{BulkShare, Fragment, Location, Version};
use types::{HashPaths, PolicyIndex, Timestamp};

const V1: &str = include_str!("golden_v1.hex");
const V2: &str = include_str!("golden_v2.hex");
const ADDRESS: FrameAddress = FrameAddress { epoch: 3, segment: 2, block: 5 };

fn frame() -> Vec<u8> {
    let mut metadata = Metadata::default();
    metadata.set("name", b"/a/c/o");
    metadata.set("content-type", b"text/plain");
    let data = RecordParts {
        kind: RecordKind::Data,
        hash: HashPaths::default().object("a", "c", "o"),
        timestamp: Timestamp { raw: 140_246_467_704_188, offset: 1 },
        content_type_timestamp: None,
        data_len: 5,
        delete_at: 4_000_000_000,
        fragment: None,
        metadata: &metadata,
        update: b"",
        extents: &[],
        chunk_crcs: &[crc32fast::hash(b"hello")],
        inline: b"hello",
    };
    let large = RecordParts {
        hash: HashPaths::default().object("a", "c", "large"),
        data_len: 70_000,
        chunk_crcs: &[1, 2],
        extents: &[Extent { segment: 7, block: 1, blocks: 18 }],
        inline: b"",
        ..data
    };
    let mut buf = BlockBuf::zeroed(1);
    let mut at = FRAME_HEADER_LEN;
    for record in [data.encode(), large.encode()] {
        let mut record = record;
        seal(&mut record, 9);
        buf.as_mut()[at..at + record.len()].copy_from_slice(&record);
        at += record.len().next_multiple_of(8);
    }
    let header = FrameHeader {
        lsn: 9,
        address: ADDRESS,
        blocks: 1,
        records: 2,
        record_bytes: (at - FRAME_HEADER_LEN) as u32,
        updates_within: 0,
        written_micros: 1_700_000_000_000_000,
        previous_crc: 0x0102_0304,
        crc: 0,
    };
    seal_frame(&mut buf, &header);
    buf.as_ref().to_vec()
}

fn superblock() -> Superblock {
    Superblock {
        device_id: [5; 16],
        hash_fingerprint: Superblock::fingerprint(&HashPaths::default()),
        policy: PolicyIndex(1),
        created_micros: 1_700_000_000_000_000,
    }
}

fn segment() -> SegmentHeader {
    SegmentHeader {
        class: SegmentClass::Hot,
        id: 2,
        blocks: 1024,
        device_id: [5; 16],
        epoch: 3,
        first_lsn: 4,
        unbroken: 0,
        used_micros: 1_700_000_000_000_000,
    }
}

fn entries() -> Vec<FooterEntry> {
    let version = Version {
        kind: RecordKind::Data,
        timestamp: Timestamp { raw: 140_246_467_704_188, offset: 1 },
        content_type_timestamp: None,
        delete_at: 0,
        data_len: 70_000,
        fragment: Some(Fragment { index: 3, durable: true }),
        bulk: vec![BulkShare { segment: 7, blocks: 18 }],
        location: Location { segment: 2, offset: 20_544, len: 150, head_len: 150, lsn: 9 },
    };
    let hash = HashPaths::default().object("a", "c", "o");
    vec![FooterEntry { hash, version, has_update: true }]
}

fn footer() -> Vec<u8> {
    let mut table = FooterTable::default();
    entries().iter().for_each(|entry| table.push(entry));
    let place = FooterPlace { segment: 2, epoch: 3, blocks: 1024 };
    table.encode(&place, &LastFrame { lsn: 9, header_crc: 5, updates_within: 2 })
}

/// Blocks as lines of hex, each without its middle zeros: `<head>..<tail>`, 1600 and 64 bytes (version 1: 16).
fn lines(blocks: &[Vec<u8>]) -> String {
    let line = |block: &Vec<u8>| {
        let (head, rest) = block.split_at(1600);
        let (zeros, tail) = rest.split_at(rest.len() - 64);
        assert!(zeros.iter().all(|byte| *byte == 0), "the middle is zeros");
        let head = types::hex_encode(head);
        format!("{}..{}\n", head.trim_end_matches('0'), types::hex_encode(tail))
    };
    blocks.iter().map(line).collect()
}

fn golden_blocks(text: &str) -> Vec<Vec<u8>> {
    let block = |line: &str| {
        let (head, tail) = line.split_once("..").expect("two parts");
        let mut head = head.to_owned();
        if head.len() % 2 == 1 {
            head.push('0');
        }
        let mut block = types::hex_decode(&head).expect("hex");
        let tail = types::hex_decode(tail).expect("hex");
        block.resize(BLOCK - tail.len(), 0);
        block.extend(tail);
        block
    };
    text.lines().map(block).collect()
}

#[test]
fn what_is_written_stays_what_it_is() {
    let now = lines(&[superblock().encode(), segment().encode(), frame(), footer()]);
    assert_eq!(now, V2, "a changed format needs a new version, and this one stays readable");
}

#[test]
fn all_versions_are_read() {
    for text in [V1, V2] {
        is_read(&golden_blocks(text));
    }
    let blocks = golden_blocks(V2);
    let place = FooterPlace { segment: 2, epoch: 3, blocks: 1024 };
    let (len, last) = footer_blocks(&blocks[3], &place).expect("a footer");
    assert_eq!((len, last.lsn), (1, 9));
    assert_eq!(decode_footer(&blocks[3], &place), Ok(entries()));
}

fn is_read(blocks: &[Vec<u8>]) {
    assert_eq!(Superblock::decode(&blocks[0]), Ok(superblock()));
    assert_eq!(SegmentHeader::decode(&blocks[1]), Ok(Some(segment())));
    let header = FrameHeader::decode(&blocks[2], ADDRESS).expect("a frame");
    let records = frame_records(&blocks[2], &header).expect("records");
    assert_eq!(records.len(), 2);
    let read = |number: usize| Record::decode(&blocks[2][records[number].0 as usize..]);
    let small = read(0).expect("a record");
    assert_eq!(small.metadata.get("name"), Some(b"/a/c/o".as_slice()));
    assert_eq!((small.head.data_len, small.head.delete_at), (5, 4_000_000_000));
    let large = read(1).expect("a record");
    assert_eq!(large.extents, [Extent { segment: 7, block: 1, blocks: 18 }]);
    let elsewhere = FrameAddress { block: 6, ..ADDRESS };
    assert_eq!(FrameHeader::decode(&blocks[2], elsewhere), Err(FormatError::Misplaced));
}

#[test]
fn every_flipped_bit_of_a_frame_is_noticed() {
    let whole = frame();
    let check = |bytes: &[u8]| {
        let header = FrameHeader::decode(bytes, ADDRESS)?;
        frame_records(bytes, &header).map(|_| ())
    };
    assert_eq!(check(&whole), Ok(()));
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&damaged).is_err(), "bit {bit}");
    }
}
