"""One process of many: ``python -m tests.credentials.worker DATABASE BASE_URL CALLS [die]``.

Waits for a line on standard input, makes so many calls, and prints their statuses and errors. die: ends without a word
between the answer of the token endpoint and the commit.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from flowrun.errors import ConnectorError
from tests.credentials.kit import Heard, authorisation, connected, vault_at


def main(database: str, base_url: str, calls: str, die: str = "") -> None:
    vault = vault_at(database)
    if die:

        def dead(*args: Any, **more: Any) -> bool:
            os._exit(9)

        vault.save = dead  # type: ignore[method-assign]
    heard = Heard()
    client = connected(base_url, authorisation(base_url), vault=vault, heard=heard, timeout=20)
    print("ready", flush=True)
    sys.stdin.readline()
    found: list[Any] = []
    for _ in range(int(calls)):
        try:
            found.append(client.get("api").status_code)
        except ConnectorError as error:
            found.append([type(error).__name__, error.message, error.help])
    print(json.dumps({"found": found, "heard": heard.said}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
