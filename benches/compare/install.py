"""Installs what the comparison needs: wrk and memcached of the system, and Swift in an environment of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SWIFT_VERSION = "2.38.3"
# setuptools 81 has lost pkg_resources, by which some versions of Paste find Swift's filters.
REQUIREMENTS = [f"swift=={SWIFT_VERSION}", "setuptools<81"]
# Programs, and the Debian packages they are in.
PROGRAMS = {"wrk": "wrk", "memcached": "memcached"}
# Needed only where there is no wheel for this machine.
TO_COMPILE = ["liberasurecode-dev", "gcc", "python3-dev", "libffi-dev"]


class NotInstalled(Exception):
    """Something is missing and could not be installed; the text says what to do."""


def cache_dir() -> Path:
    """Where things are kept between runs, outside of the checkout."""
    return Path(os.environ.get("APUS_TEST_CACHE") or Path.home() / ".cache" / "apus")


def system_packages(packages: list[str]) -> None:
    """Installs packages if this user may, and otherwise names them."""
    command = ["apt-get", "-qq", "install", "--no-install-recommends", "--yes", *packages]
    if not shutil.which("apt-get"):
        raise NotInstalled(f"please install: {' '.join(packages)}")
    prefix = []
    if os.geteuid() != 0:
        if subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode:
            raise NotInstalled(f"please run: sudo apt-get install {' '.join(packages)}")
        prefix = ["sudo"]
    print(f"compare: installing {' '.join(packages)}", file=sys.stderr)
    subprocess.run([*prefix, "apt-get", "-qq", "update"], check=False, stdout=sys.stderr)
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive"]
    done = subprocess.run([*prefix, *quiet, *command], check=False, stdout=sys.stderr)
    if done.returncode:
        raise NotInstalled(f"apt-get could not install {' '.join(packages)}")


def programs() -> None:
    """Makes sure that the load generator and the cache are there."""
    missing = [package for name, package in PROGRAMS.items() if not shutil.which(name)]
    if missing:
        system_packages(missing)


def swift_environment() -> Path:
    """The directory of programs of a virtual environment with Swift in it; made at the first call."""
    place = cache_dir() / "venv-swift-server"
    stamp = place / "apus-requirements.txt"
    wanted = "\n".join([sys.version, *REQUIREMENTS])
    if stamp.is_file() and stamp.read_text() == wanted:
        return place / "bin"
    print(f"compare: installing Swift {SWIFT_VERSION} into {place}", file=sys.stderr)
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=False).returncode:
        system_packages(["python3-venv"])
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
    pip = [str(place / "bin" / "pip"), "install", "--quiet", *REQUIREMENTS]
    if subprocess.run(pip, check=False, stdout=sys.stderr).returncode:
        system_packages(TO_COMPILE)
        subprocess.run(pip, check=True, stdout=sys.stderr)
    stamp.write_text(wanted)
    return place / "bin"
