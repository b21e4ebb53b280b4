use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;
use crate::data::tests::small;
use crate::device::tests::device;
use crate::error::RingWriteError;

fn gz(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("memory");
    encoder.finish().expect("memory")
}

fn v1(json: &str, rows: &[u8]) -> Vec<u8> {
    let mut plain = b"R1NG\0\x01".to_vec();
    plain.extend((json.len() as u32).to_be_bytes());
    plain.extend(json.as_bytes());
    plain.extend(rows);
    gz(&plain)
}

fn sentence(bytes: &[u8]) -> String {
    decode(bytes).expect_err("refused").to_string()
}

/// A version 2 file of one device and two partitions whose sections have the given checksum method.
fn v2(method: &str, checksum: impl Fn(&[u8]) -> String, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let devices = serde_json::to_vec(&[device(0, 1, 1, "::1", 1.0)]).expect("JSON");
    let sections: [(&str, Vec<u8>); 3] = [
        (
            "swift/ring/metadata",
            br#"{"part_shift": 31, "dev_id_bytes": 2, "version": null}"#.to_vec(),
        ),
        ("swift/ring/devices", devices),
        ("swift/ring/assignments", vec![0; 4]),
    ];
    let mut plain = b"R1NG\0\x02".to_vec();
    let mut index = serde_json::Map::new();
    for (name, data) in sections {
        let start = plain.len();
        plain.extend((data.len() as u64).to_be_bytes());
        plain.extend(data);
        let sum = checksum(&plain[start..]);
        index.insert(name.into(), serde_json::json!([0, start, 0, plain.len(), method, sum]));
    }
    let start = plain.len() as u64;
    let json = serde_json::to_vec(&index).expect("JSON");
    plain.extend((json.len() as u64).to_be_bytes());
    plain.extend(json);
    plain.extend(start.to_be_bytes());
    plain.extend(0u64.to_be_bytes());
    change(&mut plain);
    gz(&plain)
}

#[test]
fn writes_what_it_reads() {
    let mut ring = small();
    ring.next_part_power = Some(2);
    ring.devs[0].as_mut().expect("set").meta = "snow \u{2603} \u{1f600} \" \\".into();
    let bytes = ring.to_bytes("object.ring.gz").expect("bytes");
    assert_eq!(decode(&bytes).expect("a ring"), ring);
    assert_eq!(&bytes[10..22], b"object.ring\0");
    assert_eq!(&bytes[22..33], b"\0\x06\0\xf9\xffR1NG\0\x01");
    let plain = inflate(&bytes, MAX_RING_BYTES).expect("plain");
    assert!(plain[..plain.len() - 10].iter().skip(10).all(|byte| (32..127).contains(byte)));
    // A name that the header cannot hold is left out.
    let bytes = ring.to_bytes("\u{2603}.ring.gz").expect("bytes");
    assert_eq!(decode(&bytes).expect("a ring"), ring);
}

#[test]
fn old_files_without_byte_order() {
    let json = r#"{"devs": [{"id": 0, "zone": 1, "ip": "h", "port": 1, "device": "d", "weight": 1},
        null, {"id": 2, "zone": 1, "ip": "h", "port": 1, "device": "e"}],
        "part_shift": 31, "replica_count": 2%}"#;
    let with = |keys: &str| json.replace('%', keys);
    let little = v1(&with(r#", "byteorder": "little", "x": []"#), &[0, 0, 2, 0, 2, 0]);
    let big = v1(&with(r#", "byteorder": "big", "version": null"#), &[0, 0, 0, 2, 0, 2]);
    let host = v1(&with(""), &[2u16.to_ne_bytes(), [0, 0], [0, 0]].concat());
    assert_eq!(decode(&little).expect("a ring").rows, [vec![0, 2], vec![2]]);
    assert_eq!(decode(&little).expect("a ring"), decode(&big).expect("a ring"));
    assert_eq!(decode(&host).expect("a ring").rows, [vec![2, 0], vec![0]]);
    let odd = v1(&with(r#", "byteorder": "middle""#), &[0; 6]);
    assert!(sentence(&odd).contains("byte order is \"middle\""));
}

#[test]
fn says_what_is_wrong_with_a_file() {
    let good = small().to_bytes("x").expect("bytes");
    let head = r#"{"devs": [], "part_shift": %s, "replica_count": %r}"#;
    let v1_of = |shift: &str, replicas: &str, rows: &[u8]| {
        v1(&head.replace("%s", shift).replace("%r", replicas), rows)
    };
    let mut flipped = good.clone();
    let last = flipped.len() - 5;
    flipped[last] ^= 1;
    let cases: [(Vec<u8>, &str); 19] = [
        (vec![], "not compressed"),
        (b"hello".to_vec(), "not compressed"),
        (b"\x80\x02}q\0".to_vec(), "Python pickle"),
        (gz(b"\x80\x02}q\0"), "Python pickle"),
        (gz(b""), "does not begin with R1NG"),
        (gz(b"R1NX\0\x01"), "does not begin with R1NG"),
        (gz(b"R1NG\0"), "ends inside the format version"),
        (gz(b"R1NG\0\x03"), "format version 3"),
        (gz(b"R1NG\0\x01\xff\xff\xff\xff{}"), "ends inside the header"),
        (v1("{", &[]), "header cannot be understood"),
        (v1_of("-1", "1", &[]), "header cannot be understood"),
        (v1_of("33", "1", &[0; 4]), "shift is 33"),
        (v1_of("0", "1", &[0; 4]), "covers 2 partitions of 4294967296"),
        (v1_of("31", "0", &[]), "no replicas"),
        (v1_of("31", "99999999999", &[0; 4]), "more than 1024 replicas"),
        (v1_of("31", "1", &[0; 4]), "on device 0, which does not exist"),
        (v1_of("31", "1", &[0; 6]), "2 bytes after the end"),
        (v1_of("31", "2", &[0; 5]), "ends inside the assignments"),
        (flipped, "damaged"),
    ];
    for (bytes, expected) in cases {
        let found = sentence(&bytes);
        assert!(found.contains(expected), "{found} / {expected}");
    }
    for length in 2..good.len() {
        assert!(sentence(&good[..length]).contains("ends inside compressed data"), "{length}");
    }
    let mut more = good;
    more.push(0);
    assert!(sentence(&more).contains("1 bytes after the end"));
}

#[test]
fn version_2_checksums() {
    use md5::Digest;
    let md5 = |bytes: &[u8]| types::hex_encode(&md5::Md5::digest(bytes));
    let sha256 = |bytes: &[u8]| types::hex_encode(&sha2::Sha256::digest(bytes));
    let sha512 = |bytes: &[u8]| types::hex_encode(&sha2::Sha512::digest(bytes));
    let keep = |_: &mut Vec<u8>| ();
    let one = decode(&v2("md5", md5, keep)).expect("a ring");
    assert_eq!(one.rows, [[0, 0]]);
    assert_eq!(decode(&v2("sha256", sha256, keep)).expect("a ring"), one);
    assert_eq!(decode(&v2("sha512", sha512, keep)).expect("a ring"), one);
    let unknown = sentence(&v2("crc32", md5, keep));
    assert!(unknown.contains("protected by \"crc32\""), "{unknown}");
    let mismatch = sentence(&v2("sha256", md5, keep));
    assert!(mismatch.contains("does not match its checksum"), "{mismatch}");
    let damaged = sentence(&v2("sha256", sha256, |plain| plain[14] ^= 1));
    assert!(damaged.contains("swift/ring/metadata does not match"), "{damaged}");
    let no_tail = sentence(&v2("md5", md5, |plain| plain.truncate(6)));
    assert!(no_tail.contains("ends inside the index"), "{no_tail}");
    let nowhere = sentence(&v2("md5", md5, |plain| {
        let start = plain.len() - 16;
        plain[start] = 0xff;
    }));
    assert!(nowhere.contains("wrong place for the index"), "{nowhere}");
}

#[test]
fn decompression_is_bounded() {
    let bomb = gz(&vec![0; 10_000]);
    assert!(inflate(&bomb, 10_000).is_ok());
    assert!(matches!(inflate(&bomb, 9_999), Err(RingReadError::TooLarge)));
}

#[test]
fn saves_whole_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("object.ring.gz");
    std::fs::write(&path, "old").expect("written");
    small().save(&path).expect("saved");
    assert_eq!(RingData::read(&path).expect("a ring"), small());
    let names: Vec<_> = std::fs::read_dir(dir.path()).expect("read").collect();
    assert_eq!(names.len(), 1, "no temporary file stays behind: {names:?}");

    let nowhere = dir.path().join("missing/object.ring.gz");
    assert!(matches!(small().save(&nowhere), Err(RingWriteError::Io { .. })));
    assert!(matches!(RingData::read(&nowhere), Err(RingReadError::Io { .. })));
    assert!(matches!(RingData::read(dir.path()), Err(RingReadError::Io { .. })));
    assert!(matches!(small().save(Path::new("/")), Err(RingWriteError::NoFileName(_))));
}

#[test]
fn refuses_to_write_what_no_one_could_read() {
    let mut ring = small();
    ring.rows[0][0] = 2;
    assert!(matches!(ring.to_bytes("x"), Err(RingWriteError::Invalid(_))));
    let mut ring = small();
    ring.devs.resize(65_536, None);
    assert!(matches!(ring.to_bytes("x"), Err(RingWriteError::DeviceIdTooLarge(65_535))));
}

fn any_ring() -> impl Strategy<Value = RingData> {
    let text = "[ -~\u{e4}\u{2603}\u{1f600}\n]{0,8}";
    let dev = (any::<[u32; 2]>(), text, any::<[u16; 2]>(), text, 0..8_000_000u32);
    let devs = proptest::collection::vec(proptest::option::weighted(0.8, dev), 1..12);
    (devs, 0u32..6, 1usize..4, any::<u64>(), any::<[Option<u8>; 1]>(), any::<Option<u64>>())
        .prop_map(|(devs, power, replicas, seed, [next], version)| {
            let mut devs: Vec<Option<crate::Device>> = devs
                .into_iter()
                .enumerate()
                .map(|(id, dev)| {
                    dev.map(|([region, zone], ip, [port, replication_port], meta, weight)| {
                        crate::Device {
                            port,
                            replication_port,
                            meta,
                            // Short decimals, as operators write: serde_json may be a bit off on long ones.
                            ..device(id as u32, region, zone, &ip, f64::from(weight) / 8.0)
                        }
                    })
                })
                .collect();
            devs[0].get_or_insert_with(|| device(0, 1, 1, "h", 1.0));
            let ids: Vec<u32> = devs.iter().flatten().map(|dev| dev.id).collect();
            let mut random = crate::build::SplitMix(seed);
            let mut pick = || ids[random.below(ids.len() as u64) as usize];
            let mut rows: Vec<Vec<u32>> =
                (0..replicas).map(|_| (0..1 << power).map(|_| pick()).collect()).collect();
            if replicas > 1 {
                rows[replicas - 1].truncate(seed as usize % ((1 << power) + 1));
            }
            let next_part_power = next.map(|power| power % 33);
            RingData { devs, part_shift: 32 - power, rows, version, next_part_power }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_ring_round_trips(ring in any_ring()) {
        let bytes = ring.to_bytes("object.ring.gz").expect("bytes");
        prop_assert_eq!(decode(&bytes).expect("a ring"), ring);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0u8..4) {
        let _ = decode(&bytes);
        let mut plain = vec![b'R', b'1', b'N', b'G', 0, version];
        plain.extend(bytes);
        let _ = decode(&gz(&plain));
    }

    #[test]
    fn mutated_rings_never_panic(
        ring in any_ring(), second: bool, changes in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..4),
        cut in any::<u32>(),
    ) {
        let sum = |bytes: &[u8]| types::hex_encode(&<md5::Md5 as md5::Digest>::digest(bytes));
        let bytes = if second { v2("md5", sum, |_| ()) } else { ring.to_bytes("x").expect("bytes") };
        // Of the compressed bytes, where the CRC is in the way, and of the plain ones, where nothing is.
        let mut plain = inflate(&bytes, MAX_RING_BYTES).expect("plain");
        let mut outer = bytes;
        for (place, value) in changes {
            let outer_place = place as usize % outer.len();
            outer[outer_place] = value;
            let place = place as usize % plain.len();
            plain[place] = value;
        }
        for bytes in [outer, gz(&plain), gz(&plain[..cut as usize % plain.len()])] {
            if let Ok(ring) = decode(&bytes) {
                let ring = crate::Ring::new(ring).expect("validated");
                for part in 0..(ring.partition_count() as u32).min(8) {
                    let _ = ring.primaries(types::Partition(part)).len();
                    let _ = ring.handoffs(types::Partition(part)).count();
                }
            }
        }
    }
}
