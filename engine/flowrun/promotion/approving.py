"""Approvals: a person's signature (Ed25519) over a bundle, and who counts in an environment."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowrun.errors import ProjectError
from flowrun.project import Environment
from flowrun.promotion.bundle import APPROVER, Approval, Bundle, BundleRefused

_MISSING = "pip install 'flowrun[crypto]'"


def make_key(path: Path) -> str:
    """The public key of the private one in the file, which is made when it is not there, for its owner alone."""
    if not path.exists():
        made = _ed25519().Ed25519PrivateKey.generate()
        from cryptography.hazmat.primitives import serialization as form

        text = made.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(text)
    return _public(_private(path))


def approve(bundle: Bundle, by: str, key: Path, at: str) -> Bundle:
    """The bundle with one approval more; a second one of the same name takes the first one's place.

    Raises ProjectError: the name, or the key's file.
    """
    if not APPROVER.fullmatch(by):
        raise ProjectError(f"'{by}' cannot be the name of an approver", help="letters, digits, '.', '_' and '-'")
    private = _private(key)
    signature = base64.b64encode(private.sign(_said(bundle, by, at))).decode()
    others = [one for one in bundle.approvals if one.by != by]
    return replace(bundle, approvals=(*others, Approval(by, at, _public(private), signature)))


def check_signatures(bundle: Bundle) -> None:
    """Raises BundleRefused when any approval is not of this bundle, whether it is needed or not."""
    if not bundle.approvals:
        return
    ed = _ed25519()
    for one in bundle.approvals:
        try:
            ed.Ed25519PublicKey.from_public_bytes(base64.b64decode(one.key, validate=True)).verify(
                base64.b64decode(one.signature, validate=True), _said(bundle, one.by, one.at)
            )
        except Exception:  # InvalidSignature, and what base64 and a key of the wrong length raise
            raise BundleRefused(f"the approval of {one.by} is not of this bundle") from None


def approved_by(bundle: Bundle, environment: Environment) -> list[str]:
    """Names of those whose approval counts: known in the environment, with that key; each key once."""
    found: dict[str, str] = {}
    for one in bundle.approvals:
        if environment.approvers.get(one.by) == one.key:
            found.setdefault(one.key, one.by)
    return list(found.values())


def _said(bundle: Bundle, by: str, at: str) -> bytes:
    return f"flowrun bundle approval 1\n{bundle.digest}\n{by}\n{at}\n".encode()


def _private(path: Path) -> Any:
    ed = _ed25519()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        mode, data = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise ProjectError(f"{path}: {error.strerror}", help=f"make one with: flowrun promote key {path}") from None
    if mode & 0o077:
        raise ProjectError(f"others may read the key {path}", help=f"chmod 600 {path}")
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed.Ed25519PrivateKey):
        raise ProjectError(f"{path} is no Ed25519 key without a password", help="flowrun promote key FILE makes one")
    return key


def _public(key: Any) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ProjectError("approvals need the package 'cryptography'", help=_MISSING) from None
    return ed25519
