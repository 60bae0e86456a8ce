"""Guards against sources that repeat themselves."""

from __future__ import annotations

import hashlib
from typing import Any

from flowrun.errors import PagingLoop
from flowrun.values import encode_json

MOST_PAGES = 100_000


class PageGuard:
    """One per read. ``token``: where the next page is said to be. ``page``: what a page held."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()
        self._last = ""
        self._pages = 0

    def token(self, token: str) -> str:
        """The token, when it is new. Raises PagingLoop."""
        if token in self._tokens:
            raise PagingLoop("the source names the same next page twice")
        self._tokens.add(token)
        return token

    def page(self, records: list[Any]) -> list[Any]:
        """The page's records, when the page is not the same as the one before. Raises PagingLoop."""
        self._pages += 1
        if self._pages > MOST_PAGES:
            raise PagingLoop(f"more than {MOST_PAGES} pages")
        if records:
            print_ = hashlib.sha256(encode_json(records)).hexdigest()
            if print_ == self._last:
                raise PagingLoop("the source gives the same page again")
            self._last = print_
        return records
