"""A record is there whole or not at all, and once, wherever the writing stops."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.file.filekit import connect, create, put, rows

from flowrun.connector import Receipt
from flowrun.errors import DeliveryUnknown, NotFound, Refused, Unavailable
from flowrun_connectors.file import writing


def delivered(
    files: Any, object: str, *bodies: dict[str, Any], action: str = "create", match: tuple[str, ...] = ()
) -> list[Receipt]:
    verdicts = files.deliver([create(object, body, action, match) for body in bodies])
    assert all(isinstance(one, Receipt) for one in verdicts), verdicts
    return list(verdicts)


# -- what stands in the file -------------------------------------------------------------------------------------


def test_csv_as_it_stands_in_the_file(tmp_path: Path) -> None:
    body = {"id": "00123", "sum": Decimal("1.10"), "n": -5, "ok": True, "none": None, "list": [1, {"a": Decimal("2.50")}],
            "text": 'a "b", c\nd', "big": Decimal("1E+3")}  # fmt: skip
    delivered(connect(tmp_path), "out/a.csv", body)
    assert (tmp_path / "out/a.csv").read_text() == (
        "id,sum,n,ok,none,list,text,big\n"
        '00123,1.10,-5,true,,"[1,{""a"":2.50}]","a ""b"", c\nd",1000\n'
    )  # fmt: skip


def test_json_lines_keep_values_and_digits(tmp_path: Path) -> None:
    delivered(connect(tmp_path), "a.jsonl", {"id": "1", "sum": Decimal("1.10")}, {"id": "2", "sum": Decimal("2.00")})
    assert (tmp_path / "a.jsonl").read_text() == '{"id":"1","sum":1.10}\n{"id":"2","sum":2.00}\n'


def test_columns_are_those_of_the_first_line(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id;name;city\r\n1;Ann;Ulm")
    files = connect(tmp_path, delimiter=";")
    good, bad = files.deliver([create("a.csv", {"name": "Bo", "id": "2"}), create("a.csv", {"id": "3", "nmae": "Cy"})])
    assert isinstance(good, Receipt)
    assert isinstance(bad, Refused)
    assert (bad.message, bad.field, bad.help) == ("a.csv has no column 'nmae'", "nmae", "its columns: id, name, city")
    assert [row["name"] for row in rows(files, "a.csv")] == ["Ann", "Bo"], "a last line without an end is given one"


def test_files_without_a_line_of_names(tmp_path: Path) -> None:
    files = connect(tmp_path, columns=["id", "name"])
    delivered(files, "a.csv", {"name": "Ann", "id": "1"})
    assert (tmp_path / "a.csv").read_text() == "1,Ann\n"
    assert rows(files, "a.csv") == [{"id": "1", "name": "Ann"}]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "latin-1", "utf-16-be"])
def test_encodings_are_kept_over_several_writes(tmp_path: Path, encoding: str) -> None:
    files = connect(tmp_path, encoding=encoding)
    for n in range(3):
        delivered(files, "a.csv", {"id": str(n), "name": "Müller"})
    assert (tmp_path / "a.csv").read_bytes().count(b"\xff\xfe") == (encoding == "utf-16")
    assert [row["name"] for row in rows(files, "a.csv")] == ["Müller"] * 3


def test_what_is_added_stands_the_same_way_round(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"\xfe\xff" + "id\n1\n".encode("utf-16-be"))
    (verdict,) = connect(tmp_path, encoding="utf-16").deliver([create("a.csv", {"id": "2"})])
    assert isinstance(verdict, Refused)
    assert verdict.help == "encoding: utf-16-be"
    files = connect(tmp_path, encoding="utf-16-be")
    delivered(files, "a.csv", {"id": "2"})
    assert [row["id"] for row in rows(files, "a.csv")] == ["1", "2"]


def test_what_an_encoding_lacks_is_refused_and_the_rest_is_written(tmp_path: Path) -> None:
    files = connect(tmp_path, encoding="latin-1")
    verdicts = files.deliver(
        [create("a.csv", {"id": "1"}), create("a.csv", {"id": "Łódź"}), create("a.csv", {"id": "3"})]
    )
    assert [type(v).__name__ for v in verdicts] == ["Receipt", "Refused", "Receipt"]
    assert verdicts[1].message == "'Ł' cannot be written as iso8859-1"
    assert [row["id"] for row in rows(files, "a.csv")] == ["1", "3"]


def test_without_quotes_what_needs_them_is_refused(tmp_path: Path) -> None:
    (verdict,) = connect(tmp_path, quote="").deliver([create("a.csv", {"id": "1,2"})])
    assert isinstance(verdict, Refused)
    assert not (tmp_path / "a.csv").exists() or not (tmp_path / "a.csv").read_bytes()


FORMULAS = ["=1+1", "+49 30 1", "-5", "@SUM(A1)", "\t=1", "\r=1"]


def test_cells_for_machines_are_verbatim_and_for_people_no_formulas(tmp_path: Path) -> None:
    for spreadsheet, mark in ((False, ""), (True, "'")):
        files = connect(tmp_path, spreadsheet=spreadsheet)
        name = f"{mark or 'plain'}.csv".replace("'", "people")
        for value in FORMULAS:
            delivered(files, name, {"id": value, "n": Decimal("-5")})
        assert [row["id"] for row in rows(files, name)] == [mark + value for value in FORMULAS]
        assert {row["n"] for row in rows(files, name)} == {"-5"}, "a number is one"
        for value in FORMULAS:
            assert len(files.find(name, {"id": value})) == 1, "and is found by what was meant"


@pytest.mark.parametrize(
    ("object", "words"),
    [("a.json", "cannot be written"), ("a.csv.gz", "cannot be written"), ("out/*.csv", "is a pattern"),
     ("a.dat", "cannot be told")],
)  # fmt: skip
def test_what_cannot_be_written(tmp_path: Path, object: str, words: str) -> None:
    (verdict,) = connect(tmp_path).deliver([create(object, {"id": "1"})])
    assert isinstance(verdict, Refused)
    assert words in verdict.message
    with pytest.raises(Refused):
        connect(tmp_path).find(object, {"id": "1"})


def test_a_receipt_names_the_record_wherever_it_stands(tmp_path: Path) -> None:
    files = connect(tmp_path)
    first, second = delivered(files, "a.csv", {"id": "1", "sum": Decimal("1.10")}, {"id": "2", "sum": Decimal("2")})
    assert first.created and first.id != second.id
    for receipt, key in ((first, "1"), (second, "2")):
        (found,) = files.find("a.csv", {"id": key})
        assert (found.id, found.created) == (receipt.id, False)
    assert files.find("a.csv", {"id": "3"}) == []
    assert files.find("gone.csv", {"id": "3"}) == []
    assert files.find("a.csv", {"nothing": "1"}) == []
    with pytest.raises(Refused, match="nothing to search by"):
        files.find("a.csv", {})


def test_json_values_are_found_as_values_and_as_texts(tmp_path: Path) -> None:
    files = connect(tmp_path)
    delivered(files, "a.jsonl", {"n": 5, "d": Decimal("1.10"), "b": True, "o": {"x": 1}})
    for by in (
        {"n": 5},
        {"n": "5"},
        {"d": Decimal("1.1")},
        {"d": "1.10"},
        {"b": True},
        {"o": {"x": 1}},
        {"n": 5, "b": True},
    ):
        assert len(files.find("a.jsonl", by)) == 1, by
    assert files.find("a.jsonl", {"n": 5, "b": False}) == []


# -- upsert ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_upsert_leaves_one_record_of_a_key(tmp_path: Path, name: str) -> None:
    files = connect(tmp_path)
    delivered(
        files, name, {"id": "1", "q": "1", "x": "kept"}, {"id": "2", "q": "1", "x": ""}, {"id": "1", "q": "9", "x": ""}
    )
    path = tmp_path / name
    path.chmod(0o604)
    first, second, third = delivered(
        files, name, {"id": "1", "q": "5"}, {"id": "3", "q": "7"}, {"id": "3", "q": "8"}, action="upsert", match=("id",)
    )
    assert [one.created for one in (first, second, third)] == [False, True, False]
    assert [one.id for one in (first, second, third)] == ["1", "3", "3"]
    found = rows(files, name)
    assert [(row["id"], row["q"]) for row in found] == [("1", "5"), ("2", "1"), ("3", "8")]
    assert found[0]["x"] == "kept", "fields that are not sent stay"
    assert path.stat().st_mode & 0o777 == 0o604
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]
    before = path.read_bytes()
    delivered(files, name, {"id": "3", "q": "8"}, action="upsert", match=("id",))
    assert path.read_bytes() == before, "the same again changes nothing"


def test_an_upsert_needs_its_key_and_makes_the_file(tmp_path: Path) -> None:
    files = connect(tmp_path)
    for match in ((), ("nr",)):
        (verdict,) = files.deliver([create("a.csv", {"id": "1"}, "upsert", match)])
        assert isinstance(verdict, Refused)
        assert verdict.help == "match: FIELD"
    assert not (tmp_path / "a.csv").exists()
    delivered(files, "new/a.csv", {"id": "1"}, action="upsert", match=("id",))
    assert rows(files, "new/a.csv") == [{"id": "1"}]


def test_an_upsert_into_a_broken_file_touches_nothing(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id,q\n1\n")
    (verdict,) = connect(tmp_path).deliver([create("a.csv", {"id": "1", "q": "2"}, "upsert", ("id",))])
    assert isinstance(verdict, Refused)
    assert (tmp_path / "a.csv").read_text() == "id,q\n1\n"


# -- where it stops ----------------------------------------------------------------------------------------------

SEAMS = ("open", "write", "fsync", "ftruncate", "unlink", "rename", "chmod", "fstat")


def killed_at(work: Callable[[], None], step: int, *, half: bool = False) -> bool:
    """Run in a child that dies before its n-th call of the system; False when it came to its end."""
    pid = os.fork()
    if pid == 0:
        count = 0
        for name in SEAMS:
            real = getattr(os, name)

            def stop(*args: Any, _real: Any = real, _name: str = name, **more: Any) -> Any:
                nonlocal count
                count += 1
                if count == step:
                    if half and _name == "write":
                        _real(args[0], bytes(args[1])[: len(args[1]) // 2 + 1])
                    os._exit(9)
                return _real(*args, **more)

            setattr(os, name, stop)
        try:
            work()
        except BaseException:
            os._exit(7)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9), f"the child ended with {code}"
    return code == 9


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("action", ["create", "upsert"])
@pytest.mark.parametrize("half", [False, True])
def test_killed_anywhere_and_started_again_each_record_stands_once(
    tmp_path: Path, name: str, action: str, half: bool
) -> None:
    """Asked first (or upserted), as the writer does after a crash."""
    bodies = [{"id": str(n), "text": 'a "b"\nc' * 5} for n in range(3)]
    stops = 0
    for step in range(1, 80):
        folder = tmp_path / str(step)
        folder.mkdir()
        put(folder, name, '{"id":"0","text":""}\n' if "json" in name else "id,text\n0,")
        files = connect(folder)
        work = lambda: delivered(files, name, *bodies[1:], action=action, match=("id",))  # noqa: E731, B023
        if not killed_at(work, step, half=half):
            break
        stops += 1
        fresh = connect(folder)
        for body in bodies[1:]:
            found = fresh.find(name, {"id": body["id"]})
            assert len(found) <= 1
            if not found:
                delivered(fresh, name, body, action=action, match=("id",))
        assert [row["id"] for row in rows(fresh, name)] == ["0", "1", "2"], f"stopped at step {step}"
        assert [row["text"] for row in rows(fresh, name)] == ["", bodies[1]["text"], bodies[2]["text"]]
        left = [p.name for p in folder.iterdir() if p.name not in (name, f".{name}.new")]
        assert not left
    assert stops > 8


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = connect(tmp_path)
    delivered(files, name, {"id": "1"})
    before = (tmp_path / name).read_bytes()
    real = os.write

    def full(fd: int, data: Any) -> int:
        if b"2" in bytes(data) and b"." not in bytes(data) and len(data) > 1 and b" " not in bytes(data):
            real(fd, bytes(data)[:1])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    monkeypatch.setattr(writing.os, "write", full)
    (verdict,) = files.deliver([create(name, {"id": "2"})])
    monkeypatch.undo()
    assert type(verdict) is Unavailable
    assert "No space left" in verdict.message
    assert (tmp_path / name).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]
    delivered(files, name, {"id": "2"})
    assert [row["id"] for row in rows(files, name)] == ["1", "2"]


def test_a_disk_that_fails_for_good_is_an_unknown_outcome_that_asking_settles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = connect(tmp_path)
    delivered(files, "a.csv", {"id": "1"})
    calls = 0

    def failing(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:  # the journal and its folder are durable by now
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(writing.os, "fsync", failing)
    (verdict,) = files.deliver([create("a.csv", {"id": "2"})])
    monkeypatch.undo()
    assert type(verdict) is DeliveryUnknown
    assert files.find("a.csv", {"id": "2"}) == [], "what a failed write left is cut off first"
    delivered(files, "a.csv", {"id": "2"})
    assert [row["id"] for row in rows(files, "a.csv")] == ["1", "2"]


def test_a_journal_of_a_file_that_was_taken_away_cuts_nothing(tmp_path: Path) -> None:
    files = connect(tmp_path)
    delivered(files, "a.csv", {"id": "1"})
    inode = (tmp_path / "a.csv").stat().st_ino
    for text in (f"{inode + 1} 2", f"{inode} 99999", "rubbish", ""):
        (tmp_path / ".a.csv.flowrun").write_text(text)
        assert len(files.find("a.csv", {"id": "1"})) == 1, text
        assert not (tmp_path / ".a.csv.flowrun").exists()


def test_writers_beside_each_other_lose_nothing(tmp_path: Path) -> None:
    def work(number: int) -> None:
        files = connect(tmp_path)
        for n in range(10):
            delivered(files, "a.csv", {"id": f"{number}-{n}", "who": str(number)})
            delivered(files, "last.csv", {"who": str(number), "n": str(n)}, action="upsert", match=("who",))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    files = connect(tmp_path)
    assert len({row["id"] for row in rows(files, "a.csv")}) == 40
    assert sorted((row["who"], row["n"]) for row in rows(files, "last.csv")) == [(str(n), "9") for n in range(4)]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    put(tmp_path, "out", "a file where a folder should be")
    (verdict,) = connect(tmp_path).deliver([create("out/a.csv", {"id": "1"})])
    assert isinstance(verdict, Unavailable | NotFound)
    assert "out" in verdict.message
