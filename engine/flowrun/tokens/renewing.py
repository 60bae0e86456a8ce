"""A token's life: renewed early, by one thread of one process at a time, kept before it is used, never thrown away for
an endpoint that fails.

- While one thread asks, others go on with a token that is still good, and wait only when there is none.
- With a vault the same holds between processes: who renews holds a lease, and the others find the new token there.
- A 401 of the system means the token has ended, whatever its age; the request is sent once more with a new one.
- A definite no is not asked for again until the settings change or a pause is over; a login asked for at every record
  would lock the user.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import httpx

from flowrun.credentials.schemes import Scheme, name_of
from flowrun.credentials.token import Token
from flowrun.errors import AuthFailed, ConnectorError, ProjectError, RateLimited, StoreError, Unavailable
from flowrun.logs import hide
from flowrun.tokens.grants import Grant, all_of
from flowrun.tokens.trouble import Troubles
from flowrun.values import Clock

if TYPE_CHECKING:
    from flowrun.store.vault import Held, Lease, Vault

EARLY = 0.1  # share of a token's life at whose end it is renewed before it ends, give or take half by chance
LEASE_SECS = 60.0  # longer than a token request may take (transport.ASK_SECS)
_WAIT_SECS = 90.0  # for another process that renews
_POLL_SECS = 0.05
_PAUSE_SECS, _LONGEST_PAUSE_SECS = 60.0, 3600.0  # after a definite no; doubled each time
_RETRY_SECS = 30.0  # between early renewals that fail
_SOON_SECS, _SOON_SHARE = 7 * 24 * 3600.0, 0.2  # a refresh token with less left is said to be expiring

Make = Callable[[Scheme], Grant]


def boot_time() -> float:
    """Seconds that go on while the machine sleeps, and never jump."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(slots=True)
class _Live:
    """The token in use; moments by the local clock. proven: the system has taken it."""

    token: Token
    renew_at: float
    ends_at: float
    proven: bool = False


class Renewing(httpx.Auth):
    """read: the scheme with its references read anew. Raises AuthFailed, RateLimited, Unavailable; StoreError when a
    token that was given cannot be stored: it is kept, and stored first of all when asked again."""

    def __init__(
        self,
        connection: str,
        make: Make,
        read: Callable[[], Scheme],
        *,
        now: Clock,
        troubles: Troubles,
        vault: Vault | None = None,
        clock: Callable[[], float] = boot_time,
        chance: Callable[[], float] = random.random,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.connection = connection
        self._make, self._read = make, read
        self._scheme = read()
        self._grant = make(self._scheme)
        self._now, self._clock, self._chance, self._wait = now, clock, chance, wait
        self._troubles, self._vault = troubles, vault
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()
        self._live: _Live | None = None
        self._rounds = 0  # attempts to renew that have ended
        self._failure: ConnectorError | StoreError | None = None  # of the last one
        self._no: tuple[AuthFailed, float] | None = None  # a definite no, and until when it is not asked for again
        self._noes = 0
        self._unsaved: tuple[int, Token] | None = None  # given, not yet stored; and the version it follows
        self._in_vain = 0  # new tokens in a row that the system did not take
        self._vain_until = 0.0

    def connect(self, client: httpx.Client) -> None:
        """client: sends token requests through the connection's guard, without credentials of its own."""
        self._client = client

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        live = self._usable()
        self._grant.place(request, live.token)
        response = yield request
        if response.status_code != 401:
            self._taken(live)
            return
        if self._in_vain >= 2 and self._clock() < self._vain_until:
            return  # new tokens are refused as well; the connector says so
        response.read()
        live = self._renewed(refused=live)
        self._grant.place(request, live.token)
        response = yield request
        if response.status_code != 401:
            self._taken(live)
        elif self._in_vain >= 2:
            self._troubles.say("refused", f"the system of '{self.connection}' refuses tokens just given (401)")

    def close(self) -> None:
        """Say farewell to a session that nobody else uses. Never raises for an answer."""
        live, farewell = self._live, getattr(self._grant, "farewell", None)
        self._live = None
        if live is None or farewell is None or self._vault is not None or self._clock() >= live.ends_at:
            return
        request = farewell(live.token)
        if request is not None:
            try:
                self._send(request)
            except ConnectorError:
                return  # it ends by itself

    def about(self) -> tuple[str, float | None]:
        """The scheme's name, and how many seconds the token in use is still good; None when there is none."""
        live = self._live
        return name_of(self._scheme), None if live is None else live.ends_at - self._clock()

    def tend(self) -> None:
        """Renew what is due, without a request that needs it: a service calls this between requests, so that a grant
        which ends unused does not end, and that one which ends soon is said in time. Raises what renewing raises."""
        self._warn(self._usable().token)

    # -- in this process -------------------------------------------------------------------------------------------

    def _usable(self) -> _Live:
        live = self._live
        return live if live is not None and self._clock() < live.renew_at else self._renewed()

    def _taken(self, live: _Live) -> None:
        self._in_vain = 0
        if not live.proven:
            live.proven = True
            self._troubles.over("refused", "reauthorise")
        if self._grant.slides:
            self._time(live, live.token.life)

    def _renewed(self, refused: _Live | None = None) -> _Live:
        """A token newer than ``refused``, or than the one that is due. Asked for by whoever comes first."""
        seen, good = self._rounds, self._good(refused)
        if not self._lock.acquire(blocking=good is None):
            assert good is not None
            return good  # somebody is at it, and this one still works
        try:
            live = self._good(refused)
            if live is not None and self._clock() < live.renew_at:
                return live
            if self._rounds != seen and self._failure is not None and live is None:
                raise self._failure  # the one we waited for has just tried
            return self._attempt(refused, live)
        finally:
            self._lock.release()

    def _good(self, refused: _Live | None) -> _Live | None:
        live = self._live
        if live is None or self._clock() >= live.ends_at:
            return None
        return None if refused is not None and live.token.access == refused.token.access else live

    def _attempt(self, refused: _Live | None, live: _Live | None) -> _Live:
        """live: a token that still works, and is kept when no other is to be had."""
        try:
            token = self._shared(refused) if self._vault is not None else self._alone()
        except (ConnectorError, StoreError) as error:
            self._failure = error
            if live is None:
                raise
            asked = error.retry_after_secs if isinstance(error, RateLimited) else None
            live.renew_at = self._clock() + max(asked or 0.0, _RETRY_SECS * (0.5 + self._chance()))
            return live
        finally:
            self._rounds += 1
        self._failure = None
        if refused is not None:
            self._in_vain += 1
            self._vain_until = self._clock() + _PAUSE_SECS
        return self._hold(token)

    def _hold(self, token: Token) -> _Live:
        hide(token.access)
        if token.refresh is not None:
            hide(token.refresh)
        live = _Live(token, 0.0, 0.0)
        self._time(live, token.left)
        self._live = live
        self._warn(token)
        return live

    def _time(self, live: _Live, left: float) -> None:
        live.ends_at = self._clock() + left
        live.renew_at = live.ends_at - self._margin(live.token)

    def _margin(self, token: Token) -> float:
        """Earlier by chance, so that many processes do not renew at one moment."""
        return token.life * EARLY * (0.5 + self._chance())

    def _alone(self) -> Token:
        if self._no is not None and self._clock() < self._no[1] and not self._changed():
            raise self._no[0]
        old = self._live.token if self._live is not None else None
        try:
            token = self._asked(old, lambda: True)
        except AuthFailed as error:
            self._refused(error)
            self._noes += 1
            self._no = (error, self._clock() + _pause(self._noes))
            raise
        self._no, self._noes = None, 0
        return token

    # -- between processes -----------------------------------------------------------------------------------------

    def _shared(self, refused: _Live | None) -> Token:
        assert self._vault is not None
        until = self._clock() + _WAIT_SECS
        while True:
            found = self._found(self._vault.load(self.connection), refused)
            if found is not None:
                return found
            lease = self._vault.lease(self.connection, LEASE_SECS)
            if lease is not None:
                try:
                    token = self._under(self._vault, lease, refused)
                finally:
                    self._vault.release(lease)
                if token is not None:
                    return token
            if self._clock() >= until:
                raise Unavailable(f"another process has been renewing the token of '{self.connection}' for too long")
            self._wait(_POLL_SECS * (0.5 + self._chance()))

    def _found(self, held: Held | None, refused: _Live | None) -> Token | None:
        """What another process has put there, if it is newer than what we have. Raises AuthFailed for a definite no
        that it was given."""
        if held is None or self._unsaved is not None:
            return None
        token = self._mine(held)
        ours = refused or self._live
        newer = token is not None and (ours is None or token.access != ours.token.access)
        if token is not None and newer and token.left > self._margin(token):
            return token
        no = held.refusal
        if no is not None and no.ago < _pause(no.count) and no.tried == self._mark(token) and not self._changed():
            raise AuthFailed(no.words, code="refused_before", help=self._help(no.kind))
        return None

    def _mine(self, held: Held) -> Token | None:
        return held.token if held.token is not None and held.token.issued_for == self._grant.issued_for else None

    def _under(self, vault: Vault, lease: Lease, refused: _Live | None) -> Token | None:
        """With the lease: a new token, stored. None when the lease has passed to another meanwhile."""
        held = vault.load(self.connection)
        assert held is not None
        if self._unsaved is None:
            found = self._found(held, refused)
            if found is not None:
                return found
            old = self._mine(held)
            try:
                token = self._asked(old, lambda: vault.lease(self.connection, LEASE_SECS, lease) is not None)
            except AuthFailed as error:
                told = self._told(error, held, lease)
                vault.refuse(lease, self._kind(told), told.message, self._mark(old))
                self._refused(told)
                raise told from None
            self._unsaved = (held.version, token)
        follows, token = self._unsaved
        if follows != held.version:
            self._unsaved = None  # another was given a newer one
            return None
        if not vault.save(self.connection, token, follows, lease, scheme=name_of(self._scheme)):
            return None
        self._unsaved = None
        return token

    def _told(self, error: AuthFailed, held: Held, lease: Lease) -> AuthFailed:
        """The refusal of a grant, in words that say what came before it."""
        kind = self._kind(error)
        if kind != "reauthorise":
            return error
        words = error.message
        if held.unreadable:
            words = f"the stored grant of '{self.connection}' cannot be opened: {held.unreadable}"
        elif held.token is not None and self._mine(held) is None:
            words = f"the grant of '{self.connection}' was given for another client, address or scope"
        elif error.code == "invalid_grant" and lease.interrupted:
            words = (
                f"the refresh token of '{self.connection}' is no longer taken (invalid_grant); a renewal was cut short "
                "before its answer was stored"
            )
        elif error.code == "invalid_grant":
            words = f"the refresh token of '{self.connection}' is no longer taken (invalid_grant)"
        return AuthFailed(words, code=error.code, status=error.status, help=self._help(kind))

    def _mark(self, token: Token | None) -> str:
        assert self._vault is not None
        refresh = token.refresh.reveal() if token is not None and token.refresh is not None else ""
        return self._vault.mark(all_of(self._scheme) + refresh)

    # -- asking ----------------------------------------------------------------------------------------------------

    def _asked(self, old: Token | None, still: Callable[[], bool]) -> Token:
        """A new token. After a definite no the references are read again, and others are tried once.

        still: whether we may send (again).
        """
        try:
            return self._grant.take(self._send(self._grant.request(old)), old)
        except AuthFailed:
            if not self._changed() or not still():
                raise
            return self._grant.take(self._send(self._grant.request(old)), old)

    def _changed(self) -> bool:
        """Read the references again. True when they give something else now, which is used from here on."""
        try:
            scheme = self._read()
            if scheme == self._scheme:
                return False
            grant = self._make(scheme)
        except (ProjectError, OSError):  # half written, taken away: what we have stays
            return False
        self._scheme, self._grant = scheme, grant
        return True

    def _send(self, request: httpx.Request) -> httpx.Response:
        assert self._client is not None, "build_client connects it"
        request.extensions = {"flowrun.token": True, "timeout": self._client.timeout.as_dict()}
        try:
            return self._client.send(request)
        except httpx.HTTPError as error:
            raise Unavailable(f"the token endpoint cannot be reached ({type(error).__name__})") from None
        finally:
            self._client.cookies.clear()

    # -- telling ---------------------------------------------------------------------------------------------------

    def _refused(self, error: AuthFailed) -> None:
        live = self._live
        left = live.ends_at - self._clock() if live is not None else 0.0
        ends = self._moment(left) if left > 0 else None
        self._troubles.say(self._kind(error), error.message + (f"; {error.help}" if error.help else ""), ends)

    def _warn(self, token: Token) -> None:
        left, life = token.refresh_left, token.refresh_life
        if left is None or left > min(_SOON_SECS, (life or _SOON_SECS) * _SOON_SHARE):
            self._troubles.over("expiring")
            return
        words = f"the grant of '{self.connection}' ends soon; {self._help('reauthorise')}"
        self._troubles.say("expiring", words, self._moment(left))

    def _moment(self, left: float) -> datetime:
        return self._now() + timedelta(seconds=left)

    def _kind(self, error: AuthFailed) -> str:
        personal = self._grant.personal and error.code in ("invalid_grant", "not_authorised")
        return "reauthorise" if personal else "refused"

    def _help(self, kind: str) -> str:
        if kind == "reauthorise":
            return f"flowrun connections authorize {self.connection}"
        return "mend the credentials; they are read again by themselves"


def _pause(count: int) -> float:
    return min(_PAUSE_SECS * 2.0 ** max(count - 1, 0), _LONGEST_PAUSE_SECS)
