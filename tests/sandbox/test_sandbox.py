"""``flowrun sandbox``: a simulated system in a process of its own, with faults on request."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ASKED = {
    "xcart": ("/api/orders", {"x-auth-token": "sim-xcart-key"}),
    "s4hana": ("/sap/opu/odata/sap/API_SALES_ORDER_SRV/A_SalesOrder?$format=json", {}),
    "http": ("/v1/orders", {"authorization": "Bearer sim-http-token"}),
}


@contextmanager
def served(*words: str) -> Iterator[tuple[str, list[str], subprocess.Popen[str]]]:
    """The base address, the lines it printed, and the process."""
    command = [sys.executable, "-m", "flowrun", "sandbox", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("stop it with"):
                break
        assert lines and " at http" in lines[0], lines
        yield lines[0].rsplit(" ", 1)[-1], lines, process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.mark.parametrize("name", ASKED)
def test_it_serves_with_faults_and_stops_when_told(name: str) -> None:
    path, headers = ASKED[name]
    auth = httpx.BasicAuth("SIM_USER", "sim-s4-password") if name == "s4hana" else None
    with served(name, "--faults", "503*1,429;retry_after=7") as (base, lines, process):
        assert any(base in line for line in lines if line.strip().startswith("base_url"))
        with httpx.Client(base_url=base, headers=headers, auth=auth, trust_env=False, timeout=10) as client:
            first, second, third = (client.get(path) for _ in range(3))
        assert (first.status_code, second.status_code, second.headers["retry-after"]) == (503, 429, "7")
        assert third.status_code == 200, third.text
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert "stopped" in process.stdout.read()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sapp"], "no connector is named 'sapp'"),
        (["xcart", "--faults", "404*2"], "there is no fault '404'"),
        (["xcart", "--faults", "429;speed=2"], "'speed=2' is no option of faults"),
        (["file"], "connector 'file' has no simulator"),
    ],
)
def test_what_makes_no_sense_is_told(words: list[str], told: str) -> None:
    command = [sys.executable, "-m", "flowrun", "sandbox", *words]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert run.returncode == 2
    assert told in run.stderr
    assert "Traceback" not in run.stderr


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "flowrun", "sandbox", "xcart", "--port", port]
        run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert run.returncode == 2
    assert f"port {port}: Address already in use" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(("profile", "compat"), [("native", False), ("compat", True), (None, True)])
def test_the_simulated_store_has_the_module_where_the_connection_says_so(profile: str | None, compat: bool) -> None:
    from flowrun.connections import simulator_of
    from flowrun.connector import discover

    settings = {"profile": profile} if profile else {}
    assert simulator_of(discover()["xcart"], "xcart", settings).compat is compat


def test_a_new_project_finds_orders_and_customers_in_its_sandboxes(tmp_path: Path) -> None:
    """``init`` and ``run``, nothing else; the second run meets what the first one left."""

    def flowrun(*words: str, folder: Path) -> str:
        command = [sys.executable, "-m", "flowrun", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    flowrun("init", "shop", folder=tmp_path)
    run = ("run", "xcart-orders-to-s4")
    assert "3 read, 3 new, 3 confirmed; 3 sent" in flowrun(*run, folder=tmp_path / "shop")
    assert "3 read, 0 new, 0 confirmed; 0 sent" in flowrun(*run, folder=tmp_path / "shop")
