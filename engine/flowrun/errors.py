"""One exception tree, grouped by who acts next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from flowrun.diagnostics import Diagnostic

ERROR_CLASSES = (
    "rate_limited",
    "network",
    "auth",
    "bad_data",
    "rejected",
    "duplicate",
    "not_found",
    "conflict",
    "unknown_outcome",
    "other",
)
"""The words of ``on_error``: the connector (or the plan, for bad_data) decides the class, the flow the consequence."""


class FlowrunError(Exception):
    """Base of everything flowrun raises on purpose. ``help`` says what to do next, when that is known."""

    def __init__(self, message: str, *, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class InvalidFlow(FlowrunError):
    """The author edits the flow: carries every diagnostic, in file order."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("\n".join(f"{d.span}: {d.message}" for d in diagnostics))
        self.diagnostics = tuple(diagnostics)


class ProjectError(FlowrunError):
    """The project or the command line is wrong in a way that has no place in a flow file (exit code 2)."""


class GuardStopped(FlowrunError):
    """A run wanted to change more than its ``guard`` allows; nothing was sent (exit code 3)."""


class Paused(FlowrunError):
    """A person has paused the flow, or a connection it calls; nothing was begun (exit code 3)."""


class ExpressionError(FlowrunError, ValueError):
    """Compile time: syntax, unknown name or function, arity, type. At run time: see DataError.

    offset, length: characters into the expression's text; length 0 means "to the end".
    code: the FR code of the diagnostic.
    """

    def __init__(self, message: str, *, offset: int = 0, length: int = 0, code: str = "FR101", help: str = "") -> None:
        super().__init__(message, help=help)
        self.offset = offset
        self.length = length
        self.code = code


class DataError(FlowrunError):
    """A value of this record does not fit an expression, a converter or the contract: class bad_data."""

    error_class: ClassVar[str] = "bad_data"


class BudgetExceeded(DataError):
    """An expression asked for more steps, digits or characters than the bounds allow."""


class ConnectorError(FlowrunError):
    """Something the outside world said. Never holds a secret, a header or a full URL with a query.

    code, field: the vendor's own error code and field (or target path), where it names them.
    details: further (code, text) pairs of the vendor.
    """

    error_class: str = "other"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        field: str = "",
        details: Sequence[tuple[str, str]] = (),
        status: int | None = None,
        help: str = "",
    ) -> None:
        super().__init__(message, help=help)
        self.code = code
        self.field = field
        self.details = tuple(details)
        self.status = status


class Unavailable(ConnectorError):
    """The system did not take the request (nothing was done); we try again later."""

    error_class = "network"

    def __init__(self, message: str, *, retry_after_secs: float | None = None, **facts: object) -> None:
        super().__init__(message, **facts)  # type: ignore[arg-type]
        self.retry_after_secs = retry_after_secs


class RateLimited(Unavailable):
    """429 or the vendor's own way to say "slower"; ``retry_after_secs`` when it says how long."""

    error_class = "rate_limited"


class BudgetSpent(RateLimited):
    """Not sent, since it is not this connection's turn for ``retry_after_secs``: no attempt is drawn."""


class DeliveryUnknown(ConnectorError):
    """Sent, answer lost: settle by find, never by plain retry."""

    error_class = "unknown_outcome"


class Refused(ConnectorError):
    """This record will never pass as it is."""

    error_class = "rejected"


class Duplicate(ConnectorError):
    """The target holds it already."""

    error_class = "duplicate"


class NotFound(ConnectorError):
    """The target has no such object."""

    error_class = "not_found"


class Conflict(ConnectorError):
    """The target's object changed meanwhile (stale ETag, sync token), or several match."""

    error_class = "conflict"


class AuthFailed(ConnectorError):
    """Nothing will pass: the connection pauses, the operator is told."""

    error_class = "auth"


class SignatureInvalid(ConnectorError):
    """The webhook is not who it says: 401, nothing kept."""

    error_class = "auth"


class PagingLoop(ConnectorError):
    """The source repeats itself: same token, same page, or no progress."""

    error_class = "other"


class StoreError(FlowrunError):
    """Our own state is at risk: stop."""


class NoRoom(StoreError):
    """The disk is nearly full: nothing new is taken in, so that what is held can still reach its outcome."""


class StoreGone(StoreError):
    """The database cannot be reached now, or gave this step up (a deadlock, a lock that is held too long): the same
    step may pass later."""
