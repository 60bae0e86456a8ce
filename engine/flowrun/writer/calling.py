"""Calls to a target: one verdict for each record, whatever the connector does."""

from __future__ import annotations

from collections.abc import Sequence

from flowrun.connector import Item, Receipt, Target, Verdict
from flowrun.egress import sending_while
from flowrun.errors import BudgetSpent, Conflict, ConnectorError, DeliveryUnknown, Duplicate, NotFound, Refused
from flowrun.flow.model import Flow
from flowrun.logs import log
from flowrun.plan import Mapped
from flowrun.spans import span
from flowrun.store import Held, Row, Store
from flowrun.store.lanes import boot_time
from flowrun.writer.counts import Counts

Ready = tuple[Row, Mapped, str, str, bool]
"""Row, what it became, its intent, the body's fingerprint, whether the journal knows the intent already."""


class Caller:
    def __init__(self, flow: Flow, target: Target, store: Store, counts: Counts) -> None:
        self._flow = flow
        self._target = target
        self._store = store
        self._counts = counts

    def deliver(self, held: Held, part: Sequence[Ready]) -> list[Verdict]:
        """One verdict an item. A batch refused as a whole is halved until the bad record stands alone."""
        target = self._flow.target
        items = [
            Item(target.object, target.action, mapped.body, mapped.idempotency_key, target.match)
            for _, mapped, _, _, _ in part
        ]
        self._counts.sends += len(items)
        try:
            with (
                sending_while(lambda: boot_time() <= held.ends),
                span("send", flow=self._flow.name, connection=target.connection, records=len(items)) as step,
            ):
                verdicts = _attributed(self._target.deliver(items), len(items))
                step.say(refused=sum(isinstance(one, Exception) for one in verdicts))
            self._counts.sends -= sum(isinstance(one, BudgetSpent) for one in verdicts)
            return verdicts
        except (Refused, Duplicate, NotFound, Conflict) as error:
            if len(items) == 1:
                return [error]
            half = len(items) // 2
            return [*self._half(held, part[:half]), *self._half(held, part[half:])]
        except ConnectorError as error:
            if isinstance(error, BudgetSpent):
                self._counts.sends -= len(items)
            return [error] * len(items)
        except Exception as error:
            # A mistake in a connector costs the records it was made with, which may have arrived; others go on.
            return [broke(self._flow.name, error)] * len(items)

    def _half(self, held: Held, part: Sequence[Ready]) -> list[Verdict]:
        """The calls of a batch that is taken apart may outlast the lease together, so each looks at the deadline."""
        if boot_time() > held.deadline:
            self._store.lanes.renew(held)
        mine = {row.seq for row, *_ in part if row.lane_id in held.fences}
        said = iter(self.deliver(held, [one for one in part if one[0].seq in mine]) if mine else ())
        lost = DeliveryUnknown("another worker took it over")  # and settles it: what this one says is not heard
        return [next(said) if row.seq in mine else lost for row, *_ in part]


def broke(flow: str, error: Exception) -> DeliveryUnknown:
    """What an exception means that no connector may raise."""
    log().error("connector broke", flow=flow, error=type(error).__name__, exc_info=True)
    return DeliveryUnknown(f"the connector broke: {type(error).__name__}")


def _attributed(said: Sequence[Verdict], count: int) -> list[Verdict]:
    """As many verdicts as items; what a connector left out, or is no verdict, is unknown."""
    missing = DeliveryUnknown("the connector gave no verdict")
    known = [one if isinstance(one, Receipt | ConnectorError) else missing for one in said]
    return [*known, *[missing] * count][:count]
