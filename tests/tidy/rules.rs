//! The rules as tables. Whoever changes one of these changes the architecture, and should say so in a decision.

/// Files longer than this are refused.
pub(crate) const LINES_MAX: usize = 1000;

/// Files longer than this are listed, so that somebody thinks about them.
pub(crate) const LINES_LONG: usize = 500;

/// A crate imports only crates of lower layers. `None` for crates that are not ours.
pub(crate) fn layer(name: &str) -> Option<u32> {
    let layer = match name {
        "types" | "lanes" => 0,
        "ring-builder" | "wire" => 1,
        "daemon" => 2,
        "listing" => 3,
        // Services. They share a layer, so none imports another.
        "proxy" | "objectd" | "containerd" | "accountd" | "replicator" | "identity" | "glance"
        | "compute" | "volume" | "network" | "dashboard" => 4,
        "apus" => 5,
        "tests" | "benches" => 6,
        _ => return None,
    };
    Some(layer)
}

/// A dependency, who may have it, and why nobody else may.
pub(crate) struct Wall {
    pub(crate) dependency: &'static str,
    pub(crate) allowed: &'static [&'static str],
    pub(crate) reason: &'static str,
}

const SQL: &[&str] = &["identity", "glance", "compute", "volume", "network"];
const SQL_REASON: &str = "SQL is for the records of control services";

/// Each dependency that stays behind a wall.
pub(crate) const WALLS: &[Wall] = &[
    Wall {
        dependency: "io-uring",
        allowed: &["objectd"],
        reason: "only objectd opens object files",
    },
    Wall {
        dependency: "rocksdb",
        allowed: &["objectd", "listing", "benches"], // benches: a baseline on RocksDB alone
        reason: "tables are opened by their owner only",
    },
    Wall { dependency: "virt", allowed: &["compute"], reason: "a storage node needs no libvirt" },
    Wall { dependency: "sea-orm", allowed: SQL, reason: SQL_REASON },
    Wall { dependency: "sea-orm-migration", allowed: SQL, reason: SQL_REASON },
    Wall { dependency: "sqlx", allowed: SQL, reason: SQL_REASON },
    Wall { dependency: "rusqlite", allowed: SQL, reason: SQL_REASON },
    Wall {
        dependency: "s3s",
        allowed: &["proxy"],
        reason: "S3 is a face of the proxy and nothing else",
    },
    Wall {
        dependency: "anyhow",
        // ring-builder for its tool; see MAINS for its library.
        allowed: &["apus", "tests", "benches", "ring-builder"],
        reason: "libraries have an enum of errors for each operation",
    },
];

/// Where `anyhow` may stand in sources: mains, tools and tests.
pub(crate) fn is_main(path: &str) -> bool {
    let rooms = ["src/", "tests/", "benches/"];
    rooms.iter().any(|room| path.starts_with(room))
        || path.contains("/src/bin/")
        || path.ends_with("/main.rs")
}

/// What has no noun has no place yet.
pub(crate) const NAMES_BANNED: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "misc", "stuff"];

/// Paths of one machine, which say nothing to a reader on another. Written in two halves, or this file would
/// break its own rule.
pub(crate) const MENTIONS_BANNED: &[&str] =
    &[concat!("/wo", "rk/"), concat!("../sha", "red"), concat!("/root/", ".cache")];
