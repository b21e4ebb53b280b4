"""A Swift of four nodes on this machine: a proxy, four servers of each kind, memcached, and nothing else."""

import os
import pwd
import secrets
import subprocess
import time
from pathlib import Path

from .processes import System, SystemFailed, free_ports

NODES = 4
REPLICAS = 3
# As many partitions as apus has by default.
PART_POWER = 10
KINDS = {"object": "obj", "container": "container", "account": "account"}

# The pipeline of Swift's sample configuration, without container_sync.
FILTERS = {
    "catch_errors": "catch_errors", "gatekeeper": "gatekeeper", "healthcheck": "healthcheck",
    "proxy-logging": "proxy_logging", "cache": "memcache", "listing_formats": "listing_formats",
    "bulk": "bulk", "tempurl": "tempurl", "ratelimit": "ratelimit", "tempauth": "tempauth",
    "copy": "copy", "container-quotas": "container_quotas", "account-quotas": "account_quotas",
    "slo": "slo", "dlo": "dlo", "versioned_writes": "versioned_writes", "symlink": "symlink",
}


class Swift(System):
    """Python Swift. Its background daemons are not started: that is in its favour."""

    name = "Swift"

    def __init__(self, work: Path, programs: Path, workers: int):
        super().__init__(work)
        self.programs = programs
        self.workers = workers
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.key = secrets.token_hex(16)
        self.etc = work / "etc"
        self.etc.mkdir()
        self.ports: dict[tuple[str, int], int] = {}

    def version(self) -> str:
        """What is measured, and under which Python."""
        ask = "import sys, swift, eventlet; print('Swift', swift.__version__, 'on Python', " \
              "sys.version.split()[0], 'with eventlet', eventlet.__version__)"
        command = [str(self.programs / "python"), "-W", "ignore", "-c", ask]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

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
                self._spawn_server(f"swift.{module}.server", f"{kind}-{node}.conf")
        self._spawn_server("swift.proxy.server", "proxy-server.conf")
        servers = [port for (kind, _), port in self.ports.items() if kind != "memcached"]
        self.wait_until_serving(started, servers)
        self.log_in("bench:bench", self.key)

    def _spawn_server(self, module: str, conf: str) -> None:
        launch = str(Path(__file__).with_name("launch.py"))
        python = [str(self.programs / "python"), "-W", "ignore", launch]
        # -v: warnings go to the output too, and so to a file that can be shown.
        self.spawn([*python, str(self.etc), module, str(self.etc / conf), "-v"], {})

    def _configure(self) -> None:
        names = [(kind, node) for kind in KINDS for node in range(1, NODES + 1)]
        names += [("proxy", 0), ("memcached", 0)]
        self.ports = dict(zip(names, free_ports(len(names))))
        self.url = f"http://127.0.0.1:{self.ports['proxy', 0]}"
        salt = secrets.token_hex(8)
        self._write("swift.conf", f"""
            [swift-hash]
            swift_hash_path_suffix = {salt}
            [storage-policy:0]
            name = three
            default = yes
            """)
        self._write("proxy-server.conf", self._proxy_conf())
        for kind in KINDS:
            for node in range(1, NODES + 1):
                (self.work / "devices" / str(node) / f"d{node}").mkdir(parents=True, exist_ok=True)
                (self.work / "recon" / str(node)).mkdir(parents=True, exist_ok=True)
                self._write(f"{kind}-{node}.conf", self._storage_conf(kind, node))
            self._build_ring(kind)

    def _write(self, name: str, text: str) -> None:
        lines = [line.strip() for line in text.strip().splitlines()]
        (self.etc / name).write_text("\n".join(lines) + "\n")
        (self.etc / name).chmod(0o600)

    def _default_section(self, port: int) -> str:
        return f"""
            [DEFAULT]
            bind_ip = 127.0.0.1
            bind_port = {port}
            workers = {self.workers}
            user = {self.user}
            swift_dir = {self.etc}
            log_level = WARNING
            """

    def _proxy_conf(self) -> str:
        order = [*FILTERS, "proxy-logging", "proxy-server"]
        settings = {
            # With its two connections the proxy may wait so long for memcached that it takes it for dead, and
            # then knows no token.
            "cache": f"memcache_servers = 127.0.0.1:{self.ports['memcached', 0]}\n"
                     "memcache_max_connections = 16",
            "tempauth": f"user_bench_bench = {self.key} .admin",
            "versioned_writes": "allow_versioned_writes = true",
        }
        filters = "".join(f"[filter:{name}]\nuse = egg:swift#{entry}\n{settings.get(name, '')}\n"
                          for name, entry in FILTERS.items())
        return (f"{self._default_section(self.ports['proxy', 0])}\n"
                f"[pipeline:main]\npipeline = {' '.join(order)}\n"
                f"[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n{filters}")

    def _storage_conf(self, kind: str, node: int) -> str:
        return f"""
            {self._default_section(self.ports[kind, node])}
            devices = {self.work}/devices/{node}
            mount_check = false
            [pipeline:main]
            pipeline = healthcheck recon {kind}-server
            [app:{kind}-server]
            use = egg:swift#{kind}
            [filter:healthcheck]
            use = egg:swift#healthcheck
            [filter:recon]
            use = egg:swift#recon
            recon_cache_path = {self.work}/recon/{node}
            """

    def _build_ring(self, kind: str) -> None:
        tool = [str(self.programs / "swift-ring-builder"), str(self.etc / f"{kind}.builder")]
        commands = [["create", str(PART_POWER), str(REPLICAS), "1"]]
        commands += [["add", f"r1z{node}-127.0.0.1:{self.ports[kind, node]}/d{node}", "1"]
                     for node in range(1, NODES + 1)]
        commands.append(["rebalance"])
        for command in commands:
            told = subprocess.run([*tool, *command], capture_output=True, text=True, check=False)
            # 1 is a warning.
            if told.returncode > 1:
                raise SystemFailed(f"swift-ring-builder {command[0]} failed: {told.stdout}{told.stderr}")
