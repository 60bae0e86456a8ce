"""One process of many: ``python -m tests.budgets.worker DATABASE BASE_URL LIMITS SECS [THREADS]``.

LIMITS: JSON, as in flowrun.yaml. Waits for a line on standard input, sends as much as it may for so many seconds, and
prints how many of its requests were answered with which status.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from flowrun.errors import BudgetSpent
from tests.budgets.kit import client_of, shared_budgets


def main(database: str, base_url: str, limits: str, secs: str, threads: str = "1") -> None:
    found: dict[str, int] = {}
    lock = threading.Lock()
    with shared_budgets(database) as budgets, client_of(base_url, budgets, **json.loads(limits)) as client:
        print("ready", flush=True)
        sys.stdin.readline()
        until = time.monotonic() + float(secs)

        def send() -> None:
            while time.monotonic() < until:
                try:
                    said = str(client.get("a").status_code)
                except BudgetSpent:
                    said = "spent"
                    time.sleep(0.05)
                with lock:
                    found[said] = found.get(said, 0) + 1

        running = [threading.Thread(target=send) for _ in range(int(threads))]
        for one in running:
            one.start()
        for one in running:
            one.join()
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
