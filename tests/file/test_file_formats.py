"""What stands in files, read as it is: dialects, encodings, packed files, and each kind of damage with its place."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.file.filekit import connect, create, put, rows

from flowrun.errors import ConnectorError, ProjectError, Refused, Unavailable
from flowrun_connectors.file import text


def refused(root: Path, name: str, content: str | bytes, **setting: Any) -> ConnectorError:
    put(root, name, content)
    with pytest.raises(ConnectorError) as told:
        rows(connect(root, **setting), name)
    return told.value


# -- CSV ---------------------------------------------------------------------------------------------------------


def test_cells_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id,sum,ok,when\n00123,1.10,true,2026-05-04\n")
    assert rows(connect(tmp_path), "a.csv") == [{"id": "00123", "sum": "1.10", "ok": "true", "when": "2026-05-04"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_any_system_and_a_last_line_without_one(tmp_path: Path, end: str) -> None:
    put(tmp_path, "a.csv", end.join(["id,name", "1,Ann", "", '2,"a, b"']))
    assert rows(connect(tmp_path), "a.csv") == [{"id": "1", "name": "Ann"}, {"id": "2", "name": "a, b"}]


def test_quotes_hold_delimiters_quotes_and_lines(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", 'id,name\n1,"a ""b""\nc"\n')
    assert rows(connect(tmp_path), "a.csv")[0]["name"] == 'a "b"\nc'


@pytest.mark.parametrize(
    ("name", "content", "setting"),
    [
        ("a.csv", "id;name\n1;Ann\n", {"delimiter": ";"}),
        ("a.tsv", "id\tname\n1\tAnn\n", {}),
        ("a.txt", "id\tname\n1\tAnn\n", {"delimiter": "tab"}),
        ("a.csv", "id,name\n1,'Ann'\n", {"quote": "'"}),
        ("a.csv", "1,Ann\n", {"columns": ["id", "name"]}),
        ("a.dat", "id,name\n1,Ann\n", {"format": "csv"}),
    ],
)
def test_dialects(tmp_path: Path, name: str, content: str, setting: dict[str, Any]) -> None:
    put(tmp_path, name, content)
    assert rows(connect(tmp_path, **setting), name) == [{"id": "1", "name": "Ann"}]


def test_without_quotes_a_quote_is_a_character(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", 'id,name\n1,5" pipe\n')
    assert rows(connect(tmp_path, quote=""), "a.csv") == [{"id": "1", "name": '5" pipe'}]


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ("id,name\n1,Ann\n2\n3,Cy\n", Refused, "a.csv:3: 1 cells where there are 2 columns"),
        ('id,name\n1,"a\nb"\n2,b,c\n', Refused, "a.csv:4: 3 cells where there are 2 columns"),
        ("id,name\n1,Ann\n2", Unavailable, "a.csv:3: 1 cells where there are 2 columns, and the line has no end"),
        ('id,name\n1,"Ann\n', Unavailable, "a.csv:2: a quote is opened and not closed"),
        ('id,name\n1,"Ann"x\n', Refused, "a.csv:2: not CSV"),
        ("id,name,id\n1,Ann,2\n", Refused, "a.csv:1: the column 'id' stands twice"),
        ("id,,name\n1,2,3\n", Refused, "a.csv:1: column 2 has no name"),
        ("id,name\n1,A\0n\n", Refused, "a.csv:2: a NUL character"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, content: str, kind: type, words: str) -> None:
    error = refused(tmp_path, "a.csv", content)
    assert type(error) is kind
    assert words in error.message
    assert error.help


def test_a_line_of_names_that_should_not_be_there(tmp_path: Path) -> None:
    error = refused(tmp_path, "a.csv", "id,name\n1,Ann\n", columns=["id", "name"])
    assert "the first line holds the names" in error.message


def test_an_endless_line_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrun_connectors.file.formats.MOST_LINE", 1000)
    assert "a.csv:2: a line of more than 1000" in refused(tmp_path, "a.csv", "id\n" + "x" * 2000).message
    assert "b.jsonl:1: a line of more than 1000" in refused(tmp_path, "b.jsonl", '{"a":"' + "x" * 2000).message


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.csv.gz"])
def test_an_empty_file_has_no_records(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, b"")
    assert rows(connect(tmp_path), name) == []


@pytest.mark.parametrize("content", ["id,name\n", "id,name", "\ufeffid,name\r\n"])
def test_only_names_are_no_records(tmp_path: Path, content: str) -> None:
    put(tmp_path, "a.csv", content)
    assert rows(connect(tmp_path), "a.csv") == []


def test_bad_lines_can_be_kept_for_a_person(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id,name\n1,Ann\n2\n3,Cy\n")
    good, bad, other = rows(connect(tmp_path, bad_lines="keep"), "a.csv")
    assert (good["id"], other["id"]) == ("1", "3")
    assert bad == {"_error": "a.csv:3: 1 cells where there are 2 columns", "_line": 3, "_held": ["2"]}
    put(tmp_path, "b.jsonl", '{"id":1}\nnot json\n[1]\n{"id":2,"id":3}\n{"id":4}\n')
    found = rows(connect(tmp_path, bad_lines="keep"), "b.jsonl")
    assert [row.get("id") for row in found] == [1, None, None, None, 4]
    assert [row.get("_line") for row in found] == [None, 2, 3, 4, None]


# -- JSON --------------------------------------------------------------------------------------------------------


def test_numbers_are_exact(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", '{"a":1.10,"b":12345678901234567890,"c":1e2}\n')
    (row,) = rows(connect(tmp_path), "a.jsonl")
    assert (str(row["a"]), row["b"], row["c"]) == ("1.10", 12345678901234567890, Decimal("1e2"))
    assert not any(isinstance(value, float) for value in row.values())


def test_a_document_is_one_record_or_a_list_of_them(tmp_path: Path) -> None:
    put(tmp_path, "a.json", '[{"id":1},{"id":2.50}]')
    put(tmp_path, "b.json", '{"id":3}')
    assert [str(row["id"]) for row in rows(connect(tmp_path), "a.json")] == ["1", "2.50"]
    assert rows(connect(tmp_path), "b.json") == [{"id": 3}]


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("a.jsonl", '{"a":1}\n{"a":\n', Refused, "a.jsonl:2: not JSON"),
        ("a.jsonl", '{"a":1}\n{"a":', Unavailable, "a.jsonl:2: half a record"),
        ("a.jsonl", "[1]\n", Refused, "a.jsonl:1: a record is an object"),
        ("a.jsonl", '{"a":1,"a":2}\n', Refused, "a.jsonl:1: names a field twice"),
        ("a.jsonl", '{"a":NaN}\n', Refused, "a.jsonl:1: holds NaN"),
        ("a.jsonl", '{"a":"\\ud800"}\n', Refused, "a.jsonl:1: holds half a character"),
        ("a.jsonl", '{"a":' + "[" * 200 + "]" * 200 + "}\n", Refused, "a.jsonl:1: is nested more than"),
        ("a.jsonl", '{"a":' + "[" * 50_000 + "\n", Refused, "a.jsonl:1:"),
        ("a.json", '[{"id":1},', Unavailable, "a.json: is not JSON, or cut short"),
        ("a.json", "[1]", Refused, "a.json: record 1 is no object"),
    ],
)
def test_json_that_breaks_a_rule(tmp_path: Path, name: str, content: str, kind: type, words: str) -> None:
    error = refused(tmp_path, name, content)
    assert type(error) is kind
    assert words in error.message


def test_a_document_is_held_whole_and_so_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrun_connectors.file.formats.MOST_DOCUMENT", 100)
    error = refused(tmp_path, "a.json", '[{"a":"' + "x" * 200 + '"}]')
    assert "larger than" in error.message
    assert "JSON Lines" in error.help


def test_a_name_that_tells_nothing_needs_a_format(tmp_path: Path) -> None:
    error = refused(tmp_path, "orders.dat", "id\n1\n")
    assert "cannot be told from its name" in error.message
    assert error.help == "format: csv, json, jsonl"


# -- encodings ---------------------------------------------------------------------------------------------------

MULLER = "id,name\n1,Müller\n2,Łódź\n"


@pytest.mark.parametrize(
    ("bytes_", "encoding"),
    [
        (MULLER.encode(), "utf-8"),
        (MULLER.encode("utf-8-sig"), "utf-8"),
        (MULLER.encode("utf-8-sig"), "utf-8-sig"),
        (MULLER.encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + MULLER.encode("utf-16-be"), "utf-16"),
        (MULLER.encode("utf-16-le"), "utf-16-le"),
        (b"\xff\xfe" + MULLER.encode("utf-16-le"), "utf-16-le"),
        (MULLER.encode("utf-32"), "utf-32"),
        (MULLER.replace("Łódź", "Lodz").encode("latin-1"), "latin-1"),
        (MULLER.encode("iso8859-2"), "iso8859-2"),
    ],
)
def test_named_encodings_with_and_without_marks(tmp_path: Path, bytes_: bytes, encoding: str) -> None:
    put(tmp_path, "a.csv", bytes_)
    found = rows(connect(tmp_path, encoding=encoding), "a.csv")
    assert found[0] == {"id": "1", "name": "Müller"}
    assert len(found) == 2


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.json"])
def test_a_byte_of_another_encoding_has_its_place(tmp_path: Path, name: str) -> None:
    filler = "".join(f'{{"id":"{n:06}"}}\n' for n in range(50_000)) if "json" in name else "id\n" + "abcdef\n" * 200_000
    good = filler.encode()
    line = filler.count("\n") + 1
    content = good + "Müller".encode("latin-1") + b"\n"
    error = refused(tmp_path, name, gzip.compress(content) if name.endswith("gz") else content)
    assert type(error) is Refused
    assert f"{name}:{line}: byte {len(good) + 1} (0xfc) is no utf-8 text" in error.message
    assert "encoding:" in error.help


@pytest.mark.parametrize(
    ("bytes_", "encoding", "words", "help"),
    [
        (MULLER.encode("utf-16"), "utf-8", "begins with the byte order mark of utf-16-le", "encoding: utf-16"),
        (MULLER.encode("utf-8-sig"), "latin-1", "begins with the byte order mark of utf-8", "encoding: utf-8"),
        (MULLER.encode("utf-8-sig"), "utf-16", "begins with the byte order mark of utf-8", "encoding: utf-8"),
        (b"\xfe\xff" + MULLER.encode("utf-16-be"), "utf-16-le", "mark of utf-16-be", "encoding: utf-16"),
        (MULLER.encode("utf-16-le"), "utf-16", "has no byte order mark", "encoding: utf-16-le or utf-16-be"),
        (MULLER.replace("Łódź", "x").replace("ü", "u").encode("utf-16-le"), "utf-8", "a NUL character", "utf-16-le"),
        ("id,name\n1,Ann\n".encode("utf-16-le")[:-1], "utf-16-le", "byte 26", "encoding:"),
    ],
)
def test_marks_that_tell_another_encoding(tmp_path: Path, bytes_: bytes, encoding: str, words: str, help: str) -> None:
    error = refused(tmp_path, "a.csv", bytes_, encoding=encoding)
    assert words in error.message
    assert help in error.help


# -- packed ------------------------------------------------------------------------------------------------------


def test_packed_files_of_every_kind(tmp_path: Path) -> None:
    put(tmp_path, "a.csv.gz", gzip.compress(b"id\n1\n") + gzip.compress(b"2\n"))
    put(tmp_path, "b.jsonl.gz", gzip.compress(b'{"id":3}\n'))
    put(tmp_path, "c.json.gz", gzip.compress(b'[{"id":4}]'))
    found = [rows(connect(tmp_path), name) for name in ("a.csv.gz", "b.jsonl.gz", "c.json.gz")]
    assert found == [[{"id": "1"}, {"id": "2"}], [{"id": 3}], [{"id": 4}]]


def test_damage_to_a_packed_file_is_known_before_its_first_record(tmp_path: Path) -> None:
    whole = gzip.compress(b"id\n" + b"".join(b"%d\n" % n for n in range(20_000)))
    crc = bytearray(whole)
    crc[-8] ^= 1
    for content, kind, words in (
        (whole[: len(whole) // 2], Unavailable, "cut short"),
        (bytes(crc), Refused, "damaged"),
        (whole + b"rubbish", Refused, "damaged"),
        (b"id\n1\n", Refused, "no gzip file"),
    ):
        put(tmp_path, "a.csv.gz", content)
        seen = []
        with pytest.raises(kind, match=words):
            for page in connect(tmp_path).read(_query("a.csv.gz")):
                seen.append(page)
        assert not seen
    error = refused(tmp_path, "b.csv", whole)
    assert (error.message, error.help) == ("b.csv is packed with gzip", "name it b.csv.gz")


def _query(name: str) -> Any:
    from flowrun.connector import Query

    return Query(name, None, "modified")


def test_a_bomb_is_refused_and_memory_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    put(tmp_path, "a.csv.gz", gzip.compress(b"id\n" + b"0" * (300 << 20), 9))
    tracemalloc.start()
    with pytest.raises(Refused, match="unpacks to more than 200 times its size"):
        rows(connect(tmp_path), "a.csv.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    monkeypatch.setattr(text, "MOST_BYTES", 1000)
    put(tmp_path, "b.csv.gz", gzip.compress(b"id\n" + b"0\n" * 1000))
    with pytest.raises(Refused, match="it is not read"):
        rows(connect(tmp_path), "b.csv.gz")


# -- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"encoding": "utf-9"}, "there is no encoding 'utf-9'"),
        ({"encoding": "base64"}, "there is no encoding 'base64'"),
        ({"delimiter": ";;"}, "delimiter is one character"),
        ({"delimiter": "\n"}, "delimiter is one character"),
        ({"delimiter": "|", "quote": "|"}, "same character"),
        ({"format": "xml"}, "there is no format 'xml'"),
        ({"bad_lines": "skip"}, "bad_lines is stop or keep"),
        ({"columns": "id"}, "columns is a list of names"),
        ({"columns": ["id", "id"]}, "columns names 'id' twice"),
        ({"quiet_secs": -1}, "quiet_secs is 0 or more"),
        ({"done_marker": "x/y"}, "done_marker is the end"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, setting: dict[str, Any], words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        connect(tmp_path, **setting)


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NAMES = st.lists(
    st.text("abcdefgh ;,'\"ä", min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=4, unique=True
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    data=st.data(),
    names=NAMES,
    delimiter=st.sampled_from([",", ";", "tab", "|"]),
    kind=st.sampled_from(["csv", "jsonl"]),
)
def test_what_is_written_is_read_back(
    tmp_path: Path, data: st.DataObject, names: list[str], delimiter: str, kind: str
) -> None:
    bodies = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, CELLS)), min_size=1, max_size=4))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-16", "utf-16-be"]))
    name = f"round.{kind}"
    (tmp_path / name).unlink(missing_ok=True)
    files = connect(tmp_path, delimiter=delimiter, encoding=encoding)
    for body in bodies:
        (verdict,) = files.deliver([create(name, body)])
        assert not isinstance(verdict, Exception), verdict
    assert rows(files, name) == bodies
