#!/usr/bin/env python3
"""Measures apus beside Python Swift: same machine, same disk, same requests, in turns.

Both are started here with four devices and three copies of everything, and removed afterwards. A run begins
when both are at rest. Prints a table in Markdown; benches/README.md says how to read it.
"""

import argparse
import json
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from compare import load, report, turns
from compare.apus import Apus
from compare.deep import ROWS_MIN, Deep
from compare.load import Load
from compare.processes import System, SystemFailed
from compare.reference import Swift
from compare.rows import DIRECTORIES
from compare.turns import Plan, Turns, say

# What is read: so many objects, the same for both.
STOCK = {load.GET_SMALL: 1000, load.GET_LARGE: 64, load.HEAD: 1000}


def make_listing(system: System, filler: Load) -> str:
    """A container with many names in it."""
    container = system.make_container("listing")
    filler.fill(system, load.HEAD, container, load.LISTED)
    return f"{container}?format=json&limit={load.LISTED}"


def make_segmented(system: System, filler: Load) -> str:
    """An object of many segments."""
    container = system.make_container("segments")
    count = load.SEGMENTED.size // load.GET_SMALL.size
    last = filler.fill(system, load.PUT_SMALL, container, count)
    names = [f"{thread}-{number}" for thread in range(filler.threads) for number in range(1, last + 1)]
    inner = container.rsplit("/", 1)[1]
    manifest = json.dumps([{"path": f"/{inner}/{name}"} for name in names]).encode()
    path = f"{system.make_container('manifests')}/large"
    headers = {"X-Auth-Token": system.token, "Content-Type": "application/octet-stream"}
    status, _ = system.call("PUT", f"{path}?multipart-manifest=put", headers, manifest)
    if status != 201:
        raise SystemFailed(f"{system.name} did not take the manifest: {status}")
    return path


MADE = {load.LISTING: make_listing, load.SEGMENTED: make_segmented}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = turns.parser(__doc__.splitlines()[0], [16])
    parser.add_argument("--memory", nargs="*", choices=["apus", "swift"], metavar="SYSTEM",
                        help="also fill and restart apus (or: apus swift), and see what memory that takes")
    parser.add_argument("--heavy", action="store_true",
                        help="also a listing of 10,000 names and an object of 1,000 segments")
    parser.add_argument("--deep", nargs="?", type=int, const=10_000_000, default=0, metavar="ROWS",
                        help="also pages of a container of so many names [%(const)s if not given]")
    parser.add_argument("--only", nargs="+", metavar="LABEL", help="operations whose label begins so")
    parser.add_argument("--objects", type=int, default=100_000, help="for --memory [%(default)s]")
    given = parser.parse_args()
    if given.memory == []:
        given.memory = ["apus"]
    if min(given.seconds, given.repeats, given.objects, *given.connections) < 1:
        parser.error("counts begin at 1")
    if given.deep and (given.deep < ROWS_MIN or given.deep % DIRECTORIES):
        parser.error(f"--deep: at least {ROWS_MIN:,}, and a multiple of {DIRECTORIES:,}")
    return given


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


def print_result(given: argparse.Namespace, comparison: Turns, work: Path, rows: list[str]) -> None:
    """The Markdown."""
    swift, apus = comparison.systems
    print(f"{apus.version()}{turns.commit()} beside {swift.version()}, "
          f"its servers with workers = {given.swift_workers}\n")
    for line in report.machine(work):
        print(f"- {line}")
    print(f"- load of the machine before: {comparison.load_before:.1f}")
    print(f"- each run {given.seconds} s; medians of {given.repeats}\n")
    print(report.table(comparison.outcomes, given.connections, report.Shape(comparison.plan.operations)))
    print(f"\n{report.spread(comparison.outcomes, given.connections)}\n")
    print(f"{report.disturbance(comparison.outcomes)}\n")
    print("| | Swift | apus |\n|---|--:|--:|")
    print(f"| size of the program | a tree of Python packages | {report.mib(given.apus.stat().st_size)} |")
    print(f"| from start to serving, empty | {swift.seconds_to_serving:.2f} s | {apus.seconds_to_serving:.2f} s |")
    shares = [f"{system.idle_share:.1%}" for system in comparison.systems]
    print(f"| of one processor, idle | {shares[0]} | {shares[1]} |")
    for row in [*report.memory_rows("idle, empty", comparison.idle), *rows]:
        print(row)


def plan(given: argparse.Namespace) -> Plan:
    """What is measured."""
    deep = Deep(given.deep).made() if given.deep else {}
    operations = [*load.OPERATIONS, *(load.HEAVY if given.heavy else []), *deep]
    if given.only:
        operations = [each for each in operations if each.label.startswith(tuple(given.only))]
    made = {operation: make for operation, make in (MADE | deep).items() if operation in operations}
    stock = {operation: count for operation, count in STOCK.items() if operation in operations}
    return Plan(operations, stock, made)


def main() -> int:
    """0 if every run was valid."""
    given = arguments()

    def compare(work: Path, programs: Path, stack: ExitStack) -> Turns:
        systems = [Swift(work / "swift", programs, given.swift_workers), Apus(work / "apus", given.apus, bool(given.deep))]
        for system in systems:
            stack.callback(system.stop)
        comparison = Turns(systems, plan(given), given.seconds)
        comparison.prepare()
        comparison.measure(given.connections, given.repeats)
        for system in systems:
            system.stop()
        rows = fill_and_restart(given, work, programs)
        print_result(given, comparison, work, rows)
        return comparison

    return turns.run(given, compare)


if __name__ == "__main__":
    sys.exit(main())
