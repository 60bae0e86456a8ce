"""Masked fields show nowhere: not in what commands say, not in logs, not in alerts; and are delivered all the same."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from clikit import Shell

from flowrun.connector import discover
from flowrun.flow import load_flow
from flowrun.masking import Mask, mask_of, path_of
from flowrun.project import load_project
from flowrun.store import open_store

MAIL, NAME, NOTE, PHONE = "ann.canary@example.com", "Canary Ann Ünique", "canary-note-77", 4915112345678
TINT = "very canary blue"
PROJECT = """
flowrun: 1
connections:
  from: { connector: file, root: out }
  to: { connector: file, root: in }
environments: { dev: }
alerts: { it: { url: { env: NO_HOOK } } }
privacy: { mask: [phone] }
"""
FLOW = """
flowrun: 1
flow: people
source:
  connection: from
  object: people.jsonl
  record: it
  trigger: { poll: { every: 1m, full: true } }
  key: it.id
vars:
  lower: "{{ it.email | lower }}"
require:
  - { rule: "it.n < 90", message: "{{ it.name }} has too many" }
  - { rule: "it.open != 'seen'", message: "{{ it.name }} is seen", level: warn }
lookups:
  kinds: { table: { a: A }, on_miss: error }
map:
  id: it.id
  mail: vars.lower
  short: { from: it.name, as: truncate 6 }
  greeting: "Dear {{ it.name }}"
  kind: { from: it.kind, lookup: kinds }
  tel: { from: it.phone, as: integer }
  open: it.open
  tint: it.tint
  rows: { each: row in it.rows, map: { sku: row.sku, note: { from: row.note, optional: true } } }
target: { connection: to, object: people.jsonl, action: create, idempotency: { key: it.id, find_existing: id } }
privacy: { mask: [it.email, it.name, it.tint, "it.rows[].note"] }
on_error: { other: { dead_letter: people, alert: it, flag: review } }
"""


def person(id_: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id_, "email": MAIL.upper(), "name": NAME, "phone": PHONE, "kind": "a", "n": 1, "tint": TINT, "open": "seen",
        "rows": [{"sku": "S1", "note": NOTE}, {"sku": "S2", "note": None}], **more,
    }  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("FLOWRUN_"):
            monkeypatch.delenv(name)
    (tmp_path / "flowrun.yaml").write_text(PROJECT)
    for folder in ("flows", "out", "in"):
        (tmp_path / folder).mkdir()
    (tmp_path / "flows/people.yaml").write_text(FLOW)
    records = [person("1"), person("2", kind=MAIL), person("3", n=99), person("4", phone=f"tel of {MAIL}")]
    (tmp_path / "out/people.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return Shell(tmp_path, capsys)


def clean(*texts: str) -> None:
    """Nothing of a masked value, in whatever case, whole or cut."""
    for text in texts:
        for one in (MAIL, "ann.canary", NAME, "Canary", "Ünique", "nique", NOTE, TINT, str(PHONE)):
            assert one.lower() not in text.lower(), f"{one} in:\n{text}"


def test_no_output_shows_what_is_masked(shell: Shell) -> None:
    assert shell("validate", "flows")[0] == 0
    said = [shell("plan", "people"), shell("plan", "people", "--format", "json"), shell("run", "people", "--dry-run")]
    said.append(shell("run", "people", "--log-level", "debug", "--log", "json"))
    assert said[-1][0] == 1
    sent = (shell.root / "in/people.jsonl").read_text()
    assert MAIL in sent and str(PHONE) in sent and NOTE in sent, "what is delivered is whole"
    for words in (
        ("runs",), ("runs", "1"), ("dlq", "list"), ("dlq", "show", "people", "2"), ("dlq", "show", "people", "3"),
        ("dlq", "show", "people", "4"), ("dlq", "export"), ("dlq", "preview", "people", "--all"), ("dlq", "review"),
        ("dlq", "preview", "people", "--all", "--bodies"), ("trace", "1"), ("trace", "2"), ("trace", "3"),
        ("trace", "4", "--format", "json"), ("explain", "people", "--key", "1"), ("explain", "people", "--key", "2"),
        ("explain", "people", "--key", "1", "--format", "json"), ("explain", "people", "--key", "3"),
        ("explain", "people", "--key", "4"), ("alerts", "list"), ("alerts", "list", "--past"),
        ("state", "show"), ("state", "verify"), ("dlq", "replay", "people", "2"),
            ("dlq", "edit", "people", "3", "--set", "n=5"), ("dlq", "preview", "people", "3"),
            ("dlq", "preview", "people", "3", "--bodies"),
    ):  # fmt: skip
        said.append(shell(*words))
        assert said[-1][0] in (0, 1), said[-1]
    edited = FLOW.replace('"Dear {{ it.name }}"', '"Hello {{ it.name }}"').replace("truncate 6", "truncate 7")
    (shell.root / "old.yaml").write_text(FLOW.replace("map:\n", "map:\n  was: it.open\n", 1))
    (shell.root / "flows/people.yaml").write_text(edited)
    for form in ("text", "json"):
        said.append(shell("diff", "people", "--against", "old.yaml", "--format", form))
        assert "greeting" in said[-1][1], said[-1]
    said.append(shell("map", "people", "--input", "out/people.jsonl", "--output", "mapped.jsonl"))
    for _, out, err in said:
        clean(out, err)
    shown = "".join(out for _, out, _ in said)
    assert "***" in shown and "seen" in shown and "S1" in shown, "what is not masked is shown"
    assert NAME in (shell.root / "mapped.jsonl").read_text(), "the mapping itself is what map is for"
    store = open_store(shell.root / ".flowrun/state-dev.db")
    clean(*(row.error_message or "" for row in store.records()), *(one.message for one in store.alerts.open()))
    store.close()


def test_without_it_all_of_it_shows(shell: Shell) -> None:
    (shell.root / "flowrun.yaml").write_text(PROJECT.replace("privacy:", "owners:").replace("mask:", "a:"))
    (shell.root / "flows/people.yaml").write_text(
        FLOW.replace('privacy: { mask: [it.email, it.name, it.tint, "it.rows[].note"] }\n', "")
    )
    shell("run", "people")
    out = "".join(shell(*words)[1] for words in (("dlq", "show", "people", "3"), ("explain", "people", "--key", "1")))
    for one in (MAIL, NAME, NOTE, str(PHONE), "Canary"):
        assert one in out


def test_masked_later_what_was_kept_before_is_masked_too(shell: Shell) -> None:
    masked = (shell.root / "flows/people.yaml").read_text()
    (shell.root / "flows/people.yaml").write_text("\n".join(line for line in FLOW.split("\n") if "privacy" not in line))
    shell("run", "people")
    (shell.root / "flows/people.yaml").write_text(masked)
    _, out, _ = shell("dlq", "list")
    clean(out)
    cause = out.split()[0]
    said = [
        shell("dlq", "show", "people", "--cause", cause),
        shell("dlq", "export"),
        shell("trace", "3"),
        shell("runs", "1"),
    ]
    (shell.root / "flows/people.yaml").write_text(masked.replace("it.open", "it.open |"))  # not valid any more
    said += [shell("dlq", "show", "people", "3"), shell("dlq", "list")]
    for code, out, err in said:
        assert code == 0
        clean(out, err)
    code, out, err = shell("dlq", "review")
    assert code == 1 and "*** has too many" in out and "3 records to look at" in out
    clean(out, err)


def test_reveal_shows_it_and_is_kept(shell: Shell) -> None:
    shell("run", "people")
    assert NAME in shell("dlq", "show", "people", "3", "--reveal")[1]
    assert NOTE in shell("dlq", "export", "--reveal")[1]
    store = open_store(shell.root / ".flowrun/state-dev.db")
    with store.transaction() as tx:
        kept = list(tx.exec_driver_sql("SELECT who, detail FROM audit WHERE action = 'reveal' ORDER BY id"))
    store.close()
    assert [detail.split(":")[0] for _, detail in kept] == ["dlq show", "dlq export"]
    assert all(who for who, _ in kept) and "people 3 #3" in kept[0][1] and "people 2 #2" in kept[1][1]


def test_a_masked_export_comes_back_with_its_values(shell: Shell) -> None:
    shell("run", "people")
    lines = [json.loads(line) for line in shell("dlq", "export")[1].splitlines()]
    before = {one["key"]: one for one in lines}
    assert before["3"]["payload"]["rows"] == [{"sku": "S1", "note": "***"}, {"sku": "S2", "note": None}]
    payload = before["3"]["payload"]
    payload["n"], payload["email"] = 5, "other@example.com"
    file = shell.root / "letters.jsonl"

    def back(payload: dict[str, Any]) -> tuple[int, str, str]:
        file.write_text(
            "".join(json.dumps({**one, "payload": payload} if one["key"] == "3" else one) + "\n" for one in lines)
        )
        return shell("dlq", "import", str(file))

    for wrong, words in (
        ({**payload, "rows": payload["rows"][:1]}, "'rows' has 1 rows instead of 2: whose *** is whose is not certain"),
        ({**payload, "open": "seen by ***"}, "'open' is seen by ***"),
        ({**payload, "more": "***"}, "'more' is ***, and there is no value that it stands for"),
        ({**payload, "rows": [payload["rows"][0], {"sku": "S2", "note": "***"}]}, "'rows[1].note' is ***"),
    ):
        code, _, err = back(wrong)
        assert code == 2 and words in err and "nothing was imported" in err
    code, out, _ = back(payload)
    assert code == 0 and "corrected 1 letter; 2 unchanged" in out
    store = open_store(shell.root / ".flowrun/state-dev.db")
    now = store.records(key="3")[0].payload
    assert now == {**person("3"), "n": 5, "email": "other@example.com"}
    store.close()


def test_the_editor_sees_the_mask_and_values_stay(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("run", "people")
    seen = []

    def edit(text: str, **_: Any) -> str:
        seen.append(text)
        return text.replace("99", "7")

    monkeypatch.setattr("click.edit", edit)
    assert shell("dlq", "edit", "people", "3")[0] == 0
    clean(*seen)
    assert shell("dlq", "edit", "people", "3", "--set", "name=Bea")[0] == 0
    store = open_store(shell.root / ".flowrun/state-dev.db")
    assert store.records(key="3")[0].payload == {**person("3"), "n": 7, "name": "Bea"}
    store.close()


def test_a_recorded_test_holds_nothing_of_it(shell: Shell) -> None:
    shell("run", "people")
    assert shell("test", "--record", "1")[0] == 0
    text = (shell.root / "flows/people.yaml").read_text()
    clean(text)
    assert "seen" in text and f'"note":"{"x" * len(NOTE)}"' in text and "1" * len(str(PHONE)) in text
    assert shell("test")[0] == 0


def test_which_fields_are_made_of_masked_ones(shell: Shell) -> None:
    mask = mask_of(load_flow("people", load_project(shell.root), discover()))
    hidden = {name for name in ("id", "mail", "short", "greeting", "kind", "tel", "open", "rows[0].sku", "rows[1].note",
                                "vars.lower") if mask.hides(name)}  # fmt: skip
    assert hidden == {"mail", "short", "greeting", "tel", "rows[1].note", "vars.lower"}


@pytest.mark.parametrize(
    ("value", "text", "wanted"),
    [
        ("Ann", "Ann is unknown to Anna", "*** is unknown to Anna"),
        ("O'Neil \\ Sons", 'customer "O\'Neil \\\\ Sons" is unknown', 'customer "***" is unknown'),
        (42, "42 of 142", "*** of 142"),
        ("x" * 60, f"'{'x' * 37}…' is too long", "'***…' is too long"),
        ("", "nothing", "nothing"),
    ],
)
def test_words(value: Any, text: str, wanted: str) -> None:
    assert Mask([path_of("v")]).text(text, {"v": value}) == wanted


def test_a_path_that_the_source_lacks_is_said(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    shell = Shell(project, capsys)
    path = next((project / "flows").rglob("orders-to-s4.yaml"))
    text = path.read_text()
    for mask, words in (
        ("[order.emial]", "did you mean 'email'?"),
        ("[email]", "mask: [order.email]"),
        ('["order.email | lower"]', "is no path to a field"),
        ("[order.email, 'order.items[].sku']", ""),
    ):
        path.write_text(f"{text}\nprivacy: {{ mask: {mask} }}\n")
        code, out, err = shell("validate", str(path))
        assert (code, words in out + err) == (1 if words else 0, True), out + err
