"""Where a secret is looked for: variables of the system, a folder with one file each, the system's keyring."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from flowrun.errors import ProjectError
from flowrun.values import Secret

SERVICE = "flowrun"  # under which the keyring keeps them


def find_secret(name: str, environ: Mapping[str, str], root: Path, folder: str | None) -> Secret:
    """FLOWRUN_SECRET_NAME, then NAME in capitals, then the file NAME in ``folder`` (relative to the project's root),
    then the keyring (extra ``keyring``). Line ends at the end of a file are no part of the secret.

    Raises ProjectError: it is nowhere, it is empty, or where it stands it cannot be read or others may.
    """
    spelt = name.upper().replace("-", "_")
    for variable in (f"FLOWRUN_SECRET_{spelt}", spelt):
        if variable in environ:
            return _full(environ[variable], name, f"the variable {variable}")
    if folder is not None and (path := root / folder / name).exists():
        return _full(_of_file(path, name, root), name, str(path))
    found, words = _of_keyring(name)
    if found is not None:
        return _full(found, name, "the keyring's entry")
    places = [f"export FLOWRUN_SECRET_{spelt}=…", f"write it to {folder}/{name}" if folder else "", words]
    raise ProjectError(f"the secret '{name}' is not set", help=", or ".join(place for place in places if place))


def _full(text: str, name: str, place: str) -> Secret:
    if not text.strip():
        raise ProjectError(f"the secret '{name}' is empty", help=f"{place} holds nothing")
    return Secret(text, name)


def _of_file(path: Path, name: str, root: Path) -> str:
    """A file in the project is its owner's alone; one mounted from elsewhere others may read, as containers do it."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ProjectError(f"the secret '{name}' cannot be read: {error.strerror}", help=f"look at {path}") from None
    except UnicodeDecodeError:
        raise ProjectError(f"the secret '{name}' is not UTF-8 text", help=f"look at {path}") from None
    inside = path.resolve().is_relative_to(root.resolve())
    if mode & (stat.S_IRWXG | stat.S_IRWXO if inside else stat.S_IWOTH):
        what = "read" if inside else "change"
        raise ProjectError(f"others on this machine may {what} the secret '{name}'", help=f"chmod 600 {path}")
    return text.rstrip("\r\n")


def _of_keyring(name: str) -> tuple[str | None, str]:
    """(the secret if it is there, how to put it there)."""
    try:
        import keyring
        from keyring.errors import KeyringError, NoKeyringError
    except ImportError:
        return None, f"keep it in the system's keyring: pip install 'flowrun[keyring]', keyring set {SERVICE} {name}"
    try:
        found: str | None = keyring.get_password(SERVICE, name)
    except NoKeyringError:  # a server without one
        return None, ""
    except KeyringError as error:  # locked, or the person said no; its words are the back end's own
        raise ProjectError(
            f"the keyring does not give the secret '{name}': {type(error).__name__}", help="unlock it, or export it"
        ) from None
    return found, f"keyring set {SERVICE} {name}"
