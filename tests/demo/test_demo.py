"""The demo, as a newcomer runs it."""

import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_well_and_says_what_it_shows(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flowrun", "demo", "--keep", str(tmp_path / "p")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "sales order   1",
        "0 sent",
        "customers has no row for '77'",
        "dlq replay",
        "ZEXB",
        "tracking 1Z999AA10123456784",
    ):
        assert words in done.stdout, words
    assert "sim-s4" not in done.stdout and "sim-xcart" not in done.stdout
    state = (tmp_path / "p/.flowrun/state-qa.db").read_bytes()
    assert b"sim-s4-client-secret" not in state


def test_init_makes_a_project_that_validates_and_passes_its_tests(tmp_path: Path) -> None:
    def flowrun(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flowrun", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert flowrun("init").returncode == 0
    (tmp_path / "flowrun.yaml").write_text((tmp_path / "flowrun.yaml").read_text() + "# mine\n")
    assert flowrun("init").returncode == 0
    assert (tmp_path / "flowrun.yaml").read_text().endswith("# mine\n"), "nothing is overwritten"
    assert flowrun("validate", "--strict").returncode == 0
    done = flowrun("test")
    assert done.returncode == 0, done.stdout
    assert "0 failed" in done.stdout


def test_a_run_becomes_tests_without_personal_data(tmp_path: Path) -> None:
    root = tmp_path / "p"
    subprocess.run(
        [sys.executable, "-m", "flowrun", "demo", "--keep", str(root)], capture_output=True, timeout=120, check=True
    )
    flow = root / "flows/xcart-s4hana/orders-to-s4.yaml"
    before = flow.read_text()

    def flowrun(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flowrun", *words], cwd=root, capture_output=True, text=True, timeout=60, check=False
        )

    done = flowrun("test", "--record", "1", "--env", "qa")
    assert done.returncode == 0, done.stderr
    after = flow.read_text()
    assert after.startswith(before.rstrip("\n")), "nothing else changed"
    assert "ann@example.com" not in after[len(before) - 1 :]
    tested = flowrun("test")
    assert tested.returncode == 0, tested.stdout
    assert "recorded 1006 of run 1" in tested.stdout
