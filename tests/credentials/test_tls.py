"""Certificates that prove nothing, versions that are too old, our own certificate: over real sockets."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from flowrun.connections import build
from flowrun.errors import AuthFailed, ConnectorError, ProjectError
from flowrun.values import Secret, system_clock
from tests.credentials.kit import CLIENT_ID, CLIENT_SECRET, Heard, TokenSystem

OBJECTS = {"orders": {"key": "id", "get": {"path": "orders/{id}"}, "fields": {"id": "text"}}}


class Authority:
    """An authority of our own, with the certificates it gave."""

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.cert = self._cert("authority", self.key, None, self.key, authority=True)
        self.file = self.write("authority.pem", self._pem(self.cert))

    def given(self, name: str, *, host: str = "127.0.0.1", days: int = 90, own: bool = False) -> tuple[str, str]:
        """(certificate, key) in PEM. own: signed by itself. days: < 0 when it has ended."""
        from cryptography.hazmat.primitives import serialization as s
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._cert(name, key, host, key if own else self.key, days=days)
        private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()
        return self._pem(cert), private

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def _pem(self, cert: Any) -> str:
        from cryptography.hazmat.primitives.serialization import Encoding

        return str(cert.public_bytes(Encoding.PEM).decode())

    def _cert(
        self, name: str, key: Any, host: str | None, signer: Any, *, days: int = 90, authority: bool = False
    ) -> Any:
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256

        def named(text: str) -> Any:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        now = datetime.now(UTC)
        issuer = name if signer is key else "authority"
        made = x509.CertificateBuilder(
            named(issuer), named(name), key.public_key(), x509.random_serial_number(),
            now - timedelta(days=200), now + timedelta(days=days),
        ).add_extension(x509.BasicConstraints(authority, None), critical=True)  # fmt: skip
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        made = made.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        if authority:
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            made = made.add_extension(usage, critical=True)
        if host is not None:
            names = [x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)]
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return made.sign(signer, SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def server_context(authority: Authority, pair: tuple[str, str], *, wants_ours: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.write("server.pem", pair[0] + pair[1]))
    if wants_ours:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
    return context


def settings(base_url: str, authority: Authority, **more: Any) -> dict[str, Any]:
    return {
        "base_url": base_url,
        "verify": str(authority.file),
        "objects": OBJECTS,
        "health": "api",
        "limits": {"timeout": "5s"},
        **more,
    }


def get(given: dict[str, Any], root: Path, **more: Any) -> Any:
    """One GET through the whole connection. Raises what the connector raises."""
    from flowrun_connectors.http.connector import Http

    connector = build(Http, "bank", given, now=system_clock, root=root, on_trouble=more.pop("heard", Heard()), **more)
    with connector.http as client:
        return client.get("api").status_code


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"days": -1}, "expired"),
        ({"host": "other.example"}, "IP address mismatch"),
        ({"own": True}, "self-signed"),
    ],
)
def test_a_certificate_that_proves_nothing_is_refused_for_good(
    authority: Authority, tmp_path: Path, how: dict[str, Any], words: str
) -> None:
    system = TokenSystem()
    with system.running(tls=server_context(authority, authority.given("server", **how))) as url:
        with pytest.raises(AuthFailed, match=words) as caught:
            get(settings(url, authority, auth={"bearer": {"token": Secret("canary-bearer")}}), tmp_path)
    assert "verify: FILE.pem" in caught.value.help
    assert system.log == [], "nothing was sent, and not in plain words either"


def test_the_token_endpoint_is_held_to_the_same(authority: Authority, tmp_path: Path) -> None:
    system, bad = TokenSystem(), TokenSystem()
    with (
        system.running(tls=server_context(authority, authority.given("server"))) as url,
        bad.running(tls=server_context(authority, authority.given("bad", days=-1))) as login,
    ):
        auth = {"token_url": f"{login}/token", "client_id": CLIENT_ID, "client_secret": Secret(CLIENT_SECRET)}
        with pytest.raises(AuthFailed, match="expired"):
            get(settings(url, authority, auth={"oauth2_client_credentials": auth}), tmp_path)
        assert bad.log == [] and system.log == []
        auth["token_url"] = f"{url}/token"
        assert get(settings(url, authority, auth={"oauth2_client_credentials": auth}), tmp_path) == 200


def test_an_authority_nobody_named_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    with TokenSystem().running(tls=server_context(authority, authority.given("server"))) as url:
        given = settings(url, authority)
        del given["verify"]
        with pytest.raises(AuthFailed, match="certificate is not trusted"):
            get(given, tmp_path)


def test_a_server_that_speaks_no_tls_gets_nothing(authority: Authority, tmp_path: Path) -> None:
    system = TokenSystem()
    with system.running() as url:
        with pytest.raises(AuthFailed, match="does not speak TLS"):
            get(settings(url.replace("http:", "https:"), authority, auth={"bearer": {"token": "canary"}}), tmp_path)
    assert system.log == []


def test_old_versions_are_refused(authority: Authority, tmp_path: Path) -> None:
    context = server_context(authority, authority.given("server"))
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with TokenSystem().running(tls=context) as url:
        with pytest.raises(AuthFailed, match="no longer safe"):
            get(settings(url, authority), tmp_path)


# -- our own ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def bank(authority: Authority) -> Iterator[TokenSystem]:
    """A system that asks for our certificate."""
    system = TokenSystem()
    with system.running(tls=server_context(authority, authority.given("server"), wants_ours=True)):
        yield system


def test_by_file_by_secret_and_in_one(authority: Authority, bank: TokenSystem, tmp_path: Path) -> None:
    chain, key = authority.given("us")
    authority.write("us.pem", chain)
    authority.write("both.pem", chain + key)
    for ours in (
        {"client_cert": "us.pem", "client_key": Secret(key)},
        {"client_cert": Secret(chain), "client_key": Secret(key)},
        {"client_cert": "both.pem"},
        {"client_cert": Secret(chain + key)},
    ):
        assert get(settings(bank.base_url, authority, **ours), tmp_path) == 401, "through TLS; the API wants a token"
    assert bank.calls == 4
    assert not [path for path in tmp_path.iterdir() if key in path.read_text() and path.name != "both.pem"]


def test_a_key_with_a_password(authority: Authority, bank: TokenSystem, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s

    chain, key = authority.given("us")
    private = s.load_pem_private_key(key.encode(), None)
    locked = private.private_bytes(
        s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"canary-pw")
    ).decode()
    ours = {"client_cert": Secret(chain), "client_key": Secret(locked)}
    with pytest.raises(ProjectError) as caught:  # and no question at the terminal
        get(settings(bank.base_url, authority, **ours), tmp_path)
    assert "client_key_password" in caught.value.help and "canary" not in str(caught.value)
    ours["client_key_password"] = Secret("canary-pw")
    assert get(settings(bank.base_url, authority, **ours), tmp_path) == 401


@pytest.mark.parametrize("which", ["none", "stranger", "ended"])
def test_a_certificate_of_ours_that_is_not_taken(
    authority: Authority, bank: TokenSystem, tmp_path: Path, which: str
) -> None:
    ours: dict[str, Any] = {}
    if which != "none":
        chain, key = authority.given("us", own=which == "stranger", days=-1 if which == "ended" else 90)
        ours = {"client_cert": Secret(chain), "client_key": Secret(key)}
    with pytest.raises(AuthFailed, match="does not take our certificate"):
        get(settings(bank.base_url, authority, **ours), tmp_path)
    assert bank.log == []


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ({"client_cert": "nowhere.pem"}, "nowhere.pem: No such file"),
        ({"client_key": Secret("canary")}, "client_key and no client_cert"),
        ({"client_cert": Secret("canary")}, "client_cert: No such file"),
        ({"client_cert": Secret("-----BEGIN CERTIFICATE-----\ncanary")}, "cannot be used"),
    ],
)
def test_files_that_are_none(authority: Authority, tmp_path: Path, ours: dict[str, Any], words: str) -> None:
    with pytest.raises(ProjectError, match=words) as caught:
        get(settings("https://127.0.0.1:1", authority, **ours), tmp_path)
    assert "canary" not in str(caught.value) + caught.value.help


def test_keys_of_different_pairs(authority: Authority, tmp_path: Path) -> None:
    ours = {"client_cert": Secret(authority.given("a")[0]), "client_key": Secret(authority.given("b")[1])}
    with pytest.raises(ProjectError, match="MISMATCH"):
        get(settings("https://127.0.0.1:1", authority, **ours), tmp_path)


def test_a_new_certificate_is_used_without_a_restart(authority: Authority, bank: TokenSystem, tmp_path: Path) -> None:
    from flowrun_connectors.http.connector import Http

    chain, key = authority.given("us", own=True)
    authority.write("us.pem", chain + key)
    given = settings(bank.base_url, authority, client_cert="us.pem")
    client = build(Http, "bank", given, now=system_clock, root=tmp_path, on_trouble=Heard()).http
    with pytest.raises(AuthFailed):
        client.get("api")
    authority.write("us.pem", "half written")
    with pytest.raises(AuthFailed):
        client.get("api")
    authority.write("us.pem", "".join(authority.given("us")))
    assert client.get("api").status_code == 401
    client.close()


def test_the_end_of_our_certificate_is_said_before(authority: Authority, bank: TokenSystem, tmp_path: Path) -> None:
    heard = Heard()
    for days in (90, 12):
        chain, key = authority.given("us", days=days)
        get(settings(bank.base_url, authority, client_cert=Secret(chain + key)), tmp_path, heard=heard)
    assert heard.said == [("bank", "expiring")]
    assert abs((heard.ends[0] - datetime.now(UTC)).days - 12) <= 1


def test_a_handshake_cut_off_is_no_matter_of_trust(authority: Authority, tmp_path: Path) -> None:
    """A reset in the middle is tried again later; only a certificate is judged for good."""
    import httpx

    listener = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        found, _ = listener.accept()
        found.recv(10)
        found.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    with pytest.raises((httpx.TransportError, ConnectorError)) as caught:
        get(settings(f"https://127.0.0.1:{listener.getsockname()[1]}", authority), tmp_path)
    thread.join(5)
    listener.close()
    assert not isinstance(caught.value, AuthFailed)
