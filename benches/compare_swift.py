#!/usr/bin/env python3
"""Measures apus beside Python Swift: same machine, same disk, same requests, in turns.

Both are started here with four devices and three copies of everything, and removed afterwards. A run begins
when both are at rest. Prints a table in Markdown; benches/README.md says how to read it.
"""

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from compare import install, load, report
from compare.apus import Apus, default_binary
from compare.load import Load, Names
from compare.processes import System, SystemFailed, wait_for_rest
from compare.reference import Swift

# What is read: so many objects, the same for both.
STOCK = {load.GET_SMALL: 1000, load.GET_LARGE: 64, load.HEAD: 1000}
FREE_BYTES_MIN = 8 * 2**30
# On these, a flush makes nothing durable.
VOLATILE = {"tmpfs", "ramfs"}


def say(text: str) -> None:
    """Progress, apart from the result."""
    print(f"compare [{time.strftime('%H:%M:%S')}]: {text}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--apus", type=Path, default=default_binary(), help="the program [%(default)s]")
    parser.add_argument("--dir", type=Path, default=install.cache_dir(),
                        help="where both keep their data, in a directory that is removed [%(default)s]")
    parser.add_argument("--connections", type=int, nargs="+", default=[16], metavar="N")
    parser.add_argument("--seconds", type=int, default=8, help="of each run [%(default)s]")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; medians are shown [%(default)s]")
    parser.add_argument("--swift-workers", type=int, default=0,
                        help="of each Swift server; 0 is one process without a master [%(default)s]")
    parser.add_argument("--memory", nargs="*", choices=["apus", "swift"], metavar="SYSTEM",
                        help="also fill and restart apus (or: apus swift), and see what memory that takes")
    parser.add_argument("--objects", type=int, default=100_000, help="for --memory [%(default)s]")
    parser.add_argument("--json", type=Path, help="write every single run to this file")
    given = parser.parse_args()
    if given.memory == []:
        given.memory = ["apus"]
    if min(given.seconds, given.repeats, given.objects, *given.connections) < 1:
        parser.error("counts begin at 1")
    return given


class Comparison:
    """Both systems, and what has been found about them."""

    def __init__(self, given: argparse.Namespace, work: Path, programs: Path, stack: ExitStack):
        self.given = given
        self.outcomes: report.Outcomes = {"Swift": {}, "apus": {}}
        self.idle = {}
        # Of others, since nothing runs here yet.
        self.load_before = os.getloadavg()[0]
        self.systems: list[System] = [
            Swift(work / "swift", programs, given.swift_workers), Apus(work / "apus", given.apus)]
        for system in self.systems:
            stack.callback(system.stop)
        self.stock: dict[tuple[str, load.Operation], tuple[str, Names]] = {}

    def prepare(self) -> None:
        """Starts both, notes what they take when idle, and stores what will be read."""
        for system in self.systems:
            say(f"starting {system.version()}")
            system.start()
            system.note_idle_share()
            self.idle[system.name] = system.memory()
            filler = Load(16, self.given.seconds)
            for operation, count in STOCK.items():
                say(f"{system.name}: storing {count} objects for {operation.label}")
                container = system.make_container(f"stock-{operation.method}-{operation.size}".lower())
                last = filler.fill(system, operation, container, count)
                self.stock[system.name, operation] = (container, Names(last, "cycle"))

    def measure(self) -> None:
        """All rounds."""
        for connections in self.given.connections:
            pressure = Load(connections, self.given.seconds)
            for number in range(1, self.given.repeats + 1):
                self._round(pressure, f"c{connections}-r{number}")

    def _round(self, pressure: Load, title: str) -> None:
        written: dict[str, int] = {}
        for operation in load.OPERATIONS:
            for system in self.systems:
                if shutil.disk_usage(system.work).free < FREE_BYTES_MIN:
                    raise SystemFailed(f"less than {report.mib(FREE_BYTES_MIN)} are free")
                outcome = self._run(pressure, system, operation, title, written)
                key = (pressure.connections, operation.label)
                self.outcomes[system.name].setdefault(key, []).append(outcome)
                say(f"{title} {operation.label} {system.name}: {report.number(outcome.per_second)} ops/s, "
                    f"p50 {report.number(outcome.p50_ms)} ms, p99 {report.number(outcome.p99_ms)} ms, "
                    f"CPU {report.number(outcome.cpu_ms_each)} ms/op "
                    f"(client {report.number(outcome.client_cpu_ms_each)})"
                    + "".join(f", {text}" for text in outcome.complaints))

    def _run(self, pressure: Load, system: System, operation: load.Operation, title: str,
             written: dict[str, int]) -> load.Outcome:
        if operation in STOCK:
            container, names = self.stock[system.name, operation]
        elif operation == load.DELETE:
            # Not what was measured before: when its time is over, wrk leaves requests without an answer, and
            # whether those objects are there nobody knows.
            container = system.make_container(f"{title}-delete")
            names = Names(pressure.fill(system, operation, container, written[system.name]))
        else:
            container, names = system.make_container(f"{title}-put-{operation.size}"), Names()
        # What earlier runs have left to be done or written must not be done during this one.
        if not wait_for_rest(self.systems):
            say("the systems do not come to rest; going on all the same")
        os.sync()
        other = next(each for each in self.systems if each is not system)
        other_before = other.cpu_ms()
        outcome = pressure.run(system, operation, container, names)
        outcome.other_share = (other.cpu_ms() - other_before) / outcome.seconds / 1000
        if operation == load.PUT_SMALL:
            written[system.name] = max(outcome.done, pressure.threads)
        if operation == load.PUT_LARGE:
            # Large objects of all rounds would fill the disk.
            pressure.run(system, load.DELETE, container, Names(max(1, outcome.last), "all"))
        return outcome


def fill_and_restart(given: argparse.Namespace, work: Path, programs: Path) -> list[str]:
    """Memory with many objects, and how long a start takes that finds them: rows for the table."""
    after, again, restarts = {}, {}, {}
    for name in given.memory or []:
        place = work / f"{name}-filled"
        system = Apus(place, given.apus) if name == "apus" else Swift(place, programs, given.swift_workers)
        try:
            system.start()
            say(f"{system.name}: storing {given.objects:,} objects")
            filler = Load(16, given.seconds)
            container = system.make_container("many")
            filler.fill(system, load.PUT_SMALL, container, given.objects)
            after[system.name] = system.memory()
            system.stop()
            system.start()
            restarts[system.name] = f"{system.seconds_to_serving:.2f} s"
            again[system.name] = system.memory()
        finally:
            system.stop()
            shutil.rmtree(place)
    if not after:
        return []
    count = f"{given.objects:,} objects of 4 KiB"
    start = [restarts.get(name, "not measured") for name in ("Swift", "apus")]
    return [*report.memory_rows(f"after {count}", after),
            f"| from start to serving, with {count} | {start[0]} | {start[1]} |",
            *report.memory_rows("after that start", again)]


def commit() -> str:
    """Which sources the program was built from, if they are as they were committed."""
    here = str(Path(__file__).resolve().parent)
    told = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"],
                          capture_output=True, text=True, check=False)
    return f" ({told.stdout.strip()})" if told.returncode == 0 else ""


def print_result(given: argparse.Namespace, comparison: Comparison, work: Path, rows: list[str]) -> None:
    """The Markdown."""
    swift, apus = comparison.systems
    print(f"{apus.version()}{commit()} beside {swift.version()}, "
          f"its servers with workers = {given.swift_workers}\n")
    for line in report.machine(work):
        print(f"- {line}")
    print(f"- load of the machine before: {comparison.load_before:.1f}")
    print(f"- each run {given.seconds} s; medians of {given.repeats}\n")
    print(report.table(comparison.outcomes, given.connections))
    print(f"\n{report.spread(comparison.outcomes, given.connections)}\n")
    print(f"{report.disturbance(comparison.outcomes)}\n")
    print("| | Swift | apus |\n|---|--:|--:|")
    print(f"| size of the program | a tree of Python packages | {report.mib(given.apus.stat().st_size)} |")
    print(f"| from start to serving, empty | {swift.seconds_to_serving:.2f} s | {apus.seconds_to_serving:.2f} s |")
    shares = [f"{system.idle_share:.1%}" for system in comparison.systems]
    print(f"| of one processor, idle | {shares[0]} | {shares[1]} |")
    for row in [*report.memory_rows("idle, empty", comparison.idle), *rows]:
        print(row)


def write_json(path: Path, outcomes: report.Outcomes) -> None:
    """Every run, for those who want other statistics than medians."""
    runs = [{"system": name, "connections": count, "operation": label, **dataclasses.asdict(run)}
            for name, found in outcomes.items() for (count, label), all_runs in found.items()
            for run in all_runs]
    path.write_text(json.dumps(runs, indent=1) + "\n")


def main() -> int:
    """0 if every run was valid."""
    given = arguments()
    # A process that is told to end must not leave the two systems behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not given.apus.is_file():
        print(f"compare: {given.apus} is missing; `make compare` builds it", file=sys.stderr)
        return 2
    try:
        install.programs()
        programs = install.swift_environment()
        given.dir.mkdir(parents=True, exist_ok=True)
        if report.file_system(given.dir) in VOLATILE:
            raise SystemFailed(f"{given.dir} is in memory: choose a disk with --dir")
        with ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-", dir=given.dir)))
            comparison = Comparison(given, work, programs, stack)
            comparison.prepare()
            comparison.measure()
            for system in comparison.systems:
                system.stop()
            rows = fill_and_restart(given, work, programs)
            print_result(given, comparison, work, rows)
    except KeyboardInterrupt:
        print("compare: stopped; nothing is left behind", file=sys.stderr)
        return 130
    except (install.NotInstalled, SystemFailed) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    if given.json:
        write_json(given.json, comparison.outcomes)
    every = [run for found in comparison.outcomes.values() for runs in found.values() for run in runs]
    return 1 if any(run.complaints for run in every) else 0


if __name__ == "__main__":
    sys.exit(main())
