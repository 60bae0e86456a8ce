"""Who asks why is told when a live system cannot be asked; nobody is told that it has no row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from flowrun.comparing.differences import Side, compare
from flowrun.connector import discover
from flowrun.errors import Unavailable
from flowrun.flow import load_flow
from flowrun.lookups import MISS
from flowrun.plan import compile_plan
from flowrun.planning.looking import looked_up
from flowrun.project import load_project
from tests.runner.test_edges import CREATE, PROJECT, Bench

LIVE = (
    'lookups:\n  names: { connection: to, object: things, find: id, return: name, on_miss: { use: "-" } }\n'
    "  towns: { xref: towns, on_miss: error }\n"
    "map: { name: { from: it.who, lookup: names, optional: true }, town: { from: it.town, lookup: towns },"
)


class Names:
    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    def get(self, object: str, key: Mapping[str, Any], expand: Sequence[str] = ()) -> Mapping[str, Any] | None:
        if self.failures:
            raise self.failures.pop()
        return {"name": f"N {key['id']}"}


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path)
    (tmp_path / "flowrun.yaml").write_text(
        PROJECT.replace("find: { path: a } } }", 'find: { path: a }, get: { path: "a/{id}" } } }')
    )
    (tmp_path / "flows" / "orders.yaml").write_text(CREATE.replace("map: {", LIVE))
    made.project = load_project(tmp_path)
    made.store.xrefs.put([("towns", "u", "Ulm")], "tester")
    yield made
    made.store.close()


RECORD = {"id": "1", "amount": 1, "who": "a", "town": "u"}


def test_all_that_a_record_looks_up(bench: Bench) -> None:
    flow = load_flow("orders", bench.project, discover())
    plan = compile_plan(flow, {})
    assert looked_up(flow, plan, RECORD, bench.store, {"to": Names()}).held == {
        "names": {"a": "N a"}, "towns": {"u": "Ulm"}
    }  # fmt: skip
    assert looked_up(flow, plan, RECORD, bench.store).held == {"names": {"a": MISS}, "towns": {"u": "Ulm"}}
    with pytest.raises(Unavailable, match="down"):
        looked_up(flow, plan, RECORD, bench.store, {"to": Names(Unavailable("down"))})


def test_versions_are_not_compared_by_what_could_not_be_asked(bench: Bench) -> None:
    flow = load_flow("orders", bench.project, discover())
    side = Side(flow, compile_plan(flow, {}), bench.root)
    assert compare(side, side, [RECORD], store=bench.store, connections={"to": Names()}).differing == 0
    with pytest.raises(Unavailable, match="down"):
        compare(side, side, [RECORD], store=bench.store, connections={"to": Names(*[Unavailable("down")] * 2)})
