"""What the runners of Swift's own test suites share: Swift's sources and libraries, a fresh apus, pytest, and what was expected.

What is fetched from PyPI is kept in $APUS_TEST_CACHE or ~/.cache/apus.
"""

import json
import os
import pathlib
import queue
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

SWIFT = "2.38.3"
CLIENT = "4.11.0"
REQUIREMENTS = [
    f"swift=={SWIFT}", "setuptools<81", "pytest", "pytest-timeout", f"python-swiftclient=={CLIENT}", "requests", "boto3",
    "openstacksdk", "python-openstackclient",
]
HERE = pathlib.Path(__file__).resolve().parent
READY_SECONDS = 60
SUITE_SECONDS = 1800
STARTED = time.monotonic()
FAILED, SKIPPED, PASSED = "failed", "skipped", "passed"


def say(text):
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


def binary():
    """Where cargo puts apus."""
    target = os.environ.get("CARGO_TARGET_DIR", pathlib.Path.home() / ".cache/apus/target")
    return pathlib.Path(target) / "release" / "apus"


def free_ports(count):
    """Ports that nobody uses now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def options(parser):
    """The command line, with what all runners have."""
    parser.add_argument("-k", dest="select", help="pytest's expression")
    parser.add_argument("--binary", default=binary())
    parser.add_argument("--keep", help="where logs are left")
    parser.add_argument("--all", action="store_true", help="tell of expected failures, too")
    return parser.parse_args()


def cache_dir():
    return pathlib.Path(os.environ.get("APUS_TEST_CACHE") or pathlib.Path.home() / ".cache" / "apus")


def environment():
    """The directory of programs of a virtual environment with the suite's libraries; made at the first call."""
    place = cache_dir() / "venv-swift-functional"
    stamp = place / "apus-requirements.txt"
    wanted = "\n".join([sys.version, *REQUIREMENTS])
    if not stamp.is_file() or stamp.read_text() != wanted:
        say(f"installing the suite's libraries into {place}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        pip = [str(place / "bin" / "pip"), "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return place / "bin"


def sources(programs, package, version, installed):
    """The directory of a source distribution; fetched at the first call. `installed` is what it is imported as."""
    place = cache_dir() / f"{package}-{version}"
    if not (place / "complete").exists():
        say(f"fetching the source distribution of {package} {version}")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as home:
            pip = [str(programs / "pip"), "--disable-pip-version-check"]
            # To tell its name, pip runs its build script, which wants these.
            subprocess.run([*pip, "install", "--quiet", "pbr", "wheel"], check=True)
            fetch = ["download", "--quiet", "--no-deps", "--no-build-isolation", "--no-binary", package]
            subprocess.run([*pip, *fetch, f"{package}=={version}", "--dest", home], check=True)
            with tarfile.open(next(pathlib.Path(home).glob("*.tar.gz"))) as archive:
                archive.extractall(place, filter="data")
        # The installed package is meant, not this copy of it.
        shutil.rmtree(next(place.glob(f"*/{installed}")))
        (place / "complete").touch()
    return next(each for each in place.iterdir() if each.is_dir())


def suite(programs):
    """Swift's sources."""
    return sources(programs, "swift", SWIFT, "swift")


class Apus:
    """The process under test, in a directory of its own, on a port that it chooses."""

    def __init__(self, program, home, settings):
        self.home = home
        (home / "data").mkdir(parents=True)
        config = home / "apus.toml"
        config.write_text(settings)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("APUS_")}
        command = [program, "serve", "--config", config, "--data", home / "data", "--listen", "127.0.0.1:0"]
        self.log = open(home / "log", "ab")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, env=clean, text=True
        )
        self.address = self._address()

    def _address(self):
        lines = queue.Queue()

        def read():
            for line in self.process.stdout:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        while True:
            line = lines.get(timeout=READY_SECONDS)
            if line is None:
                raise RuntimeError(f"apus ended:\n{(self.home / 'log').read_text()[-3000:]}")
            found = re.search(r"http://(\S+)/info", line)
            if found:
                return found.group(1)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def run_pytest(programs, source, home, arguments, extra):
    """Runs tests of the suite. Gives outcome and message of each."""
    results = home / "results.json"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "APUS_", "SWIFT_"))}
    env |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(HERE), "APUS_RESULTS": str(results)} | extra
    command = [str(programs / "python"), "-m", "pytest", "-p", "record_outcomes", "-p", "no:cacheprovider"]
    command += ["-o", "addopts=", "-q", "-rN", "--tb=short", "-W", "ignore", *arguments]
    with open(home / "pytest.log", "w", encoding="utf-8") as log:
        subprocess.run(
            command, cwd=source, env=env, stdout=log, stderr=subprocess.STDOUT, check=False,
            timeout=SUITE_SECONDS,
        )
    if not results.exists():
        raise RuntimeError(f"the suite did not run:\n{(home / 'pytest.log').read_text()[-3000:]}")
    return json.loads(results.read_text())


def keep_logs(home, place):
    """Leaves what was written where somebody wants to read it."""
    place = pathlib.Path(place)
    place.mkdir(parents=True, exist_ok=True)
    for name in ["log", "pytest.log", "results.json"]:
        if (home / name).exists():
            shutil.copy(home / name, place / f"{home.name}-{name}")


def exceptions(name):
    """Test, and what comes of it: `failed` or `skipped`. Each line of the file has a reason behind `#`."""
    known = {}
    for line in (HERE / name).read_text().splitlines():
        entry, _, reason = line.partition("#")
        if not entry.strip():
            continue
        outcome, test = entry.split()
        assert reason.strip() and outcome in (FAILED, SKIPPED), f"{name}: {line}"
        known[test] = outcome
    return known


def judge(outcomes, name, show_all):
    """Tells what came of the tests, beside what the file of exceptions says. Gives the exit code."""
    known = exceptions(name)
    count = {PASSED: 0, FAILED: 0, SKIPPED: 0}
    unexpected = 0
    for test, (outcome, message) in sorted(outcomes.items()):
        wanted = known.get(test, PASSED)
        count[outcome] += 1
        unexpected += outcome != wanted
        if outcome == wanted and not (show_all and outcome == FAILED):
            continue
        say(f"{outcome.upper()} {test}" + (f" (expected: {wanted})" if wanted != PASSED else ""))
        for line in message.splitlines()[:6]:
            print(f"    {line[:300]}")
    say(f"{unexpected} tests did otherwise than tests/swift/{name} says")
    print(f"{count[PASSED]} passed, {count[FAILED]} failed, {count[SKIPPED]} skipped")
    return 1 if unexpected or not outcomes else 0
