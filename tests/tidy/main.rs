//! The rules of the house, checked by machine: who may import whom, which dependencies stay behind which wall,
//! how things are named, how long files are, and what no text may mention.

mod edges;
mod rules;
mod sources;

use anyhow::{Context, Result, ensure};
use edges::{Edge, complaints, read_edges};
use serde_json::Value;
use sources::Sources;
use std::path::PathBuf;
use std::process::Command;

/// The workspace as cargo sees it.
fn metadata() -> Result<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--no-deps"])
        .current_dir(root()?)
        .output()
        .context("cargo cannot be run")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn root() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("the package tests lies in the workspace")?.to_owned())
}

fn none(complaints: Vec<String>) -> Result<()> {
    ensure!(complaints.is_empty(), "\n  {}", complaints.join("\n  "));
    Ok(())
}

#[test]
fn imports_point_down_and_walls_stand() -> Result<()> {
    let edges = read_edges(&metadata()?)?;
    let inner = edges.iter().filter(|edge| rules::layer(&edge.to).is_some()).count();
    println!("{} edges, {inner} of them between rooms of the house", edges.len());
    // A checker that sees nothing has nothing to complain about.
    ensure!(edges.len() >= 100 && inner >= 30, "only {} and {inner} edges seen", edges.len());
    none(complaints(&edges))
}

#[test]
fn every_room_has_its_layer_and_the_lints() -> Result<()> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a name")?;
        if rules::layer(name).is_none() {
            wrong
                .push(format!("the crate {name} has no layer; give it one in tests/tidy/rules.rs"));
        }
        let manifest = package["manifest_path"].as_str().context("a path")?;
        if !std::fs::read_to_string(manifest)?.contains("[lints]\nworkspace = true") {
            wrong.push(format!("the crate {name} does not take the lints of the workspace"));
        }
    }
    ensure!(packages.len() >= 19, "only {} crates seen", packages.len());
    none(wrong)
}

#[test]
fn planted_edges_are_complained_about() {
    let planted = [
        ("proxy", "objectd"),
        ("listing", "proxy"),
        ("types", "wire"),
        ("wire", "daemon"),
        ("apus", "tests"),
        ("glance", "rocksdb"),
        ("containerd", "io-uring"),
        ("objectd", "s3s"),
        ("proxy", "sea-orm"),
        ("network", "virt"),
        ("wire", "anyhow"),
    ];
    for (from, to) in planted {
        let complaints = complaints(&[Edge::new("identity", "wire"), Edge::new(from, to)]);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].starts_with(&format!("{from} → {to}: ")), "{complaints:?}");
    }
    let good =
        [Edge::new("proxy", "wire"), Edge::new("objectd", "rocksdb"), Edge::new("tests", "apus")];
    assert_eq!(complaints(&good), Vec::<String>::new());
}

#[test]
fn names_lengths_and_texts_are_in_order() -> Result<()> {
    let sources = Sources::read(&root()?)?;
    println!("{} files", sources.len());
    ensure!(sources.len() >= 60, "only {} files seen", sources.len());
    for line in sources.long_files() {
        println!("{line}");
    }
    none(sources.complaints())
}

#[test]
fn planted_files_are_complained_about() {
    let local = format!("see /{}/main", "work");
    let planted = [
        ("proxy/src/utils.rs", "fn a() {}", "utils"),
        ("crates/common/src/lib.rs", "fn a() {}", "common"),
        ("proxy/src/lib.rs", "pub(crate) mod helpers;", "helpers"),
        ("docs/a.md", local.as_str(), "mentions"),
        ("wire/src/a.rs", "use anyhow::Result;", "anyhow"),
    ];
    for (path, text, word) in planted {
        let complaints = Sources::from_texts([(path, text)]).complaints();
        assert_eq!(complaints.len(), 1, "{path}: {complaints:?}");
        assert!(complaints[0].starts_with(path) && complaints[0].contains(word), "{complaints:?}");
    }
    let long = "\n".repeat(rules::LINES_MAX + 1);
    assert_eq!(Sources::from_texts([("a/src/b.rs", long.as_str())]).complaints().len(), 1);
    let fine =
        [("src/main.rs", "use anyhow::Result;\nmod commons;"), ("docs/a.md", "the workshop")];
    assert_eq!(Sources::from_texts(fine).complaints(), Vec::<String>::new());
}
