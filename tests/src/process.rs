//! The real binary as a process that can be killed, stopped and started again.

use crate::client::Client;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start may take, recovery included.
const START: Duration = Duration::from_secs(60);
/// How long stopping in order may take.
const STOP: Duration = Duration::from_secs(30);
/// Lines of the log that are shown when a process ends its part in a test.
const LOG_LINES: usize = 60;

/// How a process is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The subcommand; `serve` if empty.
    pub part: String,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Variables, beside an environment without any that apus would read.
    pub variables: Vec<(String, String)>,
}

impl Options {
    /// Sets a variable such as `APUS_PROXY__CLIENT_TIMEOUT_MS`.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A process of apus.
pub struct Apus {
    child: Option<Child>,
    options: Options,
    data: PathBuf,
    log: PathBuf,
    address: Option<SocketAddr>,
    _dir: Option<TempDir>,
}

/// The binary that cargo built beside this test.
pub fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let built = test.parent().and_then(Path::parent).context("a test lies two levels deep")?;
    let binary = built.join("apus");
    ensure!(
        binary.exists(),
        "{} is missing; `cargo build --release --workspace` makes it",
        binary.display()
    );
    Ok(binary)
}

/// A command that runs the binary, free of what the tester's environment says to it.
pub fn command(part: &str, arguments: &[String]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("APUS_") {
            command.env_remove(&name);
        }
    }
    command.arg(part).args(arguments).stdin(Stdio::null());
    Ok(command)
}

impl Apus {
    /// Serves everything in one process, in a directory of its own, on a port that is free.
    pub fn serve() -> Result<Apus> {
        Apus::serve_with(Options::default())
    }

    /// The same with further options.
    pub fn serve_with(options: Options) -> Result<Apus> {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data");
        let mut apus = Apus::prepare(data.clone(), dir.path().join("log"), options);
        apus._dir = Some(dir);
        apus.options.part = "serve".to_owned();
        apus.options.arguments.extend(["--data".to_owned(), data.display().to_string()]);
        apus.options.arguments.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
        apus.start()?;
        Ok(apus)
    }

    /// A process whose arguments say everything; it is not started yet.
    pub fn prepare(data: PathBuf, log: PathBuf, options: Options) -> Apus {
        Apus { child: None, options, data, log, address: None, _dir: None }
    }

    /// Starts it and waits until it says that it is ready.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = command(&self.options.part, &self.options.arguments)?;
        command.envs(self.options.variables.iter().cloned());
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().context("apus cannot be run")?;
        let stdout = child.stdout.take().context("its output")?;
        self.child = Some(child);
        let wants_address = matches!(self.options.part.as_str(), "serve");
        match wait_until_ready(stdout, wants_address) {
            Ok(address) => {
                self.address = address;
                Ok(())
            }
            Err(error) => {
                self.kill();
                Err(error).context("apus was not ready in time")
            }
        }
    }

    /// Where its front door is.
    pub fn address(&self) -> Result<SocketAddr> {
        self.address.context("it has no front door, or was not started")
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A client of the user whom the first start made.
    pub async fn client(&self) -> Result<Client> {
        let openrc = std::fs::read_to_string(self.data.join("openrc"))?;
        let value = |name: &str| {
            let line = openrc.lines().find_map(|line| {
                line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('=')
            });
            let value = line.with_context(|| format!("openrc has no {name}"))?;
            Ok::<_, anyhow::Error>(value.trim_matches('\'').to_owned())
        };
        Client::login(self.address()?, &value("ST_USER")?, &value("ST_KEY")?).await
    }

    /// SIGKILL: it gets no chance to finish anything.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits until it has stopped in order.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(rustix::process::Signal::TERM)?;
        let mut child = self.child.take().context("it does not run")?;
        let status = wait(&mut child, STOP);
        if status.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        status
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        Ok(rustix::process::kill_process(rustix::process::Pid::from_child(child), signal)?)
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Bytes of memory that are its own now.
    pub fn resident_bytes(&self) -> Result<u64> {
        let child = self.child.as_ref().context("it does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .context("the system tells no memory")?
            .trim()
            .parse()?;
        Ok(kib * 1024)
    }

    /// Kills it and starts it again on the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.start()
    }
}

impl Drop for Apus {
    fn drop(&mut self) {
        self.kill();
        // Shown by the test runner only when a test fails.
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES);
        eprintln!("--- the end of the log of {}", self.data.display());
        for line in &lines[from..] {
            eprintln!("{line}");
        }
    }
}

/// Waits for a process to end by itself.
pub fn wait(child: &mut Child, most: Duration) -> Result<ExitStatus> {
    let deadline = Instant::now() + most;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        ensure!(Instant::now() < deadline, "the process still ran after {most:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads until the banner is complete, and goes on reading so that the process is never kept waiting.
fn wait_until_ready(stdout: ChildStdout, wants_address: bool) -> Result<Option<SocketAddr>> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Nobody listens any more once it is ready.
            let _ = sender.send(line);
        }
    });
    let deadline = Instant::now() + START;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = match lines.recv_timeout(left) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("it said nothing for {START:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("it ended"),
        };
        if !wants_address && line.contains(" is ready") {
            return Ok(None);
        }
        if let Some((_, url)) = line.split_once("abilities")
            && wants_address
        {
            let address = url.trim().strip_prefix("http://").and_then(|url| url.split('/').next());
            return Ok(Some(address.context("an address")?.parse()?));
        }
    }
}
