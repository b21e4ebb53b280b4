"""apus as it is started by `apus serve`, with nothing but the access log and a limit changed."""

import http.client
import json
import os
import shlex
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .processes import System, SystemFailed, free_ports
from .rows import Rows

DEVICES = 4
REPLICAS = 3


def default_binary() -> Path:
    """Where `make` has the program built."""
    target = os.environ.get("CARGO_TARGET_DIR") or Path.home() / ".cache" / "apus" / "target"
    return Path(target) / "release" / "apus"


class Apus(System):
    """One process with four devices."""

    name = "apus"

    def __init__(self, work: Path, binary: Path, with_backend: bool = False):
        """With the backend its container servers can be told rows: they listen, which changes nothing else."""
        super().__init__(work)
        self.binary = binary
        # Rings know them, so they stay for ever.
        kinds = ["object", "container", "account", "replicator"] if with_backend else []
        self.backend = dict(zip(kinds, free_ports(len(kinds))))

    def version(self) -> str:
        """What the program says it is."""
        told = subprocess.run([str(self.binary), "--version"], capture_output=True, text=True, check=True)
        return told.stdout.strip()

    def start(self) -> None:
        """Starts it on its data directory and logs in."""
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        data = self.work / "data"
        command = [str(self.binary), "serve", "--data", str(data), "--listen", f"127.0.0.1:{port}",
                   "--devices", str(DEVICES), "--replicas", str(REPLICAS)]
        started = time.monotonic()
        # As quiet as Swift is made, and without its pauses between small segments.
        variables = {"APUS_LOG__ACCESS": "false", "APUS_LOG__FILTER": "warn",
                     "APUS_PROXY__SLO__RATE_LIMIT_UNDER_SIZE": "0"}
        variables |= {f"APUS_BACKEND__{kind.upper()}_PORT": str(its) for kind, its in self.backend.items()}
        if self.backend:
            variables["APUS_BACKEND__SERVE"] = "true"
        self.spawn(command, variables)
        self.wait_until_serving(started, [port])
        secrets = self._openrc(data / "openrc")
        self.log_in(secrets["ST_USER"], secrets["ST_KEY"])

    @staticmethod
    def _openrc(path: Path) -> dict[str, str]:
        found = {}
        deadline = time.monotonic() + 5
        while "ST_KEY" not in found:
            if path.is_file():
                words = shlex.split(path.read_text(), comments=True)
                found = dict(word.split("=", 1) for word in words if "=" in word)
            elif time.monotonic() > deadline:
                raise SystemFailed("apus wrote no openrc")
        return found

    def merge(self, container: str, rows: Rows) -> None:
        """By the verb UPDATE, to each device that has the container."""
        path = f"{self.account}/{container}".removeprefix("/v1")
        # Which partition a path names does not matter to container servers.
        paths = [f"/d{number}/0{path}" for number in range(1, DEVICES + 1)]
        with ThreadPoolExecutor(REPLICAS) as threads:
            copies = self._copies(paths)
            for batch in rows.batches():
                body = json.dumps(batch, separators=(",", ":")).encode()
                for status in threads.map(lambda copy: copy.ask("UPDATE", body), copies):
                    if status != 202:
                        raise SystemFailed(f"apus did not take rows: {status}")
        for copy in copies:
            copy.connection.close()

    def _copies(self, paths: list[str]) -> list["_Copy"]:
        """Where the container is; the last copy may come a little later than the answer."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            every = [_Copy(self.backend["container"], path) for path in paths]
            found = [each for each in every if each.ask("HEAD") == 204]
            if len(found) == REPLICAS:
                return found
        raise SystemFailed(f"apus has {len(found)} copies of a container")


class _Copy:
    """A container on one device, as other servers of the cluster reach it."""

    def __init__(self, port: int, path: str):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.path = path

    def ask(self, method: str, body: bytes | None = None) -> int:
        """The status of the answer."""
        headers = {"X-Timestamp": f"{time.time():016.5f}", "Content-Type": "application/json"}
        self.connection.request(method, self.path, body, headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status
