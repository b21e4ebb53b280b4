"""What is asked of a system: runs of wrk, and what they found."""

import json
import os
import resource
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .processes import System, SystemFailed

KIB = 1024
MIB = 1024 * KIB
SCRIPT = Path(__file__).resolve().parent.parent / "wrk" / "objects.lua"
# An answer that takes longer makes the run invalid.
TIMEOUT_SECONDS = 30
# No run that ends by itself takes longer.
FILL_SECONDS_MAX = 4 * 3600


@dataclass(frozen=True)
class Operation:
    """A row of the table: a method on objects of one size."""

    label: str
    method: str
    size: int


PUT_SMALL = Operation("PUT 4 KiB", "PUT", 4 * KIB)
GET_SMALL = Operation("GET 4 KiB", "GET", 4 * KIB)
PUT_LARGE = Operation("PUT 1 MiB", "PUT", MIB)
GET_LARGE = Operation("GET 1 MiB", "GET", MIB)
# wrk waits for the body that Content-Length of an answer to HEAD speaks of; an empty object has none.
HEAD = Operation("HEAD", "HEAD", 0)
# Of objects that were stored for this, as many as PUT_SMALL wrote in the same round.
DELETE = Operation("DELETE", "DELETE", 4 * KIB)
OPERATIONS = [PUT_SMALL, GET_SMALL, PUT_LARGE, GET_LARGE, HEAD, DELETE]


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
    complaints: list[str] = field(default_factory=list)


class Load:
    """How hard a system is pressed."""

    def __init__(self, connections: int, seconds: int):
        self.connections = connections
        self.seconds = seconds
        self.threads = min(2, os.cpu_count() or 1, connections)

    def run(self, system: System, operation: Operation, container: str, names: Names) -> Outcome:
        """Runs wrk and reads the processor's clock of the system before and after."""
        system_before, client_before = system.cpu_ms(), _children_cpu_ms()
        told = self._wrk(system, operation, container, names)
        client = _children_cpu_ms() - client_before
        spent = system.cpu_ms() - system_before
        system.check_alive()
        done = told["answers"] - told["refused"]
        return Outcome(
            seconds=told["seconds"], done=done, per_second=done / told["seconds"],
            p50_ms=told["p50_ms"], p99_ms=told["p99_ms"], cpu_ms_each=spent / max(done, 1),
            client_cpu_ms_each=client / max(done, 1), last=told["last"],
            complaints=_complaints(operation, told))

    def fill(self, system: System, operation: Operation, container: str, objects: int) -> int:
        """PUTs objects outside of what is measured; returns the last name of each thread."""
        last = max(1, objects // self.threads)
        put = Operation(operation.label, "PUT", operation.size)
        outcome = self.run(system, put, container, Names(last, "all"))
        if outcome.complaints:
            raise SystemFailed(f"{system.name} could not be filled: {', '.join(outcome.complaints)}")
        return last

    def _wrk(self, system: System, operation: Operation, container: str, names: Names) -> dict:
        seconds = FILL_SECONDS_MAX if names.then == "all" else self.seconds
        command = ["wrk", "--threads", str(self.threads), "--connections", str(self.connections),
                   "--duration", f"{seconds}s", "--timeout", f"{TIMEOUT_SECONDS}s",
                   "--script", str(SCRIPT), system.url]
        # The token is not among the arguments, which every user of the machine can see.
        env = {**os.environ, "BENCH_METHOD": operation.method, "BENCH_PATH": container,
               "BENCH_TOKEN": system.token, "BENCH_SIZE": str(operation.size),
               "BENCH_LAST": str(names.last), "BENCH_THEN": names.then}
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


def _children_cpu_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


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
