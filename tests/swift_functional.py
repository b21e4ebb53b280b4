#!/usr/bin/env python3
"""Swift's own functional test suite, from its source distribution on PyPI, against a freshly started apus.

Every test must pass. Those that cannot are named in tests/swift/exceptions.txt, each with its outcome and the reason; one
that is named there and does otherwise breaks the run, too, so that the list stays true. The suite empties the
accounts that it logs in to, which here are those of a process of its own in a temporary directory.

    tests/swift_functional.py                         everything
    tests/swift_functional.py -k slo                  what pytest selects by this expression
    tests/swift_functional.py test_slo.py tests.py    these files
    tests/swift_functional.py --jobs 2                so many processes of apus, each with a part of the files
    tests/swift_functional.py --all                   what fails is listed, exceptions or not

Needs the binary (`cargo build --release --workspace`), Python's venv and, the first time, a network to install from PyPI;
what was installed is kept in $APUS_TEST_CACHE or ~/.cache/apus. Ends with a line `N passed, N failed, N skipped`, and with
0 if every test did what was expected of it.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

SWIFT = "2.38.3"
REQUIREMENTS = [
    f"swift=={SWIFT}", "setuptools<81", "pytest", "pytest-timeout", "python-swiftclient", "requests", "boto3",
]
HERE = pathlib.Path(__file__).resolve().parent
READY_SECONDS = 60
TEST_SECONDS = 180
SUITE_SECONDS = 1800
STARTED = time.monotonic()
FAILED, SKIPPED, PASSED = "failed", "skipped", "passed"


def say(text):
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


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


def suite(programs):
    """The directory of the source distribution; fetched at the first call."""
    place = cache_dir() / f"swift-{SWIFT}"
    if not (place / "complete").exists():
        say(f"fetching the source distribution of Swift {SWIFT}")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as home:
            pip = [str(programs / "pip"), "--disable-pip-version-check"]
            # To tell its name, pip runs its build script, which wants these.
            subprocess.run([*pip, "install", "--quiet", "pbr", "wheel"], check=True)
            fetch = ["download", "--quiet", "--no-deps", "--no-build-isolation", "--no-binary", "swift"]
            subprocess.run([*pip, *fetch, f"swift=={SWIFT}", "--dest", home], check=True)
            with tarfile.open(next(pathlib.Path(home).glob("swift-*.tar.gz"))) as archive:
                archive.extractall(place, filter="data")
        # The installed package is meant, not this copy of it.
        shutil.rmtree(place / f"swift-{SWIFT}" / "swift")
        (place / "complete").touch()
    return place / f"swift-{SWIFT}"


class Apus:
    """The process under test, in a directory of its own, on a port that it chooses."""

    def __init__(self, binary, home):
        self.home = home
        (home / "data").mkdir(parents=True)
        config = home / "apus.toml"
        config.write_text((HERE / "swift" / "apus.toml").read_text())
        clean = {k: v for k, v in os.environ.items() if not k.startswith("APUS_")}
        command = [binary, "serve", "--config", config, "--data", home / "data", "--listen", "127.0.0.1:0"]
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


def test_conf(address):
    return f"""[func_test]
auth_version = 1
auth_uri = http://{address}/auth/v1.0
account = test
username = tester
password = testing
account2 = test2
username2 = tester2
password2 = testing2
username3 = tester3
password3 = testing3
account5 = test5
username5 = tester5
password5 = testing5
service_prefix = SERVICE
account6 = test
username6 = tester6
password6 = testing6
collate = C
insecure = no
storage_domain = storage.test
"""


def run_part(options, programs, source, files, home):
    """Runs some files against a process of apus. Gives outcome and message of each test."""
    apus = Apus(options.binary, home)
    results = home / "results.json"
    try:
        (home / "test.conf").write_text(test_conf(apus.address))
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "APUS_", "SWIFT_"))}
        env |= {
            "SWIFT_TEST_CONFIG_FILE": str(home / "test.conf"),
            "SWIFT_TEST_IN_PROCESS": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(HERE / "swift"),
            "APUS_RESULTS": str(results),
        }
        command = [str(programs / "python"), "-m", "pytest", "-p", "record_outcomes", "-p", "no:cacheprovider"]
        command += ["-o", "addopts=", "-q", "-rN", "--tb=short", "-W", "ignore", "--timeout", str(TEST_SECONDS)]
        command += ["-k", options.select] if options.select else []
        command += [f"test/functional/{name}" for name in files]
        with open(home / "pytest.log", "w", encoding="utf-8") as log:
            subprocess.run(
                command, cwd=source, env=env, stdout=log, stderr=subprocess.STDOUT, check=False,
                timeout=SUITE_SECONDS,
            )
    finally:
        apus.stop()
    if options.keep:
        place = pathlib.Path(options.keep)
        place.mkdir(parents=True, exist_ok=True)
        for name in ["log", "pytest.log", "results.json"]:
            if (home / name).exists():
                shutil.copy(home / name, place / f"{home.name}-{name}")
    if not results.exists():
        raise RuntimeError(f"the suite did not run:\n{(home / 'pytest.log').read_text()[-3000:]}")
    return json.loads(results.read_text())


def exceptions():
    """Test, and what comes of it: `failed` or `skipped`. Each line of the file has a reason behind `#`."""
    known = {}
    for line in (HERE / "swift" / "exceptions.txt").read_text().splitlines():
        entry, _, reason = line.partition("#")
        if not entry.strip():
            continue
        outcome, test = entry.split()
        assert reason.strip() and outcome in (FAILED, SKIPPED), f"exceptions.txt: {line}"
        known[test] = outcome
    return known


def parts(files, jobs):
    """The files in so many heaps, the longest first onto the lowest heap; weights are seconds of one run."""
    weights = {"tests.py": 60, "test_object_versioning.py": 30, "test_slo.py": 30, "test_symlink.py": 25}
    heaps = [[0, []] for _ in range(jobs)]
    for name in sorted(files, key=lambda name: -weights.get(name, 10)):
        lowest = min(heaps, key=lambda heap: heap[0])
        lowest[0] += weights.get(name, 10)
        lowest[1].append(name)
    return [names for _, names in heaps if names]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path.home() / ".cache/apus/target"))
    parser.add_argument("files", nargs="*", help="files of test/functional")
    parser.add_argument("-k", dest="select", help="pytest's expression")
    parser.add_argument("--binary", default=target / "release" / "apus")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", help="where logs are left")
    parser.add_argument("--all", action="store_true", help="tell of expected failures, too")
    options = parser.parse_args()
    programs = environment()
    source = suite(programs)
    folder = source / "test" / "functional"
    files = options.files or ["tests.py", *sorted(path.name for path in folder.glob("test_*.py"))]
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="apus-functional-") as home:
        heaps = parts(files, max(options.jobs, 1))
        with concurrent.futures.ThreadPoolExecutor(len(heaps)) as pool:
            jobs = [
                pool.submit(run_part, options, programs, source, names, pathlib.Path(home) / str(number))
                for number, names in enumerate(heaps)
            ]
            for job in jobs:
                outcomes |= job.result()
    known = exceptions()
    count = {PASSED: 0, FAILED: 0, SKIPPED: 0}
    unexpected = 0
    for test, (outcome, message) in sorted(outcomes.items()):
        short = test.removeprefix("test/functional/")
        wanted = known.get(short, PASSED)
        count[outcome] += 1
        unexpected += outcome != wanted
        if outcome == wanted and not (options.all and outcome == FAILED):
            continue
        say(f"{outcome.upper()} {short}" + (f" (expected: {wanted})" if wanted != PASSED else ""))
        for line in message.splitlines()[:6]:
            print(f"    {line[:300]}")
    say(f"{unexpected} tests did otherwise than tests/swift/exceptions.txt says")
    print(f"{count[PASSED]} passed, {count[FAILED]} failed, {count[SKIPPED]} skipped")
    return 1 if unexpected or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
