#!/usr/bin/env python3
"""Measures the object server of apus beside Swift's: one device each, asked as a proxy asks it, in turns.

The unit is the server's CPU time for an operation. Prints tables in Markdown; benches/README.md says how to
read them.
"""

import argparse
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

from compare import load, report, turns
from compare.load import MIB, Operation
from compare.objectd import ApusObjectd, SwiftObjectServer
from compare.report import Shape
from compare.turns import Plan, Turns

# Sixteen bodies are 1 GiB on their way; more would measure the client's memory.
LARGEST_CONNECTIONS = 16
PUT_LARGEST = Operation("PUT 64 MiB", "PUT", 64 * MIB, LARGEST_CONNECTIONS)
GET_LARGEST = Operation("GET 64 MiB", "GET", 64 * MIB, LARGEST_CONNECTIONS)
HEAD_SMALL = Operation("HEAD 4 KiB", "HEAD", load.GET_SMALL.size)
SMALL = [load.PUT_SMALL, load.GET_SMALL, HEAD_SMALL, load.DELETE]
LARGE = [load.PUT_LARGE, load.GET_LARGE, PUT_LARGEST, GET_LARGEST]
STOCK = {load.GET_SMALL: 1000, HEAD_SMALL: 1000, load.GET_LARGE: 64, GET_LARGEST: 8}

# What apus is to use at most, in CPU us of an operation, and how many times less than Swift.
CPU_US_MAX = {load.PUT_SMALL.label: 70, load.GET_SMALL.label: 25}
TIMES_LESS_MIN = {HEAD_SMALL.label: 12, load.DELETE.label: 25}


def goal(operation: Operation, swift: float, apus: float) -> str:
    """What is wanted of an operation, and whether it was reached."""
    if operation.label in CPU_US_MAX:
        most = CPU_US_MAX[operation.label]
        return f"≤ {most} us: {'yes' if apus <= most else 'no'}"
    if operation.label in TIMES_LESS_MIN:
        least = TIMES_LESS_MIN[operation.label]
        return f"≥ {least}×: {'yes' if swift >= least * apus else 'no'}"
    return ""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = turns.parser(__doc__.splitlines()[0], [1, 16, 64])
    parser.add_argument("--put-mib", type=int, default=1024, metavar="N",
                        help="a run of PUTs ends at the latest with so much; 0 is no such end [%(default)s]")
    given = parser.parse_args()
    if min(given.seconds, given.repeats, *given.connections) < 1 or given.put_mib < 0:
        parser.error("counts begin at 1")
    return given


def bandwidth(outcomes: report.Outcomes, connections: list[int]) -> str:
    """Large objects as MB/s: of the clock, and of a processor that does nothing else."""
    lines = ["| operation | connections | Swift MB/s | apus MB/s | Swift MB/s per core | apus MB/s per core "
             "| apus / Swift per core |", "|---|--:|--:|--:|--:|--:|--:|"]
    for count in connections:
        for operation in LARGE:
            runs = [outcomes[name].get((count, operation.label), []) for name in ("Swift", "apus")]
            if not all(runs) or any(run.complaints for each in runs for run in each):
                continue
            megabytes = operation.size / 1e6
            clock = [megabytes * report.median(each, "per_second") for each in runs]
            # A run that was too short for the processor's clock says nothing.
            cores = [megabytes * 1000 / max(report.median(each, "cpu_ms_each"), 1e-9) for each in runs]
            cells = [operation.label, str(count), *map(report.number, [*clock, *cores])]
            lines.append(f"| {' | '.join(cells)} | {report.ratio(cores[1], cores[0])} |")
    return "\n".join(lines)


def flushes(outcomes: report.Outcomes, connections: list[int]) -> str:
    """How many flushes a small write costs that was answered."""
    lines = ["| connections | apus: durable writes per PUT | apus: flushes the disk saw per PUT "
             "| Swift: flushes the disk saw per PUT |", "|--:|--:|--:|--:|"]

    def note(name: str, count: int, what: str) -> str:
        runs = outcomes[name].get((count, load.PUT_SMALL.label), [])
        known = [run.notes[what] for run in runs if what in run.notes and not run.complaints]
        return f"{statistics.median(known):.3f}" if known else "not known"

    for count in connections:
        cells = [str(count), note("apus", count, "frames"), note("apus", count, "device_flushes"),
                 note("Swift", count, "device_flushes")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def print_result(given: argparse.Namespace, comparison: Turns, work: Path) -> None:
    """The Markdown."""
    swift, apus = comparison.systems
    print(f"Object server of {apus.version()}{turns.commit()} beside that of {swift.version()}, "
          f"workers = {given.swift_workers}\n")
    for line in report.machine(work):
        print(f"- {line}")
    print(f"- load of the machine before: {comparison.load_before:.1f}")
    print(f"- each run {given.seconds} s; medians of {given.repeats}\n")
    outcomes, connections = comparison.outcomes, given.connections
    print(report.table(outcomes, connections, Shape(SMALL + LARGE, "us", 1000.0, goal)))
    print(f"\n{report.spread(outcomes, connections)}\n{report.disturbance(outcomes)}\n")
    print(bandwidth(outcomes, connections))
    print(f"\n{flushes(outcomes, connections)}")


def main() -> int:
    """0 if every run was valid."""
    given = arguments()

    def compare(work: Path, programs: Path, stack: ExitStack) -> Turns:
        systems = [SwiftObjectServer(work / "swift", programs, given.swift_workers),
                   ApusObjectd(work / "apus", given.apus)]
        for system in systems:
            stack.callback(system.stop)
        plan = Plan(SMALL + LARGE, STOCK, put_bytes_max=given.put_mib * MIB)
        comparison = Turns(systems, plan, given.seconds)
        comparison.prepare()
        comparison.measure(given.connections, given.repeats)
        print_result(given, comparison, work)
        return comparison

    return turns.run(given, compare)


if __name__ == "__main__":
    sys.exit(main())
