"""One object server alone, asked as a proxy asks it: that of apus, and Swift's."""

import http.client
import os
import secrets
import time
from pathlib import Path

from .apus import Apus
from .processes import System, SystemFailed, free_ports
from .python_swift import PART_POWER, PythonSwift

# The first device of a node, in both.
DEVICE = "d1"
# Counters of apus that notes are made of.
METRICS = {"apus_object_frames_total": "frames", "apus_object_records_total": "records"}


def device_flushes(directory: Path) -> float | None:
    """Flushes that the disk below a directory has been sent since the machine was started, by whomever."""
    number = directory.stat().st_dev
    numbers = f"{os.major(number)}:{os.minor(number)}"
    try:
        # Kernel documentation: Documentation/block/stat.rst; older kernels have no such field.
        return float(Path(f"/sys/dev/block/{numbers}/stat").read_text().split()[15])
    except (OSError, IndexError):
        return None


class Backend(System):
    """What both have in common. There are no containers: no request names a container server to tell."""

    def make_container(self, name: str) -> str:
        """A path no other run has; nothing is made."""
        return f"/{DEVICE}/PARTITION/a/{name}"

    def counters(self) -> dict[str, float]:
        """Flushes of the disk, where the kernel counts them."""
        flushes = device_flushes(self.work)
        return {} if flushes is None else {"device_flushes": flushes}


class ApusObjectd(Backend, Apus):
    """`apus objectd` with one device."""

    def start(self) -> None:
        """Starts it on its data directory."""
        port, data = free_ports(1)[0], self.work / "data"
        self.url, self.partitions = f"http://127.0.0.1:{port}", 2**PART_POWER
        conf = self.work / "apus.toml"
        conf.write_text(f'data = "{data}"\ndevices = 1\nreplicas = 1\n[cluster]\npart_power = {PART_POWER}\n'
                        f"[backend]\nobject_port = {port}\n")
        data.mkdir(exist_ok=True)
        started = time.monotonic()
        # As quiet as Swift is made.
        self.spawn([str(self.binary), "objectd", "--config", str(conf)],
                   {"APUS_LOG__ACCESS": "false", "APUS_LOG__FILTER": "warn"})
        self.wait_until_serving(started, [port])

    def counters(self) -> dict[str, float]:
        """Also frames and the records in them. A frame is one durable write."""
        host = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=10)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        except (OSError, http.client.HTTPException) as error:
            raise SystemFailed(f"apus gives no metrics: {error}") from error
        finally:
            connection.close()
        found = {name: 0.0 for name in METRICS.values()}
        for line in lines:
            name = line.partition("{")[0].partition(" ")[0]
            if name in METRICS:
                found[METRICS[name]] += float(line.rpartition(" ")[2])
        return {**super().counters(), **found}


class SwiftObjectServer(Backend, PythonSwift):
    """`swift-object-server` with one device and the configuration that the whole Swift's have."""

    port = 0

    def start(self) -> None:
        """Writes its configuration if there is none, and starts it."""
        if not self.port:
            self.port = free_ports(1)[0]
            self.url, self.partitions = f"http://127.0.0.1:{self.port}", 2**PART_POWER
            self.write_swift_conf(secrets.token_hex(8))
            self.write("object.conf", self.storage_conf("object", self.port, 1))
            self.build_ring("object", [self.port], 1)
        started = time.monotonic()
        self.spawn_server("swift.obj.server", "object.conf")
        self.wait_until_serving(started, [self.port])
