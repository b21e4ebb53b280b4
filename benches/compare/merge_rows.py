"""Puts rows into a container of Swift, under Swift's Python: merge_rows.py DIRECTORY CONTAINER COUNT CREATED_AT DATABASE…

Its own `ContainerBroker.merge_items` fills the database that has this container, and that file becomes every copy of
it. That is what its replicators do for a copy that is far behind. Databases of other containers are left alone.
"""

import os
import shutil
import sys
from pathlib import Path

# This program is no part of the package for Swift's Python.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from rows import Rows  # noqa: E402
from swift.common import constraints, storage_policy, utils  # noqa: E402
from swift.container.backend import ContainerBroker  # noqa: E402

directory, container, count, created_at, *databases = sys.argv[1:]
utils.set_swift_dir(directory)
constraints.reload_constraints()
storage_policy.reload_storage_policies()

brokers = [ContainerBroker(database) for database in databases]
brokers = [broker for broker in brokers if broker.get_info()["container"] == container]
first, *others = brokers
for batch in Rows(int(count), created_at).batches():
    first.merge_items(batch)
filled = first.get_info()["object_count"]
for other in others:
    arriving = other.db_file + ".arriving"
    shutil.copyfile(first.db_file, arriving)
    os.replace(arriving, other.db_file)
print(f"{len(brokers)} copies of {filled} rows")
sys.exit(filled != int(count))
