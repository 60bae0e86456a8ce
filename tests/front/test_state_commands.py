"""flowrun state as an operator calls it."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from pathlib import Path

import pytest
from clikit import FLOW, Shell

from flowrun.store import Incoming, open_store

PLACE = ".flowrun/state-dev.db"


@pytest.fixture
def shell(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(project)
    for name in [*os.environ]:
        if name.startswith(("FLOWRUN_", "XCART_", "S4_")):
            monkeypatch.delenv(name)
    environment = json.loads(json.dumps("x")) and "dev"
    assert environment in (project / "flowrun.yaml").read_text()
    store = open_store(project / PLACE)
    run = store.begin_run(FLOW, "dev", "h")
    records = [Incoming(str(n), None, str(n), {"order_id": str(n), "email": f"p{n}@example.com"}) for n in (1, 2, 3)]
    store.inbox.add(FLOW, records, cursor="2026-05-04T10:00:00Z", run=run)
    store.end_run(run, {"read": 3, "received": 3})
    store.xrefs.put([("customers", "1", "C1"), ("customers", "=2", "C2")], "tester")
    store.close()
    return Shell(project, capsys)


def state(shell: Shell, *words: str) -> tuple[int, str, str]:
    return shell("state", *words, "--env", "dev")


def test_show(shell: Shell) -> None:
    code, out, _ = state(shell, "show")
    assert code == 0
    assert f"{FLOW}: 3 received" in out and "oldest waiting: 1 since" in out and "cursor: 2026-05-04T10:00:00Z" in out
    found = json.loads(state(shell, "show", "--format", "json")[1])
    assert found["flows"][0]["records"] == {"received": 3} and found["circuits"] == [] and found["bytes"] > 0


def test_verify(shell: Shell) -> None:
    assert state(shell, "verify") == (0, "3 records of 1 flows; 0 findings\n", "")
    store = open_store(shell.root / PLACE)
    with store.transaction() as tx:
        tx.exec_driver_sql("DELETE FROM lanes WHERE lane = '2'")
    store.close()
    code, out, _ = state(shell, "verify")
    assert code == 1 and "stuck:" in out and f"{FLOW} 2 #2" in out and "next: flowrun state verify --mend" in out
    assert json.loads(state(shell, "verify", "--format", "json")[1])["findings"][0]["check"] == "stuck"
    code, out, _ = state(shell, "verify", "--mend")
    assert code == 0 and "mended" in out
    assert state(shell, "verify")[0] == 0


def test_verify_looks_beside_a_process_that_writes(shell: Shell) -> None:
    held = open_store(shell.root / PLACE)
    try:
        assert state(shell, "verify")[0] == 0
        code, _, err = state(shell, "verify", "--mend")
        assert code == 4 and "in use by another flowrun" in err
    finally:
        held.close()


KEY = "store: { key: { file: keys }, encrypt: true }\n"
OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def _keys(shell: Shell, text: str) -> None:
    (shell.root / "keys").write_text(text)
    (shell.root / "keys").chmod(0o600)


def test_payloads_are_encrypted_and_the_key_is_changed(shell: Shell) -> None:
    project = shell.root / "flowrun.yaml"
    without = project.read_text()
    place = shell.root / PLACE
    assert state(shell, "rotate-key")[:1] == (2,)
    project.write_text(without + KEY)
    code, _, err = state(shell, "show")
    assert code == 2 and "keys: No such file" in err and "openssl rand" in err
    _keys(shell, OLD)
    assert shell("validate", "flowrun.yaml")[0] == 0
    assert b"p1@example.com" in place.read_bytes()
    code, out, _ = state(shell, "rotate-key")
    assert code == 0 and out.startswith("3 rows are now under key ")
    assert b"p1@example.com" not in place.read_bytes()
    _keys(shell, NEW)
    for words in (
        ("run", FLOW, "--env", "dev"),
        ("state", "show", "--env", "dev"),
        ("state", "rotate-key", "--env", "dev"),
    ):
        code, _, err = shell(*words)
        assert code == 4 and "the store is encrypted with key" in err and "put that key back" in err
    _keys(shell, f"{NEW}\n{OLD}\n")
    assert state(shell, "rotate-key")[0] == 0
    _keys(shell, NEW)
    assert state(shell, "verify") == (0, "3 records of 1 flows; 0 findings\n", "")
    project.write_text(without + KEY.replace(", encrypt: true", ""))
    assert "no key: they are open" in state(shell, "rotate-key")[1]
    project.write_text(without)
    assert state(shell, "verify")[0] == 0


def test_encryption_asks_for_a_key(shell: Shell) -> None:
    project = shell.root / "flowrun.yaml"
    project.write_text(project.read_text() + "store: { encrypt: true }\n")
    code, out, _ = shell("validate", "flows")
    assert code == 1 and "FR034" in out and "'encrypt' needs a 'key' beside it" in out
    code, _, err = state(shell, "show")
    assert code == 2 and "store: { encrypt: true } needs a key" in err


def test_cursors(shell: Shell) -> None:
    assert f"{FLOW}  2026-05-04T10:00:00Z  (run 1)" in state(shell, "cursors", "list")[1]
    code, out, _ = state(shell, "cursors", "set", FLOW, "2026-05-01T00:00:00Z")
    assert code == 0 and "2026-05-04T10:00:00Z → 2026-05-01T00:00:00Z" in out
    assert "(by hand)" in state(shell, "cursors", "list", FLOW)[1].splitlines()[0]
    assert "→ 2026-05-04T10:00:00Z" in state(shell, "cursors", "undo", FLOW)[1]
    assert "no cursor; the next run reads from the beginning" in state(shell, "cursors", "undo", FLOW)[1]
    code, _, err = state(shell, "cursors", "undo", FLOW)
    assert code == 2 and "has no cursor" in err


@pytest.mark.parametrize(("value", "kind"), [("12", "a number"), ("yesterday", "text"), ('{"a": 1}', "JSON")])
def test_a_cursor_of_another_kind_is_refused(shell: Shell, value: str, kind: str) -> None:
    code, _, err = state(shell, "cursors", "set", FLOW, value)
    assert code == 2 and f"'{value}' is {kind}; the cursor of {FLOW} is a time: 2026-05-04T10:00:00Z" in err


def test_a_flow_that_is_not_there(shell: Shell) -> None:
    code, _, err = state(shell, "cursors", "set", "xcart-orders-to-s5", "1")
    assert code == 2 and "xcart-orders-to-s4" in err


def test_xref_out_and_in(shell: Shell) -> None:
    assert state(shell, "xref", "list")[1] == "customers: 2 rows\n"
    out = state(shell, "xref", "export", "customers")[1]
    rows = [*csv.reader(io.StringIO(out))]
    assert rows == [["source_id", "target_id"], ["1", "C1"], ["'=2", "C2"]], "no spreadsheet takes it for a formula"
    file = shell.root / "c.csv"
    file.write_text(out + "3,C3\n", encoding="utf-8-sig")
    assert (
        "1 new, 0 changed, 2 unchanged; nothing was changed"
        in state(shell, "xref", "import", "customers", str(file), "--dry-run")[1]
    )
    assert state(shell, "xref", "list")[1] == "customers: 2 rows\n"
    assert "1 new, 0 changed, 2 unchanged" in state(shell, "xref", "import", "customers", str(file))[1]
    file.write_text("source_id,target_id\n1,C9\n")
    code, _, err = state(shell, "xref", "import", "customers", str(file))
    assert code == 2 and ":2: '1' stands for 'C1' now, not for 'C9'" in err
    assert "0 new, 1 changed" in state(shell, "xref", "import", "customers", str(file), "--replace")[1]
    assert ["1", "C9"] in [*csv.reader(io.StringIO(state(shell, "xref", "export", "customers")[1]))]


@pytest.mark.parametrize(
    ("text", "words"),
    [("", ":1: the first line must be source_id,target_id"), ("a,b\n1,2\n", ":1: the first line"),
     ("source_id,target_id\n1\n", ":2: a line is a source id and a target id"),
     ("source_id,target_id\n1, \n", ":2: a line is"), ("source_id,target_id\n1,a\n\n1,b\n", ":4: '1' stands for 'a' in line 2")],
)  # fmt: skip
def test_a_wrong_line_is_named_and_nothing_is_imported(shell: Shell, text: str, words: str) -> None:
    file = shell.root / "c.csv"
    file.write_text(text)
    code, _, err = state(shell, "xref", "import", "customers", str(file))
    assert code == 2 and f"c.csv{words}" in err and "nothing was imported" in err
    assert state(shell, "xref", "list")[1] == "customers: 2 rows\n"


def test_backup_and_restore(shell: Shell) -> None:
    code, out, _ = state(shell, "backup", "b")
    assert code == 0 and "3 records" in out
    code, _, err = state(shell, "restore", "b")
    assert code == 4 and "not empty" in err and "--force" in err
    store = open_store(shell.root / PLACE)
    store.inbox.add(FLOW, [Incoming("9", None, "9", {})])
    store.close()
    code, out, _ = state(shell, "restore", "b", "--force")
    assert code == 0 and "what the store held is in b.before-" in out and "restored 3 records" in out
    assert "3 records of 1 flows" in state(shell, "verify")[1]
    (shell.root / PLACE).unlink()
    assert state(shell, "restore", "b")[0] == 0
    assert state(shell, "restore", "nosuch")[0] == 2


def test_prune(shell: Shell) -> None:
    code, _, err = state(shell, "prune")
    assert code == 2 and "--older-than 90d" in err
    assert "'soon' is no time" in state(shell, "prune", "--older-than", "soon")[2]
    assert state(shell, "prune", "--older-than", "90d", "--dry-run")[1] == "would take out nothing\n"
    assert state(shell, "prune", "--older-than", "90d", "--compact")[1] == "took out nothing\n"
    config = shell.root / "flowrun.yaml"
    config.write_text(config.read_text() + "\nstore: { keep: 30d }\n")
    assert state(shell, "prune", "--dry-run") == (0, "would take out nothing\n", "")
    assert shell("validate")[0] == 0
    config.write_text(config.read_text().replace("keep: 30d", "keep: soon"))
    assert "FR039" in shell("validate")[1]


def test_forget(shell: Shell) -> None:
    assert state(shell, "forget", "--reason", "r")[0] == 2
    code, out, _ = state(shell, "forget", "--containing", "p2@example.com", "--reason", "r")
    assert code == 0 and f"{FLOW} 2 #2: received" in out and "nothing was erased: say --yes" in out
    code, _, err = state(shell, "forget", "--containing", "p2@example.com", "--reason", "r", "--yes")
    assert code == 2 and "still to be delivered" in err
    store = open_store(shell.root / PLACE)
    with store.transaction() as tx:
        tx.exec_driver_sql("UPDATE records SET state = 'dead' WHERE key = '2'")
    store.close()
    code, _, err = state(shell, "forget", "2", "--flow", FLOW, "--reason", "r", "--yes")
    assert code == 2 and "--discard" in err
    code, out, _ = state(shell, "forget", "2", "--flow", FLOW, "--reason", "r", "--yes", "--discard")
    assert code == 0 and "erased 1 records" in out
    assert b"p2@example.com" not in (shell.root / PLACE).read_bytes()
    assert "no record holds" in state(shell, "forget", "--containing", "p2@example.com", "--reason", "r")[2]
