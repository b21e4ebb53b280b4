#!/usr/bin/env python3
"""Swift's unit tests of its three storage servers, from its source distribution on PyPI, against a freshly started apus.

Those tests make a server in their own process and call it; tests/swift/over_http.py puts one in its place that sends the
calls to apus. Not all of them make sense so: those that look at files, or put something in the place of parts of the
server, cannot. tests/swift/backend_tests.txt names those that Swift's own servers pass when they are called like this. Every
one of them must pass; those that cannot are named in tests/swift/backend_exceptions.txt, each with the reason.

    tests/swift_backend.py                everything
    tests/swift_backend.py -k footer      what pytest selects by this expression

Needs what tests/swift_functional.py needs. Ends with a line `N passed, N failed, N skipped`, and with 0 if every test did
what was expected of it.
"""

import argparse
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "swift"))
import harness  # noqa: E402

TEST_SECONDS = 30
SETTINGS = """
devices = 1
replicas = 1

[backend]
object_port = {object}
container_port = {container}
account_port = {account}
replicator_port = {replicator}
serve = true

[cluster]
part_power = 6

[[cluster.policies]]
index = 0
name = "zero"
default = true

[[cluster.policies]]
index = 1
name = "one"

[[cluster.policies]]
index = 2
name = "two"

[[cluster.policies]]
index = 3
name = "three"

[[cluster.policies]]
index = 4
name = "four"

[log]
filter = "warn"
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options = harness.options(parser)
    programs = harness.environment()
    source = harness.suite(programs)
    tests = (harness.HERE / "backend_tests.txt").read_text().split()
    ports = dict(zip(["object", "container", "account", "replicator"], harness.free_ports(4)))
    with tempfile.TemporaryDirectory(prefix="apus-backend-") as home:
        home = pathlib.Path(home)
        apus = harness.Apus(options.binary, home, SETTINGS.format(**ports))
        try:
            arguments = ["-p", "over_http", "--timeout", str(TEST_SECONDS)]
            arguments += ["-k", options.select] if options.select else []
            arguments += [f"test/unit/{test}" for test in tests]
            extra = {
                f"APUS_{name.upper()}": f"127.0.0.1:{ports[name]}" for name in ["object", "container", "account"]
            }
            outcomes = harness.run_pytest(programs, source, home, arguments, extra)
        finally:
            apus.stop()
            if options.keep:
                harness.keep_logs(home, options.keep)
    outcomes = {test.removeprefix("test/unit/"): came for test, came in outcomes.items()}
    return harness.judge(outcomes, "backend_exceptions.txt", options.all)


if __name__ == "__main__":
    sys.exit(main())
