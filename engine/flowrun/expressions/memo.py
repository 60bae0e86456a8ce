"""Results that are remembered, in bounded memory: prices, quantities and codes repeat from record to record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_ROWS: Final = 1024
_TEXT: Final = 40  # characters of a text that is remembered
_PATIENCE: Final = 64 * _ROWS  # misses of a full memo before it begins anew


class Memo(dict[Any, Any]):
    """``memo[value]``: what ``work`` makes of a text or an int. Errors are not remembered.

    The first thousand results stay. Values that never repeat would otherwise cost more to keep than to compute, and
    nothing is gained by knowing which was used last.
    """

    __slots__ = ("_misses", "_work")

    def __init__(self, work: Callable[[Any], Any]) -> None:
        super().__init__()
        self._work = work
        self._misses = 0

    def __missing__(self, value: Any) -> Any:
        result = self._work(value)
        if len(self) < _ROWS:
            if type(value) is not str or len(value) <= _TEXT:
                self[value] = result
        else:
            self._misses += 1
            if self._misses > _PATIENCE:
                self.clear()
                self._misses = 0
        return result
