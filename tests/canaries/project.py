"""A project with a secret in every slot, commands in it as processes of their own, and a search through all they leave."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import rsa

from flowrun.credentials.schemes import read_scheme
from flowrun.credentials.token import Token
from flowrun.store.database import Database
from flowrun.store.seal import Seal
from flowrun.store.vault import Vault
from flowrun.tokens.authorize import keep
from flowrun.tokens.grants import ByRefresh
from flowrun.values import Secret, system_clock
from tests.canaries.system import ACCESS, REFRESH, SESSION
from tests.conftest import ROOT

MAIL, NAME = "Cnry.Mask@example.com", "Cnry Mask Ünique"
"""Values of masked fields."""
MASKED = ("mail", "small mail", "name", "part of name", "part of mail")
KEY = base64.b64encode(b"cnry-store-key-0123456789-abcdef").decode()
SECRETS = {
    name: f"cnry-{name.replace('_', '-')}-3f'\\\"&%7a"  # what quoting of any kind would change
    for name in (
        "basic_user", "basic_password", "bearer", "header_key", "query_key", "client_secret", "code_secret", "consumer_secret",
        "token_secret", "session_password", "smtp_user", "smtp_password", "plain_header",
    )
}  # fmt: skip
SECRETS["old_refresh"] = "cnry-old-refresh-3f"
SECRETS["hook"] = "cnry-hook-3f"
SECRETS["convert"] = "cnry-convert-3f"

SCHEMES = {
    "basic": "{ basic: { user: { secret: basic_user }, password: { secret: basic_password } } }",
    "bearer": "{ bearer: { token: { secret: bearer } } }",
    "header": "{ api_key: { key: { secret: header_key }, header: X-Key, prefix: Token } }",
    "query": "{ api_key: { key: { secret: query_key }, query: key } }",
    "credentials": "{ oauth2_client_credentials: { token_url: URL/token, client_id: c, client_secret: { secret: client_secret } } }",
    "code": "{ oauth2_authorization_code: { authorize_url: URL/authorize, token_url: URL/token, client_id: c, "
    "client_secret: { secret: code_secret } } }",
    "jwt": "{ oauth2_jwt_bearer: { token_url: URL/token, client_id: c, key: { secret: pem } } }",
    "oauth1": "{ oauth1: { consumer_key: ck, consumer_secret: { secret: consumer_secret }, token: tk, "
    "token_secret: { secret: token_secret } } }",
    "session": "{ session: { login: login, body: { User: jo, Password: { secret: session_password } } } }",
}
CONNECTION = """
  {name}:
    connector: http
    base_url: {url}
    auth: {auth}
    headers: {{ X-Plain: {{ secret: plain_header }} }}
    health: things
    limits: {{ timeout: 1s }}
    objects: {{ things: {{ key: id, find: {{ path: things, records: items, paging: none }}, create: {{ path: things }},
      errors: {{ when: error, message: error.message, code: error.code, field: error.field }} }} }}
"""
FLOW = """
flowrun: 1
flow: to_{name}
source: {{ connection: files, object: people.jsonl, record: it, trigger: {{ poll: {{ every: 1m, full: true }} }}, key: it.id }}
vars: {{ lower: "{{{{ it.mail | lower }}}}" }}
require:
  - {{ rule: "it.n < 90", message: "{{{{ it.name }}}} has too many" }}
map:
  ref: "X-{{{{ it.id }}}}"
  mail: vars.lower
  greeting: "Dear {{{{ it.name }}}}"
  own: {{ from: it.name, as: cnry_own }}
target: {{ connection: {name}, object: things, action: create, idempotency: {{ key: "x-{{{{ it.id }}}}", find_existing: ref }} }}
privacy: {{ mask: [it.mail, it.name] }}
on_error:
  auth: {{ dead_letter: people, alert: hook }}
  other: {{ dead_letter: people, alert: mail }}
"""
OWN = '''
import os
from flowrun.converters import converter

@converter(takes="text", gives="text", examples=[("a", "a")])
def cnry_own(value: str) -> str:
    """as it is; with a variable of its own"""
    assert os.environ["FLOWRUN_SECRET_CONVERT"]
    if value.endswith("!"):
        raise ValueError(f"{value} shouts")
    return value
'''
CHILD = """#!{python}
import os, sys
with open({told!r}, "ab") as out:
    for name in ("environ", "cmdline"):
        out.write(open("/proc/self/" + name, "rb").read() + b"\\n")
sys.exit(os.execv({real!r}, [{real!r}, *sys.argv[1:]]) if {real!r} else 0)
"""


def pem() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()


@dataclass
class Found:
    """Where something of a secret stands: the surface, the secret's name, the words around it."""

    surface: str
    name: str
    around: str


class Project:
    """root: its folder. told: what child processes were given of environment and command line."""

    def __init__(self, root: Path, url: str, environments: int) -> None:
        self.root, self.told = root / "project", root / "children"
        self.secrets = {**SECRETS, "pem": pem()}
        for folder in ("flows", "in", "said"):
            (self.root / folder).mkdir(parents=True)
        site = root / "site"
        (site / "cnry_own-1.0.dist-info").mkdir(parents=True)
        (site / "cnry_own.py").write_text(OWN)
        points = "[flowrun.converters]\ncnry_own = cnry_own:cnry_own\n"
        (site / "cnry_own-1.0.dist-info" / "entry_points.txt").write_text(points)
        port = url.rpartition(":")[2]
        made = [CONNECTION.format(name=name, url=url, auth=auth.replace("URL", url)) for name, auth in SCHEMES.items()]
        made.append(CONNECTION.format(name="tls", url=f"https://127.0.0.1:{port}", auth=SCHEMES["bearer"]))
        made.append(CONNECTION.format(name="gone", url="http://127.0.0.1:9", auth=SCHEMES["basic"]))
        (self.root / "flowrun.yaml").write_text(
            "flowrun: 1\nproject: cnry\nconverters: [cnry_own]\nstore: { key: { env: STORE_KEY }, encrypt: true }\n"
            f"connections:\n  files: {{ connector: file, root: in }}\n{''.join(made)}\n"
            f"environments: {{ {', '.join(f'e{n}: {{}}' for n in range(environments))} }}\n"
            "alerts:\n  hook: { url: { secret: hook_url }, allow_private: true }\n"
            "  mail: { mail: { host: 127.0.0.1, port: 9, sender: a@example.com, to: [b@example.com], "
            "user: { secret: smtp_user }, password: { secret: smtp_password } }, allow_private: true }\n"
        )
        for name in (*SCHEMES, "tls", "gone"):
            (self.root / "flows" / f"to_{name}.yaml").write_text(FLOW.format(name=name))
        self.tools = root / "tools"
        self.tools.mkdir()
        for name, real in (("git", _which("git")), ("editor", "/bin/true")):
            tool = self.tools / name
            tool.write_text(CHILD.format(python=sys.executable, told=str(self.told), real=real))
            tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWRUN_")}
        self.environ = {
            **kept, **{f"FLOWRUN_SECRET_{name.upper()}": value for name, value in self.secrets.items()},
            "FLOWRUN_SECRET_HOOK_URL": f"{url}/hook/{SECRETS['hook']}", "STORE_KEY": KEY, "NO_COLOR": "1",
            "PATH": f"{self.tools}:{os.environ['PATH']}", "EDITOR": str(self.tools / "editor"),
            "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)]),
        }  # fmt: skip
        self.url = url
        self._count = 0
        self._forker: subprocess.Popen[str] | None = None

    def authorised(self, environment: str) -> None:
        """As if a person had said yes, a while ago."""
        settings = {"authorize_url": f"{self.url}/authorize", "token_url": f"{self.url}/token", "client_id": "c"}
        scheme = read_scheme(
            {"oauth2_authorization_code": {**settings, "client_secret": Secret(SECRETS["code_secret"])}}
        )
        place = self.root / ".flowrun" / f"state-{environment}.db"
        place.parent.mkdir(exist_ok=True)
        with closing(Database(f"sqlite:///{place}")) as database:
            token = Token(
                Secret("cnry-access-token-old"), -1.0, 3600.0, Secret(SECRETS["old_refresh"]),
                issued_for=ByRefresh(scheme, "code").issued_for,  # type: ignore[arg-type]
            )  # fmt: skip
            keep(Vault(database, system_clock, Seal(Secret(KEY))), "code", token, scheme)  # type: ignore[arg-type]

    def people(self, *ids: str) -> str:
        """Records in a file; one of them breaks a rule, one a converter."""
        file = self.root / "in" / f"{ids[0]}.jsonl"
        rows = [{"id": id_, "mail": MAIL, "name": NAME, "n": 1} for id_ in ids]
        rows += [{"id": f"{ids[0]}-many", "mail": MAIL, "name": NAME, "n": 99}]
        rows += [{"id": f"{ids[0]}-loud", "mail": MAIL, "name": f"{NAME}!", "n": 1}]
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return str(file)

    def __call__(self, *words: str) -> tuple[int, str]:
        """Run ``flowrun WORDS``. Returns the exit code and both outputs, which are searched with all else."""
        if self._forker is None:
            self._forker = subprocess.Popen(
                [sys.executable, "-m", "tests.canaries.forker"], cwd=self.root, env=self.environ,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        self._count += 1
        out, err = (self.root / "said" / f"{self._count}.{one}" for one in ("out", "err"))
        assert self._forker.stdin is not None and self._forker.stdout is not None
        self._forker.stdin.write(json.dumps([words, str(out), str(err)]) + "\n")
        self._forker.stdin.flush()
        code = self._forker.stdout.readline()
        assert code, "the forker is gone"
        return int(code), out.read_text() + err.read_text()

    def close(self) -> None:
        if self._forker is not None:
            self._forker.stdin.close()  # type: ignore[union-attr]
            self._forker.stdout.close()  # type: ignore[union-attr]
            self._forker.wait(30)

    def surfaces(self) -> Iterator[tuple[str, bytes]]:
        """Every file that is left: outputs, databases with their logs, backups, exports; and what children were given."""
        for path in sorted(self.root.rglob("*")):
            inside = path.relative_to(self.root)
            if path.is_file() and inside.parts[0] != "in":
                yield str(inside), path.read_bytes()
        if self.told.exists():
            yield "environment and command line of children", self.told.read_bytes()

    def found(self) -> list[Found]:
        found = [one for surface, held in self.surfaces() for one in search(surface, held, self.secrets)]
        # A plan that is kept holds what it would send, as its file says; not so what it shows of it.
        return [one for one in found if one.surface != "plan.json" or one.name not in MASKED]


def search(surface: str, held: bytes, secrets: dict[str, str]) -> Iterator[Found]:
    for name, needles in needles_of(secrets).items():
        for needle in needles:
            place = held.find(needle)
            if place >= 0:
                around = held[max(0, place - 120) : place + len(needle) + 60].decode("utf-8", "replace")
                yield Found(surface, name, around)
                break


def needles_of(secrets: dict[str, str]) -> dict[str, list[bytes]]:
    """Each as it is, and in the forms that the wire, JSON and headers give it."""
    user, password = secrets["basic_user"], secrets["basic_password"]
    values = {
        **{name: value for name, value in secrets.items() if name != "pem"},
        "pem": secrets["pem"].splitlines()[1], "key": KEY, "access": ACCESS, "old access": "cnry-access-token-old",
        "refresh": REFRESH, "session": SESSION, "basic": base64.b64encode(f"{user}:{password}".encode()).decode(),
        "client": base64.b64encode(f"c:{quote(secrets['client_secret'], safe='')}".encode()).decode(),
        "mail": MAIL, "small mail": MAIL.lower(), "name": NAME, "part of name": "Cnry Mask", "part of mail": "Cnry.Mask",
    }  # fmt: skip
    return {
        name: [
            one.encode() for one in
            {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], quote(value, safe=""), quote(value), repr(value)[1:-1]}
        ]
        for name, value in values.items()
    }  # fmt: skip


def _which(name: str) -> str:
    import shutil

    found = shutil.which(name)
    assert found, f"{name} is needed"
    return found
