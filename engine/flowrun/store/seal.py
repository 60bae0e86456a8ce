"""What is kept secret at rest: sealed with a key from outside the store, and bound to where it belongs.

Each name has a key of its own, derived from the project's. So a sealed text that was moved to another row does not
open, and the database and its backups are useless without the key. Extra ``crypto``.
Source: Fernet (AES-128-CBC, HMAC-SHA256) and HKDF-SHA256 of the ``cryptography`` package.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Any

from flowrun.errors import ProjectError
from flowrun.values import Secret

MAKE_KEY = "make one with: openssl rand -base64 32"


class SealBroken(Exception):
    """None of the keys opens it: another key, another row, or damage."""


class Seal:
    """One or more keys, the newest first: it seals, every one opens. A key is 32 random bytes in base64."""

    def __init__(self, keys: Secret) -> None:
        """keys: separated by white space or commas. Raises ProjectError for what is none."""
        try:
            from cryptography.fernet import Fernet, MultiFernet
        except ImportError:
            raise ProjectError(
                "what is stored encrypted needs another package", help="pip install 'flowrun[crypto]'"
            ) from None
        self._fernet: Any = Fernet
        self._multi: Any = MultiFernet
        self._keys = [_key(text) for text in re.split(r"[\s,]+", keys.reveal()) if text]
        if not self._keys:
            raise ProjectError("the store's key is empty", help=MAKE_KEY)
        self._boxes: dict[str, Any] = {}

    @property
    def key_id(self) -> str:
        """Names the key that seals, and tells nothing about it."""
        return _id(self._keys[0])

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Of every key, the newest first."""
        return tuple(_id(key) for key in self._keys)

    def derived(self, key_id: str, salt: bytes) -> bytes:
        """A key of 32 bytes made of one of ours, for what is encrypted in bulk (``cover``). Raises SealBroken when
        none of ours has this id."""
        for key in self._keys:
            if _id(key) == key_id:
                return _derived(key, "payloads", salt)
        raise SealBroken

    def close(self, data: bytes, bound_to: str) -> bytes:
        sealed: bytes = self._box(bound_to).encrypt(data)
        return sealed

    def open(self, sealed: bytes, bound_to: str) -> bytes:
        """Raises SealBroken."""
        from cryptography.fernet import InvalidToken

        try:
            data: bytes = self._box(bound_to).decrypt(sealed)
        except InvalidToken:
            raise SealBroken from None
        return data

    def mark(self, text: str) -> str:
        """A print of a secret that can be compared, and tells nothing to who lacks the key."""
        return hmac.new(self._keys[0], b"mark" + text.encode(), hashlib.sha256).hexdigest()[:32]

    def _box(self, bound_to: str) -> Any:
        if bound_to not in self._boxes:
            keys = [base64.urlsafe_b64encode(_derived(key, bound_to)) for key in self._keys]
            self._boxes[bound_to] = self._multi([self._fernet(key) for key in keys])
        return self._boxes[bound_to]


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != 32:
        raise ProjectError("the store's key is not 32 bytes in base64", help=MAKE_KEY)
    return key


def _id(key: bytes) -> str:
    return hashlib.sha256(b"flowrun key id" + key).hexdigest()[:12]


def _derived(key: bytes, bound_to: str, salt: bytes | None = None) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    made: bytes = HKDF(SHA256(), 32, salt=salt, info=b"flowrun/" + bound_to.encode()).derive(key)
    return made
