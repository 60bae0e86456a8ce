"""The statements of the hot path find what they need by an index, on both databases, whatever is in the tables."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from flowrun.store import Incoming, Store, statements
from flowrun.store.statements import Statement

ALL = {name: one for name, one in vars(statements).items() if isinstance(one, Statement)}
WAITING = 20_000  # records that nobody asks for here: enough that no plan may go through them
LISTS = {"ids": [1, 2], "names": ["a", "b"], "flow": "f", "lane": "a", "connection": "to", "worker": "w"}
TABLES = {"records", "journal", "heads", "lanes"}


def plan(store: Store, statement: Statement) -> list[str]:
    """As the database says that it would run it."""
    clause = statement.on[store.database.engine.dialect.name]
    explain = "EXPLAIN" if store.database.shared else "EXPLAIN QUERY PLAN"
    asked = Statement(f"{explain} {clause.text}")
    row = [{"int": 1, "float": 1.0}.get(kind, "a") for kind in statement.columns.values()]
    values = {name: LISTS.get(name, [row] if name == "rows" else 1) for name in clause.compile().params}
    with store.transaction() as tx:
        return [found[-1] for found in asked.run(tx, **values)]


def fill(store: Store) -> None:
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :waiting) "
    with store.transaction() as tx:
        for table, names, values in (
            ("lanes", "flow, lane, due, fence", "'f', CAST(i AS text), 1, 0"),
            ("heads", "flow, key, fingerprint, at", "'f', CAST(i AS text), '', 1"),
            ("journal", "flow, intent, seq, state, fingerprint, body, at",
             "'f', CAST(i AS text), i, 'in_doubt', '', :body, 1"),
            ("records", "flow, key, lane, state, attempts, payload, edited, received_at, changed_at",
             "'f', CAST(i AS text), CAST(i AS text), 'received', 0, :body, 0, 1, 1"),
        ):  # fmt: skip
            values = values.replace(":body", f"CAST('{'x' * 200}' AS {'bytea' if store.database.shared else 'blob'})")
            tx.execute(text(f"INSERT INTO {table} ({names}) {numbers} SELECT {values} FROM n"), {"waiting": WAITING})


def test_no_statement_goes_through_a_table(store: Store) -> None:
    fill(store)
    wrong = []
    for name, statement in ALL.items():
        lines = plan(store, statement)
        through = [found[1] for line in lines if (found := re.search(r"(?:Seq Scan on|^SCAN) (\w+)", line))]
        if set(through) & TABLES or any(line.endswith("(flow=?)") for line in lines):
            wrong.append("\n".join([name, *lines]))
    assert not wrong, "\n\n".join(wrong)


def test_a_list_may_be_empty_or_hold_anything(store: Store) -> None:
    odd = ["", "'", '"', "\\", "{}", "[,]", "\n", ":ids", "%s", "ü€😀", "null", "1"]
    store.inbox.add("f", [Incoming(key, None, key, {"v": key}) for key in odd])
    with store.transaction() as tx:
        assert statements.HEADS.run(tx, flow="f", names=[]).all() == []
        assert statements.HELD.run(tx, ids=[]).all() == []
        assert sorted(key for key, *_ in statements.HEADS.run(tx, flow="f", names=odd)) == sorted(odd)
        assert tx.execute(text("SELECT count(*) FROM lanes")).scalar() == len(odd)
    assert [(row.key, row.payload) for row in store.records(flow="f")] == [(key, {"v": key}) for key in odd]


def test_large_payloads_go_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One value would be larger than a database takes."""
    monkeypatch.setattr(statements, "MOST_BYTES", 100)
    sizes = []
    encode = statements.encode_json
    monkeypatch.setattr(statements, "encode_json", lambda value: sizes.append(len(encode(value))) or encode(value))
    notes = ["x" * n for n in (0, 90, 90, 500, 1, 1)]
    store.inbox.add("f", [Incoming(str(n), None, str(n), {"note": note}) for n, note in enumerate(notes)])
    assert [row.payload["note"] for row in store.records(flow="f")] == notes, "all, and in their order"
    assert max(sizes) < 600
