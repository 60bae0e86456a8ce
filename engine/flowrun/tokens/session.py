"""A session: a login call, the cookies it gives, a login again when they have ended.

Cookies are read from the answer by hand: SAP Business One sends them in a form that jars drop.
Source: SAP Business One Service Layer, Login and Logout.
"""

from __future__ import annotations

import re
from http.cookies import CookieError, SimpleCookie

import httpx

from flowrun.credentials.schemes import Session, revealed
from flowrun.credentials.token import Token
from flowrun.errors import AuthFailed, ProjectError, Unavailable
from flowrun.tokens.answers import body_of, no_token
from flowrun.tokens.grants import printed
from flowrun.values import Secret, encode_json

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class ByLogin:
    slides = True
    personal = False

    def __init__(self, scheme: Session, base_url: str) -> None:
        self.scheme = scheme
        self._base = httpx.URL(base_url.rstrip("/") + "/")
        self._login = self._inside(scheme.login, "login")
        self._logout = self._inside(scheme.logout, "logout") if scheme.logout else None
        self._idle = _duration(scheme.idle)
        self.issued_for = printed(str(self._login), scheme.body)

    def request(self, old: Token | None) -> httpx.Request:
        body = revealed(self.scheme.body)
        if self.scheme.send == "form":
            return httpx.Request("POST", self._login, data={k: str(v) for k, v in body.items()})
        headers = {"content-type": "application/json", "accept": "application/json"}
        return httpx.Request("POST", self._login, content=encode_json(body), headers=headers)

    def take(self, response: httpx.Response, old: Token | None) -> Token:
        body = body_of(response)
        if response.status_code >= 300:
            error = no_token(response, body)
            if isinstance(error, AuthFailed):
                raise AuthFailed(
                    f"the login was refused (status {response.status_code})",
                    status=response.status_code,
                    help="check what stands under body:; a user that tries too often is locked by some systems",
                )
            raise error
        cookies = _cookies(response)
        for name, field in (self.scheme.cookies or {}).items():
            if isinstance(body.get(str(field)), str):
                cookies[name] = str(body[str(field)])
        if not cookies or not all(re.fullmatch(r"[\x21-\x3a\x3c-\x7e]+", one) for one in cookies.values()):
            raise Unavailable("the login gave an answer without a session", status=response.status_code)
        minutes = str(body.get(self.scheme.idle_field, "")) if self.scheme.idle_field else ""
        life = float(minutes) * 60 if re.fullmatch(r"[1-9]\d{0,5}", minutes) else self._idle
        text = "; ".join(f"{name}={value}" for name, value in cookies.items())
        return Token(Secret(text, "session"), life, life, issued_for=self.issued_for)

    def place(self, request: httpx.Request, token: Token) -> None:
        """Beside the cookies that the request has already; ours win."""
        ours = dict(part.split("=", 1) for part in token.access.reveal().split("; "))
        there = SimpleCookie()
        try:
            there.load(request.headers.get("cookie", ""))
        except CookieError:
            there.clear()
        others = [f"{name}={one.coded_value}" for name, one in there.items() if name not in ours]
        request.headers["cookie"] = "; ".join([*others, token.access.reveal()])

    def farewell(self, token: Token) -> httpx.Request | None:
        if self._logout is None:
            return None
        return httpx.Request("POST", self._logout, headers={"cookie": token.access.reveal()})

    def _inside(self, path: str, name: str) -> httpx.URL:
        url = self._base.join(path.lstrip("/") if not path.startswith(("http:", "https:")) else path)
        if (url.scheme, url.host, url.port) != (self._base.scheme, self._base.host, self._base.port):
            raise ProjectError(f"auth: session: '{name}' leads to another host", help="an address from base_url on")
        return url


def _cookies(response: httpx.Response) -> dict[str, str]:
    found = {}
    for line in response.headers.get_list("set-cookie"):
        name, equals, value = line.split(";")[0].strip().partition("=")
        if equals and name and value:
            found[name] = value
    return found


def _duration(text: str) -> float:
    found = re.fullmatch(r"\s*(\d{1,6})\s*([smhd])\s*", text)
    if found is None or not int(found.group(1)):
        raise ProjectError(f"auth: session: idle is a time such as 20m, not '{text}'")
    return int(found.group(1)) * _UNITS[found.group(2)]
