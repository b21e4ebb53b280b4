#!/usr/bin/env python3
"""Swift's own functional test suite, from its source distribution on PyPI, against a freshly started apus.

Every test must pass. Those that cannot are named in tests/swift/exceptions.txt, each with its outcome and the reason; one
that is named there and does otherwise breaks the run, too, so that the list stays true. Tests of the other value of a
setting skip themselves and are run again against an apus that has it. The suite empties the accounts that it logs in to,
which here are those of a process of its own in a temporary directory.

    tests/swift_functional.py                         everything
    tests/swift_functional.py -k slo                  what pytest selects by this expression
    tests/swift_functional.py test_slo.py tests.py    these files
    tests/swift_functional.py --jobs 2                so many processes of apus, each with a part of the files
    tests/swift_functional.py --all                   what fails is listed, exceptions or not

Needs the binary (`cargo build --release --workspace`), Python's venv and, the first time, a network to install from PyPI;
what was installed is kept in $APUS_TEST_CACHE or ~/.cache/apus. Ends with a line `N passed, N failed, N skipped`, and with
0 if every test did what was expected of it.
"""

import argparse
import concurrent.futures
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "swift"))
import harness  # noqa: E402

TEST_SECONDS = 180
# What tests/swift/apus.toml allows, and the tests for clusters that do not.
ALLOWED = ["allow_account_management", "allow_open_expired"]
TESTS_OF_FORBIDDEN = [
    "test_object.py::TestObject::test_allow_open_expired_disabled",
    "tests.py::TestAccount::testPUTError",
    "tests.py::TestAccountUTF8::testPUTError",
]


def test_conf(address):
    return f"""[func_test]
auth_version = 1
auth_uri = http://{address}/auth/v1.0
account = test
username = tester
password = testing
account2 = test2
username2 = tester2
password2 = testing2
username3 = tester3
password3 = testing3
account5 = test5
username5 = tester5
password5 = testing5
service_prefix = SERVICE
account6 = test
username6 = tester6
password6 = testing6
collate = C
insecure = no
storage_domain = storage.test
"""


def settings(allowed):
    """The file of settings, with what it allows or without."""
    text = (harness.HERE / "apus.toml").read_text()
    for name in ALLOWED:
        assert f"\n{name} = true\n" in text, f"apus.toml does not allow {name}"
        if not allowed:
            text = text.replace(f"\n{name} = true\n", f"\n{name} = false\n")
    return text


def run_part(options, programs, source, tests, home, allowed=True):
    """Runs some files, or single tests, against a process of apus."""
    apus = harness.Apus(options.binary, home, settings(allowed))
    try:
        (home / "test.conf").write_text(test_conf(apus.address))
        arguments = ["--timeout", str(TEST_SECONDS)]
        arguments += ["-k", options.select] if options.select else []
        arguments += [f"test/functional/{name}" for name in tests]
        extra = {"SWIFT_TEST_CONFIG_FILE": str(home / "test.conf"), "SWIFT_TEST_IN_PROCESS": "0"}
        found = harness.run_pytest(programs, source, home, arguments, extra)
        return {test.removeprefix("test/functional/"): came for test, came in found.items()}
    finally:
        apus.stop()
        if options.keep:
            harness.keep_logs(home, options.keep)


def parts(files, jobs):
    """The files in so many heaps, the longest first onto the lowest heap; weights are seconds of one run."""
    weights = {"tests.py": 60, "test_object_versioning.py": 30, "test_slo.py": 30, "test_symlink.py": 25}
    heaps = [[0, []] for _ in range(jobs)]
    for name in sorted(files, key=lambda name: -weights.get(name, 10)):
        lowest = min(heaps, key=lambda heap: heap[0])
        lowest[0] += weights.get(name, 10)
        lowest[1].append(name)
    return [names for _, names in heaps if names]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("files", nargs="*", help="files of test/functional")
    parser.add_argument("--jobs", type=int, default=2)
    options = harness.options(parser)
    programs = harness.environment()
    source = harness.suite(programs)
    folder = source / "test" / "functional"
    files = options.files or ["tests.py", *sorted(path.name for path in folder.glob("test_*.py"))]
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="apus-functional-") as home:
        heaps = parts(files, max(options.jobs, 1))
        with concurrent.futures.ThreadPoolExecutor(len(heaps)) as pool:
            jobs = [
                pool.submit(run_part, options, programs, source, names, pathlib.Path(home) / str(number))
                for number, names in enumerate(heaps)
            ]
            for job in jobs:
                outcomes |= job.result()
        again = [test for test in TESTS_OF_FORBIDDEN if outcomes.get(test, [None])[0] == harness.SKIPPED]
        if again:
            harness.say(f"{len(again)} tests again, without {' and '.join(ALLOWED)}")
            outcomes |= run_part(options, programs, source, again, pathlib.Path(home) / "forbidden", allowed=False)
    return harness.judge(outcomes, "exceptions.txt", options.all)


if __name__ == "__main__":
    sys.exit(main())
