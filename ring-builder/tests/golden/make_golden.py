#!/usr/bin/env python3
"""Writes the golden files beside this script, with rings and answers of Python Swift itself.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install swift==2.38.3
    /tmp/venv/bin/python make_golden.py

Each ring is written as NAME.v1.ring.gz and NAME.v2.ring.gz. expected.txt has for each ring one line
`ring NAME PART_POWER ROWS`, then lines `PARTITION PRIMARIES | HANDOFFS` with device ids in order, and last
lines `path HASH PATH`, for prefix "prefix" and suffix "suffix".
With --check FILE NAME, compares the ring FILE with NAME.v1.ring.gz: devices, assignments, all lookups.
"""
import array
import os
import random
import sys

from swift.common import utils
from swift.common.ring import Ring, RingBuilder, RingData

utils.HASH_PATH_PREFIX = b'prefix'
utils.HASH_PATH_SUFFIX = b'suffix'
HERE = os.path.dirname(os.path.abspath(__file__))


def device(dev_id, region, zone, ip, weight=100.0, **more):
    return dict({'id': dev_id, 'region': region, 'zone': zone, 'ip': ip, 'port': 6200 + dev_id % 4,
                 'device': 'd%d' % dev_id, 'weight': weight, 'meta': ''}, **more)


def built(power, replicas, devices, remove=(), seed=1):
    builder = RingBuilder(power, replicas, 0)
    for dev in devices:
        builder.add_dev(dict(dev, replication_ip=dev['ip'], replication_port=dev['port']))
    builder.rebalance(seed=seed)
    for dev_id in remove:
        builder.remove_dev(dev_id)
    if remove:
        builder.pretend_min_part_hours_passed()
        builder.rebalance(seed=seed)
    return builder.get_ring()


def rings(rng):
    """(name, ring data, partitions to ask for)"""
    yield 'one', built(0, 1, [device(0, 1, 1, '10.0.0.1')]), [0]
    few = [device(i, 1, i % 2, '10.0.0.%d' % (i % 3)) for i in range(5)]
    yield 'few', built(3, 3, few), range(8)
    regions = [device(i, 1 + i % 3, i % 4, '10.%d.0.%d' % (i % 3, i % 9),
                      rng.choice([50.0, 100.0, 300.5])) for i in range(36)]
    yield 'regions', built(7, 3, regions, remove=(0, 5, 17, 35)), range(0, 128, 2)
    yield 'fraction', built(6, 3.25, regions[:20], remove=(3,)), range(64)
    # The same address in two zones and regions is two nodes; devices 4 and 9 have nothing.
    same = [device(i, 1 + i // 8, i % 2, '127.0.0.1', 0.0 if i in (4, 9) else 10.0) for i in range(16)]
    yield 'same-address', built(5, 2, same), range(32)
    # More replicas than nodes.
    yield 'crowded', built(4, 5, [device(i, 1, 1, '10.0.0.%d' % (i // 3)) for i in range(7)]), range(16)
    skewed = [device(i, 1, 0 if i < 8 else i, '10.0.1.%d' % (i // 2), 1.0 + i) for i in range(12)]
    yield 'skewed', built(8, 3, skewed), range(0, 256, 4)
    ipv6 = [device(i, i % 2, i, '2001:db8::%x' % i, 1, meta='rack \u2603 %d' % i) for i in range(6)]
    yield 'ipv6', built(4, 2.5, ipv6), range(16)

    # Pure noise, where devices meet their own node and themselves at random.
    devs = [None if i % 5 == 2 else
            device(i, rng.randrange(3), rng.randrange(3), '10.0.0.%d' % rng.randrange(4), float(i))
            for i in range(30)]
    ids = [dev['id'] for dev in devs if dev]
    rows = [array.array('H', rng.choices(ids, k=64)) for _ in range(3)] + [array.array('H', rng.choices(ids, k=20))]
    yield 'noise', RingData(rows, devs, 26, version=12, next_part_power=7), range(64)

    # Large rings are walked in steps of more than one; rare devices stand on few partitions.
    for power in (17, 18):
        devs = [device(i, i % 3 if i < 12 else 3 + i % 2, i % 4, '10.0.%d.1' % (i // 2), 1.0) for i in range(24)]
        rows = [array.array('H', [r]) * (1 << power) for r in range(3)]
        for row in rows:
            for dev_id in range(3, 24):
                for _ in range(1 + dev_id % 3):
                    row[rng.randrange(1 << power)] = dev_id
        yield 'large-%d' % power, RingData(rows, devs, 32 - power), rng.sample(range(1 << power), 60)

    # Device numbers of four bytes, which only format 2 can hold.
    devs = [device(i, 1, i % 3, '10.0.0.%d' % i) for i in range(8)]
    rows = [array.array('I', [(p + r) % 8 for p in range(16)]) for r in range(2)]
    yield 'wide', RingData(rows, devs, 28), range(16)


def ids(nodes):
    return ' '.join(str(node['id']) for node in nodes)


def main():
    rng = random.Random(20111122)
    lines = []
    for name, data, parts in rings(rng):
        path = {v: os.path.join(HERE, '%s.v%d.ring.gz' % (name, v)) for v in (1, 2)}
        data.save(path[2], format_version=2)
        if data.dev_id_bytes == 2:
            data.save(path[1], format_version=1)
        ring = Ring(path[2])
        lines.append('ring %s %d %d' % (name, ring.part_power, len(ring._replica2part2dev_id)))
        for part in parts:
            primaries = ring.get_part_nodes(part)
            handoffs = list(ring.get_more_nodes(part))
            assert [n['index'] for n in primaries] == list(range(len(primaries)))
            assert [n['handoff_index'] for n in handoffs] == list(range(len(handoffs)))
            lines.append('%d %s | %s' % (part, ids(primaries), ids(handoffs)))
    for names in (['AUTH_test'], ['AUTH_test', 'c'], ['AUTH_test', 'c', 'a/b c'], ['\u00e4', '\u2603', 'o']):
        lines.append('path %s %s' % (utils.hash_path(*names), '/'.join(names)))
    with open(os.path.join(HERE, 'expected.txt'), 'w', encoding='utf8') as out:
        out.write('\n'.join(lines) + '\n')


def check(path, name):
    ours, theirs = Ring(path), Ring(os.path.join(HERE, name + '.v1.ring.gz'))
    assert ours.devs == theirs.devs
    assert ours._replica2part2dev_id == theirs._replica2part2dev_id
    assert (ours.version, ours.next_part_power, ours.part_power) == \
        (theirs.version, theirs.next_part_power, theirs.part_power)
    for part in range(min(theirs.partition_count, 300)):
        assert ours.get_part_nodes(part) == theirs.get_part_nodes(part)
        assert list(ours.get_more_nodes(part)) == list(theirs.get_more_nodes(part))
    print('%s: Swift reads it like its own %s' % (path, name))


if __name__ == '__main__':
    if sys.argv[1:2] == ['--check']:
        check(sys.argv[2], sys.argv[3])
    else:
        main()
