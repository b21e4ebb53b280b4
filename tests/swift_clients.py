#!/usr/bin/env python3
"""Swift's clients as people use them, against a freshly started apus: the functional tests of python-swiftclient, which also
use openstacksdk and the openstack command, and every subcommand of the swift command (tests/swift/test_swift_command.py).

Every test must pass. Those that cannot are named in tests/swift/client_exceptions.txt, each with its outcome and the reason.

    tests/swift_clients.py                everything
    tests/swift_clients.py -k tempurl     what pytest selects by this expression

Needs what tests/swift_functional.py needs. Ends with a line `N passed, N failed, N skipped`, and with 0 if every test did
what was expected of it.
"""

import argparse
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "swift"))
import harness  # noqa: E402

TEST_SECONDS = 120


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options = harness.options(parser)
    programs = harness.environment()
    source = harness.sources(programs, "python-swiftclient", harness.CLIENT, "swiftclient")
    with tempfile.TemporaryDirectory(prefix="apus-clients-") as home:
        home = pathlib.Path(home)
        apus = harness.Apus(options.binary, home, (harness.HERE / "apus.toml").read_text())
        try:
            auth = f"http://{apus.address}/auth/v1.0"
            conf = home / "test.conf"
            conf.write_text(
                f"[func_test]\nauth_version = 1\nauth_uri = {auth}\n"
                "account = test\nusername = tester\npassword = testing\n"
            )
            arguments = ["--timeout", str(TEST_SECONDS), "--rootdir", str(source)]
            arguments += ["-k", options.select] if options.select else []
            arguments += ["test/functional", str(harness.HERE / "test_swift_command.py")]
            extra = {
                "SWIFT_TEST_CONFIG_FILE": str(conf),
                "PATH": f"{programs}:{os.environ['PATH']}",
                "ST_AUTH": auth, "ST_USER": "test:tester", "ST_KEY": "testing",
            }
            outcomes = harness.run_pytest(programs, source, home, arguments, extra)
        finally:
            apus.stop()
            if options.keep:
                harness.keep_logs(home, options.keep)
    # What lies outside of the sources has no path here.
    name = {test: test.rsplit("/", 1)[-1] for test in outcomes}
    name = {test: f"test_swift_command.py{it}" if it.startswith("::") else it for test, it in name.items()}
    outcomes = {name[test]: came for test, came in outcomes.items()}
    return harness.judge(outcomes, "client_exceptions.txt", options.all)


if __name__ == "__main__":
    sys.exit(main())
