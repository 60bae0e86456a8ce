"""``flowrun serve`` as a process: killed, ended, and with its store away; what was answered 2xx is never lost."""

from __future__ import annotations

import random
import re
import signal
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from flowrun.store import open_store
from flowrun.store.verifying import verify
from tests.service.serving import ORDERS, Process, delivered, known_customer, placed, until


def slowly(request: Any, response: Any) -> Any:
    time.sleep(0.05)
    return response


def held_events(place: Path | str) -> set[str]:
    with closing(open_store(place)) as store, store.transaction() as tx:
        return set(tx.execute(text("SELECT event_id FROM events")).scalars())


def test_what_was_answered_is_there_after_a_kill(project: Path, store_place: Path | str, shop: Any, erp: Any) -> None:
    """Eight clients bring events; the process is killed the moment one of them has its answer, five times over."""
    placed(shop, range(1, 401))
    sent = shop.webhooks(range(1, 401))
    answered: set[str] = set()
    chance = random.Random(11)
    for _ in range(5):
        served = Process(project, store_place, shop, erp)
        stop_after = chance.randrange(1, 40)
        stop = threading.Event()
        count = [0]

        def bring(
            n: int, served: Process = served, stop: Any = stop, count: Any = count, after: int = stop_after
        ) -> None:
            with httpx.Client(trust_env=False, timeout=5) as client:
                for head, body in sent[n::8]:
                    if stop.is_set():
                        return
                    try:
                        answer = client.post(f"{served.url}/hooks/xcart", content=body, headers=head)
                    except httpx.HTTPError:
                        return
                    if answer.status_code == 200:
                        answered.add(head["x-webhook-id"])
                        count[0] += 1
                        if count[0] >= after:
                            stop.set()
                            served.process.send_signal(signal.SIGKILL)

        clients = [threading.Thread(target=bring, args=(n,)) for n in range(8)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        served.kill()
    assert answered
    assert answered - held_events(store_place) == set()


def test_killed_in_the_middle_and_started_again_it_is_whole(
    project: Path, store_place: Path | str, shop: Any, erp: Any
) -> None:
    known_customer(store_place)
    numbers = placed(shop, range(1, 121))
    sent = shop.webhooks(numbers, copies=2, shuffled=True)
    chance = random.Random(5)
    for part in range(4):
        served = Process(project, store_place, shop, erp)
        for head, body in sent[part::4]:
            assert served.http.post("/hooks/xcart", content=body, headers=head).status_code == 200
        time.sleep(chance.uniform(0, 0.4))
        served.kill()
    served = Process(project, store_place, shop, erp)
    try:
        until(lambda: len(set(delivered(erp))) == len(numbers), 90)
    finally:
        assert served.end() == 0
    assert delivered(erp) == numbers
    with closing(open_store(store_place)) as store:
        assert verify(store.database) == []


def test_asked_to_end_it_leaves_nothing_held(project: Path, store_place: Path | str, shop: Any, erp: Any) -> None:
    known_customer(store_place)
    numbers = placed(shop, range(1, 201))
    erp.mangle = slowly
    served = Process(project, store_place, shop, erp, "--grace", "20")
    for head, body in shop.webhooks(numbers):
        assert served.http.post("/hooks/xcart", content=body, headers=head).status_code == 200
    until(lambda: len(delivered(erp)) > 5)
    assert served.end() == 0
    with closing(open_store(store_place)) as store, store.transaction() as tx:
        assert tx.execute(text("SELECT count(*) FROM lanes WHERE worker IS NOT NULL")).scalar() == 0
        assert tx.execute(text("SELECT count(*) FROM schedules WHERE worker IS NOT NULL")).scalar() == 0
        assert tx.execute(text("SELECT count(*) FROM records WHERE state IN ('sent', 'in_doubt')")).scalar() == 0
    assert len(delivered(erp)) < len(numbers)


def test_a_second_signal_ends_it_at_once(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    place = tmp_path / "state.db"
    known_customer(place)
    numbers = placed(shop, range(1, 41))
    served = Process(project, place, shop, erp, "--grace", "60")
    erp.faults = erp.faults.parse("half_open*;path=A_SalesOrder")
    for head, body in shop.webhooks(numbers):
        served.http.post("/hooks/xcart", content=body, headers=head)
    until(lambda: erp.faults.hit)
    served.process.terminate()
    time.sleep(0.5)
    begun = time.monotonic()
    served.process.terminate()
    assert served.process.wait(10) == 128 + signal.SIGTERM
    assert time.monotonic() - begun < 3
    erp.faults = erp.faults.parse("")
    served = Process(project, place, shop, erp)
    until(lambda: len(set(delivered(erp))) == len(numbers), 60)
    assert served.end() == 0
    assert delivered(erp) == numbers


def test_two_on_one_file_are_refused(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    served = Process(project, tmp_path / "state.db", shop, erp)
    with pytest.raises(AssertionError, match="is in use by another flowrun"):
        Process(project, tmp_path / "state.db", shop, erp)
    served.kill()
    again = Process(project, tmp_path / "state.db", shop, erp)
    assert again.end() == 0


def test_four_processes_share_the_work(project: Path, postgres: Any, shop: Any, erp: Any) -> None:
    """On one PostgreSQL: each order once, each pass in one process."""
    place = postgres()
    known_customer(place)
    numbers = placed(shop, range(1, 161))
    served = [Process(project, place, shop, erp) for _ in range(4)]
    try:
        for n, (head, body) in enumerate(shop.webhooks(numbers, copies=2, shuffled=True)):
            assert served[n % 4].http.post("/hooks/xcart", content=body, headers=head).status_code == 200
        until(lambda: len(set(delivered(erp))) == len(numbers), 60)
    finally:
        assert [one.end() for one in served] == [0, 0, 0, 0]
    assert delivered(erp) == numbers
    log = (project / "serve.log").read_text()
    assert len(re.findall('"event": "delivered"', log)) == len(numbers)
    with closing(open_store(place)) as store, store.transaction() as tx:
        assert tx.execute(text("SELECT flow, count(*) FROM runs GROUP BY flow ORDER BY flow")).all() == [
            ("s4-deliveries-to-xcart", 1), ("s4-stock-to-xcart", 1), (ORDERS, 1),
        ]  # fmt: skip


def test_the_database_goes_away_and_comes_back(
    project: Path, postgres: Any, postgres_server: Any, shop: Any, erp: Any
) -> None:
    """Sessions are ended again and again while webhooks come: 2xx means held, anything else is 503."""
    place = postgres()
    known_customer(place)
    numbers = placed(shop, range(1, 201))
    served = Process(project, place, shop, erp)
    name = place.rpartition("/")[2].partition("?")[0]
    answered = set()
    for n, (head, body) in enumerate(shop.webhooks(numbers)):
        if n % 20 == 10:
            postgres_server.psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}';")
        answer = served.http.post("/hooks/xcart", content=body, headers=head)
        assert answer.status_code in (200, 503)
        if answer.status_code == 200:
            answered.add(n + 1)
        else:
            assert answer.headers["retry-after"] == "5"
    assert len(answered) > 150
    until(lambda: answered <= set(delivered(erp)), 60)
    assert served.end() == 0
    assert len(delivered(erp)) == len(set(delivered(erp)))
