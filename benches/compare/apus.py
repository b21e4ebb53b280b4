"""apus as it is started by `apus serve`, with nothing but the access log and a limit changed."""

import os
import shlex
import subprocess
import time
from pathlib import Path

from .processes import System, SystemFailed, free_ports


def default_binary() -> Path:
    """Where `make` has the program built."""
    target = os.environ.get("CARGO_TARGET_DIR") or Path.home() / ".cache" / "apus" / "target"
    return Path(target) / "release" / "apus"


class Apus(System):
    """One process with four devices."""

    name = "apus"

    def __init__(self, work: Path, binary: Path):
        super().__init__(work)
        self.binary = binary

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
                   "--devices", "4", "--replicas", "3"]
        started = time.monotonic()
        # As quiet as Swift is made, and without its pauses between small segments.
        self.spawn(command, {"APUS_LOG__ACCESS": "false", "APUS_LOG__FILTER": "warn",
                             "APUS_PROXY__SLO__RATE_LIMIT_UNDER_SIZE": "0"})
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
