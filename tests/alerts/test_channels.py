"""Channels over real sockets: what arrives, what is refused, what is never shown, and that it ends in time."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import smtplib
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from flowrun.alerts import mail as mail_module
from flowrun.alerts import webhook as webhook_module
from flowrun.alerts.channels import Channels
from flowrun.alerts.webhook import NotSent
from flowrun.logs import redact
from flowrun.project import load_project
from flowrun.store.alert_rows import Route
from tests.alerts.test_words import NOTICES, RECORDS, notice

OPENED = NOTICES["records-opened"]
HOOK = "/services/T0/B0/very-long-secret"


def channels(root: Path, alerts: str, environ: dict[str, str] | None = None, **more: Any) -> Channels:
    """A project with these channels; the first is named desk, as the notices have it."""
    text = f"flowrun: 1\nproject: shop-to-erp\nalerts:\n{alerts}\n"
    (root / "flowrun.yaml").write_text(text, encoding="utf-8")
    return Channels(load_project(root), "prod", environ=environ or {}, **more)


def refusal(act: Callable[[], None]) -> str:
    with pytest.raises(NotSent) as caught:
        act()
    return redact(str(caught.value))


# -- webhooks --------------------------------------------------------------------------------------------------------


class Hook:
    """A receiver on this machine. answers: status codes; the last one repeats."""

    def __init__(self) -> None:
        self.answers = [200]
        self.headers: dict[str, str] = {}
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0])
                for name, value in hook.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


def desk(root: Path, url: str, **more: Any) -> Channels:
    return channels(root, "  desk: { url: { secret: desk } }", {"FLOWRUN_SECRET_DESK": url}, **more)


def test_a_webhook_gets_the_facts_under_the_notices_name(tmp_path: Path, hook: Hook) -> None:
    desk(tmp_path, f"{hook.origin}{HOOK}?sig=abcd").send(OPENED)
    ((path, headers, body),) = hook.got
    assert path == f"{HOOK}?sig=abcd"
    assert (headers["content-type"], headers["idempotency-key"]) == ("application/json", OPENED.name)
    found = json.loads(body)
    assert (found["error_class"], found["count"], found["id"]) == ("bad_data", 3, OPENED.name)
    assert found["next"] == "flowrun dlq list --flow orders --env prod"


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
def test_an_answer_that_is_no_success_is_no_delivery(tmp_path: Path, hook: Hook, status: int) -> None:
    hook.answers = [status]
    hook.headers = {"location": f"{hook.origin}/elsewhere"}
    assert refusal(lambda: desk(tmp_path, hook.origin + HOOK).send(OPENED)) == f"the receiver answered {status}"
    assert len(hook.got) == 1, "a redirect is not followed"


def test_a_receiver_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = refusal(lambda: desk(tmp_path, f"http://127.0.0.1:{port}{HOOK}").send(OPENED))
    assert words == "the receiver cannot be reached (ConnectError)"


@pytest.mark.parametrize("drip", [b"", b"H"])
def test_a_receiver_that_never_answers_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drip: bytes
) -> None:
    monkeypatch.setattr(webhook_module, "TIMEOUT_SECS", 0.2)
    with dripping(drip) as port:
        began = time.monotonic()
        words = refusal(lambda: desk(tmp_path, f"http://127.0.0.1:{port}{HOOK}").send(OPENED))
    assert "cannot be reached" in words and time.monotonic() - began < 5


class dripping:
    """A server that takes a connection and then sends a byte now and then, or nothing."""

    def __init__(self, drip: bytes) -> None:
        self.drip = drip
        self.over = threading.Event()

    def __enter__(self) -> int:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        return int(self.listening.getsockname()[1])

    def _serve(self) -> None:
        connection, _ = self.listening.accept()
        with connection:
            while not self.over.wait(0.05):
                try:
                    connection.sendall(self.drip)
                except OSError:
                    return

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join(5)
        self.listening.close()


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.7", "127.0.0.1", "::ffff:169.254.169.254"])
def test_a_name_that_leads_inside_is_not_connected_to(tmp_path: Path, address: str) -> None:
    found = desk(tmp_path, f"https://hooks.example{HOOK}", resolve=lambda host, port: [address])
    words = refusal(lambda: found.send(OPENED))
    assert words.startswith(f"hooks.example leads to {address}: ") and "connection" not in words


def test_a_private_receiver_is_reached_by_explicit_wish(tmp_path: Path, hook: Hook) -> None:
    alerts = "  desk: { url: { secret: desk }, allow_private: true }"
    url = hook.origin.replace("127.0.0.1", "hooks.example") + HOOK
    found = channels(tmp_path, alerts, {"DESK": url}, resolve=lambda host, port: ["127.0.0.1"])
    found.send(OPENED)
    assert len(hook.got) == 1


@pytest.mark.parametrize("url", ["hooks.example", "ftp://x/y", "https://", "javascript:alert(1)"])
def test_a_url_that_is_none(tmp_path: Path, url: str) -> None:
    assert refusal(lambda: desk(tmp_path, url).send(OPENED)) == "the url is no address of a web service"


def test_a_secret_that_is_not_set_says_which(tmp_path: Path) -> None:
    words = refusal(lambda: channels(tmp_path, "  desk: { url: { secret: desk } }").send(OPENED))
    assert "the secret 'desk' is not set (export FLOWRUN_SECRET_DESK=…" in words


def test_a_channel_that_the_project_lost(tmp_path: Path) -> None:
    words = refusal(lambda: channels(tmp_path, "  other: { also: [] }").send(OPENED))
    assert words == "flowrun.yaml has no alert channel 'desk' (channels: other)"


def test_a_silent_one_tells_nobody(tmp_path: Path, hook: Hook) -> None:
    desk(tmp_path, hook.origin + HOOK, silent=True).send(OPENED)
    assert hook.got == []


def test_the_address_is_masked_once_it_was_read(tmp_path: Path, hook: Hook) -> None:
    desk(tmp_path, hook.origin + HOOK).send(OPENED)
    assert HOOK not in redact(f"posted to {hook.origin}{HOOK}")


def test_routes_need_no_secret(tmp_path: Path) -> None:
    alerts = """  desk: { url: { secret: desk } }
  on-call: { url: { secret: pager }, also: desk, every: 15m, escalate: { after: 30m, to: [boss, desk] } }
  boss: { also: [desk] }"""
    found = channels(tmp_path, alerts).routes
    assert found["desk"] == Route()
    assert found["on-call"] == Route(("desk",), 900.0, 1800.0, ("boss", "desk"))


# -- letters ---------------------------------------------------------------------------------------------------------


class Post:
    """Keeps letters. refuse: recipients it will not take."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, list[str], EmailMessage]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.refuse: set[str] = set()
        self.answer = "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refuse:
            return "550 no such box"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        assert session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.letters.append((envelope.mail_from, envelope.rcpt_tos, message))
        return self.answer

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"mail-pass-word", handled=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def post() -> Post:
    return Post()


Serve = Callable[..., int]


@pytest.fixture
def serve(authority: trustme.CA, post: Post) -> Iterator[Serve]:
    """Starts a mail server on this machine and gives its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def start(tls: str = "starttls", name: str = "localhost", login: bool = False) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        more: dict[str, Any] = {}
        if login:
            more = {"authenticator": post.login, "auth_required": True, "auth_require_tls": tls == "starttls"}
        if tls == "starttls":
            more |= {"tls_context": context, "require_starttls": True}
        server = asyncio.run_coroutine_threadsafe(
            loop.create_server(
                lambda: SMTP(post, hostname="localhost", loop=loop, **more),
                "127.0.0.1",
                0,
                ssl=context if tls == "implicit" else None,
            ),
            loop,
        ).result(5)
        return int(server.sockets[0].getsockname()[1])

    yield start
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


@pytest.fixture
def letters(tmp_path: Path, authority: trustme.CA) -> Callable[..., Channels]:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def make(
        port: int, *, host: str = "localhost", more: str = "", environ: dict[str, str] | None = None, **kwargs: Any
    ) -> Channels:
        mail = f"host: {host}, port: {port}, sender: flowrun@example.com, to: [it@example.com, b@example.com]"
        alerts = f"  desk: {{ mail: {{ {mail}, verify: ca.pem{more} }}, allow_private: true }}"
        kwargs.setdefault("resolve", lambda host, port: ["127.0.0.1"])
        return channels(tmp_path, alerts, environ, **kwargs)

    return make


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_letter_goes_inside_tls(serve: Serve, post: Post, letters: Any, tls: str) -> None:
    letters(serve(tls), more=f", tls: {tls}").send(OPENED)
    ((sender, to, letter),) = post.letters
    assert (sender, to) == ("flowrun@example.com", ["it@example.com", "b@example.com"])
    assert letter["Subject"].strip() == "[flowrun shop-to-erp prod] orders: 2 records cannot be mapped (bad_data)"
    assert letter["Message-ID"] == f"<{OPENED.name}@example.com>"
    assert letter["References"] == "<alert-12-1777888800@example.com>"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Date"] == "Mon, 04 May 2026 10:30:00 +0000"
    assert "next:    flowrun dlq list --flow orders --env prod" in letter.get_content()


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_the_certificate_is_proven_against_the_name_that_was_written(
    serve: Serve, post: Post, letters: Any, tls: str
) -> None:
    letters(serve(tls, name="mail.example.com"), host="mail.example.com", more=f", tls: {tls}").send(OPENED)
    assert len(post.letters) == 1


def test_it_logs_in_only_inside_tls(serve: Serve, post: Post, letters: Any) -> None:
    login = ", user: robot, password: { secret: mail_pass }"
    letters(serve(login=True), more=login, environ={"MAIL_PASS": "mail-pass-word"}).send(OPENED)
    assert post.logins == [(b"robot", b"mail-pass-word")] and len(post.letters) == 1


def test_a_wrong_password_is_said_without_it(serve: Serve, post: Post, letters: Any) -> None:
    login = ", user: robot, password: { secret: mail_pass }"
    found = letters(serve(login=True), more=login, environ={"MAIL_PASS": "mistyped-word"})
    assert refusal(lambda: found.send(OPENED)) == "the mail server refuses the login (535)"


def test_a_server_without_tls_gets_nothing(serve: Serve, post: Post, letters: Any) -> None:
    """Also what a man in the middle makes of a good one, by taking STARTTLS out of its answer."""
    login = ", user: robot, password: { secret: mail_pass }"
    found = letters(serve("none", login=True), more=login, environ={"MAIL_PASS": "mail-pass-word"})
    assert refusal(lambda: found.send(OPENED)) == "the mail server offers no TLS; nothing was sent, no password shown"
    assert (post.letters, post.logins) == ([], [])


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_certificate_of_somebody_else_is_not_trusted(serve: Serve, post: Post, letters: Any, tls: str) -> None:
    words = refusal(lambda: letters(serve(tls, name="mail.elsewhere"), more=f", tls: {tls}").send(OPENED))
    assert words.startswith("the mail server's TLS is not trusted: Hostname mismatch") and post.letters == []


def test_an_authority_that_nobody_named_is_not_trusted(serve: Serve, tmp_path: Path) -> None:
    mail = f"host: localhost, port: {serve()}, sender: a@example.com, to: b@example.com"
    found = channels(tmp_path, f"  desk: {{ mail: {{ {mail} }} }}", resolve=lambda host, port: ["127.0.0.1"])
    assert refusal(lambda: found.send(OPENED)).startswith("the mail server's TLS is not trusted: unable to get")


def test_a_record_begins_no_header_and_no_recipient(serve: Serve, post: Post, letters: Any) -> None:
    evil = "x\r\nBcc: everybody@example.com\r\n\r\n<script>alert(1)</script>\r\n.\r\nMAIL FROM:<a@b>"
    letters(serve()).send(replace(OPENED, alert=replace(RECORDS, flow=evil, kind=evil, message=evil)))
    ((_, to, letter),) = post.letters
    assert to == ["it@example.com", "b@example.com"] and letter["Bcc"] is None
    assert letter.get_content_type() == "text/plain" and not letter.is_multipart()
    assert letter["Subject"].startswith("[flowrun shop-to-erp prod] x Bcc: everybody@example.com <script>")


def test_words_beyond_ascii_arrive(serve: Serve, post: Post, letters: Any) -> None:
    letters(serve()).send(
        notice("opened", replace(RECORDS, flow="bestellungen", message="Straße „Große“ fehlt – 北京"))
    )
    assert "Straße „Große“ fehlt – 北京" in post.letters[0][2].get_content()


def test_some_recipients_refused_is_a_delivery_and_all_is_none(serve: Serve, post: Post, letters: Any) -> None:
    port = serve()
    post.refuse = {"b@example.com"}
    letters(port).send(OPENED)
    assert post.letters[0][1] == ["it@example.com"]
    post.refuse.add("it@example.com")
    assert refusal(lambda: letters(port).send(OPENED)) == "the mail server takes none of the recipients"


def test_a_server_that_refuses_the_letter(serve: Serve, post: Post, letters: Any) -> None:
    port = serve()
    post.answer = "552 too much"
    assert refusal(lambda: letters(port).send(OPENED)) == "the mail server answered 552"


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.7", "127.0.0.1"])
def test_a_mail_server_inside_is_not_connected_to(tmp_path: Path, address: str) -> None:
    alerts = "  desk: { mail: { host: mail.example, sender: a@example.com, to: [b@example.com] } }"
    found = channels(tmp_path, alerts, resolve=lambda host, port: [address])
    words = refusal(lambda: found.send(OPENED))
    assert words.startswith(f"mail.example leads to {address}: ") and "connection" not in words


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("drip", [b"", b"2"])
def test_a_mail_server_that_never_gets_to_the_point_ends_in_time(
    letters: Any, monkeypatch: pytest.MonkeyPatch, tls: str, drip: bytes
) -> None:
    monkeypatch.setattr(mail_module, "WHOLE_SECS", 0.5)
    with dripping(drip) as port:
        began = time.monotonic()
        words = refusal(lambda: letters(port, more=f", tls: {tls}").send(OPENED))
    assert "mail server" in words and time.monotonic() - began < 5


def test_smtplib_still_has_the_door_we_use() -> None:
    assert callable(smtplib.SMTP._get_socket)  # type: ignore[attr-defined]


# -- apprise ---------------------------------------------------------------------------------------------------------


def test_apprise_brings_it_to_a_service_as_text(tmp_path: Path, hook: Hook) -> None:
    pytest.importorskip("apprise", reason="the extra alerts is not installed")
    address = hook.origin.replace("http://", "json://") + "/inbox"
    found = channels(tmp_path, "  desk: { apprise: { secret: teams } }", {"TEAMS": address})
    found.send(notice("opened", replace(RECORDS, message="<b>no</b> row")))
    body = json.loads(hook.got[0][2])
    assert body["title"] == "[flowrun shop-to-erp prod] orders: 2 records cannot be mapped (bad_data)"
    assert "what:    <b>no</b> row" in body["message"]
    hook.answers = [500]
    assert refusal(lambda: found.send(OPENED)) == "the service did not take it"


def test_apprise_makes_html_inert_where_the_service_shows_it(tmp_path: Path, hook: Hook) -> None:
    pytest.importorskip("apprise", reason="the extra alerts is not installed")
    address = hook.origin.replace("http://", "json://") + "/inbox?format=html"
    found = channels(tmp_path, "  desk: { apprise: { secret: teams } }", {"TEAMS": address})
    found.send(notice("opened", replace(RECORDS, message="<b>no</b> row")))
    body = json.loads(hook.got[0][2])
    assert "<b>" not in body["message"] and "&lt;b&gt;" in body["message"]


def test_an_address_that_apprise_does_not_know(tmp_path: Path) -> None:
    pytest.importorskip("apprise", reason="the extra alerts is not installed")
    found = channels(tmp_path, "  desk: { apprise: { secret: teams } }", {"TEAMS": "nosuch://secret-part/x"})
    assert refusal(lambda: found.send(OPENED)) == "apprise does not know this address"


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    found = channels(tmp_path, "  desk: { apprise: { secret: teams } }", {"TEAMS": "json://x"})
    assert refusal(lambda: found.send(OPENED)) == "apprise is not installed: pip install 'flowrun[alerts]'"
