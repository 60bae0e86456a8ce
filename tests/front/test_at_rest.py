"""What a real run leaves behind with ``encrypt: true``, as commands make it: nothing of a record in any file or table."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from clikit import Shell
from sqlalchemy import text
from test_masks import FLOW, MAIL, NAME, NOTE, PHONE, PROJECT, TINT, person

from flowrun.credentials.token import Token
from flowrun.store import open_store
from flowrun.store import schema as t
from flowrun.store.cover import Cover
from flowrun.store.database import open_database
from flowrun.store.seal import Seal
from flowrun.store.vault import Vault
from flowrun.values import Secret, system_clock

LARGE = "large-canary"
OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
CANARIES = [one.encode() for one in (MAIL, MAIL.upper(), NAME, NOTE, str(PHONE), TINT, "corrected-canary", LARGE)]


@pytest.fixture
def shell(
    tmp_path: Path, store_place: Path | str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    root = tmp_path / "project"
    for folder in ("flows", "out", "in"):
        (root / folder).mkdir(parents=True)
    monkeypatch.chdir(root)
    for name in [*os.environ]:
        if name.startswith("FLOWRUN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLOWRUN_STORE", str(store_place))
    without = "\n".join(line for line in PROJECT.split("\n") if "privacy" not in line)
    (root / "flowrun.yaml").write_text(without + "store: { key: { env: FLOWRUN_KEY }, encrypt: true }\n")
    monkeypatch.setenv("FLOWRUN_KEY", OLD)
    (root / "flows/people.yaml").write_text("\n".join(line for line in FLOW.split("\n") if "privacy" not in line))
    # More than a page of the database: when it is written anew, what it stood in becomes free space.
    large = person("5", remark=f"{LARGE} " * 1000)
    records = [large, person("1"), person("2", kind=MAIL), person("3", n=99), person("4", phone=f"tel of {MAIL}")]
    (root / "out/people.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return Shell(root, capsys)


def lived(shell: Shell) -> None:
    """Delivered, failed, told, corrected, replayed, given up; and seen whole by who asks."""
    assert shell("run", "people")[0] == 1
    assert NAME in shell("dlq", "show", "people", "3")[1] and MAIL in shell("explain", "people", "--key", "1")[1]
    assert shell("dlq", "edit", "people", "3", "--set", "n=5", "--set", "tint=corrected-canary")[0] == 0
    assert shell("dlq", "replay", "people", "3")[0] == 0
    assert shell("dlq", "discard", "people", "2", "--reason", "not ours")[0] == 0
    assert "corrected-canary" in (shell.root / "in/people.jsonl").read_text()


def everything(place: Path | str) -> bytes:
    """The files of SQLite, as they lie there; every value of every table of PostgreSQL."""
    if isinstance(place, Path):
        return b"".join(one.read_bytes() for one in place.parent.glob(f"{place.name}*"))
    database = open_database(place)
    with database.transaction() as tx:
        rows = [row for table in t.metadata.sorted_tables for row in tx.execute(table.select())]
    database.close()
    return b"\n".join(one if isinstance(one, bytes) else str(one).encode() for row in rows for one in row)


def test_nothing_of_a_record_is_left(shell: Shell, store_place: Path | str) -> None:
    lived(shell)
    assert shell("state", "backup", "copy.backup")[0] == 0
    for held in (everything(store_place), (shell.root / "copy.backup").read_bytes()):
        assert [one for one in CANARIES if one in held] == []
    assert shell("state", "verify")[0] == 0
    code, out, _ = shell("state", "forget", "--containing", MAIL, "--reason", "asked")
    assert code == 0 and "5 records; nothing was erased" in out


def test_without_it_all_of_it_is(shell: Shell, store_place: Path | str) -> None:
    """Or the test above would say nothing; then switched on, and off again."""
    project = shell.root / "flowrun.yaml"
    sealed = project.read_text()
    project.write_text(sealed.replace(", encrypt: true", ""))
    lived(shell)
    held = everything(store_place)
    assert [one for one in CANARIES if one not in held] == []
    project.write_text(sealed)
    assert shell("state", "rotate-key")[0] == 0
    held = everything(store_place)
    assert [one for one in CANARIES if one in held] == []
    project.write_text(sealed.replace(", encrypt: true", ""))
    code, out, _ = shell("state", "rotate-key")
    assert code == 0 and "no key: they are open" in out
    assert MAIL.encode() in everything(store_place) and shell("state", "verify")[0] == 0


def test_what_was_deleted_before_is_not_left_in_free_pages(shell: Shell, store_place: Path | str) -> None:
    """Encryption is switched on when records were pruned already."""
    project = shell.root / "flowrun.yaml"
    sealed = project.read_text()
    project.write_text(sealed.replace(", encrypt: true", ""))
    lived(shell)
    store = open_store(store_place)
    with store.transaction() as tx:
        if isinstance(store_place, Path):
            tx.exec_driver_sql("PRAGMA secure_delete=OFF")  # some builds of SQLite have it on from the start
        for table in ("history", "journal", "records"):
            tx.execute(text(f"DELETE FROM {table} WHERE seq IN (SELECT seq FROM records WHERE key = '5')"))
    store.close()
    assert (LARGE.encode() in everything(store_place)) == isinstance(store_place, Path)
    project.write_text(sealed)
    assert shell("state", "rotate-key")[0] == 0
    held = everything(store_place)
    assert [one for one in CANARIES if one in held] == []


def test_tokens_and_payloads_get_the_new_key(
    shell: Shell, store_place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(shell)
    database = open_database(store_place, beside=True)
    vault = Vault(database, system_clock, Seal(Secret(OLD)))
    lease = vault.lease("shop", 10)
    assert lease is not None
    vault.save("shop", Token(Secret("canary-token"), 90.0, 90.0, None, None, None, ""), 0, lease)
    database.close()
    before = {one["key"]: one["payload"] for one in map(json.loads, shell("dlq", "export")[1].splitlines())}
    monkeypatch.setenv("FLOWRUN_KEY", NEW)
    code, _, err = shell("run", "people")
    assert code == 4 and "the store is encrypted with key" in err and "Nothing was taken in" in err
    monkeypatch.setenv("FLOWRUN_KEY", f"{NEW} {OLD}")
    busy = open_store(store_place, cover=Cover(lambda: Seal(Secret(f"{NEW} {OLD}")), encrypts=True))
    code, out, _ = shell("state", "rotate-key")  # beside a process that holds the store
    busy.close()
    assert code == 0 and "; 1 tokens under key" in out
    monkeypatch.setenv("FLOWRUN_KEY", NEW)
    assert shell("run", "people")[0] == 0 and shell("state", "verify")[0] == 0
    assert before == {one["key"]: one["payload"] for one in map(json.loads, shell("dlq", "export")[1].splitlines())}
    database = open_database(store_place, beside=True)
    held = Vault(database, system_clock, Seal(Secret(NEW))).load("shop")
    with database.transaction() as tx:
        said = [row.detail for row in tx.execute(t.audit.select()) if row.action == "state rotate-key"]
    database.close()
    assert held is not None and held.token is not None and held.token.access == Secret("canary-token")
    assert said[0].startswith("begun: key ") and said[-1].startswith("ended: key ")
