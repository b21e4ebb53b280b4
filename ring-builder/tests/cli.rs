//! The tool as its users call it.

use std::path::Path;
use std::process::{Command, Output};

fn ring_builder(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ring-builder")).args(args).output().expect("it runs")
}

fn succeeds(args: &[&str]) -> String {
    let output = ring_builder(args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn fails(args: &[&str]) -> String {
    let output = ring_builder(args);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    path.to_str().expect("text").to_owned()
}

#[test]
fn shows_a_ring() {
    let text = succeeds(&[&golden("fraction.v1.ring.gz")]);
    assert!(text.contains("64 partitions, 3.250000 replicas, 3 regions"), "{text}");
    assert!(text.contains("19 devices"), "{text}");
    let text = succeeds(&[&golden("same-address.v2.ring.gz")]);
    let unweighted =
        text.lines().find(|line| line.trim_start().starts_with("4 ")).expect("device 4");
    let cells: Vec<&str> = unweighted.split_whitespace().collect();
    assert_eq!(cells[5..], ["d4", "0.00", "0", "0.00"]);
}

#[test]
fn builds_shows_and_looks_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("object.ring.gz");
    let file = file.to_str().expect("text");
    let devices = ["r1z1-127.0.0.1:6201/d1", "r1z2-127.0.0.2:6202/d2=1", "z3-[::1]:6203/d3=2"];
    let build = [file, "build", "--part-power", "4", "--replicas", "2"];
    let built = succeeds(&[&build[..], &devices].concat());
    assert_eq!(succeeds(&[file]), built);
    assert!(
        built.contains(
            "16 partitions, 2.000000 replicas, 1 regions, 3 zones, 3 devices, 0.00 balance"
        )
    );
    assert!(built.contains("[::1]:6203"), "{built}");
    assert!(fails(&[&build[..], &devices].concat()).contains("exists"));
    succeeds(&[&build[..], &["--force"], &devices].concat());

    let object = [file, "nodes", "AUTH_test", "c", "a/b c"];
    let found =
        succeeds(&[&object[..], &["--hash-prefix", "prefix", "--hash-suffix", "suffix"]].concat());
    assert!(found.contains("Partition\t14\n"), "{found}");
    assert!(found.contains("Hash     \te38927a8c1c75c33055128163acd5c1f\n"), "{found}");
    assert_eq!(found.matches("Server:Port Device").count(), 3, "{found}");
    assert_eq!(found.matches("[Handoff]").count(), 1, "{found}");

    let conf = dir.path().join("swift.conf");
    let text = "[swift-hash]\nswift_hash_path_suffix = suffix\nswift_hash_path_prefix = prefix\n";
    std::fs::write(&conf, text).expect("written");
    let conf = conf.to_str().expect("text");
    assert_eq!(succeeds(&[&object[..], &["--swift-conf", conf]].concat()), found);
    assert!(fails(&object).contains("--swift-conf"));
    assert!(fails(&[file, "nodes", "a/c", "--hash-suffix", "s"]).contains("slash"));
}

#[test]
fn says_in_plain_words_why_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("new.ring.gz");
    let file = file.to_str().expect("text");
    assert!(fails(&[]).contains("Usage"));
    assert!(fails(&["object.builder"]).contains("cannot read or write yet"));
    assert!(
        fails(&["object.builder", "build", "--part-power", "1", "--replicas", "1", "z1-h:1/d"])
            .contains("cannot read or write yet")
    );
    assert!(fails(&[file]).contains("cannot be read"));
    assert!(fails(&[file, "dance"]).contains("dance"));
    let build = [file, "build", "--part-power", "4", "--replicas", "2"];
    assert!(
        fails(&[&build[..], &["z1-h:1/d"]].concat()).contains("2 replicas need at least 2 devices")
    );
    assert!(fails(&[&build[..], &["z1-h:1/d", "z2-h:1/d"]].concat()).contains("the same device"));
    assert!(fails(&[&build[..], &["d1"]].concat()).contains("like r1z1-127.0.0.1:6200/d1=100"));
    std::fs::write(file, "no ring").expect("written");
    let error = fails(&[file]);
    assert!(error.ends_with("the file is not a ring: it is not compressed with gzip\n"), "{error}");
    assert!(!error.contains("Error"), "{error}");
}
