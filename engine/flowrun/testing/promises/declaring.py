"""Promises of the class itself: what it says offline is complete, and fits together."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

from flowrun.connector import Once, Target
from flowrun.contract import Shape
from flowrun.errors import ERROR_CLASSES
from flowrun.testing.contract_suite import Subject, promise
from flowrun.values import decode_json, encode_json


@contextmanager
def _offline() -> Iterator[None]:
    """Every connection fails loudly."""

    def refuse(*args: Any, **more: Any) -> Any:
        raise AssertionError("it goes to the network")

    kept = socket.socket.connect, socket.getaddrinfo
    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse
    try:
        yield
    finally:
        socket.socket.connect, socket.getaddrinfo = kept  # type: ignore[method-assign]


@promise()
def every_object_is_described_offline(subject: Subject) -> None:
    """Fields of every object without a network; and each field that the class names elsewhere is one of them."""
    cls = subject.cls
    with subject.world() as world:
        settings = {**world.connection_settings(), **subject.settings}
    with _offline():
        objects = cls.objects(settings)
        assert objects or not subject.described, "the class knows no object"
        for name, info in objects.items():
            assert info.name == name, f"{name} calls itself {info.name}"
            assert cls.object_info(name, settings) == info, f"{name}: two answers to one question"
            for action, once in info.actions.items():
                assert once in get_args(Once), f"{name}: '{once}' is no way to stay once"
                assert issubclass(cls, Target), f"{name} can be {action}d, but the class is no target"
            shape = cls.describe(name, settings)
            if shape is None:
                assert not subject.described, f"{name} has no contract"
                continue
            assert shape.fields, f"{name}: a contract without fields"
            for kind in ("cursors", "find", "match"):
                unknown = [field for field in getattr(info, kind) if field not in shape.fields and shape.closed]
                assert not unknown, f"{name}: {kind} names {unknown}, which the contract lacks"
            again = Shape.from_json(decode_json(encode_json(shape.to_json())))
            assert again == shape, f"{name}: the contract changes when it is written down"
        assert cls.object_info("no such object, ever", settings) is None or not subject.described


@promise()
def error_classes_and_events_are_declared(subject: Subject) -> None:
    """``validate`` asks for a policy for each class; events name objects that exist."""
    cls = subject.cls
    unknown = set(cls.error_classes) - set(ERROR_CLASSES)
    assert not unknown, f"no such classes: {sorted(unknown)}"
    with subject.world() as world:
        objects = cls.objects({**world.connection_settings(), **subject.settings})
    for name, event in cls.events.items():
        assert event.name == name, f"event {name} calls itself {event.name}"
        assert event.object in objects, f"event {name} is about '{event.object}', which is no object"
