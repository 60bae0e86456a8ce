"""The admin API: who may not, from the table of routes itself; what each change does and who it is put down to; what is
masked; and that whatever stands in records stays text."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowrun.service.admin import ROUTES, looking
from flowrun.service.admin.routes import Route
from flowrun.service.admin.throttle import MOST_FAILURES
from flowrun.store import open_store
from flowrun.store.access import PREFIX, ROLES
from flowrun.store.alert_rows import Incident
from tests.service.admin_serving import API, Admin, administered
from tests.service.serving import ORDERS, Process, delivered, known_customer, placed, until

SAMPLES = {"flow": ORDERS, "key": "1", "kind": "reconcile", "name": "nobody", "run": "1", "seq": "1", "id": "1"}
XSS = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


def sample(route: Route) -> str:
    parts = [SAMPLES[part.strip("{}").partition(":")[0]] if part[0] == "{" else part for part in route.parts]
    return "/".join(parts)


def audit(admin: Admin) -> list[tuple[str, str]]:
    return [(str(one["who"]), str(one["action"])) for one in reversed(admin.store.audited(1000))]


def is_problem(answer: httpx.Response, status: int) -> bool:
    return (
        answer.status_code == status
        and answer.headers["content-type"] == "application/problem+json"
        and answer.headers["x-content-type-options"] == "nosniff"
        and answer.json()["status"] == status
    )


def test_whoever_may_not_is_told_so_at_every_route(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    with administered(project, tmp_path / "state.db", shop, erp) as admin:
        begun = audit(admin)
        wrong = []
        gone = admin.store.access.add("gone", "admin", "tester")
        admin.store.access.revoke("gone", "tester")
        routes = [(route.method, sample(route), route.role) for route in ROUTES] + [("GET", "openapi.json", "viewer")]
        assert len(routes) > 25 and {role for _, _, role in routes} == set(ROLES)
        for method, path, role in routes:

            def ask(status: int, why: str, method: str = method, path: str = path, **more: Any) -> None:
                if not is_problem(admin(method, path, **more), status):
                    wrong.append(f"{method} {path}: {why}")

            ask(401, "no token", role=None)
            ask(401, "another scheme", role=None, headers={"authorization": f"Basic {admin.tokens['admin']}"})
            admin.throttle._failures.clear()
            ask(401, "wrong token", token=PREFIX + "wrong")
            ask(401, "revoked token", token=gone)
            ask(421, "foreign Host", headers={"host": "evil.example"})
            ask(421, "a name that only begins like ours", headers={"host": "localhost.evil.example"})
            ask(403, "foreign Origin", headers={"origin": "https://evil.example"})
            ask(403, "an opaque Origin", headers={"origin": "null"})
            for less in ROLES[: ROLES.index(role)]:
                ask(403, f"role {less}", role=less)
        assert wrong == []
        assert audit(admin) == [*begun, ("tester", "token add"), ("tester", "token revoke")]
        served = admin("GET", "flows", headers={"host": "admin.example.com"})
        own = admin("GET", "flows", headers={"origin": admin.url})
        assert (served.status_code, own.status_code) == (200, 200)


def test_what_is_not_there_and_what_does_not_fit(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    with administered(project, tmp_path / "state.db", shop, erp) as admin:
        assert is_problem(admin("GET", "nothing"), 404)
        assert is_problem(
            admin.http.get("/hooks/xcart", headers={"authorization": f"Bearer {admin.tokens['viewer']}"}), 404
        )
        assert is_problem(admin("DELETE", "status"), 405)
        assert is_problem(admin("GET", "runs?limit=0"), 422)
        assert is_problem(admin("GET", "runs?limit=1&limit=2"), 422)
        assert is_problem(admin("GET", "runs?lmit=1"), 422)
        assert is_problem(admin("GET", "records/999"), 404)
        assert is_problem(admin("POST", "pauses", content=b"a=b"), 415)
        json_head = {"content-type": "application/json"}
        assert is_problem(admin("POST", "pauses", content=b"{", headers=json_head), 400)
        assert is_problem(admin("POST", "pauses", json={"kind": "flow", "name": ORDERS, "reason": "x", "more": 1}), 422)
        assert is_problem(admin("POST", "pauses", json={"kind": "flow", "name": ORDERS, "reason": " "}), 422)
        assert is_problem(admin("POST", "pauses", content=b"[" * 2_000_000, headers=json_head), 413)
        assert is_problem(admin("POST", "letters/replay", json={"flow": ORDERS}), 422)
        assert is_problem(admin("POST", "letters/replay", json={"flow": ORDERS, "keys": ["9"]}), 404)
        assert is_problem(admin("POST", "letters/replay", json={"flow": "nobody", "all": True}), 404)


def test_guesses_are_slowed_down_and_nobody_else_is(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    with administered(project, tmp_path / "state.db", shop, erp) as admin:
        assert admin("GET", "flows", role="viewer").status_code == 200
        for number in range(MOST_FAILURES):
            assert admin("GET", "flows", token=f"guess-{number}").status_code == 401
        told = admin("GET", "flows", token="guess-more")
        assert is_problem(told, 429) and 0 < int(told.headers["retry-after"]) <= 61
        assert is_problem(admin("GET", "flows", role="operator"), 429)  # not seen before: it could be a guess
        assert admin("GET", "flows", role="viewer").status_code == 200


def test_letters_are_corrected_and_replayed_by_the_service_itself(
    project: Path, store_place: Path | str, shop: Any, erp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_customer(store_place)
    for number in (1, 2, 3):
        shop.place_order([("no-such", "Mug", 1, "10.00")], order_id=number)
    with administered(project, store_place, shop, erp) as admin:
        until(lambda: admin.store.counts(ORDERS) == {"dead": 3})
        causes = admin.get("letters", role="viewer")
        assert (causes["letters"], causes["more"]) == (3, False)
        monkeypatch.setattr(looking, "MOST_LETTERS", 2)
        causes = admin.get("letters", role="viewer")
        assert (causes["letters"], causes["more"]) == (2, True)
        first, second, _ = admin.get(f"records?state=dead&flow={ORDERS}", role="viewer")["records"]
        before = len(audit(admin))
        record = first["record"]
        record["items"][0]["sku"] = "ab-1"
        edited = admin("POST", f"letters/{first['seq']}/edit", role="operator", json={"record": record})
        assert edited.status_code == 200 and edited.json()["edited"] and edited.json()["state"] == "dead"
        set_ = admin("POST", f"letters/{second['seq']}/edit", role="operator", json={"set": {"items[0].sku": "ab-1"}})
        assert set_.status_code == 200, set_.text
        wrong = admin("POST", f"letters/{second['seq']}/edit", json={"set": {"nowhere.sku": "ab-1"}})
        assert is_problem(wrong, 422)
        chosen = {"flow": ORDERS, "keys": [first["key"], second["key"]]}
        seen = admin("POST", "letters/preview", role="operator", json=chosen).json()
        assert (seen["sent"], seen["failing"]) == (2, []) and seen["body"]["PurchaseOrderByCustomer"] == "XC-1"
        assert admin("POST", "letters/replay", role="operator", json=chosen).json() == {"changed": 2}
        until(lambda: delivered(erp) == [1, 2])
        given_up = {"flow": ORDERS, "keys": ["3"], "reason": "a test order"}
        assert admin("POST", "letters/discard", role="operator", json=given_up).json() == {"changed": 1}
        said = [("operator", f"dlq {one}") for one in ("edited", "edited", "replayed", "discarded")]
        assert audit(admin)[before:] == said
        life = admin.get("trace?key=1", role="viewer")["lives"][0]
        assert [one["who"] for one in life["events"] if one["event"] in ("edited", "corrected", "replayed")] == [
            "operator"
        ] * 2


def test_every_changing_route_is_audited_with_the_name_of_its_token(
    project: Path, store_place: Path | str, shop: Any, erp: Any
) -> None:
    """A route that is new has to be added here: the set is held against the table."""
    known_customer(store_place)
    for number in (1, 2, 3):
        shop.place_order([("no-such", "Mug", 1, "10.00")], order_id=number)
    with administered(project, store_place, shop, erp) as admin:
        until(lambda: admin.store.counts(ORDERS) == {"dead": 3})
        until(lambda: all(one.worker is None for one in admin.store.schedules.all()))
        with admin.store.transaction() as tx:
            admin.store.alerts.note(tx, [Incident("", "guard", "too many", flow=ORDERS)])
        alert = admin.store.alerts.open()[-1].id
        admin.store.access.add("old", "viewer", "tester")
        seqs = [row.seq for row in admin.store.records(state="dead")]
        cursor = admin.store.cursors.current(ORDERS)
        assert cursor is not None
        begun = len(audit(admin))
        done = {}
        for name, method, path, body in (
            ("edit_letter", "POST", f"letters/{seqs[0]}/edit", {"set": {"items[0].sku": "ab-1"}}),
            ("discard_letters", "POST", "letters/discard", {"flow": ORDERS, "keys": ["3"], "reason": "old"}),
            ("pause", "POST", "pauses", {"kind": "flow", "name": ORDERS, "reason": "look"}),
            ("replay_letters", "POST", "letters/replay", {"flow": ORDERS, "keys": ["1"]}),
            ("set_cursor", "PUT", f"cursors/{ORDERS}", {"value": cursor}),
            ("undo_cursor", "POST", f"cursors/{ORDERS}/undo", None),
            ("run_schedule", "POST", f"schedules/{ORDERS}/reconcile/run", None),
            ("resume", "DELETE", f"pauses/flow/{ORDERS}", None),
            ("acknowledge_alert", "POST", f"alerts/{alert}/acknowledge", None),
            ("revoke_token", "DELETE", "tokens/old", None),
        ):
            answer = admin(method, path, **({"json": body} if body is not None else {}))
            assert answer.status_code == 200, (name, answer.text)
            (entry,) = admin.store.audited(1)
            done[name] = (entry["who"], entry["action"])
            assert len(audit(admin)) == begun + len(done), name
        assert set(done) == {route.name for route in ROUTES if route.changes}
        assert {who for who, _ in done.values()} == {"admin"}
        assert done["run_schedule"][1] == "schedule run" and done["set_cursor"][1] == "cursor set"
        shown = admin.get("audit?limit=3")
        assert [one["action"] for one in shown["audit"]] == ["token revoke", "alerts ack", "resume"]
        older = admin.get(f"audit?limit=1&before={shown['next']}")
        assert older["audit"][0]["action"] == "schedule run"


def test_a_schedule_is_run_now_and_a_cursor_is_left_alone_while_it_is(
    project: Path, store_place: Path | str, shop: Any, erp: Any
) -> None:
    known_customer(store_place)
    with administered(project, store_place, shop, erp) as admin:
        until(lambda: all(one.ended_at for one in admin.store.schedules.all() if one.flow == ORDERS))
        placed(shop, [5])
        goes_on = threading.Event()

        def held(request: Any, response: Any) -> Any:
            goes_on.wait(10)
            return response

        shop.mangle = held
        assert admin("POST", f"schedules/{ORDERS}/reconcile/run", role="operator").status_code == 200
        until(lambda: any(one.worker for one in admin.store.schedules.all() if one.flow == ORDERS))
        cursor = {"value": "2026-01-01T00:00:00Z"}
        refused = admin("PUT", f"cursors/{ORDERS}", json=cursor)
        goes_on.set()
        assert is_problem(refused, 409)
        until(lambda: delivered(erp) == [5])
        assert is_problem(admin("POST", f"schedules/{ORDERS}/nothing/run"), 404)


def test_no_answer_shows_what_is_masked_and_markup_stays_text(
    project: Path, tmp_path: Path, shop: Any, erp: Any
) -> None:
    canary = "canary.person@example.com"
    flow = project / "flows/xcart-s4hana/orders-to-s4.yaml"
    text = flow.read_text()
    flow.write_text(text + "\nprivacy: { mask: [order.email] }\n")
    place = tmp_path / "state.db"
    known_customer(place)
    shop.place_order([(XSS, XSS, 1, "10.00")], order_id=1, email=canary)
    with administered(project, place, shop, erp) as admin:
        until(lambda: admin.store.counts(ORDERS) == {"dead": 1})
        row = admin.store.records(state="dead")[0]
        assert canary in str(row.payload) and XSS in str(row.payload)
        flow.write_text(text)  # what is served is masked as it was when it began
        admin.store.pauses.pause("connection", "s4", XSS, XSS)
        seen = 0
        for route in ROUTES:
            if route.method != "GET":
                continue
            path = sample(route).replace("records/1", f"records/{row.seq}") + (
                "?key=1" if route.path == "trace" else ""
            )
            answer = admin("GET", path)
            assert answer.status_code == 200 or route.path == "runs/{run:int}", (path, answer.text)
            assert answer.headers["content-type"] in ("application/json", "application/problem+json")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert canary not in answer.text, path
            seen += "***" in answer.text
        assert seen >= 2
        preview = admin("POST", "letters/preview", json={"flow": ORDERS, "keys": ["1"]})
        assert canary not in preview.text
        shown = admin.get(f"records/{row.seq}")["record"]
        assert XSS in str(shown)
        shown["items"][0]["sku"] = "ab-1"
        edited = admin("POST", f"letters/{row.seq}/edit", json={"record": shown})
        assert edited.status_code == 200 and canary not in edited.text
        assert canary in str(admin.store.records(seq=row.seq)[0].payload)  # what was masked came back as it was
        for method, path in (("GET", XSS), ("GET", f"flows/{XSS}"), ("DELETE", f"tokens/{XSS}")):
            answer = admin(method, path.replace("<", "%3C").replace(">", "%3E").replace('"', "%22").replace(" ", "%20"))
            assert is_problem(answer, 404)


def test_tokens_are_kept_as_hashes_and_their_use_is_noted(store_place: Path | str) -> None:
    with closing(open_store(store_place)) as store:
        token = store.access.add("ann", "viewer", "tester")
        assert token not in str(store.audited()) and store.access.all()[0].used_at is None
        found = store.access.find(token)
        assert found is not None and (found.name, found.role) == ("ann", "viewer")
        assert found.may("viewer") and not found.may("operator")
        assert store.access.all()[0].used_at is not None
        with store.transaction() as tx:
            kept = str(tx.exec_driver_sql("SELECT * FROM access_tokens").all())
        assert token not in kept and token.removeprefix(PREFIX) not in kept
        assert store.access.find(token + "x") is None
        assert store.access.revoke("ann", "tester") and not store.access.revoke("ann", "tester")
        assert store.access.find(token) is None
        with pytest.raises(Exception, match="there is, or was, a token 'ann'"):
            store.access.add("ann", "admin", "tester")


def test_a_process_serves_it_at_a_port_of_its_own(project: Path, tmp_path: Path, shop: Any, erp: Any) -> None:
    place = tmp_path / "state.db"
    with closing(open_store(place)) as store:
        token = store.access.add("ann", "viewer", "tester")
    served = Process(project, place, shop, erp, "--admin-port", "0")
    try:
        assert served.process.stdout is not None
        line = next(one for one in served.process.stdout if "admin API" in one)
        url = line.split()[-1]
        head = {"authorization": f"Bearer {token}"}
        with httpx.Client(trust_env=False, timeout=10) as client:
            found = client.get(url, headers=head)
            assert found.status_code == 200 and found.json()["openapi"] == "3.1.0"
            base = url.removesuffix(f"{API}/openapi.json")
            for path in ("/healthz", "/metrics", "/hooks/xcart"):
                assert client.get(f"{base}{path}", headers=head).status_code == 404
            assert client.get(f"{served.url}{API}/flows", headers=head).status_code == 404
            assert client.get(f"{served.url}/healthz").status_code == 200
    finally:
        assert served.end() == 0
