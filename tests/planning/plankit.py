"""What the tests of plan, diff and trace share: the shipped project, both simulated systems, the command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowrun.cli.main import main
from flowrun.store import Store, open_store
from flowrun.values import decode_json
from tests.conftest import ROOT

ORDERS, STOCK, BACK = "xcart-orders-to-s4", "s4-stock-to-xcart", "s4-deliveries-to-xcart"
BEGIN = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Desk:
    """A person at the command line of a project whose systems are simulated."""

    def __init__(self, root: Path, shop: Any, erp: Any, monkeypatch: Any, capsys: Any) -> None:
        self.root, self.shop, self.erp, self._capsys = root, shop, erp, capsys
        for name in ("flows", "lookups"):
            shutil.copytree(ROOT / name, root / name)
        shutil.copy(ROOT / "flowrun.yaml", root / "flowrun.yaml")
        erp_auth = erp.oauth_settings()["auth"]["oauth2_client_credentials"]
        settings = shop.connection_settings()
        self.secrets = (
            settings["api_key"], settings["webhook_secret"], erp_auth["client_id"], erp_auth["client_secret"].reveal(),
        )  # fmt: skip
        for name in [name for name in os.environ if name.startswith("FLOWRUN_")]:
            monkeypatch.delenv(name)
        values = (settings["base_url"], erp.connection_settings()["base_url"], erp_auth["token_url"], *self.secrets)
        for name, value in zip(
            ("XCART_URL", "S4_URL", "S4_TOKEN_URL", "FLOWRUN_SECRET_XCART_API_KEY",
             "FLOWRUN_SECRET_XCART_WEBHOOK_SECRET", "FLOWRUN_SECRET_S4_CLIENT_ID", "FLOWRUN_SECRET_S4_CLIENT_SECRET"),
            values,
            strict=True,
        ):  # fmt: skip
            monkeypatch.setenv(name, str(value))
        monkeypatch.chdir(root)

    def flowrun(self, *words: str) -> Ended:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(int(ended.value.code or 0), out, err)

    def plan(self, flow: str, *words: str, code: int = 0) -> dict[str, Any]:
        """The plan as JSON, kept in plan.json too."""
        ended = self.flowrun("plan", flow, "--env", "qa", "--output", "plan.json", "--format", "json", *words)
        assert ended.code == code, ended.out + ended.err
        found: dict[str, Any] = decode_json(ended.out)
        return found

    def apply(self, flow: str, *words: str) -> Ended:
        return self.flowrun("run", flow, "--env", "qa", "--plan", "plan.json", *words)

    # -- the world -------------------------------------------------------------------------------------------------

    def place(self, *ids: int, **more: Any) -> None:
        """Orders of fixed times, so that what is printed is always the same."""
        for number in ids:
            at = BEGIN + timedelta(minutes=number)
            self.shop.place_order([("ab-1", "Mug", 2, "10.00")], **{"order_id": number, "at": at, **more})

    def store(self) -> Store:
        return open_store(self.root / ".flowrun" / "state-qa.db")

    def remember(self, xref: str, source_id: str, target_id: str) -> None:
        store = self.store()
        store.xrefs.put([(xref, source_id, target_id)], "tester")
        store.close()

    def states(self, flow: str) -> dict[str, int]:
        store = self.store()
        found = store.counts(flow)
        store.close()
        return found

    def cursor(self, flow: str) -> str | None:
        store = self.store()
        found = store.cursors.current(flow)
        store.close()
        return found

    def writes(self) -> list[str]:
        """Requests that change something: neither reads nor fetched tokens."""
        sent = [f"{one.method} {one.path}" for one in (*self.erp.log, *self.shop.log)]
        return [one for one in sent if not one.startswith(("GET ", "HEAD ")) and "token" not in one]

    def arrived(self) -> list[str]:
        return sorted(order["PurchaseOrderByCustomer"] for order in self.erp.orders)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert old in text, f"{file} has no '{old}'"
        path.write_text(text.replace(old, new, 1))

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Every file of the project with its time and content; only what validate remembers is left out."""
        return {
            str(path.relative_to(self.root)): (path.stat().st_mtime_ns, path.read_bytes())
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and "cache" not in path.parts and ".git" not in path.parts
        }

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=self.root, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "flows", "lookups", "flowrun.yaml")
        self.git("commit", "-q", "-m", "as it was")


def check_golden(name: str, text: str) -> None:
    """Compare with tests/planning/golden/NAME; GOLDEN=write writes it anew."""
    path = GOLDEN / name
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text.strip()
    assert text == path.read_text()
