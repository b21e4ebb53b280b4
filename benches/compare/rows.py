"""Rows of a container with very many names, the same for both systems. Also used under Swift's own Python."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

PREFIX = "photos/"
DIRECTORIES = 1000
# As many as container servers take at a time.
BATCH = 10_000


@dataclass(frozen=True)
class Rows:
    """So many rows, in the order of their names, spread evenly over pseudo-directories one level below PREFIX."""

    count: int
    # When all of them were written: Swift's form of a moment.
    created_at: str

    def name(self, number: int) -> str:
        """Of a row; the first is 0."""
        return f"{PREFIX}{number // (self.count // DIRECTORIES):03d}/{number:08d}.jpg"

    def item(self, number: int) -> dict:
        """A row as Swift's `merge_items` and the backend's verb UPDATE know it."""
        return {"name": self.name(number), "created_at": self.created_at, "size": 4096 + number % 4096,
                "content_type": "image/jpeg", "etag": hashlib.md5(b"%d" % number).hexdigest(), "deleted": 0,
                "storage_policy_index": 0}

    def batches(self) -> Iterator[list[dict]]:
        """All rows."""
        for first in range(0, self.count, BATCH):
            yield [self.item(number) for number in range(first, min(first + BATCH, self.count))]
