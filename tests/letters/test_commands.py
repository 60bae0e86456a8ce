"""flowrun dlq as a person meets it, over a flow from file to file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowrun.cli.main import EXIT_FINDINGS, EXIT_OK, EXIT_USAGE
from flowrun.store import Store, open_store
from tests.file.filekit import put
from tests.file.test_file_runs import out, run

PROJECT = """\
flowrun: 1
connections:
  files: { connector: file, root: data }
environments:
  test: { }
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
lookups:
  colours: { file: lookups/colours.csv, find: name, return: code, on_miss: error }
map:
  id: row.id
  total: { from: row.total, as: decimal 2 }
  colour: { from: row.colour, lookup: colours }
target:
  connection: files
  object: out/orders.csv
  action: create
  idempotency: { key: "{{ row.id }}", find_existing: id }
on_error:
  duplicate: { finish: success, flag: review }
  other: { dead_letter: orders }
"""
ROWS = "id,total,colour\n1,1.00,red\n2,2.00,mauve\n3,3.00,teal\n4,bad,red\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four rows were read: one arrived, two lack a colour, one has no amount."""
    put(tmp_path, "flowrun.yaml", PROJECT)
    put(tmp_path, "flows/copy.yaml", FLOW)
    put(tmp_path, "lookups/colours.csv", "name,code\nred,R\n")
    put(tmp_path, "data/in/a.csv", ROWS)
    monkeypatch.chdir(tmp_path)
    assert run("run", "copy").exit_code == EXIT_FINDINGS
    assert out(tmp_path) == ["1"]
    return tmp_path


def state(root: Path) -> Store:
    return open_store(root / ".flowrun" / "state-test.db")


def cause(words: str) -> str:
    lines = run("dlq", "list").output.splitlines()
    return next(line.split()[0] for line in lines if words in line)


def audit(root: Path) -> list[tuple[str, str]]:
    from sqlalchemy import text

    store = state(root)
    try:
        with store.transaction() as tx:
            return [(a, d) for a, d in tx.execute(text("SELECT action, detail FROM audit ORDER BY id"))]
    finally:
        store.close()


def test_causes_with_their_counts_and_an_example(root: Path) -> None:
    found = run("dlq", "list").output
    assert "copy: bad_data: colour: colours has no row for 'mauve'" in found and "  2 letters, 2" in found
    assert "3 dead letters of 2 causes" in found
    assert f"next: flowrun dlq preview copy --cause {cause('mauve')}" in found


def test_a_row_is_added_the_effect_is_seen_and_the_cause_is_replayed(root: Path) -> None:
    id_ = cause("mauve")
    before = run("dlq", "preview", "copy", "--cause", id_)
    assert before.exit_code == EXIT_FINDINGS
    assert "2 still fail: bad_data: colour: colours has no row for 'mauve'" in before.output
    assert "add the row at lookups/colours.csv:3" in before.output
    put(root, "lookups/colours.csv", "name,code\nred,R\nmauve,M\n")
    half = run("dlq", "preview", "copy", "--cause", id_)
    assert "1 would be sent" in half.output and "1 still fail" in half.output and '"colour": "M"' in half.output
    put(root, "lookups/colours.csv", "name,code\nred,R\nmauve,M\nteal,T\n")
    after = run("dlq", "preview", "copy", "--cause", id_)
    assert after.exit_code == EXIT_OK and "2 would be sent" in after.output
    assert f"next: flowrun dlq replay copy --cause {id_}" in after.output
    assert out(root) == ["1"], "a preview sends nothing"
    assert run("dlq", "replay", "copy", "--cause", id_).exit_code == EXIT_OK
    assert out(root) == ["1", "2", "3"]
    assert "1 dead letter" in run("dlq", "list").output, "another cause stays"


@pytest.mark.parametrize("by_cause", [False, True])
def test_the_same_command_goes_on_after_a_replay_was_cut_off(root: Path, by_cause: bool) -> None:
    words = ("--cause", cause("mauve")) if by_cause else ("2", "3")
    run("dlq", "edit", "copy", "--cause", cause("mauve"), "--set", "colour=red")
    store = state(root)
    store.letters.replay(store.records(state="dead")[:2], "anna")  # and then the power went
    store.close()
    assert run("dlq", "replay", "copy", *words).exit_code == EXIT_OK
    assert out(root) == ["1", "2", "3"]


def test_preview_gives_every_body_to_a_tool(root: Path) -> None:
    put(root, "lookups/colours.csv", "name,code\nred,R\nmauve,M\nteal,T\n")
    found = run("dlq", "preview", "copy", "--all", "--bodies")
    bodies = [json.loads(line)["body"] for line in found.output.splitlines()]
    assert [(one["id"], one["colour"]) for one in bodies] == [("2", "M"), ("3", "T")]


def test_a_whole_cause_is_edited_and_marked(root: Path) -> None:
    id_ = cause("mauve")
    assert "corrected 2 letters" in run("dlq", "edit", "copy", "--cause", id_, "--set", "colour=red").output
    listed = run("dlq", "list").output
    assert "2 edited" in listed and "2  (edited)" in listed
    assert run("dlq", "replay", "copy", "--all").exit_code == EXIT_FINDINGS, "the amount is still bad"
    assert out(root) == ["1", "2", "3"]
    assert [action for action, _ in audit(root)] == ["dlq edited", "dlq replayed"]


def test_a_cause_is_given_up_only_with_a_reason(root: Path) -> None:
    id_ = cause("mauve")
    assert run("dlq", "discard", "copy", "--cause", id_).exit_code == EXIT_USAGE
    assert run("dlq", "discard", "copy", "--cause", id_, "--reason", " ").exit_code == EXIT_USAGE
    assert "discarded 2" in run("dlq", "discard", "copy", "--cause", id_, "--reason", "old colours").output
    assert audit(root) == [("dlq discarded", "old colours: copy 2 #2, copy 3 #3")]
    assert "no dead letter of copy has cause" in run("dlq", "discard", "copy", "--cause", id_, "--reason", "x").output


def test_never_mapped_letters_cannot_go_as_they_ran(root: Path) -> None:
    found = run("dlq", "replay", "copy", "--all", "--as-ran")
    assert found.exit_code == EXIT_USAGE
    assert "3 of 3 were never mapped to a body: 2, 3, 4" in found.output
    assert "3 dead letters" in run("dlq", "list").output


def test_what_was_flagged_is_looked_at(root: Path) -> None:
    put(root, "data/in/b.csv", "id,total,colour\n1,9.00,red\n")
    run("run", "copy")
    found = run("dlq", "review")
    assert found.exit_code == EXIT_FINDINGS and "copy 1  review: confirmed" in found.output, found.output
    assert run("dlq", "review", "done", "copy", "1", "--note", "").exit_code == EXIT_USAGE
    assert "looked at 1" in run("dlq", "review", "done", "copy", "1", "--note", "the first amount holds").output
    again = run("dlq", "review")
    assert again.exit_code == EXIT_OK and "0 records to look at" in again.output
    assert run("dlq", "review", "done", "copy", "1", "--note", "twice").exit_code == EXIT_USAGE
    assert audit(root)[-1] == ("dlq reviewed", "the first amount holds: copy 1 #5")


# -- files -----------------------------------------------------------------------------------------------------------


def exported(root: Path, *words: str) -> list[dict[str, object]]:
    lines = run("dlq", "export", *words).output.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def put_lines(root: Path, lines: list[dict[str, object]]) -> str:
    (root / "letters.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return "letters.jsonl"


def test_corrected_elsewhere_and_taken_back(root: Path) -> None:
    lines = exported(root, "--queue", "orders")
    assert [one["key"] for one in lines] == ["2", "3", "4"] and exported(root, "--queue", "nobody") == []
    for one in lines[:2]:
        one["payload"]["colour"] = "red"  # type: ignore[index]
    found = run("dlq", "import", put_lines(root, lines))
    assert found.exit_code == EXIT_OK
    assert "corrected 2 letters; 1 unchanged, 0 no dead letters any more" in found.output
    assert "2 edited" in run("dlq", "list").output
    run("dlq", "replay", "copy", "2", "3")
    assert out(root) == ["1", "2", "3"]
    late = run("dlq", "import", "letters.jsonl")
    assert late.exit_code == EXIT_FINDINGS and "letters.jsonl:1: copy 2 is confirmed; left as it is" in late.output


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda one: one.pop("payload"), "letters.jsonl:2: 'payload' is missing"),
        (lambda one: one.update(payload=[]), "letters.jsonl:2: 'payload' is missing or of another kind"),
        (lambda one: one.update(seq=99), "letters.jsonl:2: this store has no letter 99"),
        (lambda one: one.update(key="x"), "letters.jsonl:2: this store has no letter 3 of copy 'x'"),
        (lambda one: one.update(seq=2), "letters.jsonl:2: the same letter as in line 1"),
    ],
)
def test_one_bad_line_imports_nothing(root: Path, spoil: object, words: str) -> None:
    lines = exported(root)
    lines[0]["payload"]["colour"] = "red"  # type: ignore[index]
    spoil(lines[1])  # type: ignore[operator]
    found = run("dlq", "import", put_lines(root, lines))
    assert found.exit_code == EXIT_USAGE and words in found.output, found.output
    assert "edited" not in run("dlq", "list").output


def test_a_correction_made_meanwhile_is_not_overwritten(root: Path) -> None:
    lines = exported(root)
    run("dlq", "edit", "copy", "2", "--set", "total=5.00")
    lines[0]["payload"]["colour"] = "red"  # type: ignore[index]
    found = run("dlq", "import", put_lines(root, lines))
    assert found.exit_code == EXIT_USAGE and "was corrected since it was exported" in found.output
