#!/usr/bin/env python3
"""The files of a Debian machine through the swift client, twice: in peace, and with the process killed meanwhile.

First the whole of /usr/share (tens of thousands of files, odd names, empty files; symlinks left out) goes up with
`swift upload`, is listed, stat'ed, downloaded and compared byte for byte. Then it goes up again into another
container while the process is killed with SIGKILL at random moments and started again: every upload that the
client saw acknowledged must be there and right, and the listing must agree with it.

Needs the binary (`cargo build --release --workspace`), Python's venv and, the first time, a network to install
python-swiftclient from; the environment is kept in $APUS_TEST_CACHE or ~/.cache/apus. Everything else is made in a
temporary directory and removed. Ends with a line `N passed, N failed`, and with 0 if nothing failed.
"""

import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import queue
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time

PACKAGE = "python-swiftclient"
THREADS = 10
READY_SECONDS = 60
SETTLE_SECONDS = 120
STARTED = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


def enter_environment():
    """Runs this script again by a Python that has the swift client, which is installed if need be."""
    default = pathlib.Path.home() / ".cache" / "apus"
    venv = pathlib.Path(os.environ.get("APUS_TEST_CACHE", default)) / "venv-swift"
    python = venv / "bin" / "python"
    if pathlib.Path(sys.prefix) == venv:
        return
    if not (venv / "complete").exists():
        say(f"installing {PACKAGE} into {venv}")
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, PACKAGE], check=True)
        (venv / "complete").touch()
    os.execv(python, [str(python), *sys.argv])


class Tally:
    """What was checked, and what of it was not as it must be."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, good, complaint):
        if good:
            self.passed += 1
            return
        self.failed += 1
        if self.failed <= 50:
            say(f"FAILED: {complaint}")
        elif self.failed == 51:
            say("FAILED: and more, which are only counted")


class Apus:
    """The process under test, in a directory of its own, on a port that it chooses."""

    def __init__(self, binary, home):
        self.binary = binary
        self.data = home / "data"
        self.log = open(home / "log", "ab")
        self.listen = "127.0.0.1:0"
        self.process = None

    def start(self):
        # What the tester sets for apus is not for this one; APUS_TEST_CACHE would be an unknown key.
        clean = {k: v for k, v in os.environ.items() if not k.startswith("APUS_")}
        command = [self.binary, "serve", "--data", self.data, "--listen", self.listen]
        begun = time.monotonic()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, env=clean, text=True
        )
        lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.process.stdout, lines), daemon=True).start()
        while True:
            line = lines.get(timeout=READY_SECONDS)
            if line is None:
                raise RuntimeError(f"apus ended with {self.process.wait()}; see {self.log.name}")
            found = re.search(r"http://(\S+)/info", line)
            if found:
                # The clients know this address, so it stays.
                self.listen = found.group(1)
                return time.monotonic() - begun

    @staticmethod
    def _read(stdout, lines):
        for line in stdout:
            lines.put(line)
        lines.put(None)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        self.process.terminate()
        return self.process.wait(timeout=60)

    def environment(self):
        """What `source openrc` sets."""
        pairs = re.findall(r"^export (ST_\w+)=(\S+)$", (self.data / "openrc").read_text(), re.M)
        return {name: value.strip("'") for name, value in pairs}


class File:
    """One file of the source: its name there, and what must come back."""

    def __init__(self, root, path):
        self.name = os.path.relpath(path, root)
        content = pathlib.Path(path).read_bytes()
        self.size = len(content)
        self.etag = hashlib.md5(content, usedforsecurity=False).hexdigest()


def collect(source, target, sample):
    """Copies the regular files (hard links would do, but not across file systems) without symlinks."""
    paths, left_out = [], 0
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(f for f in folders if not os.path.islink(os.path.join(folder, f)))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode) and os.access(path, os.R_OK):
                paths.append(path)
            else:
                left_out += 1
    if sample and sample < len(paths):
        paths = sorted(random.sample(paths, sample))
    for path in paths:
        copy = os.path.join(target, os.path.relpath(path, source))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copyfile(path, copy)
    files = [File(source, path) for path in paths]
    names_of_odd = sum(1 for f in files if not re.fullmatch(r"[\w./+-]+", f.name, re.A))
    say(
        f"{len(files)} files, {sum(f.size for f in files) / 1e6:.0f} MB, "
        f"{sum(f.size == 0 for f in files)} of them empty, {names_of_odd} with odd names; "
        f"{left_out} links and others left out"
    )
    return {f.name: f for f in files}


def swift(apus, arguments, cwd):
    """Runs the swift command; gives its exit code and output."""
    command = [os.path.join(sys.prefix, "bin", "swift"), *arguments]
    environment = {**os.environ, **apus.environment()}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def connect(apus):
    import swiftclient

    environment = apus.environment()
    return swiftclient.Connection(
        authurl=environment["ST_AUTH"],
        user=environment["ST_USER"],
        key=environment["ST_KEY"],
        retries=0,
    )


def each(apus, names, work):
    """Does work(connection, name) for all names, by as many threads as the client uses."""
    local = threading.local()

    def one(name):
        if not hasattr(local, "connection"):
            local.connection = connect(apus)
        return work(local.connection, name)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, names))


def listing(apus, container):
    _, rows = connect(apus).get_container(container, full_listing=True)
    return {row["name"]: row for row in rows}, len(rows)


def check_objects(apus, container, files, tally):
    """Stats and reads objects and compares them with the files."""
    import swiftclient

    def work(connection, name):
        try:
            head = connection.head_object(container, name)
            _, body = connection.get_object(container, name)
        except swiftclient.ClientException as error:
            return name, False, f"{container}/{name}: {error}"
        file = files[name]
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        stated = (head["etag"], int(head["content-length"]))
        good = stated == (file.etag, file.size) and (etag, len(body)) == (file.etag, file.size)
        return name, good, f"{container}/{name}: stat {stated}, body {etag} of {len(body)} bytes"

    for _, good, complaint in each(apus, files, work):
        tally.check(good, complaint)


def peace(apus, files, source, home, tally):
    """Everything by the swift command, with nobody disturbing it."""
    begun = time.monotonic()
    arguments = ["upload", "--object-threads", str(THREADS), "--segment-threads", "1", "share", "."]
    code, out, err = swift(apus, arguments, source)
    took = time.monotonic() - begun
    tally.check(code == 0, f"swift upload ended with {code}: {err[-2000:]}")
    say(f"uploaded in {took:.1f} s, {len(files) / took:.0f} files a second")

    begun = time.monotonic()
    code, out, err = swift(apus, ["list", "share"], home)
    listed = out.split("\n")[:-1]
    tally.check(code == 0, f"swift list ended with {code}: {err[-2000:]}")
    # A name may hold a line feed; the comparison is of the whole text.
    expected = sorted(files, key=os.fsencode)
    tally.check(out == "".join(f"{name}\n" for name in expected), f"{len(listed)} lines are listed")
    say(f"listed {len(listed)} names in {time.monotonic() - begun:.1f} s")
    rows, count = listing(apus, "share")
    tally.check(count == len(rows), "a name is listed twice")
    for name, file in files.items():
        row = rows.get(name, {})
        agrees = (row.get("hash"), row.get("bytes")) == (file.etag, file.size)
        tally.check(agrees, f"the row of {name} is {row}")

    code, out, err = swift(apus, ["stat", "share"], home)
    total = re.search(r"Objects: (\d+)\s+Bytes: (\d+)", out)
    found = tuple(map(int, total.groups())) if total else out
    tally.check(found == (len(files), sum(f.size for f in files.values())), f"totals {found}")
    begun = time.monotonic()
    check_objects(apus, "share", files, tally)
    say(f"stat'ed and read each by itself in {time.monotonic() - begun:.1f} s")

    begun = time.monotonic()
    back = home / "back"
    back.mkdir()
    arguments = ["download", "--object-threads", str(THREADS), "--output-dir", str(back), "share"]
    code, out, err = swift(apus, arguments, home)
    tally.check(code == 0, f"swift download ended with {code}: {err[-2000:]}")
    compare_trees(source, back, files, tally)
    say(f"downloaded and compared in {time.monotonic() - begun:.1f} s")
    shutil.rmtree(back)


def compare_trees(source, back, files, tally):
    for name in files:
        try:
            same = (source / name).read_bytes() == (back / name).read_bytes()
            tally.check(same, f"{name} came back with other bytes")
        except OSError as error:
            tally.check(False, f"{name} did not come back: {error}")
    found = sum(len(names) for _, _, names in os.walk(back))
    tally.check(found == len(files), f"{found} files came back instead of {len(files)}")


class Killer(threading.Thread):
    """Kills the process again and again, each time after a random share of the uploads."""

    def __init__(self, apus, kills, total, tally):
        super().__init__(daemon=True)
        self.apus, self.kills, self.tally = apus, kills, tally
        step = total / (kills + 1)
        self.after = [int(step * (n + random.uniform(0.3, 1.0))) for n in range(kills)]
        self.uploaded = 0
        self.done = 0
        self.stopping = threading.Event()

    def run(self):
        for after in self.after:
            while self.uploaded < after and not self.stopping.is_set():
                time.sleep(0.001)
            if self.stopping.is_set():
                return
            time.sleep(random.uniform(0, 0.05))
            self.apus.kill()
            acknowledged = self.uploaded
            ready = self.apus.start()
            self.done += 1
            say(f"killed after {acknowledged} uploads; ready again in {ready:.2f} s")


def upload_under_fire(apus, files, source, kills, tally):
    """Uploads by the library behind the swift command. Gives the names that it saw acknowledged."""
    from swiftclient.service import SwiftService, SwiftUploadObject

    environment = apus.environment()
    options = {
        "auth": environment["ST_AUTH"],
        "user": environment["ST_USER"],
        "key": environment["ST_KEY"],
        "object_uu_threads": THREADS,
        # A client that gives up at once leaves many uploads whose fate it does not know.
        "retries": 0,
    }
    connect(apus).put_container("fire")
    killer = Killer(apus, kills, len(files), tally)
    killer.start()
    acknowledged, unknown = set(), set(files)
    rounds = 0
    while unknown and rounds < 50:
        rounds += 1
        uploads = [SwiftUploadObject(str(source / name), object_name=name) for name in sorted(unknown)]
        try:
            with SwiftService(options=options) as service:
                for result in service.upload("fire", uploads):
                    if result["action"] == "upload_object" and result["success"]:
                        acknowledged.add(result["object"])
                        killer.uploaded = len(acknowledged)
        except Exception as error:  # The client fails in many ways while nobody answers.
            say(f"the client gave up: {error}")
        unknown = set(files) - acknowledged
        # The process may be on its way back.
        time.sleep(0.2 if unknown else 0)
    killer.stopping.set()
    killer.join(timeout=2 * READY_SECONDS)
    say(f"{len(acknowledged)} uploads acknowledged, {rounds} rounds, {killer.done} kills")
    tally.check(killer.done == kills, f"only {killer.done} of {kills} kills happened")
    tally.check(not unknown, f"{len(unknown)} files never went up")
    return acknowledged


def fire(apus, files, source, kills, tally):
    """The same again while the process dies now and then."""
    acknowledged = upload_under_fire(apus, files, source, kills, tally)
    begun = time.monotonic()
    check_objects(apus, "fire", {name: files[name] for name in acknowledged}, tally)
    say(f"stat'ed and read everything acknowledged in {time.monotonic() - begun:.1f} s")
    settle(apus, "fire", {name: files[name] for name in acknowledged}, tally)


def settle(apus, container, files, tally):
    """Listings may be late, but not for ever."""
    begun = time.monotonic()
    expected = {name: (file.etag, file.size) for name, file in files.items()}
    while True:
        rows, count = listing(apus, container)
        listed = {name: (row["hash"], row["bytes"]) for name, row in rows.items()}
        head = connect(apus).head_container(container)
        totals = int(head["x-container-object-count"]), int(head["x-container-bytes-used"])
        right = len(files), sum(file.size for file in files.values())
        if (listed, count, totals) == (expected, len(files), right):
            break
        if time.monotonic() - begun > SETTLE_SECONDS:
            break
        time.sleep(0.2)
    for name in expected.keys() | listed.keys():
        is_, shall = listed.get(name), expected.get(name)
        tally.check(is_ == shall, f"the row of {name} is {is_} instead of {shall}")
    tally.check(totals == right, f"the totals are {totals} instead of {right}")
    say(f"the listing agrees after {time.monotonic() - begun:.1f} s")


def arguments():
    target = os.environ.get("CARGO_TARGET_DIR", pathlib.Path.home() / ".cache" / "apus" / "target")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--source", default="/usr/share", help="the tree that goes up")
    parser.add_argument("--sample", type=int, help="only so many of its files, chosen at random")
    parser.add_argument("--kills", type=int, default=10, help="how often the process is killed")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="repeats choices")
    parser.add_argument("--apus", default=os.path.join(target, "release", "apus"))
    return parser.parse_args()


def main():
    chosen = arguments()
    enter_environment()
    # swiftclient logs every failed request with a traceback; the results say the same.
    import logging

    logging.getLogger("swiftclient").setLevel(logging.CRITICAL)
    random.seed(chosen.seed)
    say(f"seed {chosen.seed}, {chosen.apus}")
    tally = Tally()
    home = pathlib.Path(tempfile.mkdtemp(prefix="apus-usr-share-"))
    apus = Apus(chosen.apus, home)
    try:
        source = home / "source"
        source.mkdir()
        files = collect(chosen.source, source, chosen.sample)
        apus.start()
        peace(apus, files, source, home, tally)
        fire(apus, files, source, chosen.kills, tally)
        code = apus.terminate()
        tally.check(code == 0, f"apus ended with {code}")
    finally:
        if apus.process and apus.process.poll() is None:
            apus.process.send_signal(signal.SIGKILL)
            apus.process.wait()
        panics = [l for l in open(home / "log", errors="replace") if "panicked" in l]
        tally.check(not panics, f"apus panicked: {panics[:3]}")
        shutil.rmtree(home, ignore_errors=True)
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
