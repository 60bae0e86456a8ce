"""Episodes on both databases: told once, at most so often, escalated, over by themselves, never lost, never in the way."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from flowrun.logs import hide
from flowrun.store import Ending, open_store
from flowrun.store.alert_book import LEASE_SECS
from flowrun.store.alert_rows import Example, Incident, Route
from flowrun.store.schema import metadata
from flowrun.values import Secret
from tests.alerts.conftest import World

DOWN = Incident("on-call", "network", "no route", flow="orders", connection="s4", owner="shop team", key="1001")
BAD = Incident("desk", "bad_data", "no row for '77'", flow="orders", owner="shop team", key="1007", place="f.yaml:3:5")


def test_migrations_make_exactly_the_tables(world: World) -> None:
    with world.store.transaction() as tx:
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []


def test_the_first_is_told_at_once_and_the_rest_at_most_every_hour(world: World) -> None:
    world.bury("1007")
    assert world.note(BAD) == [BAD]
    assert world.pump() == [("opened", "desk")]
    for _ in range(5):
        world.clock.on(minutes=10)
        assert world.note(BAD) == []
        assert world.pump() == []
    world.clock.on(minutes=10)
    assert world.pump() == [("reminder", "desk")]
    assert world.channels.heard[-1].alert.count == 6
    world.clock.on(hours=5)
    assert world.pump() == [], "nothing new: no reminder"


def test_every_is_the_channels_own(world: World) -> None:
    world.channels.routes = {"desk": Route(every_secs=60)}
    world.bury("1007")
    world.note(BAD)
    world.pump()
    world.note(BAD)
    world.clock.on(seconds=59)
    assert world.pump() == []
    world.clock.on(seconds=1)
    assert world.pump() == [("reminder", "desk")]


def test_one_alert_for_a_connection_whatever_flow_met_it(world: World) -> None:
    other = Incident("on-call", "network", "no route", flow="stock", connection="s4", owner="warehouse", key="M1")
    world.note(DOWN, other, DOWN)
    (alert,) = world.book.open()
    assert (alert.count, alert.flow, alert.connection) == (3, "", "s4")
    assert alert.flows == ("orders", "stock") and alert.owners == ("shop team", "warehouse")


def test_records_of_two_flows_and_two_classes_are_alerts_of_their_own(world: World) -> None:
    world.note(BAD, Incident("desk", "rejected", "no", flow="orders"), Incident("desk", "bad_data", "no", flow="stock"))
    assert [(a.flow, a.kind, a.count) for a in world.book.open()] == [
        ("orders", "bad_data", 1), ("orders", "rejected", 1), ("stock", "bad_data", 1),
    ]  # fmt: skip


def test_a_batch_counts_what_it_says(world: World) -> None:
    world.note(Incident("desk", "bad_data", "no", flow="orders", times=250))
    world.note(Incident("desk", "bad_data", "no", flow="orders", times=50))
    assert world.book.open()[0].count == 300


def test_a_new_flow_is_an_example_even_after_many_keys_of_another(world: World) -> None:
    world.note(*(Incident("x", "network", "no", flow="a", connection="s4", key=str(n)) for n in range(9)))
    world.note(Incident("x", "network", "no", flow="b", connection="s4", key="B"))
    (alert,) = world.book.open()
    assert alert.examples[-1] == Example("b", "", "B") and len(alert.examples) == 5
    assert alert.keys == ("0", "1", "2", "3", "B")


def test_a_success_of_the_connection_ends_it_and_that_is_told_once(world: World) -> None:
    world.note(DOWN)
    world.pump()
    world.settle("xcart")
    assert world.pump() == [], "another connection says nothing about this one"
    world.clock.on(minutes=3)
    world.settle()
    assert world.pump() == [("resolved", "on-call")]
    assert world.pump() == [] and world.book.open() == []
    (past,) = world.book.history()
    assert past.resolved_at == world.clock.at.timestamp()


def test_a_failure_after_the_success_keeps_it_open(world: World) -> None:
    world.note(DOWN)
    world.pump()
    world.settle()
    world.note(DOWN)
    assert world.pump() == [] and len(world.book.open()) == 1


def test_a_batch_that_met_both_settles_what_it_did_not_meet_itself(world: World) -> None:
    busy = replace(DOWN, kind="rate_limited")
    world.note(DOWN, busy)
    world.pump()
    with world.store.transaction() as tx:
        world.book.note(tx, [busy], answered="s4")
    assert world.pump() == [("resolved", "on-call")]
    assert [one.kind for one in world.book.open()] == ["rate_limited"]


def test_what_is_over_before_anybody_was_told_is_told_nobody(world: World) -> None:
    world.note(DOWN)
    world.settle()
    assert world.pump() == []
    assert [one.kind for one in world.book.history()] == ["network"]


def test_a_connection_that_is_back_still_leaves_its_dead_letters(world: World) -> None:
    row = world.bury("1001", "network")
    world.note(DOWN)
    world.pump()
    world.settle()
    assert world.pump() == []
    world.discard(row)
    assert world.pump() == [("resolved", "on-call")]


def test_records_alerts_end_when_no_open_record_carries_the_class(world: World) -> None:
    first, second = world.bury("1007"), world.bury("1008")
    world.bury("1009", flow="stock")
    world.note(BAD)
    world.pump()
    assert world.channels.heard[-1].alert.standing == 2
    world.discard(first)
    assert world.pump() == []
    world.store.letters.replay([second], "anna")
    assert world.pump() == [], "it waits for its replay and still carries the class"
    held = world.store.lanes.claim("orders", 10, "w")
    world.store.outcomes.advance(held, [Ending(held.rows[0], "skipped", reason="only_when")])
    assert world.pump() == [("resolved", "desk")]


def test_an_alert_that_is_no_error_class_ends_by_settle(world: World) -> None:
    world.note(Incident("desk", "guard", "2,400 changes", flow="stock"))
    assert world.pump() == [("opened", "desk")]
    world.settle("", flow="stock", kinds=("guard",))
    assert world.pump() == [("resolved", "desk")]


def test_expiring_credentials_are_not_ended_by_a_call_that_still_works(world: World) -> None:
    world.note(Incident("on-call", "expiring", "soon", connection="s4"))
    world.pump()
    world.settle()
    assert world.pump() == []
    world.settle(kinds=("expiring",))
    assert world.pump() == [("resolved", "on-call")]


def test_flapping_is_one_episode_and_floods_nobody(world: World) -> None:
    heard = []
    for _ in range(6):
        world.note(DOWN)
        heard += world.pump()
        world.clock.on(minutes=4)
        world.settle()
        heard += world.pump()
        world.clock.on(minutes=4)
    assert heard == [("opened", "on-call"), ("resolved", "on-call")]
    world.clock.on(minutes=20)
    world.note(DOWN)
    assert world.pump() == [("opened", "on-call")]
    assert world.book.open()[0].count == 1, "after its hour it is a new episode"
    assert [one.count for one in world.book.history()] == [6]


def test_what_came_back_and_stayed_is_told_when_its_hour_is_over(world: World) -> None:
    world.note(DOWN)
    world.pump()
    world.settle()
    world.pump()
    world.clock.on(minutes=5)
    assert world.note(DOWN) == []
    assert world.pump() == []
    world.clock.on(minutes=55)
    assert world.pump() == [("opened", "on-call")]
    assert world.channels.heard[-1].alert.told_count == 1, "so that it says: again"


def test_what_needs_nobody_is_told_and_ends_without_a_word(world: World) -> None:
    done = Incident("desk", "duplicate", "there already", flow="orders", key="1", lasting=False)
    world.channels.routes = {"desk": Route(escalate_after_secs=60, escalate_to=("boss",))}
    world.note(done)
    assert world.pump() == [("opened", "desk")]
    world.clock.on(minutes=30)
    world.note(done)
    assert world.pump() == []
    world.clock.on(minutes=30)
    assert world.pump() == [("reminder", "desk")]
    world.clock.on(hours=1)
    assert world.pump() == [] and world.book.open() == []


def test_also_hears_the_same_and_circles_end(world: World) -> None:
    world.channels.routes = {"on-call": Route(also=("desk", "on-call")), "desk": Route(also=("on-call", "boss"))}
    world.note(DOWN)
    assert world.pump() == [("opened", "on-call"), ("opened", "desk"), ("opened", "boss")]
    world.settle()
    assert world.pump() == [("resolved", "on-call"), ("resolved", "desk"), ("resolved", "boss")]


def test_nobody_acts_so_somebody_else_hears_once(world: World) -> None:
    world.channels.routes = {"on-call": Route(escalate_after_secs=1800, escalate_to=("boss",))}
    world.note(DOWN)
    assert world.pump() == [("opened", "on-call")]
    world.clock.on(minutes=29, seconds=59)
    assert world.pump() == []
    world.clock.on(seconds=1)
    assert world.pump() == [("escalated", "boss")]
    world.clock.on(hours=3)
    assert world.pump() == []
    world.settle()
    assert world.pump() == [("resolved", "on-call"), ("resolved", "boss")]


def test_what_came_back_has_its_whole_time_before_it_is_escalated_again(world: World) -> None:
    world.channels.routes = {"on-call": Route(every_secs=86400, escalate_after_secs=1800, escalate_to=("boss",))}
    world.note(DOWN)
    world.pump()
    world.clock.on(minutes=30)
    assert world.pump() == [("escalated", "boss")]
    world.settle()
    world.pump()
    world.clock.on(minutes=10)
    world.note(DOWN)
    world.clock.on(minutes=29)
    assert world.pump() == [], "its half hour began when it came back"
    world.clock.on(minutes=1)
    assert world.pump() == [("escalated", "boss")]


def test_what_once_needed_somebody_still_does_when_the_next_one_does_not(world: World) -> None:
    row = world.bury("1007")
    world.note(BAD)
    world.note(replace(BAD, lasting=False))
    world.pump()
    world.clock.on(hours=2)
    assert world.pump() == [] and len(world.book.open()) == 1
    world.discard(row)
    assert world.pump() == [("resolved", "desk")]


def test_acknowledged_is_quiet_until_twice_as_many(world: World) -> None:
    world.channels.routes = {"desk": Route((), 60.0, 600.0, ("boss",))}
    world.bury("1007")
    world.note(BAD, BAD)
    world.pump()
    (alert,) = world.book.open()
    assert world.book.acknowledge(alert.id, "anna") is not None
    world.clock.on(hours=1)
    world.note(BAD)
    assert world.pump() == []
    world.note(BAD)
    assert world.pump() == [("reminder", "desk"), ("escalated", "boss")]
    with world.store.transaction() as tx:
        (audit,) = tx.exec_driver_sql("SELECT who, action, detail FROM audit").all()
    assert tuple(audit) == ("anna", "alerts ack", f"orders bad_data #{alert.id}, seen 2 times")


def test_acknowledged_is_quiet_for_a_day(world: World) -> None:
    world.channels.routes = {"on-call": Route((), 60.0, 600.0, ("boss",))}
    world.note(*[DOWN] * 100)
    world.pump()
    world.book.acknowledge(world.book.open()[0].id, "anna")
    world.clock.on(hours=23, minutes=59)
    world.note(DOWN)
    assert world.pump() == []
    world.clock.on(minutes=1)
    assert world.pump() == [("reminder", "on-call"), ("escalated", "boss")]


def test_an_acknowledged_alert_still_says_that_it_is_over(world: World) -> None:
    world.note(DOWN)
    world.pump()
    world.book.acknowledge(world.book.open()[0].id, "anna")
    world.settle()
    assert world.pump() == [("resolved", "on-call")]


def test_only_open_alerts_are_acknowledged(world: World) -> None:
    world.note(DOWN)
    number = world.book.open()[0].id
    world.settle()
    world.pump()
    assert world.book.acknowledge(number, "anna") is None and world.book.acknowledge(99, "anna") is None


# -- delivery --------------------------------------------------------------------------------------------------------


def test_a_channel_that_is_down_is_tried_ever_more_rarely_and_loses_nothing(world: World) -> None:
    world.channels.down = {"on-call"}
    world.note(DOWN)
    for wait in (30, 60, 120, 240):
        assert world.pump() == [] and world.told.failed == {"on-call": "nobody is there"}
        asked = len(world.channels.asked)
        world.clock.on(seconds=wait - 1)
        world.pump()
        assert len(world.channels.asked) == asked
        world.clock.on(seconds=1)
    (waiting,) = world.book.notices(state="waiting")
    assert (waiting.tries, waiting.error) == (4, "nobody is there")
    world.channels.down = set()
    assert world.pump() == [("opened", "on-call")]
    assert world.channels.heard[0].name == waiting.name, "the same name however often it is sent"
    (sent,) = world.book.notices()
    assert (sent.state, sent.error, sent.tries) == ("sent", None, 5)


def test_the_wait_ends_at_an_hour(world: World) -> None:
    world.channels.down = {"on-call"}
    world.note(DOWN)
    for _ in range(30):
        world.pump()
        world.clock.on(hours=1)
    asked = len(world.channels.asked)
    assert asked == 30


def test_a_channel_that_is_down_delays_no_other_and_is_asked_once_a_pass(world: World) -> None:
    world.channels.down = {"desk"}
    world.bury("1"), world.bury("2", flow="stock")
    world.note(BAD, Incident("desk", "bad_data", "no", flow="stock"), DOWN)
    assert world.pump() == [("opened", "on-call")]
    assert world.channels.asked.count("desk") == 1
    assert len(world.book.notices(state="waiting")) == 2


def test_a_channel_that_breaks_ends_no_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(notice: object) -> None:
        raise RuntimeError("https://hooks.example/T0/secret")

    monkeypatch.setattr(world.channels, "send", breaks)
    world.note(DOWN)
    assert world.pump() == [] and world.told.failed == {"on-call": "the channel broke: RuntimeError"}


def test_a_notice_that_nobody_reported_on_is_sent_again(world: World) -> None:
    world.note(DOWN)
    (first,) = world.book.due({})  # and the process died here
    assert world.book.due({}) == []
    world.clock.on(seconds=LEASE_SECS)
    (again,) = world.book.due({})
    assert (again.name, again.tries) == (first.name, 2)


def test_a_newer_notice_takes_the_place_of_one_that_still_waits(world: World) -> None:
    world.channels.routes = {"on-call": Route(every_secs=60)}
    world.channels.down = {"on-call"}
    for _ in range(10):
        world.note(DOWN)
        world.pump()
        world.clock.on(minutes=30)
    assert len(world.book.notices(state="waiting")) == 1
    world.channels.down = set()
    world.clock.on(hours=1)
    assert world.pump() == [("reminder", "on-call")]
    assert world.channels.heard[0].alert.count == 10


def test_over_before_the_first_try_is_not_told_there(world: World) -> None:
    world.channels.routes = {"on-call": Route(also=("desk",))}
    world.note(DOWN)
    world.book.due({"on-call": Route(also=("desk",))}, limit=1)  # desk's was decided, and not yet handed out
    world.settle()
    world.clock.on(seconds=LEASE_SECS)
    assert world.pump() == [("resolved", "on-call")]


def test_no_channel_is_listed_and_told_nobody(world: World) -> None:
    world.note(Incident("", "refused", "no", connection="s4"))
    assert world.pump() == [] and world.told.failed == {}
    assert [one.connection for one in world.book.open()] == ["s4"]
    world.settle()
    world.pump()
    assert world.book.open() == []


def test_a_clock_that_was_wrong_does_not_silence(world: World) -> None:
    world.bury("1007")
    world.clock.on(days=400)
    world.note(BAD)
    world.channels.down = {"desk"}
    world.pump()
    world.clock.on(days=-400)
    world.channels.down = set()
    assert world.pump() == [("opened", "desk")]
    world.note(BAD)
    assert world.pump() == [("reminder", "desk")]


# -- in the transaction of the outcome -------------------------------------------------------------------------------


def test_an_outcome_that_is_undone_leaves_no_alert(world: World) -> None:
    with pytest.raises(RuntimeError), world.store.transaction() as tx:
        world.book.note(tx, [BAD])
        raise RuntimeError
    assert world.book.open() == [] and world.pump() == []


@pytest.mark.parametrize("words", ["a\x00b", "half \ud800 pair", "\u202egnp.exe", "x" * 100_000, "", "a\r\nBcc: b"])
def test_whatever_a_record_says_the_outcome_is_kept(world: World, words: str) -> None:
    world.note(Incident(words, words, words, words, "", words, words, words))
    (alert,) = world.book.open()
    assert len(alert.message) <= 500 and alert.message.isprintable() and "\n" not in alert.message


def test_secrets_are_masked_before_they_are_kept(world: World) -> None:
    hide(Secret("hunter2-token"))
    world.note(Incident("desk", "rejected", "bad token hunter2-token", flow="f", key="hunter2-token"))
    (alert,) = world.book.open()
    assert (alert.message, alert.keys) == ("bad token ***", ("***",))


def test_many_writers_count_each_once_and_never_wait_in_a_circle(world: World, store_place: Path | str) -> None:
    if isinstance(store_place, Path):
        pytest.skip("one process at a time")
    incidents = [Incident("desk", "bad_data", "no", flow=f"flow{n}") for n in range(6)]
    down = Incident("pager", "network", "no", connection="s4")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        store = open_store(store_place, now=world.clock)
        try:
            for turn in range(15):
                mine = incidents[turn % 6 :] + incidents[: turn % 6]
                with store.transaction() as tx:
                    if number % 2:
                        store.alerts.note(tx, [*reversed(mine), down])
                    else:
                        store.alerts.note(tx, mine, answered="s4")
                store.alerts.due({})
        except BaseException as error:
            failures.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for flow in range(6):
        world.bury("1", flow=f"flow{flow}")
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert failures == []
    assert [one.count for one in world.book.open() if one.channel == "desk"] == [60] * 6
    names = [one.name for one in world.book.notices() if one.channel == "desk"]
    assert len(names) == 6 and len(set(names)) == 6, "each was decided once"
