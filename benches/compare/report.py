"""The findings as Markdown."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .load import OPERATIONS, Operation, Outcome
from .processes import Memory

# By system and then by connections and operation: one outcome for each round.
Outcomes = dict[str, dict[tuple[int, str], list[Outcome]]]


def number(value: float) -> str:
    """Three significant digits, with thousands marked."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(above: float, below: float) -> str:
    """How many times as much."""
    return f"{number(above / below)}×" if below > 0 else "–"


@dataclass(frozen=True)
class Shape:
    """Which rows a table has, and how it tells CPU time."""

    operations: list[Operation]
    cpu_unit: str = "ms"
    cpu_per_ms: float = 1.0
    # What is wanted of CPU time of the other system and of apus, in that unit; empty if nothing is.
    goal: Callable[[Operation, float, float], str] | None = None


CLUSTER = Shape(OPERATIONS)


def table(outcomes: Outcomes, connections: list[int], shape: Shape = CLUSTER) -> str:
    """Medians of all rounds. A row in which one run failed has no numbers, but says what failed."""
    unit = shape.cpu_unit
    heads = ["operation", "connections", "Swift ops/s", "apus ops/s", "apus / Swift", "Swift p50, p99 ms",
             "apus p50, p99 ms", f"Swift CPU {unit}/op", f"apus CPU {unit}/op", "Swift / apus CPU"]
    heads += ["goal"] if shape.goal else []
    lines = [f"| {' | '.join(heads)} |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    for count in connections:
        for operation in shape.operations:
            if not operation.connections_max or count <= operation.connections_max:
                runs = [outcomes[name].get((count, operation.label), []) for name in ("Swift", "apus")]
                cells = _row(operation, shape, *runs)
                cells = [operation.label, str(operation.connections or count), *cells]
                lines.append(f"| {' | '.join(cells)} |" + " |" * (len(heads) - len(cells)))
    return "\n".join(lines)


def median(runs: list[Outcome], what: str) -> float:
    """Of one number of several runs."""
    return statistics.median(getattr(run, what) for run in runs)


def _row(operation: Operation, shape: Shape, swift: list[Outcome], apus: list[Outcome]) -> list[str]:
    wrong = [f"{name}: {text}" for name, runs in (("Swift", swift), ("apus", apus))
             for run in runs for text in run.complaints]
    if wrong:
        return [f"invalid: {'; '.join(wrong)}"]
    if not swift or not apus:
        return ["not measured"]
    speed = median(swift, "per_second"), median(apus, "per_second")
    cpu = [median(runs, "cpu_ms_each") * shape.cpu_per_ms for runs in (swift, apus)]
    cells = [number(speed[0]), number(speed[1]), ratio(speed[1], speed[0])]
    cells += [f"{number(median(runs, 'p50_ms'))}, {number(median(runs, 'p99_ms'))}"
              for runs in (swift, apus)]
    cells += [number(cpu[0]), number(cpu[1]), ratio(cpu[0], cpu[1])]
    return [*cells, shape.goal(operation, *cpu)] if shape.goal else cells


def spread(outcomes: Outcomes, connections: list[int]) -> str:
    """How far apart the rounds were: the widest, as a share of the median."""
    widest = (0.0, "")
    for name, found in outcomes.items():
        for (count, label), runs in found.items():
            speeds = [run.per_second for run in runs]
            if count in connections and len(speeds) > 1 and statistics.median(speeds) > 0:
                share = (max(speeds) - min(speeds)) / statistics.median(speeds)
                widest = max(widest, (share, f"{name}, {label}, {count} connections"))
    if not widest[1]:
        return "One round only: how far rounds differ is not known."
    return f"The rounds that differ most ({widest[1]}) lie {widest[0]:.0%} of their median apart."


def disturbance(outcomes: Outcomes) -> str:
    """How much the system that was not measured took from the other."""
    shares = [run.other_share for found in outcomes.values() for runs in found.values() for run in runs]
    return f"While one was measured, the other used at most {max(shares):.1%} of one processor."


def mib(count: int) -> str:
    """Bytes as MiB."""
    return f"{number(count / 2**20)} MiB"


def memory_rows(title: str, memory: dict[str, Memory]) -> list[str]:
    """Two rows of the table of things that are no operations."""
    def cell(name: str, what: str) -> str:
        return mib(getattr(memory[name], what)) if name in memory else "not measured"
    return [
        f"| RSS {title} | {cell('Swift', 'resident')} | {cell('apus', 'resident')} |",
        f"| the same, shared pages counted once | {cell('Swift', 'proportional')} "
        f"| {cell('apus', 'proportional')} |",
    ]


def machine(directory: Path) -> list[str]:
    """What the numbers depend on."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    total = next((int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo")
                  if line.startswith("MemTotal")), 0)
    return [
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} × {model}, {number(total / 2**30)} GiB, "
        f"Linux {platform.release()}, {file_system(directory)}",
        f"4 KiB written and flushed by one writer: {flush_ms(directory):.2f} ms (median)",
    ]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def file_system(directory: Path) -> str:
    """The kind of file system that a directory is on."""
    found = Path("/"), "unknown file system"
    for line in _lines("/proc/self/mountinfo"):
        place, _, kind = line.partition(" - ")
        mounted = Path(place.split()[4])
        # Later mounts lie over earlier ones.
        if directory.resolve().is_relative_to(mounted) and len(mounted.parts) >= len(found[0].parts):
            found = mounted, kind.split()[0]
    return found[1]


def flush_ms(directory: Path) -> float:
    """How long the disk takes to make a small write durable."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(50):
            file.write(os.urandom(4096))
            file.flush()
            started = time.monotonic()
            os.fdatasync(file.fileno())
            taken.append((time.monotonic() - started) * 1000)
    return statistics.median(taken)
