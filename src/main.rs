//! The `apus` command.

use anyhow::Context;
use apus::config::NodeConfig;
use apus::inspect::Inspect;
use apus::{Node, Part};
use clap::{Parser, Subcommand};
use daemon::telemetry;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An object store that speaks Swift, in one command.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything in one process.
    Serve {
        /// Where everything is kept [default: data].
        #[arg(long)]
        data: Option<PathBuf>,
        /// Where the front door listens [default: 127.0.0.1:8080].
        #[arg(long)]
        listen: Option<SocketAddr>,
        /// The node's configuration.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Devices of a new cluster [default: 4].
        #[arg(long)]
        devices: Option<u16>,
        /// Copies of everything in a new cluster [default: 3].
        #[arg(long)]
        replicas: Option<u8>,
    },
    /// The front door alone.
    Proxy(One),
    /// The object server alone, or a look into its devices.
    Objectd(Objectd),
    /// The container server alone.
    Containerd(One),
    /// The account server alone.
    Accountd(One),
    /// The background work alone.
    Replicator(One),
    /// Users and tokens alone.
    Identity(One),
}

#[derive(clap::Args)]
struct One {
    /// The node's configuration.
    #[arg(long)]
    config: PathBuf,
}

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Objectd {
    /// The node's configuration.
    #[arg(long, required = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    tool: Option<Tool>,
}

#[derive(Subcommand)]
enum Tool {
    /// Looks into a device's directory; reads only, also beside a running server.
    Inspect(Inspect),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Objectd(Objectd { tool: Some(Tool::Inspect(inspect)), .. }) => {
            allow_many_files();
            inspect.run()
        }
        command => run(command).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("apus: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let (config, part) = configure(command)?;
    telemetry::init_logs(&config.log);
    telemetry::init_metrics();
    allow_many_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let node = Node::start(config, part).await?;
        match node.address() {
            Some(_) if part == Part::All => println!("{}", node.banner()),
            _ => println!("apus: {part:?} is ready"),
        }
        node.run_until(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
        Ok(())
    })
}

fn configure(command: Command) -> anyhow::Result<(NodeConfig, Part)> {
    let load = |path: Option<&PathBuf>| {
        daemon::load_config::<NodeConfig>(path.map(PathBuf::as_path), std::env::vars())
    };
    let one = |one: One, part| load(Some(&one.config)).map(|config| (config, part));
    match command {
        Command::Serve { data, listen, config, devices, replicas } => {
            let mut node = load(config.as_ref())?;
            node.data = data.unwrap_or(node.data);
            node.listen = listen.unwrap_or(node.listen);
            node.devices = devices.or(node.devices);
            node.replicas = replicas.or(node.replicas);
            Ok((node, Part::All))
        }
        Command::Proxy(config) => one(config, Part::Proxy),
        Command::Objectd(Objectd { config, .. }) => {
            load(config.as_ref()).map(|config| (config, Part::Objectd))
        }
        Command::Containerd(config) => one(config, Part::Containerd),
        Command::Accountd(config) => one(config, Part::Accountd),
        Command::Replicator(config) => one(config, Part::Replicator),
        Command::Identity(config) => one(config, Part::Identity),
    }
    .context("apus was not started")
}

/// Segments, index files and connections are all open files; systems often allow more than they begin with.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}
