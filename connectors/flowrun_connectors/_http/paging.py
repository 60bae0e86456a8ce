"""Guards against sources that repeat themselves."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any

from flowrun.errors import PagingLoop
from flowrun.values import encode_json

MOST_PAGES = 100_000
MOST_EMPTY = 100  # pages in a row that hold nothing and still name a next one


class PageGuard:
    """One per read. ``token``: where the next page is said to be. ``page``: what a page held.

    remember: a page equal to one of so many before it is a loop; 1 where a reader steps back on purpose.
    patience: so many equal pages are borne, where a row put in before us can rightly show a page again.
    """

    def __init__(self, remember: int = 1, patience: int = 0) -> None:
        self._patience = patience
        self._tokens: set[str] = set()
        self._prints: deque[bytes] = deque(maxlen=remember)
        self._pages = 0
        self._empty = 0

    def token(self, token: str) -> str:
        """The token, when it is new. Raises PagingLoop."""
        if token in self._tokens:
            raise PagingLoop("the source names the same next page twice")
        self._tokens.add(token)
        return token

    def page(self, records: list[Any]) -> list[Any]:
        """The page's records, when the page is not the same as one before. Raises PagingLoop."""
        self._pages += 1
        if self._pages > MOST_PAGES:
            raise PagingLoop(f"more than {MOST_PAGES} pages")
        if not records:
            self._empty += 1
            if self._empty > MOST_EMPTY:
                raise PagingLoop(f"{MOST_EMPTY} pages in a row hold nothing, and each names a next one")
            return records
        self._empty = 0
        seen = hashlib.blake2b(encode_json(records), digest_size=16).digest()
        if seen in self._prints:
            self._patience -= 1
            if self._patience < 0:
                raise PagingLoop("the source gives the same page again")
        self._prints.append(seen)
        return records
