"""A pytest plugin that writes what came of each test, and why, as JSON to $APUS_RESULTS."""

import json
import os

RESULTS = {}


def _message(report):
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr or "")


def pytest_runtest_logreport(report):
    known = RESULTS.get(report.nodeid)
    if report.failed:
        if known is None or known[0] != "failed":
            RESULTS[report.nodeid] = ("failed", _message(report))
    elif report.skipped:
        RESULTS.setdefault(report.nodeid, ("skipped", _message(report)))
    elif report.when == "call":
        RESULTS.setdefault(report.nodeid, ("passed", ""))


def pytest_collectreport(report):
    if report.failed:
        RESULTS[report.nodeid] = ("failed", _message(report))


def pytest_sessionfinish():
    with open(os.environ["APUS_RESULTS"], "w", encoding="utf-8") as out:
        json.dump(RESULTS, out)
