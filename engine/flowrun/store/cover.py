"""Payloads at rest: what a record holds is closed before it is written and opened when it is read, only here.

A closed value is text, ``sealed:1:KEY_ID:BASE64``, and stands in the column of the open one; rows of both kinds may
lie beside each other. It is bound to the place it was written for (table, column, flow, identity), so that in another
row it does not open. Each Cover derives a key of its own from the project's by a random salt, so that however many
rows are written no nonce is ever near to being used twice.
Source: AES-256-GCM and HKDF-SHA256 of the ``cryptography`` package.
"""

from __future__ import annotations

import binascii
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from flowrun.errors import ProjectError, StoreError
from flowrun.store.seal import MAKE_KEY, Seal, SealBroken
from flowrun.values import encode_json

MARK = "sealed:1:"
REREAD_SECS = 15.0  # after which the key's reference is read again, so that a process that runs takes a new key
_SALT, _NONCE, _ID = 16, 12, 12  # bytes, bytes, characters
_BEGIN = len(MARK) + _ID + 1
_MOST_KEYS = 4096  # derived keys that are remembered; each process that wrote has one
_HELP = "put it behind the newest one under store: { key: … } of flowrun.yaml, or: flowrun state verify"


class Cover:
    """Of one open store; threads may share it."""

    def __init__(self, read: Callable[[], Seal | None] = lambda: None, *, encrypts: bool = False) -> None:
        """read: the project's keys as they are now. encrypts: close what is written; opening needs the keys only.

        Raises ProjectError: there is no key though values are to be encrypted, or what stands there is none.
        """
        self._read = read
        self._seal = read()
        self.key_ids = self._seal.key_ids if self._seal is not None else ()
        """Of every key there is, the newest first."""
        self._read_at = time.monotonic()
        if encrypts and self._seal is None:
            raise ProjectError(
                "store: { encrypt: true } needs a key",
                help=f"in flowrun.yaml: store: {{ key: {{ env: FLOWRUN_KEY }}, encrypt: true }}; {MAKE_KEY}",
            )
        self.encrypts = encrypts
        self._salt = os.urandom(_SALT)
        self._boxes: dict[tuple[str, bytes], Any] = {}

    @property
    def begins(self) -> str:
        """What everything begins with that is closed as it would be now; "" when nothing is."""
        return f"{MARK}{self.key_ids[0]}:" if self.encrypts else ""

    def close(self, text: str, *where: Any) -> str:
        """where: what the value belongs to: table and column, then what names the row."""
        if not self.encrypts:
            return f" {text}" if text.startswith(MARK) else text  # a system's words that would look like ours
        if time.monotonic() - self._read_at > REREAD_SECS:
            self._again()
        key_id, nonce = self.key_ids[0], os.urandom(_NONCE)
        closed = self._box(key_id, self._salt).encrypt(nonce, text.encode("utf-8", "replace"), _bound(where))
        return f"{MARK}{key_id}:{binascii.b2a_base64(self._salt + nonce + closed, newline=False).decode()}"

    def open(self, value: bytes, *where: Any) -> bytes:
        """A value as it stood before it was closed; one that never was stays as it is.

        Raises StoreError: no key opens it, it belongs to another row, or it is damaged.
        """
        if not is_closed(value):
            return value
        key_id = value[len(MARK) : _BEGIN - 1].decode("ascii", "replace")
        if key_id not in self.key_ids:
            self._again()
        if key_id not in self.key_ids:
            raise StoreError(f"{_named(where)} is encrypted with key {key_id}, which is not there", help=_HELP)
        from cryptography.exceptions import InvalidTag

        try:
            raw = binascii.a2b_base64(value[_BEGIN:])
            box = self._box(key_id, raw[:_SALT])
            found: bytes = box.decrypt(raw[_SALT : _SALT + _NONCE], raw[_SALT + _NONCE :], _bound(where))
        except (InvalidTag, binascii.Error, ValueError):
            raise StoreError(
                f"{_named(where)} does not open: it was changed, or moved here from another row",
                help="flowrun state verify names every one; a backup has them as they were",
            ) from None
        return found

    def open_text(self, value: str, *where: Any) -> str:
        return self.open(value.encode(), *where).decode() if value.startswith(MARK) else value

    def check(self, used: Iterable[str]) -> None:
        """Raises StoreError when the store was encrypted with a key that is not ours."""
        missing = sorted(set(used) - set(self.key_ids))
        if not missing:
            return
        ours = f"store: key has {', '.join(self.key_ids)}" if self.key_ids else "flowrun.yaml names no key (store: key)"
        raise StoreError(
            f"the store is encrypted with key {', '.join(missing)}; {ours}. Nothing was taken in",
            help="put that key back, behind a newer one if there is one; flowrun state rotate-key makes it needless",
        )

    def _again(self) -> None:
        """A key that cannot be read just now is the one that was there."""
        self._read_at = time.monotonic()
        try:
            found = self._read()
        except ProjectError:
            return
        if found is not None:
            self._seal, self.key_ids = found, found.key_ids

    def _box(self, key_id: str, salt: bytes) -> Any:
        box = self._boxes.get((key_id, salt))
        if box is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            assert self._seal is not None
            try:
                box = AESGCM(self._seal.derived(key_id, salt))
            except SealBroken:  # the keys were read anew in between
                raise StoreError(f"key {key_id} is not there", help=_HELP) from None
            if len(self._boxes) >= _MOST_KEYS:
                self._boxes.clear()
            self._boxes[key_id, salt] = box
        return box


def is_closed(value: bytes) -> bool:
    return value.startswith(_MARK)


_MARK = MARK.encode()


def _bound(where: tuple[Any, ...]) -> bytes:
    # The character U+0000 is replaced as the statements replace it, or what was closed would not open.
    return encode_json(where).replace(b"\\u0000", "\ufffd".encode())


def _named(where: tuple[Any, ...]) -> str:
    """Table and column, flow, key."""
    return " ".join(str(part) for part in where[:3])
