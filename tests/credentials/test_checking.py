"""``flowrun validate`` finds what is wrong under auth: and store:, each with its place, and the editor knows the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flowrun.connector import discover
from flowrun.credentials.schemes import SCHEMES
from flowrun.flow.schema import project_schema

TOP = """flowrun: 1
connections:
  shop:
    connector: http
    base_url: https://shop.example
    objects: { orders: { key: id, get: { path: "orders/{id}" }, fields: { id: text } } }
"""
CODE = "authorize_url: https://a.example/a, token_url: https://a.example/t, client_id: { env: ID }"


def findings(root: Path, lines: str) -> list[dict[str, Any]]:
    (root / "flowrun.yaml").write_text(TOP + lines)
    command = [sys.executable, "-m", "flowrun", "validate", "--format", "json", "--no-cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    listed: list[dict[str, Any]] = found["findings"] if isinstance(found, dict) else found
    return listed


@pytest.mark.parametrize(
    ("lines", "code", "place", "words"),
    [
        ("    auth: { oauth2_client_credential: { client_id: x } }", "FR030", "7:13", "oauth2_client_credentials"),
        ("    auth: { oauth1: { consumer_key: a, consumer_secret: { secret: s }, token: t } }", "FR034", "7:21", "token_secret"),
        (f"    auth: {{ oauth2_authorization_code: {{ {CODE}, scop: a }} }}", "FR030", "", "scope"),
        (f"    auth: {{ oauth2_authorization_code: {{ {CODE}, client_secret: written-out }} }}", "FR197", "", "client_secret"),
        (f"    auth: {{ oauth2_authorization_code: {{ {CODE.replace('https://a.example/t', 'a.example')} }} }}", "FR210", "", "no address"),
        (f"    auth: {{ oauth2_authorization_code: {{ {CODE.replace('https://a.example/t', 'http://a.example/t')} }} }}", "FR210", "", "plain sight"),
        (f"    auth: {{ oauth2_authorization_code: {{ {CODE}, send: heder }} }}", "FR037", "", "header"),
        ("    auth: { oauth2_jwt_bearer: { token_url: { env: U }, client_id: x, key: { secret: k }, algorithm: HS256 } }", "FR037", "", "RS256"),
        ("    auth: { session: { login: Login, body: { User: { env: U }, Password: pw } } }", "FR197", "", "Password"),
        ("    auth: { session: { login: Login, body: { User: { env: U } }, idle: soon } }", "FR039", "", "soon"),
        ("    auth: { session: { login: Login, body: text } }", "FR031", "", "body"),
        ("    auth: { basic: { user: [a], password: { secret: p } } }", "FR031", "", "user"),
        ("    client_key_password: written-out", "FR197", "", "client_key_password"),
        ("store: { key: AAAA }", "FR197", "7:10", "FLOWRUN_KEY"),
        ("store: { kyy: { env: X } }", "FR030", "7:10", "key"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_place(tmp_path: Path, lines: str, code: str, place: str, words: str) -> None:
    found = [one for one in findings(tmp_path, lines) if one["severity"] == "error"]
    assert [one["code"] for one in found] == [code], found
    assert words in json.dumps(found)
    assert "written-out" not in found[0]["message"]
    if place:
        assert f"{found[0]['line']}:{found[0]['column']}" == place


GOOD = [
    "    auth: { oauth1: { consumer_key: { env: A }, consumer_secret: { secret: b }, token: { env: T }, token_secret: { secret: d } } }",
    f"    auth: {{ oauth2_authorization_code: {{ {CODE}, params: {{ access_type: offline }} }} }}",
    "    auth: { session: { login: Login, idle: 25m, body: { UserName: { env: U }, Password: { secret: p } } } }",
    "    auth: { oauth2_jwt_bearer: { token_url: { env: U }, client_id: x, key: { secret: k }, algorithm: PS256, use: client } }",
    "    client_cert: us.pem\n    client_key: { secret: k }\n    client_key_password: { secret: p }",
    "store: { key: { env: FLOWRUN_KEY } }",
    "store: { key: { file: .flowrun/key } }",
]


@pytest.mark.parametrize("lines", GOOD)
def test_what_is_right_is_right_for_the_checker_and_the_editor(tmp_path: Path, lines: str) -> None:
    import yaml

    assert not [one for one in findings(tmp_path, lines) if one["severity"] == "error"]
    Draft202012Validator(project_schema(discover())).validate(yaml.safe_load(TOP + lines))


def test_the_docs_list_every_scheme_and_setting() -> None:
    import dataclasses

    text = (Path(__file__).parents[2] / "docs/credentials.md").read_text()
    for name, cls in SCHEMES.items():
        assert f"### `{name}`" in text
        section = text.split(f"### `{name}`")[1].split("\n## ")[0].split("\n### ")[0]
        for one in dataclasses.fields(cls):
            assert f"| `{one.name}` |" in section, f"{name}.{one.name}"
