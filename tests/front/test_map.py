"""flowrun map as pipelines call it: big files, odd files, pipes, several processes, and outputs that must not be lost."""

from __future__ import annotations

import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest
from frontkit import write_project

SIMPLE = """
flowrun: 1
flow: simple
source: { connection: files, object: in.jsonl, record: order, trigger: { poll: { every: 1m, full: true } }, key: order.id }
require:
  - { rule: "order.note | default('') != 'odd'", message: "odd: {{ order.note }}", level: warn }
lookups: { customers: { xref: customers, on_miss: { use: none } } }
map:
  Id: order.id
  Sum: { from: order.sum, as: decimal 2 }
  Note: { from: order.note, optional: true }
  Customer: { from: order.customer, lookup: customers, optional: true }
target: { connection: files, object: out.jsonl, action: create, idempotency: { key: order.id, find_existing: Id } }
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project = "flowrun: 1\nconnections: { files: { connector: file, root: data } }\nenvironments: { test: {} }\n"
    return write_project(tmp_path, {"flowrun.yaml": project, "flows/simple.yaml": SIMPLE})


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "flowrun", "map", "simple", *words]


def run(root: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=root, capture_output=True, text=True, timeout=60, **more)


def order(number: int, **more: Any) -> str:
    return json.dumps({"id": str(number), "sum": 1.5, **more})


def write(path: Path, lines: int, bad: Container[int] = ()) -> Path:
    """Good orders, and at the given line numbers one without a sum."""
    text = (order(n) if n not in bad else json.dumps({"id": str(n)}) for n in range(1, lines + 1))
    path.write_text("\n".join(text) + "\n")
    return path


# -- what comes in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ids", "problems"),
    [
        (b"", [], []),
        (b"\n\n  \n", [], []),
        (b'\xef\xbb\xbf{"id":"1","sum":1}\r\n\r\n{"id":"2","sum":2}', ["1", "2"], []),
        (b'{"id":"1","sum":1}\nx\n[1]\n{"id":"2","sum":2}\n', ["1", "2"], ["line 2: not JSON", "line 3: a record is"]),
        (b'{"id":"1","sum":1e999999999999999999999}\n', [], ["line 1: not JSON: a number is too large"]),
        (b"[" * 5000 + b"]" * 5000 + b"\n", [], ["line 1: not JSON: nested too deeply"]),
        (b'{"id":"\xff","sum":1}\n{"id":"2","sum":2}\n', ["2"], ["line 1: not JSON: 'utf-8'"]),
        (b'{"id":"1"}\n', [], ["line 1: bad_data: Sum: "]),
        (
            b'{"id":"1","sum":1,"sum":2}\n{"id":"2","sum":2}\n{"id":"3","sum":1,"x":[{"a":{"b":1,"b":1}}]}\n'
            b'{"id":"4","sum":1,"\\u0069d":"5"}\n{"id":"6","sum":1,"sum":2,"note":"\\u003a"}\n{"id" : "7", "sum":1, "n":"a: b"}\n',
            ["2", "7"],
            [
                "line 1: not JSON: the field 'sum' is named twice",
                "line 3: not JSON: the field 'b' is",
                "line 4: not JSON: the field 'id' is",
                "line 5: not JSON: the field 'sum' is",
            ],
        ),
    ],
)
def test_lines_of_every_kind(root: Path, text: bytes, ids: list[str], problems: list[str]) -> None:
    (root / "in.jsonl").write_bytes(text)
    done = run(root, "--input", "in.jsonl")
    assert [json.loads(line)["Id"] for line in done.stdout.splitlines()] == ids
    said = done.stderr.splitlines()
    assert len(said) == len(problems) + bool(problems)  # and a note on cross-references
    assert all(line.startswith(start) for line, start in zip(said, problems, strict=False)), said
    assert done.returncode == (1 if problems else 0)


def test_a_field_named_twice_is_refused_wherever_records_are_given(root: Path) -> None:
    for name, text in (
        ("in.jsonl", '{"id":"1","sum":1}\n{"id":"1","sum":1,"sum":2}\n'),
        ("in.json", '[{"id":"1","id":"2"}]'),
    ):
        (root / name).write_text(text)
        done = subprocess.run(
            [*command()[:3], "run", "simple", "--dry-run", "--input", name], cwd=root, capture_output=True, text=True
        )
        assert done.returncode != 0
        assert f"{name}:{1 + name.endswith('l')}: not JSON: the field" in done.stderr, done.stderr


def test_numbers_keep_their_digits(root: Path) -> None:
    (root / "in.jsonl").write_text('{"id": 123456789012345678901234567890, "sum": 0.1}\n')
    assert run(root, "--input", "in.jsonl").stdout == '{"Id":123456789012345678901234567890,"Sum":0.10}\n'


def test_a_line_that_never_ends_takes_no_memory(root: Path) -> None:
    with (root / "in.jsonl").open("wb") as out:
        out.write(order(1).encode() + b'\n{"id": "')
        for _ in range(70):
            out.write(b"x" * (1 << 20))
        out.write(b'"}\n' + order(3).encode())
    done = run(root, "--input", "in.jsonl")
    assert [json.loads(line)["Id"] for line in done.stdout.splitlines()] == ["1", "3"]
    assert done.stderr.startswith("line 2: longer than 16 MiB\n")


def test_standard_input_answers_while_it_is_open(root: Path) -> None:
    with subprocess.Popen(
        command("--input", "-"), cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(order(1).encode() + b"\n")
        assert json.loads(process.stdout.readline())["Id"] == "1"
        process.stdin.write(order(2).encode())
        process.stdin.close()
        assert json.loads(process.stdout.readline())["Id"] == "2"
        assert process.wait(10) == 0


def test_gzip_is_unpacked_and_damage_is_said(root: Path) -> None:
    text = gzip.compress("\n".join(order(n) for n in range(5000)).encode())
    (root / "in.jsonl").write_bytes(text)
    done = run(root, "--input", "in.jsonl")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 5000)
    (root / "in.jsonl").write_bytes(text[:-20])
    done = run(root, "--input", "in.jsonl", "--output", "out.jsonl")
    assert done.returncode == 2 and done.stderr.startswith("error: the gzip file is damaged: ")
    assert not (root / "out.jsonl").exists()


def test_utf_16_is_named(root: Path) -> None:
    (root / "in.jsonl").write_text(order(1), encoding="utf-16")
    done = run(root, "--input", "in.jsonl")
    assert (done.returncode, done.stderr) == (2, "error: in.jsonl is UTF-16 text\n  = help: save it as UTF-8\n")


# -- what goes out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["same", "link", "hard link", "other spelling"])
def test_an_output_that_is_the_input_is_refused(root: Path, how: str) -> None:
    source = write(root / "in.jsonl", 3)
    before = source.read_bytes()
    to = root / "out.jsonl"
    if how == "link":
        to.symlink_to(source)
    elif how == "hard link":
        to.hardlink_to(source)
    else:
        to = source if how == "same" else root / "flows" / ".." / "in.jsonl"
    for workers in ("1", "2"):
        done = run(root, "--input", "in.jsonl", "--output", str(to), "--workers", workers)
        assert done.returncode == 2 and "the output is the input" in done.stderr
        assert source.read_bytes() == before
    with source.open("ab") as out:
        done = subprocess.run(command("--input", "in.jsonl"), cwd=root, stdout=out, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "the output is the input" in done.stderr
    assert source.read_bytes() == before


def test_an_output_is_replaced_whole_with_its_rights_and_through_its_link(root: Path) -> None:
    write(root / "in.jsonl", 3)
    (root / "real.jsonl").write_text("old")
    (root / "real.jsonl").chmod(0o640)
    (root / "out.jsonl").symlink_to("real.jsonl")
    assert run(root, "--input", "in.jsonl", "--output", "out.jsonl").returncode == 0
    assert (root / "out.jsonl").is_symlink()
    assert len((root / "real.jsonl").read_text().splitlines()) == 3
    assert stat.S_IMODE((root / "real.jsonl").stat().st_mode) == 0o640
    assert run(root, "--input", "in.jsonl", "--output", "new.jsonl", umask=0o027).returncode == 0
    assert stat.S_IMODE((root / "new.jsonl").stat().st_mode) == 0o640
    assert not list(root.glob(".*.part"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_stopped_in_the_middle_nothing_half_stands_under_the_name(
    root: Path, number: signal.Signals, workers: str
) -> None:
    text = write(root / "in.jsonl", 20_000).read_text()
    (root / "in.jsonl").write_text(text * 150)  # ten seconds of work for each of two
    (root / "out.jsonl").write_text("what was there\n")
    process = subprocess.Popen(
        command("--input", "in.jsonl", "--output", "out.jsonl", "--workers", workers),
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 20
    while time.monotonic() < until and not any(p.stat().st_size for p in root.glob(".*.part")):
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    assert len(children.split()) == int(workers) - 1
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=3)  # closed when the last worker is gone, too
    assert (root / "out.jsonl").read_text() == "what was there\n"
    if number == signal.SIGINT:
        assert (process.returncode, said) == (130, "\nStopped.\n")
        assert not list(root.glob(".*.part"))


@pytest.mark.parametrize("workers", ["1", "3"])
def test_every_kind_of_output_gets_the_same(root: Path, workers: str) -> None:
    write(root / "in.jsonl", 2000)
    arguments = ("--input", "in.jsonl", "--workers", workers)
    expected = run(root, *arguments).stdout
    assert [json.loads(line)["Id"] for line in expected.splitlines()] == [str(n) for n in range(1, 2001)]
    assert run(root, *arguments, "--output", "/dev/stdout").stdout == expected
    assert run(root, *arguments, "--output", "out.jsonl").stdout == ""
    assert (root / "out.jsonl").read_text() == expected
    assert run(root, *arguments, "--output", "/dev/null").returncode == 0
    os.mkfifo(root / "pipe")
    reader = subprocess.Popen(["cat", "pipe"], cwd=root, stdout=subprocess.PIPE, text=True)
    assert run(root, *arguments, "--output", "pipe").returncode == 0
    assert reader.communicate(timeout=10)[0] == expected
    assert (root / "pipe").is_fifo()
    (root / "log").write_text("before\n")
    with (root / "log").open("ab") as out:  # >> log
        subprocess.run(command(*arguments, "--output", "/dev/stdout"), cwd=root, stdout=out, check=True)
    assert (root / "log").read_text() == "before\n" + expected


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_reader_that_goes_away_ends_it_quietly(root: Path, workers: str) -> None:
    write(root / "in.jsonl", 50_000)
    script = f"{sys.executable} -m flowrun map simple --input in.jsonl --workers {workers} | head -n 2"
    done = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    assert (len(done.stdout.splitlines()), done.stderr) == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_in_words(root: Path) -> None:
    write(root / "in.jsonl", 3)
    done = run(root, "--input", "in.jsonl", "--output", "/dev/full")
    assert (done.returncode, done.stderr) == (4, "error: No space left on device\n")


# -- problems ----------------------------------------------------------------------------------------------------


def test_problems_of_workers_carry_the_lines_of_the_whole_file(root: Path) -> None:
    bad = (1, 2, 700, 1000, 1001, 1999, 2000)
    write(root / "in.jsonl", 2000, bad)
    one = run(root, "--input", "in.jsonl", "--output", "one.jsonl")
    assert [int(line.split(":")[0].removeprefix("line ")) for line in one.stderr.splitlines()[:-1]] == list(bad)
    for workers in ("2", "3", "7", "64"):
        many = run(root, "--input", "in.jsonl", "--output", "many.jsonl", "--workers", workers)
        assert (many.returncode, many.stderr) == (1, one.stderr)
        assert (root / "many.jsonl").read_bytes() == (root / "one.jsonl").read_bytes()


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_more_workers_than_lines(root: Path, lines: int) -> None:
    (root / "in.jsonl").write_text("\n".join(order(n) for n in range(lines)))
    done = run(root, "--input", "in.jsonl", "--workers", "8")
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, lines, "")


def test_a_record_cannot_write_on_the_terminal(root: Path) -> None:
    (root / "in.jsonl").write_text(order(1, note="odd") + "\n" + order(2, sum="\x1b[2J\nline 9: forged") + "\n")
    for workers in ("1", "2"):
        done = run(root, "--input", "in.jsonl", "--workers", workers)
        assert "\x1b" not in done.stderr
        assert done.stderr.startswith("line 1: warning: odd: odd\nline 2: bad_data: Sum: ")
        assert len(done.stderr.splitlines()) == 3


MEASURE = """
import pathlib, re, sys
from flowrun.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
status = pathlib.Path("/proc/self/status").read_text()
print("KB", re.search(r"VmHWM:\\s+(\\d+)", status)[1], file=sys.stderr)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_memory_stays_flat_however_many_lines_are_bad(root: Path, workers: str) -> None:
    used = []
    for lines in (20_000, 200_000):
        write(root / "in.jsonl", lines, bad=range(1, lines + 1))
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, "map", "simple", "--input", "in.jsonl", "--workers", workers],
            cwd=root, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        said = done.stderr.splitlines()
        assert len(said) == lines + 2
        used.append(int(said[-1].split()[1]))
    assert used[1] < used[0] + 8_000, used  # KiB; lines that were kept would take 20,000 and more


# -- usage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--input", "none.jsonl"), "'none.jsonl' does not exist"),
        (("--input", "flows"), "'flows' is a directory"),
        (("--input", "-", "--workers", "2"), "--workers needs a file"),
        (("--input", "in.jsonl", "--output", "no/out.jsonl"), "there is no folder 'no' for the output"),
        (("--input", "in.jsonl", "--output", "flows"), "'flows' is a directory"),
        (("--input", "in.jsonl", "--env", "tset"), "no environment is named 'tset'\n  = help: did you mean 'test'?"),
        (("--input", "in.jsonl", "--xref", "in.jsonl"), "in.jsonl holds no cross-references"),
        (("--input", "in.jsonl", "--xref", "x.yaml"), "the flow has no cross-reference 'custmers'"),
        (("--input", "in.jsonl", "--xref", "broken.yaml"), "broken.yaml:1:"),
        (("--input", "in.jsonl", "--xref", "broken.json"), "broken.json:1: not JSON"),
    ],
)
def test_what_cannot_be_is_said(root: Path, words: tuple[str, ...], said: str) -> None:
    write(root / "in.jsonl", 1)
    (root / "x.yaml").write_text('custmers: { "1": "2" }\n')
    (root / "broken.yaml").write_text("customers: [\n")
    (root / "broken.json").write_text("{")
    done = run(root, *words)
    assert done.returncode == 2
    assert said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "text", ['{"customers": {"42": "A7"}}', 'customers: { "42": A7 }\n', "\ufeffcustomers:\n  42: A7\n"]
)
def test_cross_references_from_a_file(root: Path, text: str) -> None:
    (root / "x.json" if text.startswith("{") else root / "x.yaml").write_text(text, encoding="utf-8")
    (root / "in.jsonl").write_text(order(1, customer="42"))
    done = run(root, "--input", "in.jsonl", "--xref", "x.json" if text.startswith("{") else "x.yaml")
    assert json.loads(done.stdout)["Customer"] == "A7", done.stderr
