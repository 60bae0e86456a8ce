"""Files keep the promises of a source and of a target, in each format; what fails on the way over HTTP is not asked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowrun.connector import Query
from flowrun.errors import NotFound
from flowrun.testing.contract_suite import Reading, Writing, contract_tests
from flowrun.values import encode_json
from flowrun_connectors.file.connector import File
from tests.file.filekit import connect, put


class Files:
    """A folder with a file to read, which grows, or one more file for each fill."""

    def __init__(self, object: str, *, one: bool = True, **settings: Any) -> None:
        self.object = object
        self.one = one
        self.settings = settings
        self.number = 0
        self.root = Path()

    @contextmanager
    def running(self) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as folder:
            self.root = Path(folder)
            yield

    def connection_settings(self) -> dict[str, Any]:
        return {"root": str(self.root), **self.settings}

    def rows(self, name: str) -> list[Mapping[str, Any]]:
        try:
            pages = list(connect(self.root, **self.settings).read(Query(name)))
        except NotFound:
            return []
        return [row for page in pages for row in page.records]


def fill(world: Files, n: int) -> None:
    made = []
    for _ in range(n):
        world.number += 1
        made.append({"id": str(world.number), "total": "10.50"})
    if world.one:
        name, kept = world.object, world.rows(world.object)
    else:
        name, kept = world.object.replace("*", f"{world.number:04}"), []
    text = world.settings.get("encoding", "utf-8")
    if ".jsonl" in name:
        content = b"".join(encode_json(dict(row)) + b"\n" for row in [*kept, *made])
    elif ".json" in name:
        content = encode_json([*kept, *made])
    else:
        lines = "".join(f"{row['id']};{row['total']}\n" for row in [*kept, *made])
        content = f"id;total\n{lines}".encode(text)
    if name.endswith(".gz"):
        import gzip

        content = gzip.compress(content)
    put(world.root, name, content, age=1000 - world.number)


def same_moment(world: Files, n: int) -> None:
    fill(world, n)


def body(world: Files, n: int) -> Mapping[str, Any]:
    return {"id": f"XC-{n}", "total": "10.50"}


def upserted(world: Files, n: int) -> Mapping[str, Any]:
    return {"id": f"XC-{n}", "total": f"{n}.00"}


def count(world: Files, n: int) -> int:
    return sum(1 for row in world.rows("out.csv") + world.rows("out.jsonl") if row.get("id") == f"XC-{n}")


def refused(world: Files) -> Mapping[str, Any]:
    if not (world.root / "out.csv").exists():
        put(world.root, "out.csv", "id;total\n")
    return {"id": "XC-99", "totl": "1"}


def reading(object: str, **more: Any) -> Reading:
    return Reading(object, "id", fill, cursor="modified", same_moment=same_moment, **more)


CSV = {"delimiter": ";"}
TestCsv = contract_tests(
    File,
    simulator=lambda: Files("in.csv", **CSV),
    read=reading("in.csv"),
    write=Writing("out.csv", "create", body, count, find=("id",), refused=refused),
    described=False,
)
TestUtf16 = contract_tests(
    File,
    simulator=lambda: Files("in/*.csv", one=False, encoding="utf-16", **CSV),
    read=reading("in/*.csv"),
    write=Writing("out.csv", "upsert", upserted, count, match=("id",)),
    described=False,
)
TestJsonLines = contract_tests(
    File,
    simulator=lambda: Files("in/*.jsonl.gz", one=False),
    read=reading("in/*.jsonl.gz"),
    write=Writing("out.jsonl", "create", body, count, find=("id",)),
    described=False,
)
TestDocument = contract_tests(File, simulator=lambda: Files("in.json"), read=reading("in.json"), described=False)
TestInFull = contract_tests(
    File, simulator=lambda: Files("in.csv", **CSV), read=Reading("in.csv", "id", fill), described=False
)
