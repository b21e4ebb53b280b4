#!/usr/bin/env python3
"""Suffix hashes beside Python Swift's: the same requests to both object servers, and REPLICATE must answer the same.

Swift's own object server, called in this process, and an apus object server get one random history of PUT, POST and
DELETE, with moments that repeat, run backwards, carry offsets and lie before the reclaim age, of objects that share
few suffixes. Afterwards every partition's hashes are asked of both.

`--golden FILE` writes the table that the tests of `objectd/src/suffix` read instead: file sets as replication and
erasure coding leave them, and what Swift's disk file managers say of them.

Needs the binary (`cargo build --release --workspace`), extended attributes in the temporary directory, Python's venv
and, the first time, a network to install swift from; the environment is kept in $APUS_TEST_CACHE or ~/.cache/apus.
Ends with a line `N passed, N failed`, and with 0 if nothing failed.
"""

import argparse
import hashlib
import http.client
import json
import os
import pathlib
import pickle
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "benches"))
from compare import install  # noqa: E402  (found by the line above)

PREFIX, SUFFIX = "before", "behind"
PART_POWER = 3
SUFFIXES = 24
READY_SECONDS = 60
DAY = 24 * 3600
RECLAIM_AGE = 7 * DAY


def enter_environment():
    """Runs this script again by a Python that has Swift, which is installed if need be."""
    if pathlib.Path(sys.prefix) != install.cache_dir() / "venv-swift-server":
        python = install.swift_environment() / "python"
        # What Swift imports is deprecated here and there.
        os.execv(python, [str(python), "-W", "ignore", *sys.argv])


def hash_of(name):
    return hashlib.md5(f"{PREFIX}/{name}{SUFFIX}".encode(), usedforsecurity=False)


def names_in_few_suffixes(count):
    """Names of objects whose hashes end alike, or hardly two of them would share a digest."""
    wanted = {f"{number * 151 % 4096:03x}" for number in range(SUFFIXES)}
    names, number = [], 0
    while len(names) < count:
        name = f"a/c/o{number}"
        if hash_of(name).hexdigest()[-3:] in wanted:
            names.append(name)
        number += 1
    return names


def partition_of(name):
    return struct.unpack(">I", hash_of(name).digest()[:4])[0] >> (32 - PART_POWER)


class Swift:
    """Swift's object server on a directory."""

    def __init__(self, home):
        import swift.common.utils as utils
        from swift.common.swob import Request
        from swift.obj.server import ObjectController

        utils.HASH_PATH_PREFIX, utils.HASH_PATH_SUFFIX = PREFIX.encode(), SUFFIX.encode()
        devices = home / "swift"
        (devices / "d1").mkdir(parents=True)
        self.request = Request
        self.app = ObjectController(
            {
                "devices": str(devices),
                "mount_check": "false",
                "disable_fallocate": "true",
                "fallocate_reserve": "0",
                "reclaim_age": str(RECLAIM_AGE),
            }
        )

    def ask(self, method, path, headers=None, body=b""):
        environ = {"REQUEST_METHOD": method}
        request = self.request.blank(path, environ=environ, headers=headers or {}, body=body)
        answer = request.get_response(self.app)
        return answer.status_int, answer.body


class Apus:
    """An apus object server alone."""

    def __init__(self, binary, home):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("APUS_")}
        config = home / "apus.toml"
        config.write_text(
            f"""
data = "{home / "apus"}"
devices = 1
replicas = 1
[backend]
object_port = {self.port}
[cluster]
hash_path_prefix = "{PREFIX}"
hash_path_suffix = "{SUFFIX}"
part_power = {PART_POWER}
[objectd]
reclaim_age = {RECLAIM_AGE}
reserve_mib = 1
"""
        )
        log = open(home / "log", "ab")
        command = [binary, "objectd", "--config", config]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                status, _ = self.ask("GET", "/healthcheck")
                assert status == 200
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((home / "log").read_text()) from None
                time.sleep(0.05)

    def ask(self, method, path, headers=None, body=b""):
        # One connection each: a refused PUT's body is not read, and the connection ends with it.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)


def moments(chance, now):
    """Few moments of one object, so that some repeat."""
    base = now - DAY
    found = []
    for _ in range(chance.randint(1, 5)):
        raw = int((base + chance.randint(0, 3)) * 100_000) + chance.choice([0, 0, 1, 77_777])
        text = f"{raw // 100_000:010}.{raw % 100_000:05}"
        if chance.random() < 0.2:
            text += f"_{chance.choice([1, 2, 0xabc]):016x}"
        found.append(text)
    return found


def history(chance, names, now):
    """Requests on the objects, in an order in which those of several are mixed."""
    asked = []
    for name in names:
        times = moments(chance, now)
        methods = chance.choices(["PUT", "POST", "DELETE"], [4, 4, 2], k=chance.randint(1, 8))
        turns = sorted(chance.random() for _ in methods)
        if chance.random() < 0.2:
            # Before the reclaim age, and deleted at last: Swift forgets that at once, apus some time later, so nothing
            # may come after it that depends on it.
            old = int(now - 30 * DAY)
            times = [f"{old - 2:010}.00000", f"{old - 1:010}.00000"]
            methods = chance.choice([["DELETE"], ["PUT", "DELETE"], ["PUT"], ["PUT", "POST"]])
            turns = sorted(chance.random() for _ in methods)
            moments_of = iter(times)
        else:
            moments_of = iter(lambda: chance.choice(times), None)
        for turn, method in zip(turns, methods):
            headers = {"X-Timestamp": next(moments_of)}
            body = b""
            if method == "PUT":
                body = chance.randbytes(chance.choice([0, 3]))
                headers["Content-Type"] = "text/plain"
                headers["Content-Length"] = str(len(body))
            if method == "POST":
                headers["X-Object-Meta-Color"] = chance.choice(["red", "green"])
                # A content type's offset is lost in Swift when a newer POST came before, and kept when not; here it
                # is always kept. Only internal services set offsets, and none of them posts.
                if chance.random() < 0.5 and "_" not in headers["X-Timestamp"]:
                    headers["Content-Type"] = "text/html"
            asked.append((turn, name, method, headers, body))
    asked.sort(key=lambda one: one[0])
    return [one[1:] for one in asked]


class Tally:
    """What was checked, and what of it was not as it must be."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, good, complaint):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {complaint}", flush=True)


def compare(binary, seed, count):
    tally, chance = Tally(), random.Random(seed)
    names = names_in_few_suffixes(count)
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        swift, apus = Swift(home), Apus(binary, home)
        try:
            asked = history(chance, names, time.time())
            for name, method, headers, body in asked:
                path = f"/d1/{partition_of(name)}/{name}"
                theirs, _ = swift.ask(method, path, headers, body)
                ours, _ = apus.ask(method, path, headers, body)
                tally.check(theirs == ours, f"{method} {path} {headers}: {theirs} != {ours}")
            suffixes = 0
            for partition in range(2**PART_POWER):
                path = f"/d1/{partition}"
                # Swift counts what it removes for its age once more while it removes it.
                swift.ask("REPLICATE", path)
                theirs = pickle.loads(swift.ask("REPLICATE", path)[1])
                status, ours = apus.ask("REPLICATE", path)
                tally.check(status == 200, f"{path}: {status}")
                ours = pickle.loads(ours)
                suffixes += len(theirs)
                for suffix in sorted(theirs.keys() | ours.keys()):
                    pair = (theirs.get(suffix), ours.get(suffix))
                    tally.check(pair[0] == pair[1], f"{path} {suffix}: {pair[0]} != {pair[1]}")
            status, none = apus.ask("REPLICATE", "/d1/1/abc-def")
            theirs = swift.ask("REPLICATE", "/d1/1/abc-def")[1]
            tally.check((status, none) == (200, theirs), f"with suffixes: {status} {none}")
            tally.check(suffixes > SUFFIXES, "too few suffixes to compare")
            print(f"{len(asked)} requests, {suffixes} suffixes", flush=True)
        finally:
            apus.stop()
    return tally


def file_sets(chance, policy, now):
    """Names of files in the directories of a few hashes of one suffix."""
    sets = {}
    for _ in range(chance.randint(1, 3)):
        name = "%032x" % chance.getrandbits(128)
        files = set()
        durable_by_file = chance.random() < 0.2
        for _ in range(chance.randint(1, 6)):
            raw = int((now - chance.choice([100, 100, 2000])) * 100_000) + chance.randint(0, 4)
            offset = chance.choice([0, 0, 0, 1])
            at = f"{raw // 100_000:010}.{raw % 100_000:05}"
            internal = at + (f"_{offset:016x}" if offset else "")
            kind = chance.choices(["data", "meta", "ts"], [5, 4, 2])[0]
            if kind == "meta":
                short = at + (f"_{offset:x}" if offset else "")
                typed = chance.choice(["", "", "+0", f"-{chance.randint(1, 3):x}"])
                files.add(f"{short}{typed}.meta")
            elif kind == "ts":
                files.add(f"{internal}.ts")
            elif policy == "replicated":
                files.add(f"{internal}.data")
            else:
                index = chance.randint(0, 2)
                durable = chance.random() < 0.4
                plain, marked = f"{internal}#{index}.data", f"{internal}#{index}#d.data"
                # Only one of the two is ever there: a fragment becomes durable by a new name.
                files -= {plain, marked}
                files.add(marked if durable else plain)
                if durable and durable_by_file:
                    files.add(f"{internal}.durable")
        sets[name] = sorted(files)
    return sets


def golden(path):
    from unittest import mock

    from swift.obj import diskfile

    now, chance, cases = 1_700_000_000, random.Random(7), []
    conf = {"reclaim_age": "1000", "commit_window": "0", "mount_check": "false"}
    replicated = diskfile.DiskFileManager(conf, mock.Mock())
    erasure = diskfile.ECDiskFileManager(conf, mock.Mock())
    for number in range(240):
        policy = ["replicated", "erasure"][number % 2]
        sets = file_sets(chance, policy, now)
        with tempfile.TemporaryDirectory() as home:
            folder = pathlib.Path(home) / "abc"
            for name, files in sets.items():
                (folder / name).mkdir(parents=True)
                for file in files:
                    (folder / name / file).touch()
            manager = erasure if policy == "erasure" else replicated
            with mock.patch("swift.obj.diskfile.time.time", lambda: float(now)):
                try:
                    manager._hash_suffix(str(folder), policy=None)
                    found = manager._hash_suffix(str(folder), policy=None)
                except diskfile.PathNotDir:
                    found = None
        if isinstance(found, dict):
            found = {"common" if k is None else str(k): found[k] for k in found}
        cases.append({"policy": policy, "files": sets, "hash": found})
    lines = ",\n".join(json.dumps(case) for case in cases)
    pathlib.Path(path).write_text(f"[\n{lines}\n]\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    target = os.environ.get("CARGO_TARGET_DIR", pathlib.Path.home() / ".cache" / "apus" / "target")
    parser.add_argument("--apus", default=os.path.join(target, "release", "apus"))
    parser.add_argument("--seed", type=int, default=None, help="of the history; random if not given")
    parser.add_argument("--objects", type=int, default=400)
    parser.add_argument("--golden", metavar="FILE", help="write the table for the unit tests, and end")
    options = parser.parse_args()
    enter_environment()
    if options.golden:
        golden(options.golden)
        return 0
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    print(f"seed {seed}", flush=True)
    tally = compare(options.apus, seed, options.objects)
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
