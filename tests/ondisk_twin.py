#!/usr/bin/env python3
"""The rule by which versions of an object replace each other, beside Swift's own.

Random sets of files, as Swift has them in an object's directory, are judged by Swift's DiskFileManager and
ECDiskFileManager (`get_ondisk_files`) and by objectd's merge, to which they come one by one, in several orders. Both
must choose the same data, metadata, content type and tombstone, and keep the same files.

One difference is meant, and counted: a .meta that counts for its content type alone, when that is older than the data
or the deletion, means nothing. Swift keeps the file until something newer comes; objectd does not.

No two .meta are of one moment, for Swift's choice then depends on the order in which a directory is listed; and no
fragment is there twice, as durable and not, for making it durable renames its file.

Needs the example program (`cargo build --release --package objectd --example ondisk_twin`) and, the first time, a
network to install Swift from PyPI. Ends with `N passed, N failed`, and with 0 if nothing failed.
"""

import argparse
import logging
import os
import pathlib
import random
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ORDERS = 3
BATCH = 20_000


def enter_environment():
    """Runs this script again by a Python that has Swift, which is installed if need be."""
    sys.path.insert(0, str(HERE.parent / "benches"))
    from compare.install import swift_environment

    programs = swift_environment()
    if pathlib.Path(sys.prefix) != programs.parent:
        python = str(programs / "python")
        os.execv(python, [python, "-W", "ignore", *sys.argv])


class Policy:
    """What Swift wants to know of an erasure-coded policy when it reads a file's name."""

    ec_ndata = 6
    ec_nparity = 2


def timestamp(moment):
    """A file's name for a moment, some of which have an offset."""
    text = f"{1_400_000_000 + moment // 3:010d}.{moment % 3:05d}"
    return text + ("_0000000000000001" if moment % 5 == 0 else "")


def raw(moment):
    return (1_400_000_000 + moment // 3) * 100_000 + moment % 3


def some_files(rng, erasure):
    """Some files of few moments, so that many meet."""
    moments = rng.sample(range(1, 40), rng.randint(1, 5))
    durable = {(moment, index): rng.choice(["", "", "#d"]) for moment in moments for index in range(4)}
    # A content type is never newer than the metadata that it came with.
    typed = {moment: rng.choice([None, None, *(m for m in moments if m <= moment)]) for moment in moments}
    names = set()
    for _ in range(rng.randint(1, 8)):
        moment = rng.choice(moments)
        kind = rng.choice(["data", "data", "meta", "meta", "ts"])
        name = timestamp(moment)
        if kind == "data" and erasure:
            index = rng.randint(0, 3)
            name += f"#{index}" + durable[moment, index]
        elif kind == "meta" and typed[moment]:
            name += f"{raw(typed[moment]) - raw(moment):+x}"
        names.add(f"{name}.{kind}")
    return sorted(names)


class Swift:
    """Swift's judgement."""

    def __init__(self):
        from swift.obj import diskfile
        conf = {"mount_check": "false", "devices": "/nowhere"}
        logger = logging.getLogger("swift")
        logger.addHandler(logging.NullHandler())
        self.replicated = diskfile.DiskFileManager(conf, logger)
        self.erasure = diskfile.ECDiskFileManager(conf, logger)

    def judge(self, names, erasure):
        """As the program prints it, and when the chosen data or tombstone is from."""
        manager = self.erasure if erasure else self.replicated
        found = manager.get_ondisk_files(list(names), "", verify=False, policy=Policy)
        assert "unexpected" not in found, names
        infos = [found.get(f"{kind}_info") for kind in ("data", "meta", "ctype", "ts")]
        chosen = [info["filename"] if info else "-" for info in infos]
        gone = {info["filename"] for info in found.get("obsolete", [])}
        return chosen, sorted(set(names) - gone)


def unmeant(swift, names, erasure, kept):
    """What Swift keeps, without content types that are older than the data or the deletion."""
    manager = swift.erasure if erasure else swift.replicated
    parsed = {name: manager.parse_on_disk_filename(name, Policy) for name in kept}

    def counts(info):
        durable = info["ext"] == ".data" and (not erasure or info["durable"])
        return durable or info["ext"] == ".ts"

    since = max((info["timestamp"] for info in parsed.values() if counts(info)), default=None)
    metas = [name for name in kept if name.endswith(".meta")]
    newest = max(metas, key=lambda name: parsed[name]["timestamp"], default=None)
    out = []
    for name in kept:
        typed = parsed[name]["ctype_timestamp"]
        if name in metas and name != newest and since and typed <= since:
            continue
        out.append(name)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sets", type=int, default=10_000, help="how many (10,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", help="the example program; the one cargo builds if not given")
    options = parser.parse_args()
    enter_environment()
    target = os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")
    program = options.program or str(pathlib.Path(target) / "release/examples/ondisk_twin")
    begun = time.monotonic()
    rng = random.Random(options.seed)
    swift = Swift()
    passed = failed = stale = 0
    for first in range(0, options.sets, BATCH):
        cases = []
        for _ in range(min(BATCH, options.sets - first)):
            erasure = rng.random() < 0.5
            names = some_files(rng, erasure)
            orders = [rng.sample(names, len(names)) for _ in range(ORDERS)]
            chosen, kept = swift.judge(names, erasure)
            meant = unmeant(swift, names, erasure, kept)
            stale += meant != kept
            cases.append((erasure, orders, chosen, meant))
        text = "".join(f"{'erasure' if erasure else 'replicated'} {' '.join(order)}\n"
                       for erasure, orders, _, _ in cases for order in orders)
        ours = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
        lines = iter(ours.stdout.splitlines())
        for erasure, orders, (data, meta, ctype, ts), kept in cases:
            wanted = f"data={data} meta={meta} ctype={ctype} ts={ts} kept={','.join(kept)}"
            for order in orders:
                line = next(lines)
                if line == wanted:
                    passed += 1
                    continue
                failed += 1
                if failed <= 10:
                    print(f"{'erasure' if erasure else 'replicated'}: {' '.join(order)}\n"
                          f"    Swift:   {wanted}\n    objectd: {line}")
    print(f"{options.sets} sets in {time.monotonic() - begun:.0f} s, seed {options.seed}: {stale} with a content type "
          "that means nothing")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
