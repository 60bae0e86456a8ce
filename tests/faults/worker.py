"""A process of its own that delivers what a store holds: ``python -m tests.faults.worker JSON``, as ``Mill`` starts it.

Prints "ready" when the store is open, at the end its counts as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import event

from flowrun.cli.stopping import stoppable
from flowrun.connections import build
from flowrun.connector import discover
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import run_flow
from flowrun.store import Store, open_store, postgres
from flowrun.values import system_clock


def main(told: dict[str, Any]) -> None:
    if told["plant"]:
        import pytest

        from tests.faults.planted import BUGS

        BUGS[told["plant"]](pytest.MonkeyPatch())
    root, speed = Path(told["root"]), told["speed"]
    project, registry = load_project(root), discover()
    flow = load_flow(told["flow"], project, registry)
    plan = compile_plan(flow, project.environment("test").values)
    start = datetime.fromisoformat(told["start"])
    place = told["place"] if "://" in told["place"] else Path(told["place"])
    postgres.IDLE_SECS = 2.0
    store = open_store(place, now=(lambda: start + (datetime.now(UTC) - start) * speed) if speed > 1 else None)
    store.lanes.lease_secs = told["lease"] * speed
    target = build(registry["s4hana"], "s4", {**told["erp"], **told["limits"]}, now=system_clock, root=root)
    if told["freeze"]:
        freeze_after(store, told["freeze"])
    print("ready", flush=True)
    with stoppable() as stopping:
        summary = run_flow(
            flow, plan, target=target, store=store, intake=False, override_guard=True, wait_secs=told["wait"],
            sleep=lambda secs: stopping.wait(secs / speed), seams=freezes_at(told["freeze_at"]), stopping=stopping,
        )  # fmt: skip
    store.close()
    print(json.dumps(summary.as_counts()))


def stand_still() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def freeze_after(store: Store, words: str) -> None:
    """In the middle of a transaction that holds row locks: after the first statement with these words."""
    left = [words]

    @event.listens_for(store.database.engine, "after_cursor_execute")
    def executed(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if left and left[0] in statement:
            left.clear()
            stand_still()


def freezes_at(seam: str) -> Any:
    left = [seam]

    def passed(name: str) -> None:
        if left and name == left[0]:
            left.clear()
            stand_still()

    return passed


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
