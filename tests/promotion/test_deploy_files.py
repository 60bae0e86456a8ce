"""The files of deploy/, as far as they can be held without Docker: against pyproject.toml, the docs, and systemd."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
UNIT = (ROOT / "deploy/flowrun.service").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
DOCS = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
STAGES = DOCKERFILE.split("FROM ")[1:]


def words(instruction: str, text: str = DOCKERFILE) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [
        line.removeprefix(instruction).strip() for line in joined.splitlines() if line.startswith(f"{instruction} ")
    ]


def pip_line(text: str) -> str:
    found = re.search(r"python3 -m venv /opt/flowrun && (\S+pip install [^\n]+)", text)
    assert found
    return found.group(1)


def test_it_is_installed_as_the_docs_say() -> None:
    assert pip_line(DOCKERFILE) == pip_line(DOCS)
    extras = re.search(r"'\.\[(.+)\]'", pip_line(DOCKERFILE))
    assert extras
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.group(1).split(",")) <= set(known)


def test_the_image_takes_in_what_the_package_is_built_from() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = build["tool"]["hatch"]["build"]["targets"]["wheel"]
    wanted = {"pyproject.toml", build["project"]["readme"], *wheel["force-include"]}
    wanted |= {package.split("/")[0] for package in wheel["packages"]}
    copied = {word for line in words("COPY", STAGES[0]) for word in line.split()[:-1]}
    assert wanted <= copied
    assert all((ROOT / name).exists() for name in copied)


def test_it_runs_without_a_compiler_and_without_rights() -> None:
    assert len(STAGES) == 2
    last = STAGES[1]
    assert words("USER", last) == ["10001:10001"]
    assert "apt-get" not in last and "pip install" not in last
    assert json.loads(words("CMD", last)[0])[:3] == ["serve", "--env", "prod"]


def test_the_health_check_tells_well_from_ill() -> None:
    class Door(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.server.well and self.path == "/healthz" else 503)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    check = json.loads(words("HEALTHCHECK")[0].partition(" CMD ")[2])
    snippet = check[2].replace(":8080/", f":{server.server_address[1]}/")
    codes = []
    for well in (True, False):
        server.well = well  # type: ignore[attr-defined]
        codes.append(subprocess.run([sys.executable, *check[1:2], snippet], capture_output=True, timeout=30).returncode)
    server.shutdown()
    assert codes == [0, 1]
    assert "8080" in json.loads(words("CMD", STAGES[1])[0])


def test_the_entry_goes_where_the_link_leads_and_passes_words_on(tmp_path: Path) -> None:
    entry = json.loads(words("ENTRYPOINT")[0])
    (tmp_path / "releases/one").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/one")
    stub = tmp_path / "flowrun"
    stub.write_text('#!/bin/sh\npwd -P\nfor word in "$@"; do echo "$word"; done\n')
    stub.chmod(0o755)
    script = entry[2].replace("/srv/flowrun", str(tmp_path))
    done = subprocess.run(
        [*entry[:2], script, entry[3], "serve", "two words"],
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert done.stdout.splitlines() == [str(tmp_path / "releases/one"), "serve", "two words"]


def test_compose_fits_together() -> None:
    services, secrets, volumes = COMPOSE["services"], COMPOSE["secrets"], COMPOSE["volumes"]
    assert set(COMPOSE) == {"name", "services", "secrets", "volumes"}
    for service in services.values():
        assert set(service.get("secrets", ())) <= set(secrets)
        assert {volume.split(":")[0] for volume in service["volumes"]} <= set(volumes)
        assert set(service.get("depends_on", {})) <= set(services)
    flowrun, database = services["flowrun"], services["database"]
    assert flowrun["depends_on"]["database"]["condition"] == "service_healthy" and "healthcheck" in database
    assert (
        ROOT / "deploy" / flowrun["build"]["context"] / flowrun["build"]["dockerfile"]
    ).resolve() == ROOT / "deploy/Dockerfile"
    assert flowrun["environment"]["FLOWRUN_STORE"] == "postgresql://flowrun@database/flowrun"
    environment = database["environment"]
    assert (environment["POSTGRES_USER"], environment["POSTGRES_DB"]) == ("flowrun", "flowrun")
    assert flowrun["environment"]["PGPASSFILE"] == "/run/secrets/pgpass"
    assert flowrun["read_only"] is True and flowrun["cap_drop"] == ["ALL"]
    assert flowrun["ports"] == ["127.0.0.1:8080:8080"]
    assert words("VOLUME", STAGES[1]) == ["/srv/flowrun"] and flowrun["volumes"] == ["place:/srv/flowrun"]
    assert not re.search(r"PASSWORD\s*:", (ROOT / "deploy/compose.yaml").read_text())


def test_both_give_serve_the_time_it_takes_to_end() -> None:
    from flowrun.cli.serve import command

    grace = next(one.default for one in command.params if one.name == "grace")
    unit = re.search(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert unit and int(unit.group(1)) > grace  # type: ignore[operator]
    assert int(COMPOSE["services"]["flowrun"]["stop_grace_period"].removesuffix("s")) > grace  # type: ignore[operator]


def test_what_serves_is_a_command_that_is_there() -> None:
    from flowrun.cli.main import cli
    from flowrun.cli.serve import command

    above = click.Context(cli, **cli.context_settings)
    started = re.search(r"^ExecStart=\S+/flowrun serve (.+)$", UNIT, re.MULTILINE)
    assert started
    command.make_context("serve", started.group(1).split(), parent=above)
    command.make_context("serve", json.loads(words("CMD", STAGES[1])[0])[1:], parent=above)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "flowrun.service"
    unit.write_text(UNIT.replace("/opt/flowrun/bin/flowrun", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if "flowrun.service" in line]
    assert (done.returncode, said) == (0, [])
