//! Rings written by Python Swift 2.38.3, and its answers (see golden/make_golden.py).

use std::path::{Path, PathBuf};

use ring_builder::{Node, Ring, RingData};
use types::{HashPaths, Partition};

const EXPECTED: &str = include_str!("golden/expected.txt");

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn ids<'r>(nodes: impl IntoIterator<Item = Node<'r>>) -> String {
    let ids: Vec<String> = nodes.into_iter().map(|node| node.device.id.to_string()).collect();
    ids.join(" ")
}

/// Everything that reads back from both formats must be the same; `wide` exists in format 2 only.
fn load(name: &str) -> Ring {
    let second = RingData::read(&file(&format!("{name}.v2.ring.gz"))).expect("a v2 ring");
    if name != "wide" {
        let first = RingData::read(&file(&format!("{name}.v1.ring.gz"))).expect("a v1 ring");
        assert_eq!(first, second, "{name}");
        let ours = first.to_bytes("x.ring.gz").expect("bytes");
        assert_eq!(RingData::from_bytes(&ours).expect("our ring"), first, "{name}");
    }
    Ring::new(second).expect("a ring")
}

#[test]
fn finds_what_swift_finds() {
    let mut rings = 0;
    let mut partitions = 0;
    let mut ring: Option<(String, Ring)> = None;
    for line in EXPECTED.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), &ring) {
            (["path", ..], _) => (),
            (["ring", name, power, rows], _) => {
                let loaded = load(name);
                assert_eq!(
                    loaded.part_power().partitions(),
                    1 << power.parse::<u32>().expect("a power")
                );
                assert_eq!(loaded.replica_count().to_string(), *rows);
                ring = Some((name.to_string(), loaded));
                rings += 1;
            }
            ([partition, ..], Some((name, ring))) => {
                let number = Partition(partition.parse().expect("a number"));
                let (primaries, handoffs) = (ring.primaries(number), ring.handoffs(number));
                for (index, node) in primaries.iter().enumerate() {
                    assert_eq!((node.index, node.is_handoff), (index, false));
                }
                for (index, node) in ring.handoffs(number).enumerate() {
                    assert_eq!((node.index, node.is_handoff), (index, true));
                }
                let found = format!("{partition} {} | {}", ids(primaries), ids(handoffs));
                assert_eq!(found, line, "{name}");
                partitions += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rings, 12);
    assert!(partitions > 400, "{partitions}");
}

#[test]
fn reads_all_there_is_in_a_ring() {
    let data = RingData::read(&file("ipv6.v1.ring.gz")).expect("a ring");
    assert_eq!(data.rows.iter().map(Vec::len).collect::<Vec<_>>(), [16, 16, 8]);
    let device = data.devs[5].as_ref().expect("a device");
    assert_eq!((device.region, device.zone, device.port), (1, 5, 6201));
    assert_eq!((device.ip.as_str(), device.device.as_str()), ("2001:db8::5", "d5"));
    assert_eq!((device.replication_ip.as_str(), device.replication_port), ("2001:db8::5", 6201));
    assert_eq!((device.weight, device.meta.as_str()), (1.0, "rack \u{2603} 5"));
    assert!(data.version.is_some());

    let noise = RingData::read(&file("noise.v2.ring.gz")).expect("a ring");
    assert_eq!((noise.version, noise.next_part_power), (Some(12), Some(7)));
    assert!(noise.devs[2].is_none());
}

#[test]
fn hashes_paths_as_swift_does() {
    let paths = HashPaths { prefix: "prefix".into(), suffix: "suffix".into() };
    let lines = EXPECTED.lines().filter_map(|line| line.strip_prefix("path "));
    let mut count = 0;
    for (hash, path) in lines.filter_map(|line| line.split_once(' ')) {
        let names: Vec<&str> = path.splitn(3, '/').collect();
        let found = match names.as_slice() {
            [account] => paths.account(account),
            [account, container] => paths.container(account, container),
            [account, container, object] => paths.object(account, container, object),
            other => panic!("{other:?}"),
        };
        assert_eq!(found.to_string(), hash, "{path}");
        count += 1;
    }
    assert_eq!(count, 4);
}
