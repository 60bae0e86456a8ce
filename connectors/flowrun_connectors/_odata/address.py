"""Addresses of queries: $filter from conditions, long lists split, everything percent-encoded once.

``+`` is never used for a blank: servers differ in whether they read it back as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote, unquote, urlsplit

from flowrun.contract import Shape
from flowrun.errors import ConnectorError, Refused
from flowrun_connectors._odata.values import literal, name_of

MOST_CHARACTERS = 6000  # of an encoded $filter; whole addresses beyond about 8 kB fail at gateways and proxies


def query(options: Mapping[str, str]) -> str:
    """``?$top=5&$filter=…``; empty options are left out."""
    parts = [f"{quote(name, safe='$-')}={quote(text, safe=_SAFE)}" for name, text in options.items() if text != ""]
    return "?" + "&".join(parts) if parts else ""


_SAFE = "$'(),:;=@*/-"
_AS_IT_CAME = _SAFE + "%+!~?._"


def conditions(
    fixed: Sequence[str],
    wanted: Mapping[str, str | Sequence[str]],
    shape: Shape | None,
    *,
    v4: bool,
    most: int = MOST_CHARACTERS,
) -> Iterator[str]:
    """$filter texts, mostly one; together they ask for all of ``wanted`` (field → value, or any of several).

    There is no ``in``: several values are an or-chain, and a chain that makes the address too long is split, so that
    each text is a request of its own. An empty list asks for nothing at all: no text. Raises Refused.
    """
    parts = list(fixed)
    chains: list[list[str]] = []
    for name, values in wanted.items():
        field = shape.get(name) if shape is not None else None
        if isinstance(values, str):
            parts.append(f"{name_of(name)} eq {literal(values, field, v4=v4)}")
            continue
        chains.append([f"{name_of(name)} eq {literal(value, field, v4=v4)}" for value in dict.fromkeys(values)])
    chains.sort(key=lambda chain: sum(len(quote(one)) for one in chain))
    room = most - sum(len(quote(part, safe=_SAFE)) + 7 for part in parts)
    for texts in _combinations(chains, room):
        found = " and ".join([*parts, *texts])
        if len(quote(found, safe=_SAFE)) > most:
            raise Refused(f"the filter needs more than {most} characters of address", help="filter by fewer values")
        yield found


def _combinations(chains: Sequence[list[str]], room: int) -> Iterator[list[str]]:
    """The shorter chains whole, while they leave room; each piece of the longer ones with each of the others."""
    if not chains:
        yield []
        return
    first, rest = chains[0], chains[1:]
    share = room if not rest else max(room // (len(rest) + 1), 200)
    for piece in _pieces(first, share):
        text = f"({' or '.join(piece)})" if len(piece) > 1 else piece[0]
        for others in _combinations(rest, room - len(quote(text, safe=_SAFE)) - 7):
            yield [text, *others]


def _pieces(chain: list[str], room: int) -> Iterator[list[str]]:
    piece: list[str] = []
    used = 0
    for one in chain:
        size = len(quote(one, safe=_SAFE)) + 10  # " or ", encoded
        if piece and used + size > room:
            yield piece
            piece, used = [], 0
        piece.append(one)
        used += size
    if piece:
        yield piece


def follow(link: str, root: str, *, drop: Sequence[str] = ()) -> str:
    """Where a next link leads, on our own host: its path from the service root on, and its query.

    The link is absolute, sometimes with an internal host name or another prefix before the service; only what
    follows ``root`` counts. Raises ConnectorError when it leads outside the service.
    """
    parts = urlsplit(link)
    if not parts.path.startswith("/") and not parts.netloc:
        path = root + parts.path
    else:
        at = parts.path.find(root)
        if at < 0:
            raise ConnectorError("the next page is said to be outside the service")
        path = parts.path[at:]
    rest = path[len(root) :]
    if rest.startswith("/") or "//" in rest or ".." in unquote(unquote(rest)).replace("\\", "/").split("/"):
        raise ConnectorError("the next page is said to be outside the service")
    # As they came: a token may hold characters (a plus) that mean something else once they are decoded.
    kept = [one for one in parts.query.split("&") if one and unquote(one.partition("=")[0]) not in drop]
    return path + ("?" + "&".join(quote(one, safe=_AS_IT_CAME) for one in kept) if kept else "")
