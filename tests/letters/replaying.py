"""Replays dead letters in a process of its own, over a target that keeps each object as a line of a file, and ends at
once when it passes a seam for the n-th time. Told in JSON as the first argument."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from flowrun.connector import Item, Receipt, Verdict, discover
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import run_flow
from flowrun.store import open_store
from flowrun.values import system_clock


class Ledger:
    """Each call is one write, as a system would commit it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def find(self, object: str, by: dict[str, Any]) -> Sequence[Receipt]:
        return [Receipt(one["ref"]) for one in self.lines() if one["ref"] == by["ref"]]

    def deliver(self, items: Sequence[Item]) -> Sequence[Verdict]:
        with self.file.open("a") as out:
            out.write("".join(json.dumps(item.body, default=str) + "\n" for item in items))
        return [Receipt(str(item.body["ref"]), True) for item in items]


def main(told: dict[str, Any]) -> None:
    left = told["count"]

    def seam(name: str) -> None:
        nonlocal left
        if name == told["seam"]:
            left -= 1
            if left == 0:
                os._exit(9)

    root = Path(told["root"])
    flow = load_flow("orders", load_project(root), discover())
    place = told["store"] if "://" in told["store"] else Path(told["store"])
    store = open_store(place, now=lambda: system_clock() + timedelta(seconds=told["later"]))
    dead = store.records(flow="orders", state="dead", limit=100_000)
    (store.letters.replay_as_ran if told["as_ran"] else store.letters.replay)(dead, "tester")
    seam("replayed")
    summary = run_flow(
        flow, compile_plan(flow, {}), target=Ledger(root / "ledger"), store=store, intake=False, seams=seam
    )
    store.close()
    print(json.dumps(summary.as_counts()))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
