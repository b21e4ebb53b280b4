"""Two systems measured in turns: what is stored before, which of them comes first, and what each run found."""

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
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from . import install, load, report
from .apus import default_binary
from .load import Load, Names, Operation, Outcome
from .processes import Memory, System, SystemFailed, wait_for_rest

FREE_BYTES_MIN = 8 * 2**30
# On these, a flush makes nothing durable.
VOLATILE = {"tmpfs", "ramfs"}


def say(text: str) -> None:
    """Progress, apart from the result."""
    print(f"compare [{time.strftime('%H:%M:%S')}]: {text}", file=sys.stderr, flush=True)


def parser(title: str, connections: list[int]) -> argparse.ArgumentParser:
    """The part of the command line that all comparisons have."""
    made = argparse.ArgumentParser(description=title)
    made.add_argument("--apus", type=Path, default=default_binary(), help="the program [%(default)s]")
    made.add_argument("--dir", type=Path, default=install.cache_dir(),
                      help="where both keep their data, in a directory that is removed [%(default)s]")
    made.add_argument("--connections", type=int, nargs="+", default=connections, metavar="N")
    made.add_argument("--seconds", type=int, default=8, help="of each run [%(default)s]")
    made.add_argument("--repeats", type=int, default=3, help="rounds; medians are shown [%(default)s]")
    made.add_argument("--swift-workers", type=int, default=0,
                      help="of each Swift server; 0 is one process without a master [%(default)s]")
    made.add_argument("--json", type=Path, help="write every single run to this file")
    return made


def refuse_memory(directory: Path) -> None:
    """Makes the directory, which must be on a disk."""
    directory.mkdir(parents=True, exist_ok=True)
    if report.file_system(directory) in VOLATILE:
        raise SystemFailed(f"{directory} is in memory: choose a disk with --dir")


def commit() -> str:
    """Which sources the program was built from, if they are as they were committed."""
    here = str(Path(__file__).resolve().parent)
    told = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"],
                          capture_output=True, text=True, check=False)
    return f" ({told.stdout.strip()})" if told.returncode == 0 else ""


def write_json(path: Path, outcomes: report.Outcomes) -> None:
    """Every run, for those who want other statistics than medians."""
    runs = [{"system": name, "connections": count, "operation": label, **dataclasses.asdict(run)}
            for name, found in outcomes.items() for (count, label), all_runs in found.items()
            for run in all_runs]
    path.write_text(json.dumps(runs, indent=1) + "\n")


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    operations: list[Operation]
    # Reads, with how many objects are stored for them, the same for both systems.
    stock: dict[Operation, int]
    # What is made in some other way: of each operation, what makes it and tells its path.
    made: dict[Operation, Callable[[System, Load], str]] = field(default_factory=dict)
    # A run of PUTs ends at the latest with so many bytes; 0 is no such end.
    put_bytes_max: int = 0


@dataclass
class Turns:
    """Both systems, and what has been found about them."""

    systems: list[System]
    plan: Plan
    seconds: int
    outcomes: report.Outcomes = field(default_factory=dict)
    idle: dict[str, Memory] = field(default_factory=dict)
    # Of others, since nothing runs here yet.
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    stock: dict[tuple[str, Operation], tuple[str, Names]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Starts both, notes what they take when idle, and stores what will be read."""
        for system in self.systems:
            self.outcomes[system.name] = {}
            say(f"starting {system.version()}")
            system.start()
            system.note_idle_share()
            self.idle[system.name] = system.memory()
            filler = Load(16, self.seconds)
            stored: dict[int, tuple[str, Names]] = {}
            for operation, count in self.plan.stock.items():
                if operation.size not in stored:
                    say(f"{system.name}: storing {count} objects for {operation.label}")
                    container = system.make_container(f"stock-{operation.size}")
                    last = filler.fill(system, operation, container, count)
                    stored[operation.size] = (container, Names(last, "cycle"))
                self.stock[system.name, operation] = stored[operation.size]
            for operation, make in self.plan.made.items():
                say(f"{system.name}: storing what {operation.label} needs")
                self.stock[system.name, operation] = (make(system, filler), Names(1, "cycle"))

    def measure(self, connections: list[int], repeats: int) -> None:
        """All rounds."""
        for count in connections:
            for number in range(1, repeats + 1):
                self._round(Load(count, self.seconds), number)

    def _round(self, pressure: Load, number: int) -> None:
        title, written = f"c{pressure.connections}-r{number}", {}
        # Which of them comes first changes from round to round.
        ordered = self.systems if number % 2 else self.systems[::-1]
        for operation in self.plan.operations:
            if operation.connections_max and pressure.connections > operation.connections_max:
                continue
            for system in ordered:
                if shutil.disk_usage(system.work).free < FREE_BYTES_MIN:
                    raise SystemFailed(f"less than {report.mib(FREE_BYTES_MIN)} are free")
                own = Load(operation.connections, self.seconds) if operation.connections else pressure
                outcome = self._run(own, system, operation, title, written)
                key = (pressure.connections, operation.label)
                self.outcomes[system.name].setdefault(key, []).append(outcome)
                say(f"{title} {operation.label} {system.name}: {report.number(outcome.per_second)} ops/s, "
                    f"p50 {report.number(outcome.p50_ms)} ms, p99 {report.number(outcome.p99_ms)} ms, "
                    f"CPU {report.number(outcome.cpu_ms_each)} ms/op "
                    f"(client {report.number(outcome.client_cpu_ms_each)})"
                    + "".join(f", {text}" for text in outcome.complaints))

    def _names(self, pressure: Load, system: System, operation: Operation, title: str,
               written: dict[str, int]) -> tuple[str, Names]:
        if (system.name, operation) in self.stock:
            return self.stock[system.name, operation]
        if operation.method == "DELETE":
            # Not what was measured before: when its time is over, wrk leaves requests without an answer, and
            # whether those objects are there nobody knows.
            container = system.make_container(f"{title}-delete")
            return container, Names(pressure.fill(system, operation, container, written[system.name]))
        container = system.make_container(f"{title}-put-{operation.size}")
        if not self.plan.put_bytes_max:
            return container, Names()
        return container, Names(max(1, self.plan.put_bytes_max // operation.size // pressure.threads))

    def _run(self, pressure: Load, system: System, operation: Operation, title: str,
             written: dict[str, int]) -> Outcome:
        container, names = self._names(pressure, system, operation, title, written)
        # What earlier runs have left to be done or written must not be done during this one.
        if not wait_for_rest(self.systems):
            say("the systems do not come to rest; going on all the same")
        os.sync()
        other = next(each for each in self.systems if each is not system)
        other_before = other.cpu_ms()
        outcome = pressure.run(system, operation, container, names)
        outcome.other_share = (other.cpu_ms() - other_before) / outcome.seconds / 1000
        if operation.method == "PUT" and operation.size == load.PUT_SMALL.size:
            written[system.name] = max(outcome.done, pressure.threads)
        elif operation.method == "PUT":
            # Large objects of all rounds would fill the disk.
            remove = Operation("remove", "DELETE", operation.size)
            pressure.run(system, remove, container, Names(max(1, outcome.last), "all"))
        return outcome

    def valid(self) -> bool:
        """Whether no run has anything to complain of."""
        return not any(run.complaints for found in self.outcomes.values() for runs in found.values()
                       for run in runs)


def run(given: argparse.Namespace, compare: Callable[[Path, Path, ExitStack], Turns]) -> int:
    """Installs what is needed and compares in a directory that is removed; 0 if every run was valid."""
    # A process that is told to end must not leave the two systems behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not given.apus.is_file():
        print(f"compare: {given.apus} is missing; make builds it", file=sys.stderr)
        return 2
    try:
        install.programs()
        programs = install.swift_environment()
        refuse_memory(given.dir)
        with ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-", dir=given.dir)))
            comparison = compare(work, programs, stack)
    except KeyboardInterrupt:
        print("compare: stopped; nothing is left behind", file=sys.stderr)
        return 130
    except (install.NotInstalled, SystemFailed) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    if given.json:
        write_json(given.json, comparison.outcomes)
    return 0 if comparison.valid() else 1
