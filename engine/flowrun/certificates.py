"""Our own certificate for systems that ask for one (mutual TLS): from files or from secrets, read again when changed.

Python loads certificates from files only, so what comes from a secret stands for a moment in memory that has a name
(Linux), or else in a private file that is taken away at once.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flowrun.errors import ProjectError
from flowrun.values import Secret

_BEGIN = "-----BEGIN"


@dataclass(frozen=True, slots=True)
class Pair:
    """What is loaded: texts in PEM. key: "" when it stands with the certificate."""

    chain: Secret
    key: Secret | None = None
    password: Secret | None = None


class OwnCertificate:
    """read: the pair as it stands now. Raises ProjectError when the first one cannot be used."""

    def __init__(self, read: Callable[[], Pair]) -> None:
        self._read = read
        self._loaded = read()

    def load(self, context: ssl.SSLContext) -> None:
        """Raises ProjectError."""
        _load(context, self._loaded)

    def renew(self, context: ssl.SSLContext) -> None:
        """Before a handshake: what has changed since is loaded; what cannot be used (half written) is left."""
        try:
            pair = self._read()
            if pair != self._loaded:
                _load(context, pair)
                self._loaded = pair
        except (ProjectError, OSError):
            return

    def ends_at(self) -> datetime | None:
        """When the certificate ends; None when the package that could tell is not there (extra ``crypto``)."""
        try:
            from cryptography.x509 import load_pem_x509_certificate
        except ImportError:
            return None
        try:
            return load_pem_x509_certificate(self._loaded.chain.reveal().encode()).not_valid_after_utc
        except ValueError:
            return None  # ``load`` says what is wrong with it


def read_pem(setting: str | Secret, root: Path, name: str) -> Secret:
    """A setting that is a text in PEM, or a file of one, relative to ``root``. Raises ProjectError."""
    text = setting.reveal() if isinstance(setting, Secret) else setting
    if _BEGIN in text:
        return Secret(text, name)
    if "\n" in text or "\0" in text:
        raise ProjectError(f"{name} is neither a PEM text nor a file of one", help=f"{name}: {{ secret: NAME }}")
    try:
        return Secret((root / text).read_text(encoding="ascii"), name)
    except (OSError, UnicodeDecodeError) as error:
        shown = f"{text}: " if not isinstance(setting, Secret) else ""
        said = error.strerror if isinstance(error, OSError) else "not a PEM text"
        raise ProjectError(f"{name}: {shown}{said}", help="a PEM file, or { secret: NAME }") from None


def _load(context: ssl.SSLContext, pair: Pair) -> None:
    # An empty password instead of none: without one OpenSSL asks at the terminal.
    password = pair.password.reveal() if pair.password is not None else ""
    try:
        with _named(pair.chain) as chain, _named(pair.key or pair.chain) as key:
            context.load_cert_chain(chain, key, lambda: password)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or "not a certificate with its key"
        raise ProjectError(
            f"client_cert cannot be used: {why}",
            help="client_cert and client_key are PEM, and belong together; client_key_password when it has one",
        ) from None


@contextmanager
def _named(text: Secret) -> Iterator[str]:
    """A path under which the text can be read, by us and for as long as the block lasts."""
    data = text.reveal().encode()
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("flowrun", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile("wb", prefix="flowrun-") as file:  # readable by us alone
        file.write(data)
        file.flush()
        yield file.name
