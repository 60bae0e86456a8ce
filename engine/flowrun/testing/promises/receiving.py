"""Promises of a receiver: only what is genuine, fresh and whole becomes an event."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from flowrun.connector import Request
from flowrun.errors import Refused, SignatureInvalid
from flowrun.testing.contract_suite import NOW, NotPromised, Subject, promise
from flowrun.testing.promises.asking import floats, receives


@promise("receiver")
def a_genuine_webhook_becomes_events(subject: Subject) -> None:
    """Declared events about declared objects; the same webhook again gives the same events."""
    how = receives(subject)
    with subject.world() as world, subject.connected(world, **how.settings) as connector:
        request = how.request(world, NOW)
        events = connector.receive(request)
        assert events, "a genuine webhook gave no event"
        for event in events:
            assert event.name in subject.cls.events, f"'{event.name}' is no declared event"
            assert event.object == subject.cls.events[event.name].object
            assert event.record and not floats(event.record)
        assert [e.id for e in connector.receive(request)] == [e.id for e in events], "a repeat has another id"


@promise("receiver")
def a_forged_webhook_keeps_nothing(subject: Subject) -> None:
    """One bit of the body, one character of a signed header, an old moment: SignatureInvalid, in the same words."""
    how = receives(subject)
    words = set()
    with subject.world() as world, subject.connected(world, **how.settings) as connector:
        genuine = how.request(world, NOW)
        assert connector.receive(genuine), "the genuine one is not taken"
        for reason, forged in _forgeries(genuine, how.signed, how.window):
            try:
                events = connector.receive(forged)
            except SignatureInvalid as error:
                words.add(str(error))
            except Exception as error:
                raise AssertionError(f"{reason}: {type(error).__name__} instead of SignatureInvalid") from error
            else:
                raise AssertionError(f"{reason}: {len(events)} events")
        assert len(words) == 1, f"the words tell an attacker what was wrong: {sorted(words)}"
        with subject.connected(world, **_without_secrets(world, how.settings)) as unset:
            try:
                unset.receive(genuine)
            except SignatureInvalid:
                pass
            else:
                raise AssertionError("without a secret in its settings it takes everything")


def _forgeries(genuine: Request, signed: tuple[str, ...], window: float | None) -> Iterator[tuple[str, Request]]:
    body = genuine.body
    for index in range(len(body)):
        changed = body[:index] + bytes([body[index] ^ 1]) + body[index + 1 :]
        yield f"bit 0 of byte {index} of the body", dataclasses.replace(genuine, body=changed)
    yield "a space more", dataclasses.replace(genuine, body=body + b" ")
    yield "an empty body", dataclasses.replace(genuine, body=b"")
    for name in signed:
        value = genuine.headers[name]
        without = {k: v for k, v in genuine.headers.items() if k != name}
        yield f"{name} missing", dataclasses.replace(genuine, headers=without)
        last = "A" if value[-1] != "A" else "B"
        for what, other in (
            ("another end", value[:-1] + last),
            ("cut", value[: len(value) // 2]),
            ("empty", ""),
            ("longer", value + "0" * 400),
            ("not ASCII", "ä" + value[1:]),
            ("NUL", value + "\0"),
        ):
            yield f"{name}: {what}", dataclasses.replace(genuine, headers={**genuine.headers, name: other})
    if window is not None:
        for secs in (window + 60, -window - 60):
            at = genuine.received_at + timedelta(seconds=secs)
            yield f"{secs:+.0f} s", dataclasses.replace(genuine, received_at=at)


def _without_secrets(world: Any, settings: Any) -> dict[str, Any]:
    merged = {**world.connection_settings(), **settings}
    return {name: None for name in merged if "webhook" in name and "secret" in name}


@promise("receiver")
def an_unreadable_webhook_is_refused(subject: Subject) -> None:
    """Genuine, but no event: Refused, so that the sender is told and nothing is kept. Only asked where the world can
    sign a body of its own (``signed_webhook(body, at)``)."""
    how = receives(subject)
    with subject.world() as world, subject.connected(world, **how.settings) as connector:
        sign = getattr(world, "signed_webhook", None)
        if sign is None:
            raise NotPromised("its world signs no body of one's own (signed_webhook)")
        for body in (b"", b"[]", b"null", b"{", b'{"a":NaN}', b"\xff", b"{}", b"[" * 100_000):
            try:
                events = connector.receive(sign(body, NOW))
            except Refused:
                continue
            except Exception as error:
                raise AssertionError(f"{body[:20]!r}: {type(error).__name__} instead of Refused") from error
            raise AssertionError(f"{body[:20]!r}: {len(events)} events")
