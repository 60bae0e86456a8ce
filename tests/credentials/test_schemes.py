"""What each scheme puts into requests, and what is refused before any request."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

import httpx
import pytest

from flowrun.credentials.schemes import read_scheme
from flowrun.errors import ProjectError
from flowrun.tokens import open_auth
from flowrun.tokens.authorize import challenge
from flowrun.tokens.placing import SignedAuth
from flowrun.transport import build_client
from flowrun.values import Secret

NOW = datetime(2026, 1, 1, tzinfo=UTC)  # 1767225600


def sent(
    auth: Any, *, url: str = "https://api.example/orders?limit=5", method: str = "GET", **more: Any
) -> httpx.Request:
    """The request as it left, and the token requests before it."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"access_token": "t1", "expires_in": 60})

    made = open_auth("api", lambda: auth, base_url="https://api.example", now=lambda: NOW)
    with build_client("https://api.example", auth=made, transport=httpx.MockTransport(answer)) as client:
        client.request(method, url, **more)
    seen[-1].extensions["before"] = seen[:-1]
    return seen[-1]


def form(request: httpx.Request) -> dict[str, str]:
    return dict(parse_qsl(request.content.decode(), keep_blank_values=True))


def test_basic_bearer_and_keys() -> None:
    basic = sent({"basic": {"user": "jo", "password": Secret("pä:ss")}}).headers["authorization"]
    assert base64.b64decode(basic.removeprefix("Basic ")).decode() == "jo:pä:ss"
    assert sent({"bearer": {"token": Secret("t")}}).headers["authorization"] == "Bearer t"
    assert sent({"api_key": {"key": Secret("k")}}).headers["x-api-key"] == "k"
    shippo = {"api_key": {"key": Secret("k"), "header": "Authorization", "prefix": "ShippoToken"}}
    assert sent(shippo).headers["authorization"] == "ShippoToken k"
    asked = sent({"api_key": {"key": Secret("k&1"), "query": "api_key"}})
    assert asked.url.params["api_key"] == "k&1" and asked.url.params["limit"] == "5"


def test_client_credentials_in_header_or_body_with_further_fields() -> None:
    settings = {
        "token_url": "https://login.example/t",
        "client_id": "id",
        "client_secret": Secret("s"),
        "scope": "a b",
        "params": {"username": "me@company", "audience": "https://api.example"},
    }
    request = sent({"oauth2_client_credentials": settings})
    (asked,) = request.extensions["before"]
    assert request.headers["authorization"] == "Bearer t1"
    assert form(asked) == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "username": "me@company",
        "audience": "https://api.example",
    }
    assert asked.headers["authorization"] == "Basic " + base64.b64encode(b"id:s").decode()
    (asked,) = sent({"oauth2_client_credentials": {**settings, "send": "body"}}).extensions["before"]
    assert (form(asked)["client_id"], form(asked)["client_secret"]) == ("id", "s")
    assert "authorization" not in asked.headers


# -- JWT -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[str, Any]]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    made: dict[str, Any] = {
        "rsa": rsa.generate_private_key(65537, 2048),
        "weak": rsa.generate_private_key(65537, 1024),
        "256": ec.generate_private_key(ec.SECP256R1()),
        "384": ec.generate_private_key(ec.SECP384R1()),
        "512": ec.generate_private_key(ec.SECP521R1()),
    }
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    locked = serialization.BestAvailableEncryption(b"canary-password")
    found = {name: (key.private_bytes(pem, pkcs8, plain).decode(), key.public_key()) for name, key in made.items()}
    found["locked"] = (made["rsa"].private_bytes(pem, pkcs8, locked).decode(), None)
    return found


def jwt(key: str, **more: Any) -> dict[str, Any]:
    return {
        "oauth2_jwt_bearer": {
            "token_url": "https://login.example/token", "client_id": "client-1", "key": Secret(key), "key_id": "k7", **more
        }
    }  # fmt: skip


@pytest.mark.parametrize("algorithm", [f"{kind}{size}" for kind in ("RS", "PS", "ES") for size in (256, 384, 512)])
def test_a_statement_is_what_another_library_accepts(keys: dict[str, tuple[str, Any]], algorithm: str) -> None:
    from joserfc import jwt as oracle
    from joserfc.jwk import ECKey, RSAKey

    pem, public = keys[algorithm[2:] if algorithm.startswith("ES") else "rsa"]
    (asked,) = sent(jwt(pem, algorithm=algorithm, subject="jo@example", claims={"x": [1, "a"]})).extensions["before"]
    said = form(asked)
    assert said["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    from cryptography.hazmat.primitives import serialization

    public_pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    key = (ECKey if algorithm.startswith("ES") else RSAKey).import_key(public_pem)
    found = oracle.decode(said["assertion"], key, algorithms=[algorithm])
    assert found.header == {"alg": algorithm, "typ": "JWT", "kid": "k7"}
    claims = dict(found.claims)
    assert len(claims.pop("jti")) > 10
    assert claims == {
        "iss": "client-1",
        "sub": "jo@example",
        "aud": "https://login.example/token",
        "iat": 1767225600,
        "exp": 1767225900,
        "x": [1, "a"],
    }


def test_a_statement_can_prove_the_client_as_netsuite_wants_it(keys: dict[str, tuple[str, Any]]) -> None:
    more = {"use": "client", "algorithm": "PS256", "claims": {"scope": ["restlets", "rest_webservices"]}}
    (asked,) = sent(jwt(keys["rsa"][0], **more)).extensions["before"]
    said = form(asked)
    assert said["grant_type"] == "client_credentials"
    assert said["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    payload = said["client_assertion"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert claims["scope"] == ["restlets", "rest_webservices"] and claims["aud"] == "https://login.example/token"


@pytest.mark.parametrize(
    ("which", "algorithm", "words"),
    [
        ("weak", "RS256", "2048 bits"),
        ("256", "RS256", "RSA key"),
        ("rsa", "ES256", "secp256r1"),
        ("256", "ES384", "secp384r1"),
        ("locked", "RS256", "without a password"),
    ],
)
def test_a_key_that_does_not_fit(keys: dict[str, tuple[str, Any]], which: str, algorithm: str, words: str) -> None:
    with pytest.raises(ProjectError, match=words) as caught:
        sent(jwt(keys[which][0], algorithm=algorithm))
    assert "PRIVATE" not in str(caught.value)


def test_pkce_as_the_standard_computes_it() -> None:
    """RFC 7636, appendix B."""
    assert challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


# -- OAuth 1 ---------------------------------------------------------------------------------------------------------

TBA = {
    "oauth1": {
        "consumer_key": "ck-000111", "consumer_secret": Secret("cs-secret"), "token": "tk-222333",
        "token_secret": Secret("ts-secret"), "realm": "1234567_SB1",
    }
}  # fmt: skip
SUITEQL = "https://1234567-sb1.suitetalk.api.netsuite.com/services/rest/query/v1/suiteql?limit=5&offset=0"


def test_oauth1_signs_as_netsuite_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose signature was computed by hand, from the base string of Oracle's help."""
    monkeypatch.setattr("flowrun.tokens.placing.secrets.token_hex", lambda _: "nonce0001abcd")
    scheme = read_scheme(TBA)
    request = httpx.Request("POST", SUITEQL, json={"q": "SELECT 1"})
    next(SignedAuth(scheme, lambda: NOW).auth_flow(request))  # type: ignore[arg-type]
    header = request.headers["authorization"]
    assert header.startswith('OAuth realm="1234567_SB1"')
    assert f'oauth_signature="{quote("zQLMRyerBAbm9dxGUmldpX0Jp5BqrLAfJkw1kqahAnc=", safe="")}"' in header
    assert 'oauth_signature_method="HMAC-SHA256"' in header and 'oauth_timestamp="1767225600"' in header


def signature(method: str, url: str, header: str) -> tuple[str, str]:
    """(what stands in the header, what RFC 5849 makes of the request), by hand."""
    given = dict(parse_qsl(header.removeprefix("OAuth ").replace('"', "").replace(", ", "&").replace(",", "&")))
    said = given.pop("oauth_signature")
    given.pop("realm", None)
    base, _, query = url.partition("?")
    pairs = [*given.items(), *parse_qsl(query, keep_blank_values=True)]
    joined = "&".join(sorted(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in pairs))
    text = "&".join(quote(part, safe="~") for part in (method, base, joined))
    return said, base64.b64encode(hmac.new(b"cs-secret&ts-secret", text.encode(), hashlib.sha256).digest()).decode()


@pytest.mark.parametrize(
    "path", ["a", "a?b=1", "a?b=%20&b=c%2Fd", "a?q=x%26y&A=~", "a%20b?z=%C3%BC&empty=", "salesOrder/eid:WEB-1042?x=1"]
)
def test_oauth1_signs_whatever_the_address(path: str) -> None:
    url = f"https://acme.example/services/{path}"
    request = httpx.Request("PATCH", url, json={"a": 1})
    nonces = set()
    for _ in range(3):
        next(SignedAuth(read_scheme(TBA), lambda: NOW).auth_flow(request))  # type: ignore[arg-type]
        said, wanted = signature("PATCH", url, request.headers["authorization"])
        assert said == wanted
        nonces.add(request.headers["authorization"].split('oauth_nonce="')[1].split('"')[0])
    assert len(nonces) == 3


# -- refused before any request --------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"token_url": "https://a.example/t", "client_id": "i", "client_secret": Secret("canary")}


@pytest.mark.parametrize(
    ("auth", "message", "help"),
    [
        ({"oauth2": {}}, "no scheme 'oauth2'", ""),
        ({"baisc": {}}, "no scheme 'baisc'", "did you mean 'basic'?"),
        ({"basic": {}, "bearer": {}}, "exactly one of", ""),
        ("basic", "exactly one of", ""),
        ({"basic": "x"}, "needs its settings", "auth: { basic: { … } }"),
        ({"basic": {"user": "u"}}, "lacks 'password'", "The password."),
        ({"basic": {"user": "u", "pasword": "p"}}, "no setting 'pasword'", "did you mean 'password'?"),
        ({"oauth2_client_credentials": {**GOOD, "send": "haeder"}}, "one of header, body, not 'haeder'", ""),
        ({"oauth2_client_credentials": {**GOOD, "client_secret": Secret("canary\n")}}, "holds a line end", ""),
        ({"oauth2_client_credentials": {**GOOD, "token_url": "login"}}, "token_url is no address", "https://host/path"),
        ({"oauth2_client_credentials": {**GOOD, "params": "x"}}, "block of names and values", ""),
        ({"oauth2_client_credentials": {**GOOD, "scope": ["a"]}}, "one value", ""),
        ({"session": {"login": "https://evil.example/L", "body": {"a": "b"}}}, "another host", ""),
        ({"session": {"login": "L", "body": {"a": "b"}, "idle": "soon"}}, "a time such as 20m", ""),
    ],
)
def test_what_makes_no_sense_is_said(auth: Any, message: str, help: str) -> None:
    with pytest.raises(ProjectError) as caught:
        open_auth("api", lambda: auth, base_url="https://api.example")
    assert message in caught.value.message
    assert help in caught.value.help
    assert "canary" not in caught.value.message + caught.value.help


@pytest.mark.parametrize(
    ("package", "auth", "extra"),
    [
        ("cryptography", jwt("-----BEGIN PRIVATE KEY-----"), "flowrun[crypto]"),
        ("oauthlib", TBA, "flowrun[oauth1]"),
    ],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str, auth: Any, extra: str) -> None:
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ProjectError) as caught:
        open_auth("api", lambda: auth)
    assert extra in caught.value.help


def test_no_secret_shows_in_a_scheme() -> None:
    body = {"session": {"login": "L", "body": {"UserName": "canary-user", "Password": "canary-pass"}}}
    for auth in ({"oauth2_client_credentials": GOOD}, TBA, jwt("canary"), body):
        assert "canary" not in repr(read_scheme(auth)) and "cs-secret" not in repr(read_scheme(auth))
