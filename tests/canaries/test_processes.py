"""The same of a service, under forged webhooks and failing systems: what it shows of itself, what it keeps, and what
others on the machine can see of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowrun.testing.faults import Faults
from tests.canaries.project import KEY, MAIL, Found, search
from tests.service.serving import Process, known_customer, until

FLOW = "flows/xcart-s4hana/orders-to-s4.yaml"


def seen_by_others(*pids: int) -> bytes:
    """What any user of the machine sees: command lines, of these processes, their children, and all in ``ps``."""
    found = subprocess.run(["ps", "axww", "-o", "pid,ppid,args"], capture_output=True, check=True).stdout
    for pid in pids:
        found += Path(f"/proc/{pid}/cmdline").read_bytes()
        for child in children_of(pid):
            found += Path(f"/proc/{child}/cmdline").read_bytes() + Path(f"/proc/{child}/environ").read_bytes()
    return found


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


def test_a_service_shows_nothing(
    project: Path, shop: Any, erp: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    auth, own = erp.oauth_settings()["auth"]["oauth2_client_credentials"], shop.connection_settings()
    secrets = {"api_key": own["api_key"], "webhook_secret": own["webhook_secret"],
               "client_secret": auth["client_secret"].reveal(), "hook": "cnry-hook-3f"}  # fmt: skip
    secrets |= {"basic_user": "no user", "basic_password": "no password", "pem": "\nno key"}
    monkeypatch.setenv("CNRY_KEY", KEY)
    for name in ("ORDER_DESK_WEBHOOK", "FINANCE_WEBHOOK", "WAREHOUSE_WEBHOOK", "PAGER_URL"):
        monkeypatch.setenv(f"FLOWRUN_SECRET_{name}", f"http://127.0.0.1:9/{secrets['hook']}")
    settings, flow = project / "flowrun.yaml", project / FLOW
    settings.write_text(settings.read_text() + "store: { key: { env: CNRY_KEY }, encrypt: true }\n")
    flow.write_text(
        flow.read_text()
        + "\nprivacy: { mask: [order.email, order.shipping_address.firstname, order.billing.firstname] }\n"
    )
    subprocess.run([sys.executable, "-m", "flowrun", "validate", "flows"], cwd=project, check=True)
    place = tmp_path / "state.db"
    known_customer(place)
    for number in range(1, 13):
        shop.place_order([("ab-1", "Mug", 1, "10.00")], order_id=number, email=MAIL, names=("Cnry Mask", "Ünique"))
    served = Process(project, place, shop, erp, "--log-level", "debug")
    shown = []
    try:
        for n, fault in enumerate(
            (
                "503;path=A_SalesOrder",
                "garbage",
                "garbage_after;path=A_SalesOrder",
                "error_in_200",
                "error_in_200;path=A_SalesOrder",
                "401*",
                "401*",
            )
        ):
            side = shop if n % 2 else erp
            side.faults = Faults.parse(fault)
            head, body = shop.webhook(n + 1)
            bad = {**head, "x-webhook-signature": f"v1,{secrets['webhook_secret']}"}
            for sent, data in ((head, body), (bad, body), (head, b"{" + secrets["api_key"].encode())):
                answer = served.http.post("/hooks/xcart", content=data, headers=sent)
                shown.append(repr((answer.status_code, dict(answer.headers), answer.text)).encode())
            until(lambda side=side: side.faults.hit)
            shown.append(seen_by_others(served.process.pid))
        erp.faults = shop.faults = Faults()
        until(
            lambda: (
                b"delivered" in (project / "serve.log").read_bytes() or b"dead" in served.http.get("/metrics").content
            )
        )
        for page in ("/metrics", "/healthz", "/readyz", "/nowhere"):
            shown.append(served.http.get(page).content)
    finally:
        assert served.end() == 0
    log = (project / "serve.log").read_bytes()
    files = b"".join(path.read_bytes() for path in tmp_path.glob("state.db*"))
    assert log.count(b"\n") > 10 and b"flowrun_webhook_requests" in b"".join(shown) and len(files) > 50_000
    assert found_in({"log": log, "store": files, "shown": b"".join(shown)}, secrets) == []


def found_in(surfaces: dict[str, bytes], secrets: dict[str, str]) -> list[Found]:
    return [one for surface, held in surfaces.items() for one in search(surface, held, secrets)]
