"""A container of millions of names, and the pages of it that are read."""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from .load import LISTED, Load, Operation
from .processes import System, SystemFailed
from .rows import DIRECTORIES, PREFIX, Rows
from .turns import say

CONTAINER = "deep"
# The 100th page must be a whole one.
ROWS_MIN = 100 * LISTED
CONNECTIONS = 2


@dataclass(frozen=True)
class Page:
    """Names of a listing, and how it is asked for."""

    label: str
    query: str
    names: list[str]

    def operation(self) -> Operation:
        """The row of the table; an answer with fewer bytes than the names have makes a run invalid."""
        size = sum(len(name) + 1 for name in self.names)
        return Operation(self.label, "GET", size, connections=CONNECTIONS, fixed=True)

    def check(self, system: System, container: str) -> None:
        """Fails if it does not have these names."""
        body = system.fetch(f"{container}?{self.query}")
        if "format=json" in self.query:
            found = [row["name"] for row in json.loads(body)]
        else:
            found = body.decode().splitlines()
        if found != self.names:
            raise SystemFailed(f"{system.name} lists something else on '{self.label}'")


class Deep:
    """The container, filled in each system when the first of its pages is wanted."""

    def __init__(self, count: int):
        self.rows = Rows(count, f"{time.time():016.5f}")
        self.containers: dict[str, str] = {}
        late = count - 100_000
        directories = [f"{PREFIX}{number:03d}/" for number in range(DIRECTORIES)]
        self.pages = [
            self._page("deep: page 1", 0),
            self._page("deep: page 100", 99 * LISTED),
            self._page("deep: page 100, JSON", 99 * LISTED, "&format=json"),
            self._page(f"deep: page {late // LISTED + 1:,}", late),
            Page("deep: 1,000 pseudo-directories", f"prefix={PREFIX}&delimiter=/", directories),
        ]
        self.head = Operation("deep: HEAD", "HEAD", 0, connections=CONNECTIONS, fixed=True)

    def _page(self, label: str, before: int, more: str = "") -> Page:
        """The page that begins behind so many names."""
        marker = f"&marker={self.rows.name(before - 1)}" if before else ""
        names = [self.rows.name(number) for number in range(before, before + LISTED)]
        return Page(label, f"limit={LISTED}{marker}{more}", names)

    def made(self) -> dict[Operation, Callable[[System, Load], str]]:
        """What is measured, and how it comes to be."""
        found = {page.operation(): functools.partial(self._make, page) for page in self.pages}
        return {**found, self.head: lambda system, _: self._container(system)}

    def _make(self, page: Page, system: System, _: Load) -> str:
        container = self._container(system)
        page.check(system, container)
        return f"{container}?{page.query}"

    def _container(self, system: System) -> str:
        if system.name not in self.containers:
            path = system.make_container(CONTAINER)
            started = time.monotonic()
            system.merge(CONTAINER, self.rows)
            say(f"{system.name}: {self.rows.count:,} rows came in {time.monotonic() - started:.0f} s")
            _, answer = system.call("HEAD", path, {"X-Auth-Token": system.token})
            if answer["X-Container-Object-Count"] != str(self.rows.count):
                raise SystemFailed(f"{system.name} counts {answer['X-Container-Object-Count']} rows")
            self.containers[system.name] = path
        return self.containers[system.name]
