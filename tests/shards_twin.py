#!/usr/bin/env python3
"""Tables of shard ranges, beside Swift's own: random ranges are put into containers, and random queries asked.

Swift's table is that of `ContainerBroker` (container/backend.py), called in this process; ours is a container server's, over
HTTP. Both are sent the same ranges in the same order, and must then tell the same ranges to every query, refuse the same
DELETEs for objects in shards, and send a row to the same shard.

Two things are left out, because they differ on purpose. What differs within one moment: Swift keeps what came first, apus
the greater; so here equal moments carry equal content. And `reported`: Swift also takes a report of older counts for one of
the younger.

Needs apus (`cargo build --release`) and, the first time, a network to install swift from; the environment is the one of
benches/compare. Ends with a line `N passed, N failed`, and with 0 if nothing failed.
"""

import argparse
import http.client
import json
import os
import random
import sys
import tempfile
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "benches"), str(HERE / "swift")]
import harness  # noqa: E402
from compare import install  # noqa: E402

# Bounds and names of objects, in some order.
NAMES = ["a", "b", "bä", "c", "c/d", "e", "z\u2028", "é", "\U0001F600"]
STATES = [10, 20, 30, 40, 50, 60, 70, 80]
WORDS = ["listing", "updating", "auditing", "found", "40", "Sharded"]
# How many queries each container is asked.
QUERIES = 12
SHOWN_MAX = 10
CALL_SECONDS = 10
SETTINGS = """
devices = 1
replicas = 1

[backend]
container_port = {port}
serve = true

[cluster]
part_power = 6

[log]
filter = "warn"
"""


def enter_environment():
    """Runs this script again by a Python that has Swift, which is installed if need be."""
    if Path(sys.prefix) != install.cache_dir() / "venv-swift-server":
        python = install.swift_environment() / "python"
        # What Swift imports is deprecated here and there.
        os.execv(python, [str(python), "-W", "ignore", *sys.argv])


class Ranges:
    """Makes shard ranges of one container, few names and moments, so that they meet."""

    def __init__(self, own):
        self.names = [f".shards_a/{number}" for number in range(5)] + [own]
        self.known = {}

    def moment(self):
        return f"{1000 + random.randrange(6):010}.00000"

    def once(self, key, content):
        """The content that was there first under this key."""
        return self.known.setdefault(key, content)

    def make(self):
        name, at = random.choice(self.names), self.moment()
        lower, upper = random.choice(["", *NAMES]), random.choice(["", *NAMES])
        if upper and lower > upper:
            lower, upper = upper, lower
        gone = int(random.random() < 0.2)
        lower, upper, gone = self.once((name, at), (lower, upper, gone))
        usage_at, stage_at = random.choice([at, self.moment()]), random.choice([at, self.moment()])
        counted = tuple(random.randrange(3) for _ in range(2)) + (random.choice([-1, 0, 4]),)
        objects, size, tombstones = self.once((name, at, "usage", usage_at), counted)
        state = random.choice(STATES)
        epoch = self.once((name, at, "stage", stage_at, state), random.choice([None, self.moment()]))
        return {
            "name": name, "timestamp": at, "lower": lower, "upper": upper, "deleted": gone,
            "object_count": objects, "bytes_used": size, "tombstones": tombstones,
            "meta_timestamp": random.choice([usage_at, None]) if usage_at == at else usage_at,
            "state": state, "state_timestamp": stage_at, "epoch": epoch, "reported": random.randrange(2),
        }


def make_query():
    query = {}
    for key, share in [("marker", 0.4), ("end_marker", 0.4), ("includes", 0.15)]:
        if random.random() < share:
            query[key] = random.choice(NAMES)
    if random.random() < 0.3:
        query["reverse"] = "true"
    if random.random() < 0.6:
        query["states"] = ",".join(random.sample(WORDS, random.choice([1, 1, 2])))
    return query


class Pair:
    """One container of Swift's and one of ours."""

    def __init__(self, address, home, number):
        from swift.common.utils.timestamp import Timestamp
        from swift.container.backend import ContainerBroker

        account = f"a{number}"
        self.address, self.own = address, f"{account}/c"
        self.path = f"/d1/1/{self.own}"
        self.broker = ContainerBroker(str(home / f"{number}.db"), account=account, container="c")
        self.broker.initialize(Timestamp(1).internal, 0)
        assert self.call("PUT", self.path, {"X-Timestamp": "1"})[0] == 201

    def call(self, method, path, headers, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=CALL_SECONDS)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def put(self, ranges):
        from swift.common.utils import ShardRange

        self.broker.merge_shard_ranges([ShardRange.from_dict(dict(each)) for each in ranges])
        headers = {"X-Timestamp": "5", "X-Backend-Record-Type": "shard"}
        status, body, _ = self.call("PUT", self.path, headers, json.dumps(ranges))
        assert status == 202, body

    def listings(self, query, deleted, namespaces):
        """What Swift tells, and what we tell."""
        words = query.get("states", "").split(",")
        fill = "listing" in words or "updating" in words
        states = self.broker.resolve_shard_range_states([word for word in words if word])
        names = query.get("marker", ""), query.get("end_marker"), query.get("includes"), "reverse" in query
        headers = {"X-Backend-Record-Type": "shard", "X-Backend-Include-Deleted": str(deleted)}
        if namespaces:
            headers["X-Backend-Record-Shard-Format"] = "namespace"
            told = self.broker.get_namespaces(*names, states, fill)
        else:
            told = self.broker.get_shard_ranges(
                *names, states=states, include_deleted=deleted, fill_gaps=fill, include_own="auditing" in words
            )
        path = f"{self.path}?format=json&{urllib.parse.urlencode(query)}"
        status, body, _ = self.call("GET", path, headers)
        assert status == 200, body
        return self.comparable(map(dict, told)), self.comparable(json.loads(body))

    def comparable(self, ranges):
        unsaid = ["last_modified", "reported"]
        # A container that says nothing of itself is made up at the moment of asking.
        made_up = [] if self.broker.get_own_shard_range(no_default=True) else ["timestamp", "meta_timestamp", "state_timestamp"]
        return [
            {key: value for key, value in each.items() if key not in unsaid + (made_up if each["name"] == self.own else [])}
            for each in ranges
        ]

    def is_empty(self):
        """Whether it may be deleted."""
        status, _, _ = self.call("DELETE", self.path, {"X-Timestamp": "9"})
        return self.broker.empty(), status == 204

    def shard_of(self, name):
        from swift.container.backend import SHARD_UPDATE_STATES

        found = self.broker.get_shard_ranges(includes=name, states=SHARD_UPDATE_STATES)
        wanted = urllib.parse.quote(f"/{found[0].name}/{name}") if found else None
        headers = {"X-Timestamp": "1", "X-Backend-Accept-Redirect": "true", "X-Backend-Accept-Quoted-Location": "true"}
        _, _, told = self.call("DELETE", f"{self.path}/{urllib.parse.quote(name)}", headers)
        return wanted, told.get("Location")


def judge(pair, tally):
    """Fills both, and asks both."""
    ranges = Ranges(pair.own)
    for _ in range(random.randrange(1, 8)):
        pair.put([ranges.make() for _ in range(random.randrange(1, 4))])
    for _ in range(QUERIES):
        query, deleted = make_query(), random.random() < 0.3
        namespaces = not deleted and "auditing" not in query.get("states", "") and random.random() < 0.3
        tally.count(f"{pair.own} {query} {deleted} {namespaces}", *pair.listings(query, deleted, namespaces))
    tally.count(f"{pair.own} empty", *pair.is_empty())
    for name in NAMES:
        tally.count(f"{pair.own} shard of {name}", *pair.shard_of(name))


class Tally:
    passed = failed = 0

    def count(self, what, swift, ours):
        if swift == ours:
            self.passed += 1
            return
        self.failed += 1
        if self.failed <= SHOWN_MAX:
            print(f"{what}\n  swift: {swift}\n  apus:  {ours}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=harness.binary())
    parser.add_argument("--seed", type=int, default=None, help="random if not given")
    parser.add_argument("--containers", type=int, default=200)
    options = parser.parse_args()
    enter_environment()
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    print(f"seed {seed}", flush=True)
    random.seed(seed)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="apus-shards-") as home:
        home = Path(home)
        [port] = harness.free_ports(1)
        apus = harness.Apus(options.binary, home, SETTINGS.format(port=port))
        try:
            for number in range(options.containers):
                judge(Pair(f"127.0.0.1:{port}", home, number), tally)
        finally:
            apus.stop()
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
