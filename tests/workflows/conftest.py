"""A world that a workflow goes through: records to read, a target that does what a script says, a clock that is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowrun.connector import Item, Receipt, Verdict, discover
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import Summary, run_flow
from flowrun.store import Store, open_store

PROJECT = """
flowrun: 1
project: workflows
connections:
  from:
    connector: http
    base_url: "http://127.0.0.1:9"
    objects:
      things: { read: { path: a }, get: { path: "a/{id}" }, find: { path: a } }
  to:
    connector: http
    base_url: "http://127.0.0.1:9"
    objects:
      things: { create: { path: a }, update: { path: "a/{id}" }, find: { path: a }, get: { path: "a/{id}" } }
      notes: { create: { path: n }, find: { path: n } }
environments:
  test: { values: {} }
"""

HEAD = """
flowrun: 1
flow: work
source: { connection: from, object: things, record: it, trigger: { poll: { every: 1m, full: true } }, key: it.id }
on_error:
  network: { retry: { times: 3, wait: 2s, max_wait: 10s } }
  unknown_outcome: { retry: { times: 3, wait: 2s, max_wait: 10s } }
  other: { dead_letter: work }
"""


class World:
    """Both systems. held: what the target holds, (object, key) → body, with how often each was written. records: what
    can be read, (object, id) → record. script: what a write is answered instead."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.writes: list[tuple[str, str, Mapping[str, Any]]] = []
        self.records: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.script: Callable[[str, Mapping[str, Any]], Verdict | None] = lambda object, body: None
        self.after: Callable[[str, Mapping[str, Any]], Verdict | None] = lambda object, body: None
        self.reading: Callable[[str, Mapping[str, Any]], None] = lambda object, key: None
        self.gets = 0

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Mapping[str, Any] | None:
        self.gets += 1
        self.reading(object, key)
        return self.records.get((object, str(next(iter(key.values())))))

    def find(self, object: str, by: Mapping[str, Any]) -> Sequence[Receipt]:
        (name, value) = next(iter(by.items()))
        held = [(key, body) for (of, key), body in self.held.items() if of == object and body.get(name) == value]
        there = [
            (key, record) for (of, key), record in self.records.items() if of == object and record.get(name) == value
        ]
        return [Receipt(f"T{key}", response={"id": f"T{key}", **body}) for key, body in (*held, *there)]

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        return [self._deliver(item) for item in items]

    def _deliver(self, item: Item) -> Verdict:
        said = self.script(item.object, item.body)
        if said is not None:
            return said
        key = str(item.body.get("ref") or item.body.get("id"))
        self.held[item.object, key] = dict(item.body)
        self.writes.append((item.object, item.action, dict(item.body)))
        said = self.after(item.object, item.body)
        return said or Receipt(f"T{key}", item.action == "create", {"id": f"T{key}", **item.body})


class Bench:
    def __init__(self, root: Path, place: Path | str) -> None:
        self.root, self.slept = root, 0.0
        (root / "flows").mkdir()
        (root / "flowrun.yaml").write_text(PROJECT)
        self.project = load_project(root)
        self.start = datetime(2026, 5, 4, tzinfo=UTC)
        self.place = place
        self.store: Store = open_store(place, now=self.now)
        self.world = World()

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.slept)

    def sleep(self, secs: float) -> None:
        self.slept += secs

    def write(self, steps: str, head: str = HEAD) -> None:
        (self.root / "flows" / "work.yaml").write_text(head + "steps:\n" + steps)

    def run(self, *records: Mapping[str, Any], **more: Any) -> Summary:
        flow = load_flow("work", self.project, discover())
        return run_flow(
            flow, compile_plan(flow, {}), target=self.world, connections={"from": self.world, "to": self.world},
            **{"store": self.store, "records": list(records), "sleep": self.sleep, "wait_secs": 600, **more},
        )  # fmt: skip

    def states(self) -> dict[str, int]:
        return self.store.counts("work")

    def steps(self, key: str = "1") -> dict[str, str]:
        (row,) = self.store.records(flow="work", key=key)
        return {one.path: one.state for one in self.store.steps.of([row.seq]).get(row.seq, [])}

    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(self.place, now=self.now)
        self.store.lanes.lease_secs = 2.0


@pytest.fixture
def bench(tmp_path: Path, store_place: Path | str) -> Iterator[Bench]:
    made = Bench(tmp_path, store_place)
    yield made
    made.store.close()
