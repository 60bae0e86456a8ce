"""Replays: in order, each once however often and wherever cut off; as it ran, or through the flow as it is now."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flowrun.connector import discover
from flowrun.errors import DeliveryUnknown, ProjectError, Refused, Unavailable
from flowrun.flow import load_flow
from flowrun.plan import compile_plan
from flowrun.project import load_project
from flowrun.runner import Summary, run_flow
from flowrun.runner.preview import differences, preview
from flowrun.store import Row, Store, open_store
from flowrun.store.lanes import LEASE_SECS
from tests.letters import replaying
from tests.letters.replaying import Ledger
from tests.runner.test_edges import CREATE, PROJECT, Scripted

KEY = '"x-{{ it.id }}", find_existing: ref'


class Desk:
    def __init__(self, root: Path, store: Store) -> None:
        (root / "flows").mkdir()
        (root / "flowrun.yaml").write_text(PROJECT)
        self.root, self.store, self.target, self.slept = root, store, Scripted(), 0.0
        self.flow(CREATE)

    def flow(self, text: str) -> None:
        (self.root / "flows/orders.yaml").write_text(text)
        self.checked = load_flow("orders", load_project(self.root), discover())
        self.plan = compile_plan(self.checked, {})

    def run(self, *records: Mapping[str, Any], **more: Any) -> Summary:
        return run_flow(
            self.checked, self.plan, target=self.target, store=self.store, records=list(records),
            sleep=lambda secs: None, **{"wait_secs": 0, **more},
        )  # fmt: skip

    def dead(self) -> list[Row]:
        return self.store.records(flow="orders", state="dead")

    def refuse(self, *records: Mapping[str, Any]) -> list[Row]:
        """Records that the target refused."""
        self.target.script = lambda body: Refused("closed on Sundays")
        self.run(*records)
        self.target.script = lambda body: None
        self.target.calls.clear()
        return self.dead()

    def sent(self) -> list[Mapping[str, Any]]:
        return [body for call in self.target.calls for body in call]


@pytest.fixture
def desk(tmp_path: Path, store: Store) -> Iterator[Desk]:
    return Desk(tmp_path, store)


NOW = CREATE.replace("amount: it.amount", 'amount: it.amount, note: "{{ it.id }} new"')


def test_current_is_through_the_flow_as_it_is_now(desk: Desk) -> None:
    rows = desk.refuse({"id": "1", "amount": 10})
    desk.flow(NOW)
    assert desk.store.letters.replay(rows, "anna") == 1
    desk.run()
    assert desk.sent() == [{"ref": "X-1", "amount": 10, "note": "1 new"}]


def test_as_ran_is_what_was_sent_under_the_same_key(desk: Desk) -> None:
    rows = desk.refuse({"id": "1", "amount": 10})
    desk.flow(NOW.replace('key: "x-', 'key: "other-'))
    assert desk.store.letters.replay_as_ran(rows, "anna") == 1
    assert desk.run().counts.confirmed == 1
    assert desk.sent() == [{"ref": "X-1", "amount": 10}]
    assert desk.store.outcomes.known("orders", ["x-1"])["x-1"]["state"] == "done"


def test_as_ran_stays_as_ran_through_a_retry(desk: Desk) -> None:
    rows = desk.refuse({"id": "1", "amount": 10})
    desk.flow(NOW.replace("wait: 2s", "wait: 1s"))
    desk.store.letters.replay_as_ran(rows, "anna")
    answers: list[Any] = [Unavailable("down"), None]
    desk.target.script = lambda body: answers.pop(0)
    desk.run(wait_secs=60)
    while desk.store.counts("orders") != {"confirmed": 1}:
        desk.run(wait_secs=60)
    assert desk.sent() == [{"ref": "X-1", "amount": 10}] * 2


def test_as_ran_asks_first_what_may_have_arrived(desk: Desk) -> None:
    """The answer was lost and the target could not be asked until the tries were used up; it holds the object."""
    desk.flow(CREATE.replace("unknown_outcome: { retry: { times: 2, wait: 2s, max_wait: 10s } }",
                             "unknown_outcome: { dead_letter: orders }"))  # fmt: skip
    desk.target.script = lambda body: DeliveryUnknown("no answer")
    desk.run({"id": "1", "amount": 10})
    desk.target.script = lambda body: None
    desk.target.calls.clear()
    desk.store.letters.replay_as_ran(desk.dead(), "anna")
    assert desk.run().counts.asked == 1
    assert desk.sent() == [] and desk.store.counts("orders") == {"confirmed": 1}


def test_as_ran_of_a_corrected_letter_is_refused_and_none_goes(desk: Desk) -> None:
    _, two = desk.refuse({"id": "1", "amount": 10}, {"id": "2", "amount": 10})
    desk.store.letters.edit(two, {"id": "2", "amount": 11}, "anna")
    with pytest.raises(ProjectError, match="1 of 2 were corrected, so what ran is not what is meant: 2"):
        desk.store.letters.replay_as_ran(desk.dead(), "anna")
    assert [row.key for row in desk.dead()] == ["1", "2"]


def test_what_is_no_letter_any_more_is_not_touched(desk: Desk) -> None:
    rows = desk.refuse({"id": "1", "amount": 10})
    desk.store.letters.discard(rows, "no", "anna")
    assert desk.store.letters.replay(rows, "anna") == 0
    assert desk.store.letters.edit(rows[0], {"id": "9"}, "anna") == 0
    assert desk.store.letters.replay_as_ran(rows, "anna") == 0
    assert desk.store.counts("orders") == {"discarded": 1}


def test_preview_says_what_the_replay_then_does(desk: Desk) -> None:
    desk.run({"id": "0", "amount": 1})
    rows = desk.refuse({"id": "1", "amount": 10}, {"id": "2", "amount": 20}, {"id": "3", "amount": 30})
    desk.store.letters.edit(rows[2], {"id": "0", "amount": 30}, "anna")
    desk.flow(CREATE.replace("amount: it.amount", "amount: it.amount, size: it.size"))
    desk.store.letters.edit(rows[0], {"id": "1", "amount": 10, "size": 4}, "anna")
    desk.store.letters.edit(rows[2], {"id": "0", "amount": 30, "size": 4}, "anna")
    found = preview(desk.checked, desk.plan, desk.store, desk.dead(), {})
    assert [row.key for row in found.sent] == ["1"] and found.total == 3
    assert {one.error_class: len(one.rows) for one in found.failing} == {"bad_data": 1, "duplicate": 1}
    assert found.bodies == {rows[0].seq: {"ref": "X-1", "amount": 10, "size": 4}}
    assert desk.sent() == [] and len(desk.dead()) == 3
    desk.store.letters.replay(desk.dead(), "anna")
    desk.run()
    assert desk.sent() == [{"ref": "X-1", "amount": 10, "size": 4}]
    assert [(row.key, row.error_class) for row in desk.dead()] == [("2", "bad_data")]


def test_preview_knows_what_is_there_and_what_must_be_asked(desk: Desk) -> None:
    desk.run({"id": "0", "amount": 1})
    rows = desk.refuse({"id": "1", "amount": 1})
    desk.store.letters.edit(rows[0], {"id": "0", "amount": 1}, "anna")
    found = preview(desk.checked, desk.plan, desk.store, desk.dead(), {})
    assert [row.key for row in found.known] == ["1"] and not found.sent
    desk.flow(CREATE.replace("unknown_outcome: { retry: { times: 2, wait: 2s, max_wait: 10s } }",
                             "unknown_outcome: { dead_letter: orders }"))  # fmt: skip
    desk.target.script = lambda body: DeliveryUnknown("no answer")
    desk.run({"id": "5", "amount": 1})
    found = preview(desk.checked, desk.plan, desk.store, desk.dead()[1:], {})
    assert [row.key for row in found.asked] == ["5"]


def test_a_diff_names_each_value_that_differs() -> None:
    old = {"a": 1, "items": [{"x": 1}, {"x": 2}], "gone": "y"}
    new = {"a": 1, "items": [{"x": 1}, {"x": 3}, {"x": 4}], "new": "z"}
    assert differences(old, new) == [
        ("items[1].x", 2, 3), ("items[2]", None, {"x": 4}), ("gone", "y", None), ("new", None, "z"),
    ]  # fmt: skip


# -- cut off -----------------------------------------------------------------------------------------------------------


def child(
    desk: Desk, place: Path | str, seam: str, count: int, as_ran: bool, later: float
) -> subprocess.CompletedProcess[str]:
    told = {"root": str(desk.root), "store": str(place), "seam": seam, "count": count, "as_ran": as_ran, "later": later}
    return subprocess.run(
        [sys.executable, replaying.__file__, json.dumps(told)],
        capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip


def replayed_twice_and_killed(desk: Desk, place: Path | str, letters: int, seam: str, count: int, as_ran: bool) -> None:
    desk.flow(CREATE.replace(KEY, '"x-{{ it.id }}-{{ it.amount }}", find_existing: ref').replace(
        '"X-{{ it.id }}"', '"X-{{ it.id }}-{{ it.amount }}"'))  # fmt: skip
    desk.refuse(*({"id": str(n), "amount": 1} for n in range(letters)))
    desk.run(*({"id": str(n), "amount": 2} for n in range(0, letters, 10)))  # these wait behind the dead letters
    desk.store.close()
    killed = child(desk, place, seam, count, as_ran, 0)
    assert killed.returncode == 9, killed.stderr
    for _ in range(2):
        again = child(desk, place, "", 0, as_ran, LEASE_SECS + 1)  # what the killed one held is free again by then
        assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["sends"] == 0, "a second replay has nothing to send"
    wanted = [f"X-{n}-{a}" for n in range(letters) for a in ((1, 2) if n % 10 == 0 else (1,))]
    refs = [one["ref"] for one in Ledger(desk.root / "ledger").lines()]
    assert sorted(refs) == sorted(wanted), "each once"
    at = {ref: index for index, ref in enumerate(refs)}
    assert all(at[f"X-{n}-1"] < at[f"X-{n}-2"] for n in range(0, letters, 10)), "each key in its order"
    store = open_store(place)
    try:
        assert store.counts("orders") == {"confirmed": len(wanted)}
    finally:
        store.close()


@pytest.mark.parametrize("as_ran", [False, True])
@pytest.mark.parametrize(("seam", "count"), [("replayed", 1), ("intended", 2), ("answered", 20), ("settled", 2)])
def test_letters_replayed_twice_with_a_kill_in_between_go_once(
    desk: Desk, store_place: Path | str, seam: str, count: int, as_ran: bool
) -> None:
    replayed_twice_and_killed(desk, store_place, 60, seam, count, as_ran)


@pytest.mark.soak
def test_ten_thousand_letters_replayed_twice_with_a_kill_in_between_go_once(
    desk: Desk, store_place: Path | str
) -> None:
    replayed_twice_and_killed(desk, store_place, 10_000, "answered", 4_321, False)
