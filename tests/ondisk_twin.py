#!/usr/bin/env python3
"""The rule by which an object changes, beside Swift's own: random sets of files, and what each makes of them.

Swift's rule is `get_ondisk_files` (obj/diskfile.py): from the names of the files in a hash directory it chooses data,
metadata, content type and tombstone, and says which files are obsolete. Ours is `merge` (objectd/src/state.rs), which
is told of the same files one by one, in any order. Both must choose the same, and what we keep must be what Swift
does not call obsolete, but for the deviations that are listed below and counted. Swift is asked again for what it has
left, and so are we.

Needs the example of objectd (`cargo build --release --workspace --example ondisk_twin`) and, the first time, a
network to install Swift from; the environment is the one of benches/compare. Ends with a line `N passed, N failed`,
and with 0 if nothing failed.
"""

import argparse
import json
import logging
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, NamedTuple, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benches"))
from compare import install  # noqa: E402

# So many sets are made, and asked of one process, at a time.
BATCH = 10_000
# In so many orders is each set told to apus.
ORDERS = 3
SHOWN_MAX = 10
# Each of these must be Swift's answer to so many of a thousand sets, or the sets say little.
SEEN_MIN = 10

UNITS_PER_SECOND = 100_000
EPOCH = 1402464677_04188
# Any policy with more fragments than are named here.
EC_POLICY = SimpleNamespace(ec_ndata=10, ec_nparity=4)
INDEXES = [0, 1, 2, 13]

Moment = tuple[int, int]


def normal(raw: int) -> str:
    """Seconds with five decimals."""
    return f"{raw // UNITS_PER_SECOND:010}.{raw % UNITS_PER_SECOND:05}"


@dataclass(frozen=True)
class File:
    """A file of a hash directory."""

    ext: str
    # In units of 10 us, and its offset.
    at: Moment
    # Of a meta with a content type: its age relative to the meta's, in units of 10 us.
    delta: Optional[int] = None
    # Of a fragment: its number, and whether `#d` says that it is durable.
    index: Optional[int] = None
    marked: bool = False

    @cached_property
    def name(self) -> str:
        """As Swift writes it (`make_on_disk_filename`)."""
        raw, offset = self.at
        if self.delta is not None:
            short = f"_{offset:x}" if offset else ""
            return f"{normal(raw)}{short}{self.delta:+x}.meta"
        stem = normal(raw) + (f"_{offset:016x}" if offset else "")
        if self.index is not None:
            stem += f"#{self.index}" + ("#d" if self.marked else "")
        return f"{stem}.{self.ext}"

    @property
    def typed(self) -> Moment:
        """When its content type was set; an offset is known only of the meta's own moment."""
        if self.delta is None:
            return (-1, 0)
        return self.at if self.delta == 0 else (self.at[0] + self.delta, 0)


Files = frozenset[File]


class Answer(NamedTuple):
    """What a rule makes of a set of files."""

    data: Optional[File]
    meta: Optional[File]
    ctype: Optional[File]
    ts: Optional[File]
    durable: Files
    kept: Files


@dataclass(frozen=True)
class Case:
    """A set of files, as replicas or as fragments."""

    rule: str
    files: Files

    def of(self, ext: str) -> list[File]:
        """All of a kind."""
        return [file for file in self.files if file.ext == ext]


# Where we deliberately do otherwise. Each of these gets what Swift says (with what those before made of it) and
# gives what we say. Swift is not shown files of which the first speaks: see `believed`.


def isolated(case: Case) -> Files:
    """Legacy `.durable` files without a fragment of their moment."""
    moments = {data.at for data in case.of("data")}
    return frozenset(file for file in case.of("durable") if file.at not in moments)


def durable_waits(case: Case, said: Answer) -> Answer:
    """A `.durable` without a fragment means nothing yet, and waits for one. To Swift it makes all older data obsolete."""
    since = max((file.at for file in said.kept if file.ext == "ts" or file in said.durable), default=(-1, 0))
    waiting = {file for file in isolated(case) if file.at > since}
    return said._replace(kept=said.kept | waiting)


def durable_is_superfluous(case: Case, said: Answer) -> Answer:
    """A `.durable` goes once a fragment's own `#d` says the same. Swift keeps both."""
    marked = {file.at for file in said.kept if file.marked}
    gone = {file for file in said.kept if file.ext == "durable" and file.at in marked}
    return said._replace(kept=said.kept - gone)


def fragment_is_there_once(case: Case, said: Answer) -> Answer:
    """A fragment with `#d` and without is one fragment. Swift keeps both files until there is newer data."""
    gone = {file for file in said.kept if file.ext == "data" and replace(file, marked=True) in said.kept and
            not file.marked and file.index is not None}
    return said._replace(kept=said.kept - gone, durable=said.durable - gone)


def old_content_type_goes_early(case: Case, said: Answer) -> Answer:
    """A meta that is kept for its content type alone goes when that is from before the data or the tombstone."""
    since = max((file.at for file in said.kept if file.ext == "ts" or file in said.durable), default=(-1, 0))
    metas = sorted((file for file in said.kept if file.ext == "meta"), key=lambda meta: (meta.at, meta.typed))
    gone = {meta for meta in metas[:-1] if meta.typed <= since}
    return said._replace(kept=said.kept - gone)


DEVIATIONS: list[Callable[[Case, Answer], Answer]] = [
    durable_waits,
    durable_is_superfluous,
    fragment_is_there_once,
    old_content_type_goes_early,
]


def listing(files: Files) -> list[File]:
    """
    The order in which Swift is shown files. It may be any, but Swift's choice among metas of one moment depends on it:
    the first wins over those without a newer content type. To us it is always the one with the newest, so that comes
    first here. Of a fragment's two files the last counts, here the durable one.
    """
    return sorted(files, key=lambda file: (file.at, file.typed, not file.marked, file.name), reverse=True)


def arrival(case: Case, rng: random.Random) -> list[File]:
    """
    An order in which we are told, sometimes with repetitions. It may be any, unless a content type is newer than the
    meta that carries it, which Swift never writes: then an older meta may supersede a newer one for its content type
    and go itself by newer data, and what remains would depend on which came first. Swift looks at metas first.
    """
    events = sorted(case.files, key=lambda file: file.name)
    if rng.random() < 0.3:
        events += rng.choices(events, k=2) if events else []
    rng.shuffle(events)
    if any(file.typed > file.at for file in events):
        events.sort(key=lambda file: ["ts", "meta", "data", "durable"].index(file.ext))
    return events


class Swift:
    """Swift's rule."""

    def __init__(self):
        from swift.obj.diskfile import DiskFileManager, ECDiskFileManager

        logger = logging.getLogger("swift")
        self.managers = {
            "replicated": (DiskFileManager({}, logger), None),
            "erasure": (ECDiskFileManager({}, logger), EC_POLICY),
        }

    def ask(self, rule: str, files: list[File]) -> Answer:
        """What it makes of files that are listed in this order."""
        manager, policy = self.managers[rule]
        named = {file.name: file for file in files}
        results = manager.get_ondisk_files(list(named), "", verify=False, policy=policy)
        if results.get("unexpected"):
            raise ValueError(f"Swift does not know {results['unexpected']}")

        def chosen(key: str) -> Optional[File]:
            return named[results[key]["filename"]] if key in results else None

        data = chosen("data_info")
        durable = results.get("durable_frag_set", [{"filename": data.name}] if data else [])
        obsolete = {named[info["filename"]] for info in results.get("obsolete", [])}
        return Answer(data, chosen("meta_info"), chosen("ctype_info"), chosen("ts_info"),
                      frozenset(named[info["filename"]] for info in durable), frozenset(files) - obsolete)


def ask_apus(program: Path, asked: list[tuple[str, list[File]]]) -> list[Answer]:
    """What apus makes of files that arrive in these orders."""
    lines = "".join(f"{rule} {' '.join(file.name for file in files)}\n" for rule, files in asked)
    done = subprocess.run([program], input=lines, stdout=subprocess.PIPE, text=True, check=True)
    answers = []
    for (_, files), line in zip(asked, done.stdout.splitlines(), strict=True):
        named = {file.name: file for file in files}
        told = json.loads(line)
        one = (named[told[key]] if told[key] else None for key in ("data", "meta", "ctype", "ts"))
        many = (frozenset(named[name] for name in told[key]) for key in ("durable", "kept"))
        answer = Answer(*one, *many)
        if len(told["kept"]) != len(answer.kept):
            raise ValueError(f"a file is kept twice: {line}")
        answers.append(answer)
    return answers


def random_case(rng: random.Random) -> Case:
    """Few moments, so that files share them; offsets, and content types of any age."""
    rule = rng.choice(["replicated", "erasure"])
    step = rng.choice([1, 0x2F, UNITS_PER_SECOND, 0x1234_5678])
    count = rng.randint(2, 6)
    offsets = rng.choice([[0], [0, 1], [0, 1, 0x1F, 16**16 - 1]])
    moments = [(EPOCH + step * rng.randrange(count), rng.choice(offsets)) for _ in range(count)]
    # A tombstone leaves little, so most sets have few.
    weights = [rng.choice([1, 3, 6]), rng.choice([1, 4, 8]), rng.choice([0, 0.2, 2]), rng.choice([0, 0, 1])]
    kinds = ["data", "meta", "ts", "durable"]
    if rule == "replicated":
        kinds, weights = kinds[:3], weights[:3]
    deltas = [None, None, 0, 0, -step, -2 * step, -rng.randint(1, 3 * step)]
    if rng.random() < 0.05:
        deltas += [step, rng.randint(1, 3 * step)]
    files = set()
    for kind in rng.choices(kinds, weights, k=rng.randint(0, 10)):
        file = File(kind, rng.choice(moments))
        if kind == "meta":
            file = replace(file, delta=rng.choice(deltas))
        elif kind == "data" and rule == "erasure":
            file = replace(file, index=rng.choice(INDEXES), marked=rng.random() < 0.4)
        files.add(file)
    return Case(rule, frozenset(files))


def described(answer: Answer) -> str:
    """For people."""
    one = [f"{key} {file.name if file else '-'}" for key, file in zip(Answer._fields[:4], answer[:4])]
    many = [f"{key} {sorted(file.name for file in getattr(answer, key))}" for key in ("durable", "kept")]
    return "; ".join(one + many)


class Comparison:
    """All that was asked, and what came of it."""

    def __init__(self, program: Path):
        self.program = program
        self.swift = Swift()
        self.passed = 0
        self.failed = 0
        # How many sets had something.
        self.seen: Counter[str] = Counter()

    def expect(self, case: Case) -> tuple[Answer, Answer]:
        """What we should say, and what Swift said."""
        shown = case.files - isolated(case)
        said = self.swift.ask(case.rule, listing(shown))
        expected = said
        for deviation in DEVIATIONS:
            before, expected = expected, deviation(case, expected)
            self.seen[deviation.__name__] += before != expected
        # As when Swift cleans a directory up (`cleanup_ondisk_files`).
        by_name = self.swift.ask(case.rule, sorted(shown, key=lambda file: file.name, reverse=True))
        self.seen["the order of the listing decides in Swift"] += by_name != said
        self.seen["a content type is newer than its meta"] += any(f.typed > f.at for f in case.files)
        return expected, said

    def fail(self, case: Case, complaint: str) -> None:
        """Counts a set, and shows it if there were not too many."""
        self.failed += 1
        if self.failed <= SHOWN_MAX:
            print(f"FAILED: {case.rule} {sorted(file.name for file in case.files)}\n{complaint}", flush=True)

    def batch(self, rng: random.Random, count: int) -> None:
        """Makes sets, and compares."""
        asked, judged = [], []
        for _ in range(count):
            case = random_case(rng)
            expected, said = self.expect(case)
            left = Case(case.rule, said.kept)
            again = self.swift.ask(case.rule, listing(said.kept))
            orders = [arrival(case, rng) for _ in range(ORDERS)] + [arrival(left, rng)]
            asked += [(case.rule, order) for order in orders]
            judged.append((case, expected, said, again, orders))
        answers = iter(ask_apus(self.program, asked))
        for case, expected, said, again, orders in judged:
            self.count(case, said)
            complaints = []
            if again != said:
                complaints.append(f"  Swift:     {described(said)}\n  of that:   {described(again)}")
            for number, order in enumerate(orders):
                answer = next(answers)
                # What Swift has left is without those `.durable` files that it was not shown.
                kept = expected.kept - isolated(case) if number == ORDERS else expected.kept
                if answer != expected._replace(kept=kept):
                    complaints.append(f"  arriving:  {[file.name for file in order]}\n"
                                      f"  expected:  {described(expected._replace(kept=kept))}\n"
                                      f"  apus:      {described(answer)}")
            if complaints:
                self.fail(case, complaints[0])
            else:
                self.passed += 1

    def count(self, case: Case, said: Answer) -> None:
        """What kinds of sets there were."""
        for key in ("data", "meta", "ctype", "ts"):
            self.seen[key] += getattr(said, key) is not None
        fragments = {file for file in said.kept if file.ext == "data"}
        self.seen["fragments that are not durable"] += fragments != said.durable
        self.seen["two metas"] += sum(file.ext == "meta" for file in said.kept) > 1
        self.seen["obsolete"] += said.kept != case.files - isolated(case)

    def report(self, sets: int) -> None:
        """Prints the counts; sets of which too few had something are a failure."""
        print("Swift's answers had:", flush=True)
        for key in ("data", "meta", "ctype", "ts", "fragments that are not durable", "two metas", "obsolete"):
            print(f"{self.seen[key]:9} {key}")
            if self.seen[key] * 1000 < sets * SEEN_MIN:
                self.failed += 1
                print(f"FAILED: {key} is in too few of the sets")
        print("deliberate deviations, and how many sets they changed:")
        for deviation in DEVIATIONS:
            print(f"{self.seen[deviation.__name__]:9} {deviation.__doc__.strip()}")
        print("what Swift leaves open:")
        for key in ("the order of the listing decides in Swift", "a content type is newer than its meta"):
            print(f"{self.seen[key]:9} {key}")


def arguments() -> argparse.Namespace:
    """The command line."""
    target = os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache" / "apus" / "target")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=int, default=10_000, help="how many sets are compared [%(default)s]")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="repeats choices")
    parser.add_argument("--twin", type=Path, default=Path(target, "release", "examples", "ondisk_twin"))
    return parser.parse_args()


def enter_environment() -> None:
    """Runs this script again by a Python that has Swift, which is installed if need be."""
    if Path(sys.prefix) != install.cache_dir() / "venv-swift-server":
        python = install.swift_environment() / "python"
        # What Swift imports is deprecated here and there.
        os.execv(python, [str(python), "-W", "ignore", *sys.argv])


def main() -> int:
    """Compares, and gives the exit code."""
    chosen = arguments()
    enter_environment()
    logging.getLogger("swift").setLevel(logging.CRITICAL)
    begun = time.monotonic()
    print(f"Swift {install.SWIFT_VERSION}, {chosen.sets} sets, seed {chosen.seed}", flush=True)
    comparison = Comparison(chosen.twin)
    for start in range(0, chosen.sets, BATCH):
        # A batch can be repeated without those before it.
        comparison.batch(random.Random(f"{chosen.seed} {start}"), min(BATCH, chosen.sets - start))
    comparison.report(chosen.sets)
    print(f"{time.monotonic() - begun:.1f} s")
    print(f"{comparison.passed} passed, {comparison.failed} failed")
    return 1 if comparison.failed else 0


if __name__ == "__main__":
    sys.exit(main())
