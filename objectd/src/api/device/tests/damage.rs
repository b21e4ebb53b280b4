//! What is damaged: how it is found, kept, mended and given up.

use super::*;
use crate::format::SegmentHeader;
use crate::io::{Calls, Failure};
use md5::{Digest, Md5};
use std::collections::BTreeSet;
use wire::device::{Quarantine, Released, Verified};

impl Devices {
    /// Flips a bit of an object's data on a device's disk.
    async fn damage(&self, device: &str, number: u64) {
        let state = self.engine(device).state(self.hash(number)).await.expect("state");
        let at = state.data().expect("data").location;
        let name = SegmentHeader::file_name(at.segment);
        self.disks[device].flip_bit(&name, u64::from(at.offset + at.head_len + 10) * 8);
    }

    /// Stores an object on both devices.
    async fn store(&self, number: u64, len: usize) {
        let step = Step { len, ..step(RecordKind::Data, number) };
        self.change("a", number, &step).await;
        self.change("b", number, &step).await;
    }

    /// Copies an object from the second device to the first.
    async fn mend(&self, number: u64) -> Merged {
        let (status, page) = self.ask("RECORDS", "/b", self.named(number)).await;
        assert_eq!(status, 200);
        self.json("MERGE", "/a", page).await
    }

    fn named(&self, number: u64) -> String {
        format!("{{\"hashes\":[\"{}\"]}}", self.hash(number))
    }

    async fn quarantined(&self, query: &str) -> Quarantine {
        self.json("QUARANTINED", &format!("/a?{query}"), "").await
    }
}

#[tokio::test]
async fn damage_is_found_kept_healed_and_given_up() {
    let devices = two_devices(Rule::Replicated);
    for number in 0..4 {
        devices.store(number, 3000).await;
    }
    let all: Verified = devices.json("VERIFY", "/a", "").await;
    assert_eq!((all.objects, all.records, all.bytes), (4, 4, 12_000));
    assert_eq!((all.damaged.len(), all.marker), (0, None));
    let hash = devices.hash(2);
    let state = devices.engine("a").state(hash).await.expect("state");
    let at = state.data().expect("data").location;
    devices.damage("a", 2).await;

    // Page by page.
    let (mut from, mut damaged, mut objects) = (String::new(), Vec::new(), 0);
    loop {
        let page: Verified = devices.json("VERIFY", &format!("/a?limit=1&from={from}"), "").await;
        damaged.extend(page.damaged);
        objects += page.objects;
        match page.marker {
            Some(marker) => from = marker,
            None => break,
        }
    }
    assert_eq!((objects, damaged.len()), (4, 1));
    assert_eq!(damaged[0].hash, hash.to_string());
    assert!(damaged[0].quarantined && damaged[0].kind == "data", "{damaged:?}");
    let kept = devices.quarantined("").await;
    assert_eq!((kept.records.len(), kept.marker), (1, None));
    let record = &kept.records[0];
    assert_eq!(
        (record.hash.as_str(), record.name.as_deref()),
        (damaged[0].hash.as_str(), Some("/a/c/2"))
    );
    assert_eq!((record.data_len, record.segment, record.offset), (3000, at.segment, at.offset));
    assert_eq!(record.found, format!("{NOW}.00000"));
    assert_eq!(devices.ask("GET", "/a/0/a/c/2", "").await.0, 404);

    let merged = devices.mend(2).await;
    assert_eq!((merged.taken, merged.bytes), (1, 3000));
    devices.assert_same().await;
    let (status, data) = devices.ask("GET", "/a/0/a/c/2", "").await;
    assert!(status == 200 && data.len() == 3000);

    for expected in [1, 0] {
        let done: Released = devices.json("QUARANTINED", "/a?release", devices.named(2)).await;
        assert_eq!(done.released, expected);
    }
    assert!(devices.quarantined("").await.records.is_empty());
}

#[tokio::test]
async fn only_what_is_whole_again_and_old_enough_is_given_up() {
    let devices = two_devices(Rule::Replicated);
    for number in 0..6 {
        devices.store(number, 500).await;
    }
    for number in 1..5 {
        devices.damage("a", number).await;
    }
    let all: Verified = devices.json("VERIFY", "/a", "").await;
    assert_eq!(all.damaged.len(), 4);
    // One is mended, one written anew, one deleted.
    assert_eq!(devices.mend(1).await.taken, 1);
    devices.change("a", 2, &Step { len: 7, ..step(RecordKind::Data, 99) }).await;
    devices.change("a", 3, &step(RecordKind::Tombstone, 99)).await;
    let hashes = |page: &Quarantine| -> BTreeSet<String> {
        page.records.iter().map(|record| record.hash.clone()).collect()
    };
    let kept = devices.quarantined("").await;
    assert_eq!(kept.records.len(), 4);
    let only = BTreeSet::from([devices.hash(4).to_string()]);
    let ill = kept.records.iter().filter(|record| !record.healed).map(|record| record.hash.clone());
    assert_eq!(ill.collect::<BTreeSet<_>>(), only);
    assert_eq!(hashes(&devices.quarantined("unhealed&limit=1").await), only);

    let release = async |before: u64| {
        let path = format!("/a?release&healed&found_before={before}");
        let done: Released = devices.json("QUARANTINED", &path, "").await;
        done.released
    };
    assert_eq!(release(NOW).await, 0);
    assert_eq!(release(NOW + 1).await, 3);
    assert_eq!(hashes(&devices.quarantined("").await), only);
    // Damaged again after it was mended: the first record may go, the second may not.
    assert_eq!(devices.mend(4).await.taken, 1);
    devices.damage("a", 4).await;
    let again: Verified = devices.json("VERIFY", "/a", "").await;
    assert!(again.damaged.len() == 1 && again.damaged[0].quarantined, "{again:?}");
    assert_eq!(hashes(&devices.quarantined("unhealed").await), only);
    assert_eq!(release(NOW + 1).await, 0);
    assert_eq!(devices.quarantined("").await.records.len(), 2);
}

#[tokio::test]
async fn a_damaged_deletion_is_missed_until_nobody_needs_it() {
    let clock = Arc::new(ManualClock::at_seconds(NOW));
    let devices = two_devices_at(Rule::Replicated, Arc::clone(&clock));
    devices.store(1, 500).await;
    devices.change("a", 1, &step(RecordKind::Tombstone, 50)).await;
    let state = devices.engine("a").state(devices.hash(1)).await.expect("state");
    let at = state.tombstone().expect("a tombstone").location;
    devices.disks["a"]
        .flip_bit(&SegmentHeader::file_name(at.segment), u64::from(at.offset + 20) * 8);
    let all: Verified = devices.json("VERIFY", "/a", "").await;
    assert!(all.damaged.len() == 1 && all.damaged[0].kind == "tombstone", "{all:?}");
    assert_eq!(devices.quarantined("unhealed").await.records.len(), 1);
    clock.advance_micros((devices.engine("a").reclaim_age() + 2) * 1_000_000);
    assert_eq!(devices.quarantined("unhealed").await.records.len(), 0);
}

#[tokio::test]
async fn whoever_waits_hears_of_damage_at_once() {
    let devices = two_devices(Rule::Replicated);
    devices.store(1, 500).await;
    let turn = devices.quarantined("").await.turn;
    // Another turn than the one that was seen is no reason to wait.
    let other = format!("seen={}&wait=60000", turn + 5);
    assert_eq!(devices.quarantined(&other).await.turn, turn);
    let seen = format!("seen={turn}&wait=1");
    assert_eq!(devices.quarantined(&seen).await.turn, turn);
    let seen = format!("unhealed&seen={turn}&wait=60000");
    let waiting = devices.quarantined(&seen);
    let meanwhile = async {
        devices.damage("a", 1).await;
        // A read, as of a client.
        assert_eq!(devices.ask("GET", "/a/0/a/c/1", "").await.0, 503);
    };
    let waited =
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(waiting, meanwhile).0 });
    let page = waited.await.expect("told at once");
    assert_eq!(page.records[0].hash, devices.hash(1).to_string());
    assert!(page.turn > turn);
    let seen = format!("seen={}&wait=60000", page.turn);
    devices.server.env.shutdown.trigger();
    assert_eq!(devices.quarantined(&seen).await.turn, page.turn);
}

#[tokio::test]
async fn data_that_is_not_its_etag_is_found_by_its_md5_alone() {
    let devices = two_devices(Rule::Replicated);
    for (number, len) in (1..).zip([10, 300_000, 0]) {
        let mut put = Step { len, ..step(RecordKind::Data, number) };
        let digest = Md5::digest(content(number ^ put.raw, len));
        put.etag = match number {
            2 => "0123456789ABCDEF0123456789abcdef".to_owned(),
            _ => types::hex_encode(&digest),
        };
        devices.change("a", number, &put).await;
    }
    let all: Verified = devices.json("VERIFY", "/a", "").await;
    assert_eq!((all.records, all.damaged.len()), (3, 0));
    let all: Verified = devices.json("VERIFY", "/a?md5", "").await;
    assert_eq!((all.records, all.damaged.len(), all.bytes), (3, 1, 300_010));
    assert!(all.damaged[0].quarantined && all.damaged[0].why.contains("MD5"), "{all:?}");
    assert_eq!(all.damaged[0].hash, devices.hash(2).to_string());
    assert_eq!(devices.quarantined("unhealed").await.records.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_counts_as_damaged_only_if_that_is_wanted() {
    let devices = two_devices(Rule::Replicated);
    for number in 0..3 {
        devices.store(number, 500).await;
    }
    let reads = |devices: &Devices| devices.disks["a"].calls(Calls::Reads);
    devices.disks["a"].fail_call(Calls::Reads, reads(&devices), Failure::Error);
    let all: Verified = devices.json("VERIFY", "/a", "").await;
    assert_eq!((all.records, all.damaged.len()), (3, 1));
    assert!(!all.damaged[0].quarantined && devices.quarantined("").await.records.is_empty());
    let all: Verified = devices.json("VERIFY", "/a", "").await;
    assert!(all.damaged.is_empty(), "it could be read again");
    devices.disks["a"].fail_call(Calls::Reads, reads(&devices), Failure::Error);
    let all: Verified = devices.json("VERIFY", "/a?unreadable", "").await;
    assert!(all.damaged.len() == 1 && all.damaged[0].quarantined, "{all:?}");
}

#[tokio::test]
async fn an_answer_ends_where_it_is_told_to() {
    let devices = two_devices(Rule::Replicated);
    for number in 0..600 {
        let step = Step { len: 100, ..step(RecordKind::Data, number) };
        devices.change("a", number, &step).await;
    }
    // By objects and by bytes. A millisecond may be enough for any number, but for one at least.
    for (bound, most) in [("limit=7", 7), ("bytes=950", 10), ("ms=1", u64::MAX)] {
        let (mut from, mut objects, mut bytes, mut pages) = (String::new(), 0, 0, 0);
        loop {
            let path = format!("/a?{bound}&from={from}");
            let page: Verified = devices.json("VERIFY", &path, "").await;
            assert!(page.objects <= most && page.objects > 0, "{bound}: {page:?}");
            objects += page.objects;
            bytes += page.bytes;
            pages += 1;
            match page.marker {
                Some(marker) => from = marker,
                None => break,
            }
        }
        assert_eq!((objects, bytes), (600, 60_000), "{bound} {pages}");
    }
}
