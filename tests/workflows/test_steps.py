"""Steps of a workflow on both databases: in order, each once, with the answers of those before."""

from __future__ import annotations

from typing import Any

import pytest

from flowrun.errors import DeliveryUnknown, ProjectError, Refused, Unavailable
from flowrun.store.forgetting import forget, holding
from flowrun.store.pruning import prune
from flowrun.store.tracing import Tracing
from flowrun.store.verifying import verify
from tests.workflows.conftest import HEAD, Bench

STEPS = """
  - id: order
    read: { connection: from, object: things, find: { id: it.id } }
  - id: made
    write:
      connection: to
      object: things
      action: create
      idempotency: { key: "x-{{ it.id }}", find_existing: ref }
      save: [{ xref: things, source_id: it.id, target_id: response.id }]
      map: { ref: "X-{{ it.id }}", amount: steps.order.response.amount }
  - id: size
    choose:
      - when: steps.order.response.amount > 100
        steps:
          - id: note
            write:
              connection: to
              object: notes
              action: create
              idempotency: { key: "n-{{ it.id }}", find_existing: ref }
              map: { ref: "N-{{ it.id }}", of: steps.made.response.id }
      - otherwise: true
        steps: []
  - id: marked
    when: steps.size.branch == 'note'
    write:
      connection: to
      object: things
      action: update
      match: id
      map: { id: steps.made.response.id, state: { value: noted } }
"""
SEAMS = [
    ("read", 1), ("mapped", 1), ("intended", 1), ("answered", 1), ("settled", 1), ("settled", 2), ("mapped", 2),
    ("intended", 2), ("answered", 2), ("settled", 3), ("mapped", 3), ("intended", 3), ("answered", 3), ("settled", 4),
]  # fmt: skip


class Killed(BaseException):
    pass


def kill_at(seam: str, count: int) -> Any:
    left = count

    def pass_(name: str) -> None:
        nonlocal left
        if name == seam:
            left -= 1
            if left == 0:
                raise Killed

    return pass_


@pytest.fixture
def two(bench: Bench) -> Bench:
    bench.write(STEPS)
    bench.world.records |= {("things", "1"): {"id": "1", "amount": 500}, ("things", "2"): {"id": "2", "amount": 7}}
    return bench


def test_each_step_sees_the_answers_of_those_before(two: Bench) -> None:
    summary = two.run({"id": "1"}, {"id": "2"})
    assert summary.counts.confirmed == 2 and two.states() == {"confirmed": 2}
    assert two.world.held == {
        ("things", "X-1"): {"ref": "X-1", "amount": 500},
        ("notes", "N-1"): {"ref": "N-1", "of": "TX-1"},
        ("things", "TX-1"): {"id": "TX-1", "state": "noted"},
        ("things", "X-2"): {"ref": "X-2", "amount": 7},
    }
    assert two.steps("1") == dict.fromkeys(["order", "made", "size", "note", "marked"], "done")
    assert two.steps("2") == {"order": "done", "made": "done", "size": "done", "marked": "skipped"}
    assert two.store.xrefs.look_up("things", ["1", "2"]) == {"1": "TX-1", "2": "TX-2"}
    two.run({"id": "1"}, {"id": "2"})
    assert len(two.world.writes) == 4, "the same records again change nothing"


@pytest.mark.parametrize(("seam", "count"), SEAMS)
def test_killed_at_a_seam_and_started_again_each_step_is_done_once(two: Bench, seam: str, count: int) -> None:
    with pytest.raises(Killed):
        two.run({"id": "1"}, seams=kill_at(seam, count))
    two.slept += 200  # nobody says that a worker died
    two.run()
    assert two.states() == {"confirmed": 1}
    creates = [body["ref"] for _, action, body in two.world.writes if action == "create"]
    assert creates == ["X-1", "N-1"], "what was created is there once"
    assert two.world.held["things", "TX-1"] == {"id": "TX-1", "state": "noted"}
    assert two.steps("1") == dict.fromkeys(["order", "made", "size", "note", "marked"], "done")


def test_a_step_that_fails_for_good_is_a_dead_letter_that_names_it_and_a_replay_goes_on_there(two: Bench) -> None:
    two.world.script = lambda object, body: Refused("no notes today") if object == "notes" else None
    two.run({"id": "1"})
    (letter,) = two.store.records(state="dead")
    assert letter.error_field == "step note" and letter.error_class == "rejected" and letter.queue == "work"
    assert two.steps("1") == {"order": "done", "made": "done", "size": "done", "note": "failed"}
    with pytest.raises(ProjectError, match="a workflow did more than one thing"):
        two.store.letters.replay_as_ran([letter], "tester")
    gets = two.world.gets
    two.world.script = lambda object, body: None
    two.store.letters.replay([letter], "tester")
    two.run()
    assert two.states() == {"confirmed": 1}
    assert [body.get("ref") for _, _, body in two.world.writes] == ["X-1", "N-1", None]
    assert two.world.gets == gets, "what was read before a write stays read"


def test_a_replay_reads_again_what_nothing_written_rests_on(bench: Bench) -> None:
    steps = STEPS[: STEPS.index("  - id: made")] + STEPS[STEPS.index("  - id: size") : STEPS.index("  - id: marked")]
    bench.write(steps.replace("of: steps.made.response.id", "of: it.id"))
    bench.world.records["things", "1"] = {"id": "1", "amount": None}
    bench.run({"id": "1"})
    (letter,) = bench.store.records(state="dead")
    assert (letter.error_class, letter.error_field) == ("bad_data", "step size: when")
    assert bench.steps("1") == {"order": "done", "size": "failed"}
    bench.world.records["things", "1"] = {"id": "1", "amount": 500}
    bench.store.letters.replay([letter], "tester")
    bench.run()
    assert bench.states() == {"confirmed": 1} and bench.world.gets == 2
    assert list(bench.world.held) == [("notes", "N-1")]


def test_a_lost_answer_is_asked_for_and_the_workflow_goes_on(two: Bench) -> None:
    lost = iter([DeliveryUnknown("no answer")])
    two.world.after = lambda object, body: next(lost, None) if object == "things" else None
    two.run({"id": "1"})
    assert two.states() == {"confirmed": 1}
    assert [body.get("ref") for _, _, body in two.world.writes] == ["X-1", "N-1", None]


def test_tries_are_counted_by_step(two: Bench) -> None:
    down = {"things": 3, "notes": 3}

    def script(object: str, body: Any) -> Any:
        down[object] -= 1
        return Unavailable("down") if down[object] >= 0 else None

    two.world.script = script
    two.run({"id": "1"})
    assert two.states() == {"confirmed": 1}, "three retries each, not three together"


def test_a_read_that_fails_is_tried_again_and_burns_nothing_else(two: Bench) -> None:
    left = [Unavailable("down"), Unavailable("down")]

    def reading(object: str, key: Any) -> None:
        if left:
            raise left.pop()

    two.world.reading = reading
    two.run({"id": "1"})
    assert two.states() == {"confirmed": 1} and two.world.gets == 3


def test_what_is_not_there_to_read_is_not_found(two: Bench) -> None:
    two.run({"id": "9"})
    (letter,) = two.store.records(state="dead")
    assert (letter.error_class, letter.error_field) == ("not_found", "step order")
    assert letter.error_message == "things has no record with id = 9"


def test_bad_data_in_a_step_names_step_and_field(two: Bench) -> None:
    two.world.records["things", "1"] = {"id": "1"}
    two.run({"id": "1"})
    (letter,) = two.store.records(state="dead")
    assert (letter.error_class, letter.error_field) == ("bad_data", "step made: amount")
    assert not two.world.writes


def test_a_newer_version_waits_for_a_workflow_that_is_under_way(bench: Bench) -> None:
    bench.write(STEPS, HEAD.replace("key: it.id }", "key: it.id, version: it.v }"))
    bench.world.records |= {("things", "1"): {"id": "1", "amount": 500}}
    down = {"notes": 1}

    def script(object: str, body: Any) -> Any:
        down[object] = down.get(object, 0) - 1
        return Unavailable("down") if down[object] >= 0 else None

    bench.world.script = script
    bench.run({"id": "1", "v": "1"}, wait_secs=0)
    bench.run({"id": "1", "v": "2"})
    assert bench.states() == {"confirmed": 2}, "the first was not given up half way"


def test_an_open_circuit_of_another_system_rests_the_workflow_without_burning_a_try(two: Bench) -> None:
    two.store.circuits.pause("from", "closed today")
    two.store.circuits.pause("to", "x")
    two.store.circuits.close("to")
    summary = two.run({"id": "1"}, wait_secs=0)
    assert two.world.gets == 0 and summary.waiting == 1
    (row,) = two.store.records(flow="work")
    assert row.attempts == 0 and row.error_message == "from does not answer: closed today"
    two.store.circuits.close("from")
    two.slept += 1000
    two.run()
    assert two.states() == {"confirmed": 1}


def test_an_outage_half_way_is_waited_for_by_the_connection(two: Bench) -> None:
    two.world.script = lambda object, body: Unavailable("down") if object == "notes" else None
    two.run(*({"id": "1"},), wait_secs=0)
    assert two.states() == {"received": 1}
    two.world.script = lambda object, body: None
    two.slept += 1000
    two.run()
    assert two.states() == {"confirmed": 1}
    assert [body.get("ref") for _, _, body in two.world.writes] == ["X-1", "N-1", None]


def test_a_trace_tells_every_step(two: Bench) -> None:
    two.run({"id": "1"})
    (life, *_) = Tracing(two.store.database).follow("1", "work")
    told = [event.words for event in life.events if event.event == "step"]
    assert told == [
        "order (read): done", "made (write): done", "size (choose): done, branch note", "note (write): done",
        "marked (write): done",
    ]  # fmt: skip


def test_what_is_forgotten_and_pruned_leaves_no_step(two: Bench) -> None:
    two.world.records["things", "1"] = {"id": "1", "amount": 500, "mail": "dana@example.com"}
    two.run({"id": "1"})
    (row,) = holding(two.store.database, "dana@example.com")
    forget(two.store.database, [row], reason="asked", who="tester")
    assert holding(two.store.database, "dana@example.com") == [] and verify(two.store.database) == []
    two.slept += 1000
    prune(two.store.database, before=two.store.time(), who="tester")
    assert two.store.steps.of([row.seq]) == {} and verify(two.store.database) == []


WAITS = """
  - id: invoice
    wait: { connection: from, object: things, find: { of: it.id }, every: 15m, at_most: 7d }
  - id: noted
    write:
      connection: to
      object: notes
      action: create
      idempotency: { key: "n-{{ it.id }}", find_existing: ref }
      map: { ref: "N-{{ it.id }}", of: steps.invoice.response.number }
"""


def test_a_wait_holds_nothing_and_goes_on_when_it_is_there(bench: Bench) -> None:
    bench.write(WAITS)
    summary = bench.run({"id": "1"}, wait_secs=0)
    assert summary.waiting == 1 and summary.next_due_in == pytest.approx(900, abs=1)
    assert bench.steps() == {"invoice": "waiting"} and not bench.world.writes
    bench.reopen()
    bench.slept += 901
    bench.run(wait_secs=0)
    (row,) = bench.store.records(flow="work")
    assert bench.steps() == {"invoice": "waiting"} and row.attempts == 0 and row.error_class is None
    bench.world.records["things", "9001"] = {"of": "1", "number": "9001"}
    bench.slept += 901
    bench.run(wait_secs=0)
    assert bench.states() == {"confirmed": 1} and bench.world.held["notes", "N-1"]["of"] == "9001"


def test_a_wait_ends_after_its_time_whatever_was_started_again_meanwhile(bench: Bench) -> None:
    bench.write(WAITS)
    bench.run({"id": "1"}, wait_secs=0)
    bench.slept += 6 * 86400
    bench.reopen()
    bench.run(wait_secs=0)
    assert bench.states() == {"received": 1}
    bench.slept += 86400 + 1
    bench.run(wait_secs=0)
    (letter,) = bench.store.records(state="dead")
    assert (letter.error_class, letter.error_field) == ("rejected", "step invoice")
    assert letter.error_message == "no things with of = 1 came within 604800 s" and not bench.world.writes
    bench.store.letters.replay([letter], "tester")
    bench.run(wait_secs=0)
    assert bench.states() == {"received": 1}, "a replay waits anew"


@pytest.mark.parametrize(("seam", "count"), [("looked", 1), ("looked", 2), ("settled", 1), ("answered", 1)])
def test_killed_while_it_waits(bench: Bench, seam: str, count: int) -> None:
    bench.write(WAITS)

    def sleep(secs: float) -> None:
        bench.slept += secs
        bench.world.records["things", "9001"] = {"of": "1", "number": "9001"}

    with pytest.raises(Killed):
        bench.run({"id": "1"}, seams=kill_at(seam, count), wait_secs=1000, sleep=sleep)
    bench.slept += 200
    bench.run(wait_secs=1000, sleep=sleep)
    assert bench.states() == {"confirmed": 1}
    assert [body["ref"] for _, _, body in bench.world.writes] == ["N-1"]
