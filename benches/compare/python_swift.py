"""Python Swift as processes of this machine: what is the same for a whole Swift and for one server of it."""

import os
import pwd
import subprocess
from pathlib import Path

from .processes import System, SystemFailed

# As many partitions as apus has by default.
PART_POWER = 10


class PythonSwift(System):
    """Swift from PyPI, with its configuration and rings in a directory of its own."""

    name = "Swift"

    def __init__(self, work: Path, programs: Path, workers: int):
        super().__init__(work)
        self.programs = programs
        self.workers = workers
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.etc = work / "etc"
        self.etc.mkdir()

    def version(self) -> str:
        """What is measured, and under which Python."""
        ask = "import sys, swift, eventlet; print('Swift', swift.__version__, 'on Python', " \
              "sys.version.split()[0], 'with eventlet', eventlet.__version__)"
        command = [str(self.programs / "python"), "-W", "ignore", "-c", ask]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def spawn_server(self, module: str, conf: str) -> None:
        """Starts one server."""
        launch = str(Path(__file__).with_name("launch.py"))
        python = [str(self.programs / "python"), "-W", "ignore", launch]
        # -v: warnings go to the output too, and so to a file that can be shown.
        self.spawn([*python, str(self.etc), module, str(self.etc / conf), "-v"], {})

    def write(self, name: str, text: str) -> None:
        """Writes a file of the configuration."""
        lines = [line.strip() for line in text.strip().splitlines()]
        (self.etc / name).write_text("\n".join(lines) + "\n")
        (self.etc / name).chmod(0o600)

    def write_swift_conf(self, salt: str) -> None:
        """One policy, and an end of all hashes."""
        self.write("swift.conf", f"""
            [swift-hash]
            swift_hash_path_suffix = {salt}
            [storage-policy:0]
            name = only
            default = yes
            """)

    def default_section(self, port: int) -> str:
        """What every server's file begins with."""
        return f"""
            [DEFAULT]
            bind_ip = 127.0.0.1
            bind_port = {port}
            workers = {self.workers}
            user = {self.user}
            swift_dir = {self.etc}
            log_level = WARNING
            """

    def storage_conf(self, kind: str, port: int, node: int) -> str:
        """The file of a storage server, with its directories made."""
        devices, recon = self.work / "devices" / str(node), self.work / "recon" / str(node)
        (devices / f"d{node}").mkdir(parents=True, exist_ok=True)
        recon.mkdir(parents=True, exist_ok=True)
        return f"""
            {self.default_section(port)}
            devices = {devices}
            mount_check = false
            [pipeline:main]
            pipeline = healthcheck recon {kind}-server
            [app:{kind}-server]
            use = egg:swift#{kind}
            [filter:healthcheck]
            use = egg:swift#healthcheck
            [filter:recon]
            use = egg:swift#recon
            recon_cache_path = {recon}
            """

    def build_ring(self, kind: str, ports: list[int], replicas: int) -> None:
        """A ring of nodes with a device each: node 1 with d1, node 2 with d2 and so on."""
        tool = [str(self.programs / "swift-ring-builder"), str(self.etc / f"{kind}.builder")]
        commands = [["create", str(PART_POWER), str(replicas), "1"]]
        commands += [["add", f"r1z{node}-127.0.0.1:{port}/d{node}", "1"]
                     for node, port in enumerate(ports, 1)]
        commands.append(["rebalance"])
        for command in commands:
            told = subprocess.run([*tool, *command], capture_output=True, text=True, check=False)
            # 1 is a warning.
            if told.returncode > 1:
                raise SystemFailed(f"swift-ring-builder {command[0]} failed: {told.stdout}{told.stderr}")
