"""A system under test: its processes, what they have used, and how they are stopped."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .rows import Rows

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
# A system is at rest when for so long it uses hardly more of a processor than it did after its start.
REST_SECONDS = 0.5
REST_SHARE_MORE = 0.06
REST_WAIT_SECONDS_MAX = 20


class SystemFailed(Exception):
    """A system did not start, did not answer or has died."""


@dataclass
class Memory:
    """Memory of all processes of a system, in bytes."""

    resident: int
    # Pages that several processes share are counted once.
    proportional: int


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def healthy(port: int) -> bool:
    """Whether a server answers to /healthcheck."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class System:
    """Processes that are measured together. Each leads a process group, in which its children are."""

    name = "system"

    def __init__(self, work: Path):
        self.work = work
        self.leaders: list[subprocess.Popen] = []
        self.seconds_to_serving = 0.0
        # Of one processor, when nothing is asked of it.
        self.idle_share = 0.0
        self.url = ""
        self.token = ""
        self.account = ""
        # Among so many the backend's requests are spread; 0 for a whole system, which is asked as clients do.
        self.partitions = 0
        work.mkdir(parents=True)

    def spawn(self, command: list[str], variables: dict[str, str]) -> None:
        """Starts a process; what it prints goes to a file in the working directory."""
        # Variables of the caller could change what either system does: only what programs need is handed on.
        needed = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
        env = {key: os.environ[key] for key in needed if key in os.environ}
        with open(self.work / "output.log", "ab") as output:
            self.leaders.append(subprocess.Popen(
                command, env={**env, **variables}, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True))

    def wait_until_serving(self, started: float, ports: list[int]) -> None:
        """Returns when all ports answer, and notes how long that took."""
        waiting = list(ports)
        while waiting:
            waiting = [port for port in waiting if not healthy(port)]
            self.check_alive()
            if time.monotonic() - started > START_SECONDS_MAX:
                raise SystemFailed(f"{self.name} does not answer; it said:\n{self.last_words()}")
            if waiting:
                time.sleep(0.005)
        self.seconds_to_serving = time.monotonic() - started

    def check_alive(self) -> None:
        """Fails if a process has ended."""
        for leader in self.leaders:
            if leader.poll() is not None:
                raise SystemFailed(
                    f"{self.name}: {leader.args[0]} ended with {leader.returncode}; "
                    f"it said:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of what the processes printed."""
        text = (self.work / "output.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-20:])

    def log_in(self, user: str, key: str) -> None:
        """Gets a token by version 1 of authentication."""
        headers = {"X-Storage-User": user, "X-Storage-Pass": key}
        status, answer = self.call("GET", "/auth/v1.0", headers)
        if status not in (200, 204):
            raise SystemFailed(f"{self.name} refused to give a token: {status}")
        self.token = answer["X-Auth-Token"]
        self.account = "/" + answer["X-Storage-Url"].split("/", 3)[3]

    def call(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None):
        """One request, outside of what is measured: its status and headers."""
        answer, _ = self._ask(method, path, headers, body)
        return answer.status, answer.headers

    def fetch(self, path: str) -> bytes:
        """The body of something that is there, outside of what is measured."""
        answer, body = self._ask("GET", path, {"X-Auth-Token": self.token})
        if answer.status != 200:
            raise SystemFailed(f"{self.name} answered {answer.status} for {path}")
        return body

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None):
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=300)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def merge(self, container: str, rows: Rows) -> None:
        """Has a container list these rows, whatever objects there are."""
        raise NotImplementedError

    def counters(self) -> dict[str, float]:
        """Numbers that grow with the work done, beside CPU time; a run notes by how much for each operation."""
        return {}

    def make_container(self, name: str) -> str:
        """Makes a container; returns its path."""
        path = f"{self.account}/{name}"
        status, _ = self.call("PUT", path, {"X-Auth-Token": self.token})
        if status not in (201, 202):
            raise SystemFailed(f"{self.name} did not make the container {name}: {status}")
        return path

    def _processes(self):
        """Directories below /proc, with the fields of `stat` that come after the name."""
        groups = {leader.pid for leader in self.leaders}
        for directory in Path("/proc").iterdir():
            if not directory.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                fields = (directory / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) in groups:
                    yield directory, fields

    def cpu_ms(self) -> float:
        """Time that all processes have spent, in user mode and in the kernel for them."""
        ticks = sum(int(fields[11]) + int(fields[12]) for _, fields in self._processes())
        return ticks * 1000 / TICKS_PER_SECOND

    def note_idle_share(self) -> None:
        """Finds out what it uses of a processor when nothing is asked of it."""
        shares = []
        for _ in range(5):
            before = self.cpu_ms()
            time.sleep(REST_SECONDS)
            shares.append((self.cpu_ms() - before) / REST_SECONDS / 1000)
        self.idle_share = min(shares)

    def memory(self) -> Memory:
        """What all processes have in memory now."""
        found = Memory(0, 0)
        for directory, _ in self._processes():
            with contextlib.suppress(OSError):
                for line in (directory / "smaps_rollup").read_text().splitlines():
                    key, _, value = line.partition(":")
                    if key == "Rss":
                        found.resident += int(value.split()[0]) * 1024
                    elif key == "Pss":
                        found.proportional += int(value.split()[0]) * 1024
        return found

    def _signal(self, which: signal.Signals) -> None:
        for leader in self.leaders:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(leader.pid, which)

    def stop(self) -> None:
        """Ends all processes, by force if they do not follow."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for leader in self.leaders:
            with contextlib.suppress(subprocess.TimeoutExpired):
                leader.wait(max(0.1, deadline - time.monotonic()))
        # Children whose leader has gone, and leaders that stayed.
        self._signal(signal.SIGKILL)
        for leader in self.leaders:
            leader.wait()
        self.leaders.clear()


def wait_for_rest(systems: list[System]) -> bool:
    """Returns when no system has work left from earlier runs; false if that does not happen."""
    deadline = time.monotonic() + REST_WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        before = [system.cpu_ms() for system in systems]
        time.sleep(REST_SECONDS)
        shares = [(system.cpu_ms() - was) / REST_SECONDS / 1000 - system.idle_share
                  for system, was in zip(systems, before)]
        if max(shares) <= REST_SHARE_MORE:
            return True
    return False
