"""What programs that are started (git, an editor, a browser) get of the environment: nothing that may be a secret.

Anybody's helper, hook or plug-in runs inside them, and secrets of connections stand in variables of any name. So only
what such programs are known to need goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "TERMINFO",
    "COLORTERM", "NO_COLOR", "EDITOR", "VISUAL", "PAGER", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY",
    "DBUS_SESSION_BUS_ADDRESS", "WSL_DISTRO_NAME", "WSL_INTEROP", "SYSTEMROOT", "GIT_DIR", "GIT_WORK_TREE",
    "GIT_CEILING_DIRECTORIES", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL", "VIMINIT", "MYVIMRC", "EMACS_SOCKET_NAME",
})  # fmt: skip
_BEGINNINGS = ("LC_", "XDG_")


def harmless() -> dict[str, str]:
    """The environment for a program that is started."""
    return {name: value for name, value in os.environ.items() if name in _NAMES or name.startswith(_BEGINNINGS)}


@contextmanager
def only_harmless() -> Iterator[None]:
    """The same for libraries that start a program and ask for no environment; not beside other threads."""
    whole = dict(os.environ)
    try:
        for name in whole.keys() - harmless().keys():
            del os.environ[name]
        yield
    finally:
        os.environ.update(whole)
