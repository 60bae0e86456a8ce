"""The contract suite: what every connector promises, asked over real sockets against its simulator.

    TestShop = contract_tests(Shop, simulator=ShopSimulator, read=Reading(…), write=Writing(…))

makes a pytest class with one test per promise. Each promise says what it needs of its subject (``NEEDS``); one that a
connector cannot or does not make is skipped with the reason.
``broken(…)`` gives the names of the promises that do not hold, for trying the checks themselves.
"""

from __future__ import annotations

import tempfile
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from flowrun.connections import build
from flowrun.connector import Checks, Reads, Receiver, Request, Source, Target
from flowrun.testing.simulator import Simulator
from flowrun.values import Clock

TIMEOUT = "0.25"  # seconds; calls that hang end soon
NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)


class World(Protocol):
    """What a connector is tried against: a ``Simulator``, or anything that starts, stops and says how it is reached."""

    def running(self) -> Any: ...

    def connection_settings(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Reading:
    """One object that is read.

    key: the field that names a record. fill(world, n): n more records, each changed later than those before.
    cursor: the field to read changes by; None where all is read. touch(world, key): that record changes, as the last.
    same_moment(world, n): n records with one and the same time of change. keeps_unknown: a field that no contract knows
    stays in the record; False where records are normalised. get: key value → what ``Reads.get`` is asked with.
    """

    object: str
    key: str
    fill: Callable[[Any, int], Any]
    cursor: str | None = None
    touch: Callable[[Any, str], Any] | None = None
    same_moment: Callable[[Any, int], Any] | None = None
    page_size: int | None = 2
    records: int = 7
    keeps_unknown: bool = True
    filter: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    get: Callable[[str], Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Writing:
    """One action on one object.

    body(world, n): the n-th body, with whatever it needs put into the world; the same n gives the same body.
    count(world, n): how many objects (or effects) of the n-th body the world holds.
    find: the fields by which a repeat in doubt is looked for. refused(world): a body the system says no to.
    """

    object: str
    action: str
    body: Callable[[Any, int], Mapping[str, Any]]
    count: Callable[[Any, int], int]
    find: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    refused: Callable[[Any], Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Receiving:
    """request(world, at): a genuine webhook as it arrives at that moment. signed: the headers that the signature
    covers, or that carry it. window: seconds it may be old; None where the scheme knows no time."""

    request: Callable[[Any, datetime], Request]
    signed: tuple[str, ...]
    window: float | None = 300.0
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A connector class with all that is needed to ask it something.

    described: every object has a contract offline. oauth: its credentials end and are renewed.
    """

    cls: Any
    simulator: Callable[[], Any]
    read: Reading | None = None
    write: Writing | None = None
    receive: Receiving | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    described: bool = True
    now: Clock = lambda: NOW

    @contextmanager
    def world(self) -> Iterator[Any]:
        """A fresh simulator, running."""
        made = self.simulator()
        with made.running():
            yield made

    @contextmanager
    def connected(self, world: Any, **more: Any) -> Iterator[Any]:
        """A connector for that world, as the engine opens one."""
        settings = {**world.connection_settings(), **self.settings, **more}
        if isinstance(world, Simulator) and "base_url" in settings:
            settings.setdefault("limits", {"timeout": TIMEOUT})
        with tempfile.TemporaryDirectory() as root:
            connector = build(self.cls, "contract", settings, now=self.now, root=Path(root))
            try:
                yield connector
            finally:
                http = getattr(connector, "http", None)
                if http is not None:
                    http.close()


class NotPromised(unittest.SkipTest):
    """The connector does not make this promise; the words say why. pytest shows it as skipped."""


Check = Callable[[Subject], None]


@dataclass(frozen=True)
class Promise:
    """check: raises AssertionError when the promise is broken, NotPromised when this subject does not make it.
    needs: words of ``NEEDS``; without one of them the promise is not asked at all."""

    name: str
    check: Check
    needs: tuple[str, ...]

    def missing(self, subject: Subject) -> str:
        """Why it is not asked of this subject; "" when it is."""
        return next((NEEDS[need][0] for need in self.needs if not NEEDS[need][1](subject)), "")

    def ask(self, subject: Subject) -> None:
        why = self.missing(subject)
        if why:
            raise NotPromised(why)
        self.check(subject)


NEEDS: Mapping[str, tuple[str, Callable[[Subject], bool]]] = {
    "source": ("it is no source", lambda s: s.read is not None and issubclass(s.cls, Source)),
    "by_key": ("it does not read by key", lambda s: s.read is not None and issubclass(s.cls, Reads)),
    "target": ("it is no target", lambda s: s.write is not None and issubclass(s.cls, Target)),
    "receiver": ("it receives nothing", lambda s: s.receive is not None and issubclass(s.cls, Receiver)),
    "check": ("it cannot be checked", lambda s: issubclass(s.cls, Checks)),
    "faults": ("nothing on the way can fail on request", lambda s: isinstance(s.simulator(), Simulator)),
}
"""What a promise can need: the reason when it is lacking, and whether it is there. ``faults``: a system that is reached
over HTTP, whose simulator fails on request."""

PROMISES: dict[str, Promise] = {}


def promise(*needs: str) -> Callable[[Check], Check]:
    """The check below is a promise of whoever has these ``NEEDS``."""

    def made(check: Check) -> Check:
        PROMISES[check.__name__] = Promise(check.__name__, check, needs)
        return check

    return made


def contract_tests(
    cls: Any,
    *,
    simulator: Callable[[], Any],
    read: Reading | None = None,
    write: Writing | None = None,
    receive: Receiving | None = None,
    settings: Mapping[str, Any] | None = None,
    described: bool = True,
) -> type:
    """A class that pytest collects: one test for each promise."""
    subject = Subject(cls, simulator, read, write, receive, settings or {}, described)
    tests = {f"test_{name}": _test(one, subject) for name, one in _all().items()}
    return type(f"Test{cls.__name__}Contract", (), {"__test__": True, **tests, "subject": subject})


def _test(one: Promise, subject: Subject) -> Callable[[Any], None]:
    def test(self: Any) -> None:
        one.ask(subject)

    test.__doc__ = one.check.__doc__
    return test


def broken(subject: Subject, names: Sequence[str] = ()) -> dict[str, str]:
    """Promises that do not hold, each with the reason; only those of ``names`` when some are given."""
    found = {}
    for name, one in _all().items():
        if names and name not in names:
            continue
        try:
            one.ask(subject)
        except NotPromised:
            continue
        except Exception as error:  # a connector may break in any way; each is a broken promise
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _all() -> Mapping[str, Promise]:
    """The checks stand in modules of their own, which need the words of this one."""
    from flowrun.testing import promises  # noqa: F401

    return PROMISES
