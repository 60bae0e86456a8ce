"""Files through the whole engine: what arrives twice has one effect, and the report's counts are exact."""

from __future__ import annotations

import contextlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.file.filekit import connect, put, rows

from flowrun.cli.main import main

PROJECT = """\
flowrun: 1
connections:
  files: { connector: file, root: data }
environments:
  test: { }
  try: { sandbox: [files] }
"""
FLOW = """\
flowrun: 1
flow: copy
source:
  connection: files
  object: in/*.csv
  record: row
  key: row.id
  trigger: { poll: { every: 1m, cursor: row.modified } }
target:
  connection: files
  object: out/orders.csv
  action: create
  idempotency: { key: "{{ row.id }}", find_existing: id }
map:
  id: row.id
  total: { from: row.total, as: decimal 2 }
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    put(tmp_path, "flowrun.yaml", PROJECT)
    put(tmp_path, "flows/copy.yaml", FLOW)
    (tmp_path / "data" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Told:
    exit_code: int
    output: str


def run(*words: str) -> Told:
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
        try:
            main(list(words))
        except SystemExit as end:
            return Told(int(end.code or 0), heard.getvalue())
    raise AssertionError("the command line does not exit")


def out(root: Path) -> list[str]:
    return sorted(row["id"] for row in rows(connect(root / "data"), "out/*.csv"))


def test_the_flow_is_valid(root: Path) -> None:
    found = run("validate")
    assert found.exit_code == 0, found.output


def test_a_daily_batch_in_every_bad_way(root: Path) -> None:
    """Counts are exact, a second run reads nothing, a second delivery of the same file has no second effect."""
    put(root, "data/in/day1.csv", "\ufeffid,total\r\n1,1.10\r\n2,2.20\r\n3,bad\r\n")
    put(root, "data/in/empty.csv", "")
    put(root, "data/in/names.csv", "id,total\n")
    put(root, "data/in/notes.md", "not of this pattern")
    first = run("run", "copy", "--env", "test")
    assert first.exit_code == 1, first.output
    assert out(root) == ["1", "2"]
    assert _counts() == {"read": 3, "received": 3, "confirmed": 2, "dead": 1}
    again = run("run", "copy", "--env", "test")
    assert _counts() == {"read": 0, "received": 0, "confirmed": 0, "dead": 0}, again.output
    put(root, "data/in/day1-again.csv", "id,total\n1,1.10\n2,2.20\n3,bad\n")
    put(root, "data/in/day1.csv", "id,total\n1,1.10\n2,2.20\n3,bad\n4,4.40\n")
    run("run", "copy", "--env", "test")
    assert _counts() == {"read": 7, "received": 1, "confirmed": 1, "dead": 0}
    assert out(root) == ["1", "2", "4"]


ROWS = int(os.environ.get("FLOWRUN_FILE_ROWS", "3000"))


def test_three_bad_rows_of_many_are_counted_exactly(root: Path) -> None:
    """The full size: FLOWRUN_FILE_ROWS=1000000. The same content under another name has no second effect."""
    put(root, "flows/copy.yaml", FLOW.replace("action: create", "action: create\n  batch: 250"))
    bad = {7, ROWS // 2, ROWS - 1}
    text = "id,total\n" + "".join(f"{n},{'bad' if n in bad else '1.10'}\n" for n in range(ROWS))
    put(root, "data/in/large.csv", text)
    assert run("run", "copy", "--env", "test").exit_code == 1
    assert _counts() == {"read": ROWS, "received": ROWS, "confirmed": ROWS - 3, "dead": 3}
    put(root, "data/in/large-again.csv", "\ufeff" + text.replace("\n", "\r\n"))
    run("run", "copy", "--env", "test")
    assert _counts() == {"read": ROWS, "received": 0, "confirmed": 0, "dead": 0}
    assert len(out(root)) == ROWS - 3
    letters = run("dlq", "list")
    assert " 3 " in letters.output, letters.output


@pytest.mark.parametrize(("content", "words"), [
    (b"id,total\n1,\xff\n", "in/a.csv:2: byte 11 (0xff) is no utf-8 text"),
    ("id,total\n1,2\n".encode("utf-16"), "byte order mark of utf-16"),
    (b"\x1f\x8bid", "is packed with gzip"),
])  # fmt: skip
def test_a_file_of_another_encoding_is_told_and_none_of_it_is_taken(root: Path, content: bytes, words: str) -> None:
    (root / "data/in/a.csv").write_bytes(content)
    put(root, "data/in/b.csv", "id,total\n7,1.10\n", age=10)
    found = run("run", "copy", "--env", "test")
    assert found.exit_code != 0 and words in found.output, found.output
    assert out(root) == ["7"], "the other file is read"
    put(root, "data/in/a.csv", "id,total\n1,2.00\n")
    assert run("run", "copy", "--env", "test").exit_code == 0
    assert out(root) == ["1", "7"]


def test_a_file_that_changes_while_it_is_read_is_read_again_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowrun_connectors.file.reading import Reader

    put(root, "flows/copy.yaml", FLOW.replace("action: create", "action: create\n  batch: 250"))
    put(root, "data/in/a.csv", "id,total\n" + "".join(f"{n},1.10\n" for n in range(1200)))
    look, looks = Reader._unchanged, 0

    def changing(self: Reader, one: object) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:  # at the second page of it
            put(root, "data/in/a.csv", "id,total\n" + "".join(f"{n},1.10\n" for n in range(1300)))
        look(self, one)  # type: ignore[arg-type]

    monkeypatch.setattr(Reader, "_unchanged", changing)
    found = run("run", "copy", "--env", "test")
    assert found.exit_code == 4 and "changed while it was read" in found.output, found.output
    assert _counts() == {"read": 500, "received": 500, "confirmed": 500, "dead": 0}
    monkeypatch.undo()
    monkeypatch.chdir(root)
    assert run("run", "copy", "--env", "test").exit_code == 0
    assert _counts() == {"read": 1300, "received": 800, "confirmed": 800, "dead": 0}
    assert len(out(root)) == 1300


def _counts() -> dict[str, int]:
    newest = run("runs").output.splitlines()[0].split("copy", 1)[1]
    told = {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", newest)}
    return {name: told.get(name, 0) for name in ("read", "received", "confirmed", "dead")}


def test_half_a_file_is_told_and_the_rest_of_it_comes_later(root: Path) -> None:
    put(root, "data/in/a.csv", "id,total\n1,1.10\n2")
    put(root, "data/in/b.csv", "id,total\n7,1.10\n", age=10)
    found = run("run", "copy", "--env", "test")
    assert found.exit_code == 4
    assert "in/a.csv:3: 1 cells where there are 2 columns" in found.output
    assert "is it still being written?" in found.output
    assert out(root) == ["7"]
    put(root, "data/in/a.csv", "id,total\n1,1.10\n2,2.20\n")
    assert run("run", "copy", "--env", "test").exit_code == 0
    assert out(root) == ["1", "2", "7"]


def test_kept_bad_lines_are_dead_letters_with_their_place(root: Path) -> None:
    put(root, "flowrun.yaml", PROJECT.replace("root: data", "root: data, bad_lines: keep"))
    put(root, "data/in/a.csv", "id,total\n" + "".join(f"{n},1.00\n" for n in range(40)) + "x\n41,2,3\n42,1.00\n")
    found = run("run", "copy", "--env", "test")
    assert found.exit_code == 1, found.output
    assert _counts() == {"read": 43, "received": 43, "confirmed": 41, "dead": 2}
    letters = run("dlq", "list")
    assert letters.exit_code == 0, letters.output
    key = next(word for word in letters.output.split() if word.startswith("?"))
    assert "in/a.csv:4" in run("dlq", "show", "copy", key).output


@pytest.mark.parametrize("seam", ["taken", "intended", "answered"])
def test_killed_and_started_again_a_row_stands_once(root: Path, seam: str) -> None:
    """A flow is stopped dead at a seam, and run again: one row a key in the file it writes."""
    from flowrun.connections import opened
    from flowrun.connector import discover
    from flowrun.flow import load_flow
    from flowrun.plan import compile_plan
    from flowrun.project import load_project
    from flowrun.runner import run_flow
    from flowrun.store import open_store
    from flowrun.values import system_clock

    class Dead(BaseException):
        pass

    put(root, "data/in/a.csv", "id,total\n1,1.10\n2,2.20\n3,3.30\n")
    project = load_project(root)
    environment = project.environment("test")
    flow = load_flow("copy", project, discover())
    plan = compile_plan(flow, environment.values)
    seams: list[str] = []

    def once(stop: bool) -> None:
        def pass_(name: str) -> None:
            seams.append(name)
            if stop and seam in name:
                raise Dead

        store = open_store(root / "state.db", now=system_clock)
        try:
            with opened(project, environment, ("files",), discover(), now=system_clock) as found:
                run_flow(
                    flow, plan, target=found["files"], source=found["files"], store=store, seams=pass_, wait_secs=5
                )
        finally:
            store.close()

    with pytest.raises(Dead):
        once(True)
    once(False)
    assert out(root) == ["1", "2", "3"], seams
    once(False)
    assert out(root) == ["1", "2", "3"]


def test_a_sandboxed_connection_works_in_its_own_folder(root: Path) -> None:
    put(root, "data/in/real.csv", "id,total\n1,1.10\n")
    assert run("run", "copy", "--env", "try").exit_code == 0
    put(root, ".flowrun/sandbox/files/in/try.csv", "id,total\n9,1.10\n")
    found = run("run", "copy", "--env", "try")
    assert found.exit_code == 0, found.output
    assert (root / ".flowrun/sandbox/files/out/orders.csv").read_text() == "id,total\n9,1.10\n"
    assert not (root / "data/out").exists()
    assert run("connections", "check", "--env", "try").exit_code == 0


def test_an_absolute_folder_is_left_alone_in_a_sandbox(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    put(elsewhere, "in/real.csv", "id,total\n1,1.10\n")
    put(root, "flowrun.yaml", PROJECT.replace("root: data", f"root: {elsewhere}"))
    assert run("run", "copy", "--env", "try").exit_code == 0
    assert not (elsewhere / "out").exists()


def test_there_is_no_server_of_files(root: Path) -> None:
    found = run("sandbox", "file")
    assert found.exit_code == 2
    assert "connector 'file' has no simulator" in found.output
    assert ".flowrun/sandbox/NAME/" in found.output


def test_fields_are_checked_against_the_file_that_is_there(root: Path) -> None:
    put(root, "data/in/a.csv", "id,total\n1,1.10\n")
    assert run("validate").exit_code == 0
    put(root, "flows/copy.yaml", FLOW.replace("from: row.total", "from: row.totl"))
    found = run("validate")
    assert "totl" in found.output and "total" in found.output
    assert run("connections", "pull-contract", "files", "in/a.csv").exit_code == 0
    assert (root / "contracts/files/in/a.csv.json").is_file()
