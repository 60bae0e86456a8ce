"""Which dead letters are meant: keys, a cause, or all of a flow. Raises ProjectError with near names for what is not
there."""

from __future__ import annotations

from collections.abc import Sequence

from flowrun.diagnostics import near
from flowrun.errors import ProjectError
from flowrun.store.causes import clusters
from flowrun.store.rows import Row
from flowrun.store.store import Store

MOST = 1_000_000  # letters of one command, which all stand in memory


def letters(store: Store, flow: str | None = None, queue: str | None = None, key: str | None = None) -> list[Row]:
    """In order of arrival."""
    return store.records(flow=flow, queue=queue, key=key, state="dead", limit=MOST)


def listed(store: Store, flow: str | None, queue: str | None, cause: str | None) -> list[Row]:
    """Letters of a flow, a queue and a cause, whichever are named. Raises ProjectError for an unknown cause."""
    found = of_cause(store, flow, cause) if cause else letters(store, flow)
    return [row for row in found if queue is None or row.queue == queue]


def one_letter(store: Store, flow: str, key: str) -> Row:
    """The newest letter of a key. Raises ProjectError."""
    return of_key(store, flow, key)[-1]


def of_key(store: Store, flow: str, key: str) -> list[Row]:
    found = letters(store, flow, None, key)
    if not found:
        keys = [row.key for row in letters(store, flow)]
        guess = near(key, keys)
        known = ", ".join(keys[:10]) or "none"
        raise ProjectError(
            f"{flow} has no dead letter '{key}'", help=f"did you mean '{guess}'?" if guess else f"dead letters: {known}"
        )
    return found


def of_cause(store: Store, flow: str | None, cause: str) -> list[Row]:
    found = clusters(letters(store, flow))
    for cluster in found:
        if cluster.id == cause:
            return cluster.rows
    known = ", ".join(cluster.id for cluster in found[:10]) or "none"
    of = f" of {flow}" if flow else ""
    raise ProjectError(f"no dead letter{of} has cause '{cause}'", help=f"causes: {known}; flowrun dlq list says more")


def chosen(
    store: Store, flow: str, keys: Sequence[str], cause: str | None, all_: bool = False, *, verb: str
) -> list[Row]:
    """The letters in order of arrival, each once; a key stands for all its letters. Raises ProjectError."""
    if bool(keys) + bool(cause) + all_ != 1:
        raise ProjectError("which ones?", help=f"flowrun dlq {verb} {flow} KEY…, or --cause ID, or --all")
    if all_:
        return letters(store, flow)
    if cause:
        return of_cause(store, flow, cause)
    found = {row.seq: row for key in keys for row in of_key(store, flow, key)}
    return [found[seq] for seq in sorted(found)]
