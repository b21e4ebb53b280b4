//! What a ring looks like, as text.

use std::collections::BTreeSet;
use std::fmt::Write;

use ring_builder::{Device, Node, Ring};
use types::{ObjectHash, Partition};

/// The balance of a device that has partitions but should have none (Swift: `MAX_BALANCE`).
const WORST_BALANCE: f64 = 999.99;

const HEAD: [&str; 10] = [
    "id",
    "region",
    "zone",
    "ip:port",
    "replication",
    "device",
    "weight",
    "partitions",
    "balance",
    "meta",
];

/// The ring and its devices. Columns and words are those of `swift-ring-builder`.
pub(crate) fn ring(name: &str, ring: &Ring) -> Result<String, std::fmt::Error> {
    let counts = ring.data().partitions_per_device();
    let assigned: u64 = counts.iter().sum();
    let weights: f64 = ring.devices().map(|device| device.weight).sum();
    let mut rows = vec![HEAD.map(str::to_owned)];
    let mut worst = 0.0f64;
    for device in ring.devices() {
        let parts = counts[device.id as usize];
        let balance = balance(parts, device.weight * assigned as f64 / weights);
        worst = worst.max(balance.abs());
        rows.push(row(device, parts, balance));
    }

    let mut out = String::new();
    let version = ring.version().map_or("unknown".to_owned(), |version| version.to_string());
    writeln!(out, "{name}, build version {version}")?;
    let replicas = assigned as f64 / ring.partition_count() as f64;
    let regions: BTreeSet<u32> = ring.devices().map(|device| device.region).collect();
    let zones: BTreeSet<_> = ring.devices().map(|device| (device.region, device.zone)).collect();
    writeln!(
        out,
        "{} partitions, {replicas:.6} replicas, {} regions, {} zones, {} devices, {worst:.2} balance",
        ring.partition_count(),
        regions.len(),
        zones.len(),
        ring.devices().count(),
    )?;
    if let Some(power) = ring.data().next_part_power {
        writeln!(out, "The partition power is being changed to {power}.")?;
    }
    table(&mut out, &rows)?;
    Ok(out)
}

/// By how many percent a device has more partitions than its weight calls for.
fn balance(parts: u64, wanted: f64) -> f64 {
    match parts {
        _ if wanted > 0.0 => 100.0 * parts as f64 / wanted - 100.0,
        0 => 0.0,
        _ => WORST_BALANCE,
    }
}

fn row(device: &Device, parts: u64, balance: f64) -> [String; 10] {
    [
        device.id.to_string(),
        device.region.to_string(),
        device.zone.to_string(),
        endpoint(&device.ip, device.port),
        endpoint(&device.replication_ip, device.replication_port),
        device.device.clone(),
        format!("{:.2}", device.weight),
        parts.to_string(),
        format!("{balance:.2}"),
        device.meta.clone(),
    ]
}

fn table(out: &mut String, rows: &[[String; 10]]) -> std::fmt::Result {
    /// The columns of text are aligned left, those of numbers right.
    const TEXT: [usize; 4] = [3, 4, 5, 9];
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            if TEXT.contains(&column) {
                write!(line, "{cell:<width$}  ")?;
            } else {
                write!(line, "{cell:>width$}  ")?;
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn endpoint(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// Where a path is. As `swift-get-nodes` does, as many handoffs as primaries unless all are asked for.
pub(crate) fn nodes(
    ring: &Ring,
    path: &str,
    hash: &ObjectHash,
    all: bool,
) -> Result<String, std::fmt::Error> {
    let partition: Partition = ring.partition(hash);
    let primaries = ring.primaries(partition);
    let handoffs = if all { usize::MAX } else { primaries.len() };
    let mut out = String::new();
    writeln!(out, "Path     \t{path}\nPartition\t{partition}\nHash     \t{hash}\n")?;
    for Node { device, is_handoff, .. } in
        primaries.into_iter().chain(ring.handoffs(partition).take(handoffs))
    {
        let mark = if is_handoff { "\t [Handoff]" } else { "" };
        let endpoint = endpoint(&device.ip, device.port);
        writeln!(out, "Server:Port Device\t{endpoint} {}{mark}", device.device)?;
    }
    Ok(out)
}
