"""What is asked of a system: runs of wrk, and what they found."""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .drained import Drained
from .processes import System, SystemFailed

KIB = 1024
MIB = 1024 * KIB
SCRIPT = Path(__file__).resolve().parent.parent / "wrk" / "objects.lua"
# An answer that takes longer makes the run invalid.
TIMEOUT_SECONDS = 30
# Of objects so large, what is on its way when the time is over would be a good part of a run.
DRAINED_BYTES = 16 * MIB
# No run that ends by itself takes longer.
FILL_SECONDS_MAX = 4 * 3600


@dataclass(frozen=True)
class Operation:
    """A row of the table: a method on objects of one size."""

    label: str
    method: str
    size: int
    # With more connections than this it is not measured; 0 is no such limit.
    connections_max: int = 0
    # So many connections ask for it, whatever the others have; 0 for as many.
    connections: int = 0
    # One path is asked for again and again, which is that of the "container".
    fixed: bool = False

    @property
    def drained(self) -> bool:
        """Whether wrk would do it wrongly; see drained.py."""
        return self.size >= DRAINED_BYTES or (self.method == "HEAD" and self.size > 0)


PUT_SMALL = Operation("PUT 4 KiB", "PUT", 4 * KIB)
GET_SMALL = Operation("GET 4 KiB", "GET", 4 * KIB)
PUT_LARGE = Operation("PUT 1 MiB", "PUT", MIB)
GET_LARGE = Operation("GET 1 MiB", "GET", MIB)
# wrk waits for the body that Content-Length of an answer to HEAD speaks of; an empty object has none.
HEAD = Operation("HEAD", "HEAD", 0)
# Of objects that were stored for this, as many as PUT_SMALL wrote in the same round.
DELETE = Operation("DELETE", "DELETE", 4 * KIB)
# What takes long is asked for by few, or Swift's answers would take longer than anybody waits.
LISTING = Operation("list 10,000 names", "GET", 0, connections=2, fixed=True)
LISTED = 10_000
SEGMENTED = Operation("GET SLO of 1,000 segments", "GET", 1000 * 4 * KIB, connections=2, fixed=True)
OPERATIONS = [PUT_SMALL, GET_SMALL, PUT_LARGE, GET_LARGE, HEAD, DELETE]
HEAVY = [LISTING, SEGMENTED]


@dataclass(frozen=True)
class Names:
    """How many names each thread uses, and what happens after the last."""

    last: int = 2**40
    # cycle: begin again. end: end the run when the first thread has no more names. all: end it when no thread
    # has, and every request was answered.
    then: str = "end"


@dataclass
class Outcome:
    """One run of wrk against one system."""

    seconds: float
    done: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms_each: float
    client_cpu_ms_each: float
    # The last name that every thread has used.
    last: int
    # What the other system used meanwhile, of one processor.
    other_share: float = 0.0
    # What else was found, such as flushes of each write.
    notes: dict[str, float] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


class Load:
    """How hard a system is pressed."""

    def __init__(self, connections: int, seconds: int):
        self.connections = connections
        self.seconds = seconds
        self.threads = min(2, os.cpu_count() or 1, connections)

    def run(self, system: System, operation: Operation, container: str, names: Names) -> Outcome:
        """Runs a client and reads the processor's clock of the system before and after."""
        client = self._drained if operation.drained else self._wrk
        counted = system.counters()
        system_before, client_before = system.cpu_ms(), _client_cpu_ms()
        told = client(system, operation, container, names)
        client_spent = _client_cpu_ms() - client_before
        spent = system.cpu_ms() - system_before
        system.check_alive()
        done = told["answers"] - told["refused"]
        now = system.counters()
        notes = {name: (now[name] - was) / max(done, 1) for name, was in counted.items() if name in now}
        return Outcome(
            seconds=told["seconds"], done=done, per_second=done / told["seconds"],
            p50_ms=told["p50_ms"], p99_ms=told["p99_ms"], cpu_ms_each=spent / max(done, 1),
            client_cpu_ms_each=client_spent / max(done, 1), last=told["last"],
            notes=notes, complaints=_complaints(operation, told))

    def fill(self, system: System, operation: Operation, container: str, objects: int) -> int:
        """PUTs objects outside of what is measured; returns the last name of each thread."""
        put = Operation(operation.label, "PUT", operation.size)
        last = max(1, objects if put.drained else objects // self.threads)
        outcome = self.run(system, put, container, Names(last, "all"))
        if outcome.complaints:
            raise SystemFailed(f"{system.name} could not be filled: {', '.join(outcome.complaints)}")
        return last

    def _drained(self, system: System, operation: Operation, container: str, names: Names) -> dict:
        put = operation.method == "PUT"
        body = (bytes((i * 167 + 41) % 256 for i in range(256)) * (operation.size // 256 + 1))[:operation.size]
        requests = _requests(system, operation, container, names)
        run = Drained(system.url, operation.method, requests, body if put else b"")
        return run.run(self.connections, FILL_SECONDS_MAX if names.then == "all" else self.seconds)

    def _wrk(self, system: System, operation: Operation, container: str, names: Names) -> dict:
        seconds = FILL_SECONDS_MAX if names.then == "all" else self.seconds
        command = ["wrk", "--threads", str(self.threads), "--connections", str(self.connections),
                   "--duration", f"{seconds}s", "--timeout", f"{TIMEOUT_SECONDS}s",
                   "--script", str(SCRIPT), system.url]
        # The token is not among the arguments, which every user of the machine can see.
        env = {**os.environ, "BENCH_METHOD": operation.method, "BENCH_PATH": container,
               "BENCH_TOKEN": system.token, "BENCH_SIZE": str(operation.size),
               "BENCH_LAST": str(names.last), "BENCH_THEN": names.then,
               "BENCH_FIXED": str(int(operation.fixed)), "BENCH_PARTITIONS": str(system.partitions), "BENCH_TIMESTAMP": f"{time.time():.5f}"}
        enough = self.threads if names.then == "all" else 1
        said, drained = [], 0
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as wrk:
            try:
                for line in wrk.stderr:
                    said.append(line)
                    drained += line == "drained\n"
                    if line == "drained\n" and drained == enough:
                        # wrk then ends and reports as if its time was over.
                        wrk.send_signal(signal.SIGINT)
                printed = wrk.stdout.read()
            except BaseException:
                wrk.kill()
                raise
        for line in printed.splitlines():
            if line.startswith("RESULT "):
                return json.loads(line.removeprefix("RESULT "))
        raise SystemFailed(f"wrk measured nothing: {printed}{''.join(said)}")


def _requests(system: System, operation: Operation, container: str, names: Names) -> Iterator[bytes]:
    """Heads of requests, with the names of the first of wrk's threads."""
    number = 0
    while names.then == "cycle" or number < names.last:
        number = number % names.last + 1
        path = container.replace("PARTITION", str(number % max(1, system.partitions)))
        lines = [f"{operation.method} {path}/0-{number} HTTP/1.1", f"Host: {system.url.removeprefix('http://')}"]
        if operation.method == "PUT":
            lines += [f"Content-Length: {operation.size}", "Content-Type: application/octet-stream"]
        if system.partitions:
            lines += [f"X-Timestamp: {time.time():.5f}", "X-Backend-Storage-Policy-Index: 0"]
        else:
            lines.append(f"X-Auth-Token: {system.token}")
        yield ("\r\n".join(lines) + "\r\n\r\n").encode()


def _client_cpu_ms() -> float:
    """Of wrk, which is a child, and of this process, which is the other client."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
    return sum(each.ru_utime + each.ru_stime for each in used) * 1000


def _complaints(operation: Operation, told: dict) -> list[str]:
    """Why a run says nothing about the system's speed."""
    found = []
    if not told["answers"]:
        found.append("no answers")
    if told["refused"]:
        found.append(f"{told['refused']} of {told['answers']} answers were no success")
    for kind in ("connect", "read", "write", "timeout"):
        if told[kind]:
            found.append(f"{told[kind]} errors of kind {kind}")
    if operation.method == "GET" and told["bytes"] < (told["answers"] - told["refused"]) * operation.size:
        found.append("fewer bytes came than the objects have")
    return found
