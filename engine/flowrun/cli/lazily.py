"""A module that is loaded when something of it is touched, for commands that mostly never do."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Lazily(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # the import system asks for these; they load nothing
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def lazily(name: str) -> None:
    """``import NAME`` costs nothing from here on, until an attribute is read: ``validate`` asks connector classes what
    they can do, and none of that needs the HTTP client they import."""
    if name not in sys.modules:
        sys.modules[name] = _Lazily(name)
