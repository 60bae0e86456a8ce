"""Which files are read, in which order, and that each is read once, whole, and as it was at one moment."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from tests.file.filekit import NOW, connect, create, cursor, pages, put, rows

from flowrun.connector import Cursor, Query
from flowrun.errors import ConnectorError, NotFound, Refused, Unavailable


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [str(row["id"]) for row in found]


# -- patterns and order ------------------------------------------------------------------------------------------


def test_oldest_change_first_then_by_name(tmp_path: Path) -> None:
    for name, number, age in (("in/c.csv", 1, 300), ("in/b.csv", 3, 100), ("in/a.csv", 2, 100), ("in/z.csv", 4, 50)):
        put(tmp_path, name, f"id\n{number}\n", age=age)
    assert ids(rows(connect(tmp_path), "in/*.csv")) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["top"]),
        ("in/*.csv", ["a", "b"]),
        ("in/[a]*.csv", ["a"]),
        ("in/?.csv", ["a", "b"]),
        ("*/*.csv", ["a", "b"]),
        ("**/*.csv", ["top", "a", "b", "deep"]),
        ("in/**/*.csv", ["a", "b", "deep"]),
        ("in/**", ["a", "b", "deep"]),
        ("**/**/*.csv", ["top", "a", "b", "deep"]),
        ("*.json", []),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    for n, name in enumerate(("top.csv", "in/a.csv", "in/b.csv", "in/x/y/deep.csv", ".hidden.csv", ".git/x.csv")):
        put(tmp_path, name, f"id\n{name.rsplit('/', 1)[-1].removesuffix('.csv')}\n", age=100 - n)
    assert ids(rows(connect(tmp_path), pattern)) == expected


def test_a_plain_name_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no file 'in/orders.csv' in \."):
        rows(connect(tmp_path), "in/orders.csv")
    assert rows(connect(tmp_path), "in/*.csv") == []
    with pytest.raises(Unavailable, match="the folder gone cannot be opened: No such file"):
        rows(connect(tmp_path, root="gone"), "*.csv")


def test_small_files_share_a_page_and_large_ones_are_cut(tmp_path: Path) -> None:
    for n in range(5):
        put(tmp_path, f"{n}.csv", f"id\n{n}a\n{n}b\n", age=100 - n)
    found = pages(connect(tmp_path), "*.csv", size=4)
    assert [len(page.records) for page in found] == [4, 4, 2]
    assert all(page.cursor is not None for page in found)


# -- once --------------------------------------------------------------------------------------------------------


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    files = connect(tmp_path)
    put(tmp_path, "a.csv", "id\n1\n")
    first = pages(files, "*.csv")
    assert pages(files, "*.csv", cursor(first)) == []
    put(tmp_path, "b.csv", "id\n2\n")
    second = pages(files, "*.csv", cursor(first))
    assert ids([dict(r) for page in second for r in page.records]) == ["2"]
    assert pages(files, "*.csv", cursor(second)) == []


def test_a_file_with_an_older_date_is_read_all_the_same(tmp_path: Path) -> None:
    """Moved in, unpacked or copied with its date: arrival is not the time of change."""
    files = connect(tmp_path)
    put(tmp_path, "new.csv", "id\n1\n", age=10)
    seen = cursor(pages(files, "*.csv"))
    put(tmp_path, "old.csv", "id\n2\n", age=100_000)
    assert ids(rows(files, "*.csv", seen)) == ["2"]


@pytest.mark.parametrize("how", ["longer", "same length and date", "replaced"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, how: str) -> None:
    files = connect(tmp_path)
    path = put(tmp_path, "a.csv", "id\n1\n")
    seen = cursor(pages(files, "*.csv"))
    if how == "replaced":
        put(tmp_path, "b.tmp", "id\n2\n").rename(path)
    else:
        put(tmp_path, "a.csv", "id\n1\n2\n" if how == "longer" else "id\n2\n")
    assert ids(rows(files, "*.csv", seen))[-1] == "2"


def test_the_cursor_forgets_files_that_are_gone_and_does_not_grow(tmp_path: Path) -> None:
    files = connect(tmp_path)
    seen = None
    for n in range(50):
        path = put(tmp_path, f"{n}.csv", f"id\n{n}\n")
        seen = cursor(pages(files, "*.csv", seen))
        path.unlink()
    assert seen is not None
    assert len(seen.value) < 40


def test_a_cursor_of_another_version_reads_all_again(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id\n1\n")
    assert ids(rows(connect(tmp_path), "*.csv", Cursor("2026-05-04T10:00:00Z"))) == ["1"]


def test_read_in_full_there_is_no_cursor(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id\n1\n")
    found = pages(connect(tmp_path), "a.csv", full=True)
    assert [(len(page.records), page.cursor) for page in found] == [(1, None)]


def test_a_cursor_never_covers_a_file_that_is_not_whole_in_its_pages(tmp_path: Path) -> None:
    for n in range(3):
        put(tmp_path, f"{n}.csv", "id\n" + "".join(f"{n}-{m}\n" for m in range(5)), age=100 - n)
    files = connect(tmp_path)
    everything = set(ids(rows(files, "*.csv")))
    seen: set[str] = set()
    for page in files.read(Query("*.csv", None, "modified", page_size=2)):
        seen |= set(ids(list(page.records)))
        if page.cursor is not None:
            assert seen | set(ids(rows(files, "*.csv", page.cursor))) == everything


# -- files that are not finished ---------------------------------------------------------------------------------


def test_a_file_is_left_alone_until_it_is_quiet(tmp_path: Path) -> None:
    put(tmp_path, "old.csv", "id\n1\n", age=31)
    put(tmp_path, "new.csv", "id\n2\n", age=29)
    files = connect(tmp_path, quiet_secs=30)
    assert ids(rows(files, "*.csv")) == ["1"]
    with pytest.raises(Unavailable, match=r"new.csv changed 29 s ago; it is not read yet"):
        rows(files, "new.csv")
    put(tmp_path, "new.csv", "id\n2\n3\n", age=31)
    assert ids(rows(files, "new.csv")) == ["2", "3"]


def test_a_file_waits_for_its_marker(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id\n1\n")
    files = connect(tmp_path, done_marker=".done")
    assert rows(files, "*") == []
    with pytest.raises(Unavailable, match=r"a.csv has no a.csv.done beside it"):
        rows(files, "a.csv")
    put(tmp_path, "a.csv.done", "")
    assert ids(rows(files, "*")) == ["1"], "and the marker itself is no file to read"


def test_a_file_that_flowrun_is_writing_is_not_read(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id\n1\n")
    put(tmp_path, ".a.csv.flowrun", "1 5")
    assert rows(connect(tmp_path), "*.csv") == []
    with pytest.raises(Unavailable, match="is being written by flowrun"):
        rows(connect(tmp_path), "a.csv")


@pytest.mark.parametrize("change", ["append", "rewrite", "replace", "remove", "shorten"])
def test_a_change_while_reading_ends_the_read_before_another_page(tmp_path: Path, change: str) -> None:
    path = put(tmp_path, "a.csv", "id\n" + "".join(f"{n:05}\n" for n in range(100_000)))
    read = connect(tmp_path).read(Query("a.csv", None, "modified", page_size=10))
    assert next(read).records[0] == {"id": "00000"}
    if change == "append":
        with path.open("ab") as file:
            file.write(b"x\n")
    elif change == "rewrite":
        with path.open("r+b") as file:
            file.write(b"id\n99999")
    elif change == "shorten":
        os.truncate(path, 100)
    elif change == "remove":
        path.unlink()
    else:
        put(tmp_path, "b.tmp", "id\n7\n").rename(path)
    with pytest.raises(Unavailable, match=r"a.csv changed while it was read"):
        next(read)


def test_the_last_page_of_a_changing_file_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowrun_connectors.file import reading

    path = put(tmp_path, "a.csv", "id\n1\n2\n")
    put(tmp_path, "b.csv", "id\n3\n", age=10)
    real = reading.records

    def slow(*args: Any) -> Any:
        yield from real(*args)
        if args[1] == "a.csv":
            path.write_text("id\n1\n2\n9\n")

    monkeypatch.setattr(reading, "records", slow)
    found: list[str] = []
    with pytest.raises(Unavailable, match="changed while it was read"):
        for page in connect(tmp_path).read(Query("*.csv", None, "modified")):
            found += ids(list(page.records))
            seen = page.cursor
    assert found == ["3"]
    monkeypatch.undo()
    assert ids(rows(connect(tmp_path), "*.csv", seen)) == ["1", "2", "9"], "and it is read as a whole the next time"


def test_one_broken_file_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id,name\n1,Ann\n2\n", age=100)
    put(tmp_path, "b.csv", "id\n3\n", age=90)
    put(tmp_path, "c.csv", b"id\n\xff\n", age=80)
    put(tmp_path, "d.csv", "id\n4\n", age=70)
    (tmp_path / "link.csv").symlink_to(tmp_path / "d.csv")
    found: list[str] = []
    seen = None
    with pytest.raises(Refused, match=r"a.csv:3: 1 cells where there are 2 columns \(and 2 more files\)"):
        for page in connect(tmp_path).read(Query("*.csv", None, "modified")):
            found += ids(list(page.records))
            seen = page.cursor or seen
    assert found == ["3", "4"]
    (tmp_path / "link.csv").unlink()
    put(tmp_path, "a.csv", "id,name\n1,Ann\n2,Bo\n")
    put(tmp_path, "c.csv", "id\n5\n")
    assert sorted(ids(rows(connect(tmp_path), "*.csv", seen))) == ["1", "2", "5"]


# -- size --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.csv.gz"])
def test_memory_is_flat(tmp_path: Path, name: str) -> None:
    line = '{"id":"%06d","name":"Ann"}\n' if "json" in name else "%06d,Ann\n"
    head = "" if "json" in name else "id,name\n"
    files = connect(tmp_path)

    def peak(count: int) -> int:
        content = (head + "".join(line % n for n in range(count))).encode()
        put(tmp_path, name, gzip.compress(content, 1) if name.endswith("gz") else content)
        del content
        tracemalloc.start()
        assert sum(len(page.records) for page in files.read(Query(name, None, "modified"))) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small = peak(2_000)
    assert peak(40_000) < small * 1.5 + 500_000


@pytest.mark.soak
def test_a_million_rows_in_flat_memory(tmp_path: Path) -> None:
    import subprocess
    import sys

    with (tmp_path / "a.csv").open("w") as file:
        file.write("id,name,total\n")
        file.writelines(f"{n},Ann Miller,{n}.10\n" for n in range(1_000_000))
    code = (
        "import resource, sys; from pathlib import Path; from flowrun.connector import Query\n"
        "from tests.file.filekit import connect\n"
        "n = sum(len(p.records) for p in connect(Path(sys.argv[1])).read(Query('a.csv', None, 'modified')))\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True,
                         cwd=Path(__file__).parent.parent.parent)  # fmt: skip
    count, kib = out.stdout.split()
    assert count == "1000000"
    assert int(kib) < 100 * 1024


# -- what it says of itself --------------------------------------------------------------------------------------


def test_files_are_objects_and_describe_themselves(tmp_path: Path) -> None:
    from flowrun_connectors.file.connector import File

    put(tmp_path, "in/a.csv", "sku,qty\nA,1\n")
    put(tmp_path, "in/empty.csv", "sku,qty\n")
    put(tmp_path, "b.jsonl", '{"id":1,"total":1.5}\n{"id":2,"total":2,"open":true,"items":[]}\n')
    put(tmp_path, "broken.jsonl", "{\n")
    settings = {"root": str(tmp_path)}
    found = File.objects(settings)
    assert list(found) == ["b.jsonl", "broken.jsonl", "in/a.csv", "in/empty.csv"]
    assert found["in/a.csv"].actions == {"create": "find", "upsert": "upsert"}
    for name in ("in/a.csv", "in/empty.csv", "in/*.csv"):
        shape = File.describe(name, settings)
        assert shape is not None
        assert {f.name: f.type for f in shape.fields.values()} == {"sku": "text", "qty": "text"}
    shape = File.describe("b.jsonl", settings)
    assert shape is not None
    assert {f.name: f.type for f in shape.fields.values()} == {
        "id": "integer", "total": "decimal", "open": "boolean", "items": "any",
    }  # fmt: skip
    assert not shape.closed
    assert File.describe("broken.jsonl", settings) is None
    assert File.describe("gone.csv", settings) is None
    shape = File.describe("gone.csv", {**settings, "columns": ["a", "b"]})
    assert shape is not None
    assert list(shape.fields) == ["a", "b"]
    assert File.objects({"root": str(tmp_path / "gone")}) == {}
    assert connect(tmp_path).pull_contract("in/a.csv").fields.keys() == {"sku", "qty"}
    with pytest.raises(NotFound):
        connect(tmp_path).pull_contract("gone.csv")


def test_validate_reads_no_large_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowrun_connectors.file import connector

    monkeypatch.setattr(connector, "LOOK_BYTES", 50)
    put(tmp_path, "a.csv.gz", gzip.compress(os.urandom(200).hex().encode()), age=10)
    put(tmp_path, "b.json", '[{"id":"' + "x" * 100 + '"}]', age=10)
    put(tmp_path, "c.csv", "id\n" + "x\n" * 1000)
    settings = {"root": str(tmp_path)}
    assert connector.File.describe("a.csv.gz", settings) is None
    assert connector.File.describe("b.json", settings) is None
    assert connector.File.describe("c.csv", settings) is not None
    assert connect(tmp_path).pull_contract("b.json").fields.keys() == {"id"}, "who asks for it, waits for it"


@pytest.mark.parametrize(
    ("object", "actions", "readable"),
    [("a.csv", True, True), ("a.jsonl", True, True), ("a.json", False, True), ("a.csv.gz", False, True),
     ("in/*.csv", False, True), ("a.dat", False, False)],
)  # fmt: skip
def test_what_can_be_done_is_what_is_declared(tmp_path: Path, object: str, actions: bool, readable: bool) -> None:
    from flowrun_connectors.file.connector import File

    info = File.object_info(object, {"root": str(tmp_path)})
    assert info is not None
    assert (bool(info.actions), info.readable) == (actions, readable)
    (verdict,) = connect(tmp_path).deliver([create(object, {"id": "1"})])
    assert isinstance(verdict, ConnectorError) is not actions


def test_the_health_check(tmp_path: Path) -> None:
    assert connect(tmp_path).check().ok
    health = connect(tmp_path, root="gone").check()
    assert not health.ok
    assert "gone" in health.message


def test_a_date_in_the_future_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id\n1\n", age=-10_000)
    assert NOW.year == 2026
    assert ids(rows(connect(tmp_path, quiet_secs=30), "a.csv")) == ["1"]
