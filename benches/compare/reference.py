"""A Swift of four nodes on this machine: a proxy, four servers of each kind, memcached, and nothing else."""

import os
import secrets
import subprocess
import time
from pathlib import Path

from .processes import SystemFailed, free_ports
from .python_swift import PythonSwift
from .rows import Rows

NODES = 4
REPLICAS = 3
KINDS = {"object": "obj", "container": "container", "account": "account"}

# The pipeline of Swift's sample configuration, without container_sync.
FILTERS = {
    "catch_errors": "catch_errors", "gatekeeper": "gatekeeper", "healthcheck": "healthcheck",
    "proxy-logging": "proxy_logging", "cache": "memcache", "listing_formats": "listing_formats",
    "bulk": "bulk", "tempurl": "tempurl", "ratelimit": "ratelimit", "tempauth": "tempauth",
    "copy": "copy", "container-quotas": "container_quotas", "account-quotas": "account_quotas",
    "slo": "slo", "dlo": "dlo", "versioned_writes": "versioned_writes", "symlink": "symlink",
}


class Swift(PythonSwift):
    """Python Swift. Its background daemons are not started: that is in its favour."""

    def __init__(self, work: Path, programs: Path, workers: int):
        super().__init__(work, programs, workers)
        self.key = secrets.token_hex(16)
        self.ports: dict[tuple[str, int], int] = {}

    def start(self) -> None:
        """Writes configuration and rings if there are none, starts all servers and logs in."""
        if not self.ports:
            self._configure()
        started = time.monotonic()
        as_user = ["-u", self.user] if os.geteuid() == 0 else []
        cache = str(self.ports["memcached", 0])
        self.spawn(["memcached", *as_user, "-l", "127.0.0.1", "-p", cache, "-U", "0", "-m", "64"], {})
        for node in range(1, NODES + 1):
            for kind, module in KINDS.items():
                self.spawn_server(f"swift.{module}.server", f"{kind}-{node}.conf")
        self.spawn_server("swift.proxy.server", "proxy-server.conf")
        servers = [port for (kind, _), port in self.ports.items() if kind != "memcached"]
        self.wait_until_serving(started, servers)
        self.log_in("bench:bench", self.key)

    def merge(self, container: str, rows: Rows) -> None:
        """By its own code, straight into the databases."""
        databases = sorted(map(str, self.work.glob("devices/*/*/containers/*/*/*/*.db")))
        tool = [str(self.programs / "python"), "-W", "ignore", str(Path(__file__).with_name("merge_rows.py"))]
        given = [str(self.etc), container, str(rows.count), rows.created_at, *databases]
        told = subprocess.run([*tool, *given], capture_output=True, text=True, check=False)
        if told.returncode or not told.stdout.startswith(f"{REPLICAS} copies"):
            raise SystemFailed(f"Swift did not take rows: {told.stdout}{told.stderr}")

    def _configure(self) -> None:
        names = [(kind, node) for kind in KINDS for node in range(1, NODES + 1)]
        names += [("proxy", 0), ("memcached", 0)]
        self.ports = dict(zip(names, free_ports(len(names))))
        self.url = f"http://127.0.0.1:{self.ports['proxy', 0]}"
        self.write_swift_conf(secrets.token_hex(8))
        self.write("proxy-server.conf", self._proxy_conf())
        for kind in KINDS:
            ports = [self.ports[kind, node] for node in range(1, NODES + 1)]
            for node, port in enumerate(ports, 1):
                self.write(f"{kind}-{node}.conf", self.storage_conf(kind, port, node))
            self.build_ring(kind, ports, REPLICAS)

    def _proxy_conf(self) -> str:
        order = [*FILTERS, "proxy-logging", "proxy-server"]
        settings = {
            # With its two connections the proxy may wait so long for memcached that it takes it for dead, and
            # then knows no token.
            "cache": f"memcache_servers = 127.0.0.1:{self.ports['memcached', 0]}\n"
                     "memcache_max_connections = 16",
            "tempauth": f"user_bench_bench = {self.key} .admin",
            # Or the segments of a large object come one in a second.
            "slo": "rate_limit_under_size = 0",
            "versioned_writes": "allow_versioned_writes = true",
        }
        filters = "".join(f"[filter:{name}]\nuse = egg:swift#{entry}\n{settings.get(name, '')}\n"
                          for name, entry in FILTERS.items())
        return (f"{self.default_section(self.ports['proxy', 0])}\n"
                f"[pipeline:main]\npipeline = {' '.join(order)}\n"
                f"[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n{filters}")
