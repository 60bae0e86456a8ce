"""A route: path, method, who may, what it takes and gives; declared once, for serving and for the document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from flowrun.masking import Mask
from flowrun.service.deployment import Deployment
from flowrun.showing import Masks
from flowrun.store import Store

ROOT = "/api/v1"
MOST_NUMBER = 2**53 - 1  # what every JSON reader holds


class Problem(Exception):
    """What is answered instead, after RFC 9457. help: what to do next."""

    def __init__(self, status: int, detail: str, *, help: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.help = help
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Param:
    """One of the query. kind: str, int or bool. most: of a number, or of characters."""

    name: str
    words: str
    kind: type = str
    default: Any = None
    least: int = 0
    most: int = 1000
    choices: Sequence[str] = ()

    def read(self, text: str) -> Any:
        """Raises Problem."""
        if self.kind is bool:
            if text not in ("true", "false"):
                raise Problem(422, f"{self.name} is true or false")
            return text == "true"
        if self.kind is int:
            if not (text.isascii() and text.isdigit()) or len(text) > 16 or not self.least <= int(text) <= self.most:
                raise Problem(422, f"{self.name} is a number from {self.least} to {self.most}")
            return int(text)
        if self.choices and text not in self.choices:
            raise Problem(422, f"{self.name} is one of: {', '.join(self.choices)}")
        return _text(self.name, text, self.most)

    def schema(self) -> dict[str, Any]:
        if self.kind is bool:
            return {"type": "boolean", "default": bool(self.default)}
        if self.kind is int:
            more = {} if self.default is None else {"default": self.default}
            return {"type": "integer", "minimum": self.least, "maximum": self.most, **more}
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        return {"type": "string", "minLength": 1, "maxLength": self.most}


@dataclass(slots=True)
class Call:
    """What a handler gets. who: the token's name, for the audit. path, query: by name. wake: after what gives the
    service something to do."""

    deployment: Deployment
    masks: Masks
    who: str
    path: Mapping[str, Any]
    query: Mapping[str, Any]
    body: Any
    wake: Callable[[], None]

    @property
    def store(self) -> Store:
        return self.deployment.store

    def mask(self, flow: str) -> Mask:
        return self.masks.of(flow)

    def known_flow(self, name: str) -> str:
        """Raises Problem for one that neither the project nor the store has."""
        if name not in self.deployment.flows and not self.store.records(flow=name, limit=1):
            raise Problem(404, f"no flow is named '{name}'", help=f"flows: {', '.join(self.deployment.flows)}")
        return name


@dataclass(frozen=True, slots=True)
class Route:
    """path: below ``/api/v1``; ``{name}`` is text, ``{name:int}`` a number. body, answer: msgspec structs.
    changes: whether it is written into the audit."""

    method: str
    path: str
    role: str
    words: str
    handle: Callable[[Call], Any]
    answer: Any
    params: Sequence[Param] = ()
    body: type[msgspec.Struct] | None = None
    changes: bool = False
    parts: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.path.strip("/").split("/")))

    @property
    def name(self) -> str:
        return self.handle.__name__

    def matches(self, raw: Sequence[str]) -> dict[str, Any] | None:
        """The values of its path, given the parts of a request's, still encoded; None when it is another's."""
        if len(raw) != len(self.parts):
            return None
        found: dict[str, Any] = {}
        for part, given in zip(self.parts, raw, strict=True):
            if not part.startswith("{"):
                if part != given:
                    return None
                continue
            name, _, kind = part.strip("{}").partition(":")
            if kind == "int":
                if not (given.isascii() and given.isdigit()) or len(given) > 16 or int(given) > MOST_NUMBER:
                    return None
                found[name] = int(given)
            else:
                text = unquote(given, errors="replace")
                if not text or len(text) > 1000 or "\0" in text:
                    return None
                found[name] = text
        return found

    def query(self, raw: str) -> dict[str, Any]:
        """Raises Problem."""
        known = {one.name: one for one in self.params}
        found = {one.name: one.default for one in self.params}
        seen = set()
        for name, text in parse_qsl(raw, keep_blank_values=True, errors="replace"):
            if name not in known:
                raise Problem(
                    422, f"there is no parameter '{name[:100]}'", help=f"there are: {', '.join(known) or 'none'}"
                )
            if name in seen:
                raise Problem(422, f"{name} is given twice")
            seen.add(name)
            found[name] = known[name].read(text)
        return found


def _text(name: str, text: str, most: int) -> str:
    if not text or len(text) > most or "\0" in text:
        raise Problem(422, f"{name} is text of 1 to {most} characters")
    return text
