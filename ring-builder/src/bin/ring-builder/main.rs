//! The ring tool: shows rings, looks paths up, and builds rings from nothing.

mod address;
mod show;
mod swift_conf;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use ring_builder::{Device, Ring};
use types::{AccountName, ContainerName, HashPaths, ObjectName, PartPower};

/// Shows, queries and builds the rings that say which devices hold what.
#[derive(Parser)]
#[command(version, about, long_about = None)]
struct Cli {
    /// The ring file, NAME.ring.gz; alone, it is shown
    file: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Say which devices hold an account, a container or an object
    Nodes(NodesArgs),
    /// Build the ring from nothing and write it to the file
    Build(BuildArgs),
}

#[derive(Args)]
struct NodesArgs {
    /// Name of the account, like AUTH_test
    account: String,
    /// Name of the container
    container: Option<String>,
    /// Name of the object
    object: Option<String>,
    /// The cluster's swift_hash_path_prefix
    #[arg(long, value_name = "TEXT")]
    hash_prefix: Option<String>,
    /// The cluster's swift_hash_path_suffix
    #[arg(long, value_name = "TEXT")]
    hash_suffix: Option<String>,
    /// Take prefix and suffix from this swift.conf
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hash_prefix", "hash_suffix"])]
    swift_conf: Option<PathBuf>,
    /// Show every handoff, not only as many as there are primaries
    #[arg(long)]
    all: bool,
}

#[derive(Args)]
struct BuildArgs {
    /// The ring has 2 to this power partitions; it should be about 100 times the devices there will ever be
    #[arg(long, value_name = "N")]
    part_power: u8,
    /// How many copies of each partition there are
    #[arg(long, value_name = "R")]
    replicas: u8,
    /// Another seed gives another placement; the same seed and devices give the same ring
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// Devices, like r1z1-127.0.0.1:6200/d1 or r1z1-127.0.0.1:6200/d1=100 with a weight
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<String>,
}

fn main() -> ExitCode {
    let answer = run(&Cli::parse());
    let printed = answer.and_then(|text| Ok(std::io::stdout().write_all(text.as_bytes())?));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ring-builder: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<String> {
    if cli.file.extension().is_some_and(|extension| extension == "builder") {
        bail!(
            "{} is a builder file of Swift, which this version cannot read or write yet; \
             name its .ring.gz file instead",
            cli.file.display()
        );
    }
    match &cli.command {
        None => Ok(show::ring(&cli.file.display().to_string(), &load(&cli.file)?)?),
        Some(Command::Nodes(args)) => nodes(&cli.file, args),
        Some(Command::Build(args)) => build(&cli.file, args),
    }
}

fn load(file: &Path) -> Result<Ring> {
    Ring::load(file).with_context(|| format!("cannot use {}", file.display()))
}

fn nodes(file: &Path, args: &NodesArgs) -> Result<String> {
    let paths = hash_paths(args)?;
    AccountName::parse(&args.account).context("the account is not usable")?;
    let (path, hash) = match (&args.container, &args.object) {
        (Some(container), Some(object)) => {
            ContainerName::parse(container).context("the container is not usable")?;
            ObjectName::parse(object).context("the object is not usable")?;
            let path = format!("/{}/{container}/{object}", args.account);
            (path, paths.object(&args.account, container, object))
        }
        (Some(container), None) => {
            ContainerName::parse(container).context("the container is not usable")?;
            (format!("/{}/{container}", args.account), paths.container(&args.account, container))
        }
        _ => (format!("/{}", args.account), paths.account(&args.account)),
    };
    Ok(show::nodes(&load(file)?, &path, &hash, args.all)?)
}

/// There is no default: a wrong prefix or suffix gives an answer that looks right and is not.
fn hash_paths(args: &NodesArgs) -> Result<HashPaths> {
    match (&args.swift_conf, &args.hash_prefix, &args.hash_suffix) {
        (Some(file), ..) => swift_conf::read(file),
        (None, None, None) => bail!(
            "where a path is depends on the cluster's hash prefix and suffix; give --hash-prefix and \
             --hash-suffix, or --swift-conf with the file that has them"
        ),
        (None, prefix, suffix) => Ok(HashPaths {
            prefix: prefix.clone().unwrap_or_default(),
            suffix: suffix.clone().unwrap_or_default(),
        }),
    }
}

fn build(file: &Path, args: &BuildArgs) -> Result<String> {
    let power = PartPower::new(args.part_power).context("the partition power is not 0 to 32")?;
    let mut devices: Vec<Device> = Vec::with_capacity(args.devices.len());
    for (id, text) in args.devices.iter().enumerate() {
        let device = address::parse(text, u32::try_from(id)?)?;
        let same = |other: &Device| {
            (&other.ip, other.port, &other.device) == (&device.ip, device.port, &device.device)
        };
        ensure!(!devices.iter().any(same), "{text:?} is the same device as one before it");
        devices.push(device);
    }
    // A new ring puts everything elsewhere, so a ring in use must not be lost to a slip.
    ensure!(
        args.force || !file.exists(),
        "{} exists; a ring built from nothing puts every partition elsewhere, so data in use would no longer \
         be found. Give --force to replace it",
        file.display()
    );
    let data = ring_builder::build(devices, power, args.replicas, args.seed)?;
    data.save(file)?;
    Ok(show::ring(&file.display().to_string(), &Ring::new(data)?)?)
}
