//! `apus objectd inspect`: what a device holds, in words.
//!
//! Only arguments and words are here; what is looked at, and how, is in [`objectd::inspect`].

use crate::config::NodeConfig;
use crate::secrets::{Secrets, hash_ends};
use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use objectd::format::{Extent, Record, Superblock, decode_update};
use objectd::inspect::{
    Device, FrameRow, ObjectView, Progress, ReadError, RecordRow, Role, Scope, SegmentRow,
    StoredRecord, Summary, Verifier,
};
use objectd::state::Version;
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use types::{HashPaths, ObjectHash, Timestamp};

/// Bytes that are verified between two looks at the clock.
const STEP: u64 = 64 << 20;
/// Pause between two lines that say how far a verification is.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Looks into a device's directory.
#[derive(Args)]
pub struct Inspect {
    /// The device's directory, such as data/devices/d1.
    dir: PathBuf,
    /// Writes JSON: one document, or one to a line for frames and records.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// A table of all segments.
    Segments,
    /// The frames of a log segment.
    Frames {
        /// The segment, as in its file's name.
        #[arg(value_parser = segment)]
        segment: u32,
        /// The block to begin at, where a frame begins.
        #[arg(long, default_value_t = 1)]
        from: u32,
    },
    /// The records of a log segment, or of one frame.
    Records {
        /// The segment, as in its file's name.
        #[arg(value_parser = segment, required_unless_present = "lsn")]
        segment: Option<u32>,
        /// The frame's number.
        #[arg(long, conflicts_with = "segment")]
        lsn: Option<u64>,
    },
    /// One object: its versions, and where they lie.
    Object(ObjectArgs),
    /// Reads everything, and says what is wrong; the exit code is 1 if anything is.
    Verify {
        /// Only this segment, as in its file's name.
        #[arg(long, value_parser = segment)]
        segment: Option<u32>,
    },
}

#[derive(Args)]
struct ObjectArgs {
    /// The object: /account/container/object.
    #[arg(required_unless_present = "hash")]
    path: Option<String>,
    /// The hash of its path, instead.
    #[arg(long, conflicts_with = "path")]
    hash: Option<ObjectHash>,
    /// The node's configuration, for the hash prefix and suffix [default: secrets.toml of the data directory that the
    /// device is in].
    #[arg(long)]
    config: Option<PathBuf>,
    /// Writes the data to a new file. What does not hold is left out: zeros take its place.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The version whose data that is, by its frame [default: the one that is served].
    #[arg(long, requires = "data")]
    lsn: Option<u64>,
}

/// A segment's number, as in its file's name.
fn segment(text: &str) -> Result<u32, String> {
    let digits = text.strip_suffix(".seg").unwrap_or(text);
    u32::from_str_radix(digits, 16)
        .map_err(|_| "not a segment's number in hexadecimal digits".into())
}

impl Inspect {
    /// Looks, and says what it sees.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let device = Device::open(&self.dir)
            .with_context(|| format!("{} cannot be looked into", self.dir.display()))?;
        let mut out = BufWriter::new(io::stdout().lock());
        let done = self.look(&device, &mut out).and_then(|code| {
            out.flush()?;
            Ok(code)
        });
        match done {
            // Whoever reads this has seen enough.
            Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
            other => other,
        }
    }

    fn look(&self, device: &Device, out: &mut impl Write) -> anyhow::Result<ExitCode> {
        match &self.what {
            None => {
                let summary = device.summary()?;
                if self.json { document(out, &summary)? } else { print_summary(out, &summary)? }
            }
            Some(What::Segments) => {
                let rows = device.segment_table()?;
                if self.json { document(out, &rows)? } else { print_segments(out, &rows)? }
            }
            Some(What::Frames { segment, from }) => {
                self.table(out, FRAMES, |tell| device.frames(*segment, *from, tell), frame_line)?;
            }
            Some(What::Records { segment: Some(segment), .. }) => {
                self.table(out, RECORDS, |tell| device.records(*segment, tell), record_line)?;
            }
            Some(What::Records { segment: None, lsn }) => {
                let rows = device.records_of_frame(lsn.unwrap_or_default())?;
                let tell_all = |tell: &mut dyn FnMut(RecordRow)| {
                    rows.into_iter().for_each(tell);
                    Ok(())
                };
                self.table(out, RECORDS, tell_all, record_line)?;
            }
            Some(What::Object(args)) => return self.object(device, args, out),
            Some(What::Verify { segment }) => return self.verify(device, *segment, out),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A table whose rows are printed as they come.
    fn table<W: Write, T: Serialize>(
        &self,
        out: &mut W,
        heading: &str,
        rows: impl FnOnce(&mut dyn FnMut(T)) -> Result<(), objectd::inspect::InspectError>,
        line: fn(&T) -> String,
    ) -> anyhow::Result<()> {
        let mut written = Ok(());
        if !self.json {
            writeln!(out, "{heading}")?;
        }
        rows(&mut |row| {
            if written.is_ok() {
                written = if self.json {
                    serde_json::to_writer(&mut *out, &row)
                        .map_err(io::Error::from)
                        .and_then(|()| writeln!(out))
                } else {
                    writeln!(out, "{}", line(&row))
                };
            }
        })?;
        Ok(written?)
    }

    fn verify(
        &self,
        device: &Device,
        segment: Option<u32>,
        out: &mut impl Write,
    ) -> anyhow::Result<ExitCode> {
        let scope = segment.map_or(Scope::Device, Scope::Segment);
        let mut verifier = Verifier::new(device, scope)?;
        let began = Instant::now();
        let mut told = began;
        while verifier.step(STEP)? == Progress::More {
            if told.elapsed() > TOLD_EVERY {
                told = Instant::now();
                let report = verifier.report();
                let (mb, findings) = (report.bytes_read / 1_000_000, report.findings.len());
                eprintln!("{mb} MB read, {} records, {findings} findings", report.records);
            }
        }
        let report = verifier.report();
        let seconds = began.elapsed().as_secs_f64().max(1e-6);
        if self.json {
            document(out, report)?;
        } else {
            for finding in &report.findings {
                let segment = finding.segment.map(|id| format!("segment {id:08x}"));
                let block = finding.block.map(|block| format!("block {block}"));
                let lsn = finding.lsn.map(|lsn| format!("frame {lsn}"));
                let hash = finding.hash.map(|hash| format!("object {hash}"));
                let place: Vec<String> =
                    [segment, block, lsn, hash].into_iter().flatten().collect();
                let place = if place.is_empty() { "device".to_owned() } else { place.join(", ") };
                writeln!(out, "{place}: {}", finding.problem)?;
            }
            if report.unlisted > 0 {
                writeln!(out, "… and {} more", report.unlisted)?;
            }
            let rate = |count: u64| count as f64 / seconds;
            writeln!(
                out,
                "{} frames, {} records, {} objects, {:.1} MB read, {:.1} of them bulk data, in {seconds:.2} s: {:.0} records/s, {:.1} MB/s",
                report.frames,
                report.records,
                report.objects,
                report.bytes_read as f64 / 1e6,
                report.bulk_bytes as f64 / 1e6,
                rate(report.records),
                rate(report.bytes_read) / 1e6,
            )?;
            if !report.index {
                writeln!(
                    out,
                    "there is no index that can be read; only the log was verified, without bulk data"
                )?;
            }
            if report.frames_behind_index > 0 {
                writeln!(
                    out,
                    "the index is behind the log by {} frames, which the next start reads",
                    report.frames_behind_index
                )?;
            }
            if report.torn_end {
                writeln!(
                    out,
                    "the log ends in a frame that was never acknowledged, which is no damage"
                )?;
            }
            if report.changed > 0 {
                writeln!(
                    out,
                    "{} findings were dropped, since their segments were freed meanwhile; verify again",
                    report.changed
                )?;
            }
            let verdict = if report.is_clean() { "nothing is wrong" } else { "something is wrong" };
            writeln!(out, "{verdict}")?;
        }
        Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn object(
        &self,
        device: &Device,
        args: &ObjectArgs,
        out: &mut impl Write,
    ) -> anyhow::Result<ExitCode> {
        ensure!(!self.json, "there is no JSON of an object yet");
        let hash = match (&args.path, args.hash) {
            (_, Some(hash)) => hash,
            (Some(path), None) => {
                let paths = self.hash_paths(device, args.config.as_deref())?;
                hash_of(&paths, path)?
            }
            (None, None) => bail!("which object is meant?"),
        };
        let view = device.object(&hash)?;
        print_object(out, device, &view)?;
        let Some(to) = &args.data else { return Ok(ExitCode::SUCCESS) };
        let (version, stored) = chosen(view, args.lsn)?;
        let stored = stored.context("its record cannot be read")?;
        save(device, &version, stored, to, out)
    }

    /// The hash prefix and suffix, made sure to be those of the device.
    fn hash_paths(&self, device: &Device, config: Option<&Path>) -> anyhow::Result<HashPaths> {
        let ends = match config {
            Some(path) => {
                let config = daemon::load_config::<NodeConfig>(Some(path), std::env::vars())?;
                match hash_ends(&config.cluster)? {
                    Some(ends) => Some(ends),
                    None => stored_ends(&config.data)?,
                }
            }
            None => {
                // data/devices/d1, or data/devices/d1/pack
                let dir = std::fs::canonicalize(&self.dir)?;
                let mut found = None;
                for data in dir.ancestors().skip(2).take(2) {
                    found = found.or(stored_ends(data)?);
                }
                found
            }
        };
        let (prefix, suffix) = ends.context(
            "the cluster's hash prefix and suffix are not known: name the configuration with --config, or the object by --hash",
        )?;
        let paths = HashPaths { prefix, suffix };
        let fits = device.superblock().is_none_or(|superblock| {
            superblock.hash_fingerprint == Superblock::fingerprint(&paths)
        });
        ensure!(fits, "the hash prefix and suffix are not those that the device was made with");
        Ok(paths)
    }
}

fn stored_ends(data: &Path) -> anyhow::Result<Option<(String, String)>> {
    let secrets = Secrets::existing(data)?;
    Ok(secrets.map(|secrets| (secrets.hash_path_prefix, secrets.hash_path_suffix)))
}

fn hash_of(paths: &HashPaths, path: &str) -> anyhow::Result<ObjectHash> {
    let mut parts = path.trim_start_matches('/').splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(account), Some(container), Some(object)) if !object.is_empty() => {
            Ok(paths.object(account, container, object))
        }
        _ => bail!("{path} is no /account/container/object"),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(broken))
}

fn document(out: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

fn time(micros: u64) -> String {
    format!("{}Z", Timestamp::from_micros(micros).isoformat())
}

fn age(micros: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (now.as_micros() as u64).saturating_sub(micros) / 1_000_000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn print_summary(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let Summary { device_id, policy, created_micros, superblocks, .. } = summary;
    match device_id {
        Some(id) => writeln!(
            out,
            "device      {id}, policy {}, made {}, {superblocks} of 2 superblocks hold",
            or_dash(*policy),
            created_micros.map_or_else(String::new, time)
        )?,
        None => writeln!(out, "device      its superblock is lost")?,
    }
    for row in &summary.classes {
        let segments = format!("{} segments, {}", row.segments, bytes(row.bytes));
        let content = match row.live + row.garbage {
            0 => String::new(),
            all => {
                let percent = row.garbage * 100 / all;
                format!(": {} live, {} garbage ({percent}%)", bytes(row.live), bytes(row.garbage))
            }
        };
        writeln!(out, "{:<11} {segments}{content}", row.class)?;
    }
    match &summary.index {
        None => writeln!(
            out,
            "index       none: it was never made durable, or is gone; the next start makes it from the log"
        )?,
        Some(index) => {
            let (objects, data) = (index.objects, bytes(index.bytes));
            writeln!(
                out,
                "index       {objects} objects, {data} of data; knows frames up to {}",
                index.applied_lsn
            )?;
            for stream in &index.streams {
                writeln!(
                    out,
                    "  {:<9} goes on in segment {:08x} at block {}",
                    stream.class, stream.segment, stream.block
                )?;
            }
            let oldest = index.oldest_pending_lsn;
            let oldest =
                oldest.map_or_else(String::new, |lsn| format!(", the oldest in frame {lsn}"));
            writeln!(out, "updates     {} wait{oldest}", index.pending_updates)?;
            writeln!(out, "quarantined {} records", index.quarantined)?;
        }
    }
    let log = &summary.log;
    match log.frames_behind_index {
        0 => writeln!(out, "log         ends with frame {}", log.last_lsn),
        frames => writeln!(
            out,
            "log         ends with frame {}: the index is behind by {frames} frames with {} records",
            log.last_lsn, log.records_behind_index
        ),
    }
}

fn print_segments(out: &mut impl Write, rows: &[SegmentRow]) -> io::Result<()> {
    writeln!(
        out,
        "{:<8}  {:<7} {:>7} {:>10} {:>5} {:>7} {:>8} {:>11} {:>11} {:>5} {:>4}",
        "segment",
        "class",
        "epoch",
        "first lsn",
        "age",
        "footer",
        "records",
        "live",
        "written",
        "garb",
        "quar"
    )?;
    for row in rows {
        let used = row.used_micros > 0;
        writeln!(
            out,
            "{:08x}  {:<7} {:>7} {:>10} {:>5} {:>7} {:>8} {:>11} {:>11} {:>5} {:>4}{}",
            row.segment,
            row.class,
            or_dash(used.then_some(row.epoch)),
            or_dash(used.then_some(row.first_lsn)),
            or_dash(used.then(|| age(row.used_micros))),
            or_dash(row.footer.map(|footer| footer.name())),
            or_dash(row.records),
            or_dash(row.live),
            or_dash(row.written),
            or_dash(row.garbage_percent().map(|percent| format!("{percent}%"))),
            or_dash(row.quarantined),
            row.problem.as_ref().map_or_else(String::new, |problem| format!("  {problem}")),
        )?;
    }
    Ok(())
}

const FRAMES: &str =
    "   block  blocks        lsn  records     bytes  written                      chain";

fn frame_line(row: &FrameRow) -> String {
    let place = format!("{:>8} {:>7} {:>10}", row.block, row.blocks, or_dash(row.lsn));
    match &row.damage {
        Some(damage) => format!("{place}  DAMAGED: {damage}"),
        None => {
            let chain = match row.chained {
                Some(true) => "ok",
                Some(false) => "BROKEN",
                None => "-",
            };
            let written = time(row.written_micros);
            format!("{place} {:>8} {:>9}  {written}  {chain}", row.records, row.bytes)
        }
    }
}

const RECORDS: &str = "       lsn segment      offset kind      hash                             timestamp                  data  state";

fn record_line(row: &RecordRow) -> String {
    let mut line = format!(
        "{:>10} {:08x} {:>10} {:<9} {} {:<22} {:>10}  {}",
        row.lsn,
        row.segment,
        row.offset,
        row.kind.name(),
        row.hash,
        row.timestamp.internal(),
        row.data_len,
        row.state.name(),
    );
    if !row.extents.is_empty() {
        line += &format!(", data in {}", extents(&row.extents));
    }
    match (row.has_update, row.update_waits) {
        (false, _) => {}
        (true, Some(true)) => line += ", update waits",
        (true, _) => line += ", update",
    }
    if let Some(name) = &row.name {
        line += &format!("  {name}");
    }
    if let Some(damage) = &row.damage {
        line += &format!("  DAMAGED: {damage}");
    }
    line
}

fn extents(extents: &[Extent]) -> String {
    let one = |extent: &Extent| {
        let last = extent.block.saturating_add(extent.blocks).saturating_sub(1);
        format!("{:08x}:{}-{last}", extent.segment, extent.block)
    };
    extents.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn print_object(out: &mut impl Write, device: &Device, view: &ObjectView) -> io::Result<()> {
    writeln!(out, "object {}", view.hash)?;
    if !device.has_index() {
        writeln!(out, "there is no index that can be read; this is what the log says")?;
    } else if view.completed {
        writeln!(out, "the index is behind; this is what it and the log say together")?;
    }
    if view.versions.is_empty() {
        writeln!(out, "nothing is known of it here")?;
    }
    for known in &view.versions {
        print_version(out, &known.version, &known.stored, known.role.name())?;
    }
    for kept in &view.quarantined {
        let role = format!("in quarantine since {}", time(kept.found_micros));
        print_version(out, &kept.version, &kept.stored, &role)?;
    }
    Ok(())
}

fn print_version(
    out: &mut impl Write,
    version: &Version,
    stored: &Result<StoredRecord, ReadError>,
    role: &str,
) -> io::Result<()> {
    let at = &version.location;
    writeln!(
        out,
        "{} {} ({}Z): {role}",
        version.kind.name(),
        version.timestamp.internal(),
        version.timestamp.isoformat()
    )?;
    writeln!(
        out,
        "  record    segment {:08x}, byte {}, {} bytes, frame {}",
        at.segment, at.offset, at.len, at.lsn
    )?;
    if version.delete_at > 0 {
        let expires = Timestamp::from_seconds(version.delete_at);
        writeln!(out, "  expires   {}Z", expires.isoformat())?;
    }
    match stored {
        Err(error) => writeln!(out, "  DAMAGED   {error}"),
        Ok(stored) => print_record(out, &stored.record),
    }
}

fn print_record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    if record.head.data_len > 0 {
        let place = match record.extents.as_slice() {
            [] => "in the record".to_owned(),
            pieces => format!("in {}", extents(pieces)),
        };
        writeln!(out, "  data      {} bytes {place}", record.head.data_len)?;
    }
    for (key, value) in record.metadata.iter() {
        writeln!(out, "  {key}: {}", String::from_utf8_lossy(value))?;
    }
    match record.update.as_slice() {
        [] => Ok(()),
        update => match decode_update(update) {
            Ok(update) => writeln!(
                out,
                "  update    of /{}/{}",
                update.account.as_str(),
                update.container.as_str()
            ),
            Err(error) => writeln!(out, "  update    DAMAGED: {error}"),
        },
    }
}

type Chosen = (Version, Result<StoredRecord, ReadError>);

/// The version whose data is wanted.
fn chosen(view: ObjectView, lsn: Option<u64>) -> anyhow::Result<Chosen> {
    let versions = view.versions.into_iter();
    let mut all = versions
        .map(|known| (known.role, known.version, known.stored))
        .chain(view.quarantined.into_iter().map(|kept| (Role::None, kept.version, kept.stored)));
    let found = match lsn {
        Some(lsn) => all.find(|(_, version, _)| version.location.lsn == lsn),
        None => all.find(|(role, ..)| *role == Role::Data),
    };
    let (_, version, stored) =
        found.context("there is no such data; --lsn names another version's")?;
    Ok((version, stored))
}

/// Writes all data that holds to a new file.
fn save(
    device: &Device,
    version: &Version,
    stored: StoredRecord,
    to: &Path,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let file = File::options().write(true).create_new(true).open(to);
    let file = file.with_context(|| format!("{} cannot be made", to.display()))?;
    file.set_len(stored.record.head.data_len)?;
    let (mut whole, mut lost) = (0, 0);
    let mut reader = device.data(stored);
    loop {
        let damage = match reader.next_chunk() {
            None => break,
            Some(chunk) => match chunk.bytes {
                Ok(bytes) => {
                    file.write_all_at(bytes, chunk.offset)?;
                    whole += chunk.len;
                    continue;
                }
                Err(error) => (chunk.offset, chunk.len, error),
            },
        };
        let (offset, len, error) = damage;
        lost += len;
        let (segment, block) = reader.stored().place_of(version, offset);
        writeln!(
            out,
            "bytes {offset} to {} are lost, segment {segment:08x}, block {block}: {error}",
            offset + len - 1
        )?;
    }
    file.sync_all()?;
    writeln!(out, "{whole} bytes were written to {}, {lost} are lost", to.display())?;
    Ok(if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
