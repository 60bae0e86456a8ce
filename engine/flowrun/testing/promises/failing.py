"""Promises about failure: the right class, no false success, an end in time."""

from __future__ import annotations

import time

from flowrun.connector import Receipt
from flowrun.errors import AuthFailed, ConnectorError, DeliveryUnknown, RateLimited, Unavailable
from flowrun.testing.contract_suite import TIMEOUT, NotPromised, Subject, promise
from flowrun.testing.faults import REDIRECTS
from flowrun.testing.promises.asking import (
    deliver,
    healed,
    item,
    read_failure,
    reads,
    records,
    simulated,
    struck,
    writes,
    written,
)
from flowrun.testing.simulator import SimRequest, SimResponse, Simulator

READ_CLASSES = {
    "401*": AuthFailed,
    "403*": AuthFailed,
    "429*": RateLimited,
    "503*": Unavailable,
    "500*": Unavailable,
    "reset_before*": Unavailable,
}
WRITE_CLASSES = {"401*": AuthFailed, "429*": RateLimited, "503*": Unavailable}
NO_ANSWERS = ("garbage", "html200", "empty200", "not_utf8", "truncated")
_SLACK_SECS = 2.0  # for a busy machine


@promise("source", "faults")
def failures_of_reading_get_the_right_class(subject: Subject) -> None:
    """Credentials, limits and outages are told apart, exactly."""
    how = reads(subject)
    with subject.world() as world:
        failing = simulated(world)
        how.fill(world, 2)
        for fault, expected in READ_CLASSES.items():
            with subject.connected(world) as connector:
                struck(failing, f"{fault};retry_after=7")
                error = read_failure(connector, how)
                healed(world)
                assert type(error) is expected, f"{fault}: {type(error).__name__} instead of {expected.__name__}"
                assert error.error_class in subject.cls.error_classes, f"'{error.error_class}' is not declared"
                if isinstance(error, RateLimited):
                    assert error.retry_after_secs == 7, f"{fault}: wait {error.retry_after_secs} instead of 7"


@promise("target", "faults")
def failures_of_writing_get_the_right_class(subject: Subject) -> None:
    """As verdicts, never as exceptions; and what may have been done is never taken for undone."""
    how = writes(subject)
    with subject.world() as world, subject.connected(world) as connector:
        failing = simulated(world)
        written(connector, item(how, world, 0))
        for n, (fault, expected) in enumerate(WRITE_CLASSES.items(), 1):
            one = item(how, world, n)
            struck(failing, f"{fault};only=writes;retry_after=7")
            verdict = deliver(connector, one)
            healed(world)
            assert type(verdict) is expected, f"{fault}: {type(verdict).__name__} instead of {expected.__name__}"
            assert isinstance(verdict, ConnectorError)
            assert verdict.error_class in subject.cls.error_classes, f"'{verdict.error_class}' is not declared"
            if isinstance(verdict, RateLimited):
                assert verdict.retry_after_secs == 7, f"{fault}: wait {verdict.retry_after_secs} instead of 7"
            written(connector, one)


@promise("faults")
def what_is_no_answer_is_no_success(subject: Subject) -> None:
    """Half an answer, a web page, nothing at all, with status 200: neither records nor receipts."""
    with subject.world() as world:
        failing = simulated(world)
        if subject.read is not None:
            how = reads(subject)
            how.fill(world, 3)
            for fault in NO_ANSWERS:
                with subject.connected(world) as connector:
                    records(connector, how)
                    struck(failing, f"{fault}*")
                    read_failure(connector, how)
                    healed(world)
        if subject.write is not None:
            target = writes(subject)
            with subject.connected(world) as connector:
                written(connector, item(target, world, 0))
                for n, fault in enumerate(NO_ANSWERS, 1):
                    struck(failing, f"{fault};only=writes")
                    verdict = deliver(connector, item(target, world, n))
                    healed(world)
                    assert not isinstance(verdict, Receipt), f"{fault}: taken for success"


@promise("target", "faults")
def an_error_inside_success_is_an_error(subject: Subject) -> None:
    """The system's own way to say no with status 200."""
    if type(subject.simulator()).error_in_200 is Simulator.error_in_200:
        raise NotPromised("the system says no with a status")
    how = writes(subject)
    with subject.world() as world, subject.connected(world) as connector:
        failing = simulated(world)
        written(connector, item(how, world, 0))
        struck(failing, "error_in_200;only=writes")
        verdict = deliver(connector, item(how, world, 1))
        assert isinstance(verdict, ConnectorError), "taken for success"


class Trap(Simulator):
    """Where a redirect leads; nobody may come."""

    def handle(self, request: SimRequest) -> SimResponse:
        return SimResponse(200, b"{}", {"content-type": "application/json"})


@promise("faults")
def redirects_are_not_followed(subject: Subject) -> None:
    """Neither credentials nor records go where an answer says; a redirect is an error."""
    trap = Trap()
    with subject.world() as world, trap.running() as elsewhere:
        failing = simulated(world)
        for status in REDIRECTS:
            spec = f"{status}*;location={elsewhere}/trap"
            if subject.read is not None:
                with subject.connected(world) as connector:
                    struck(failing, spec)
                    read_failure(connector, reads(subject))
                    healed(world)
            if subject.write is not None:
                target = writes(subject)
                with subject.connected(world) as connector:
                    one = item(target, world, int(status))
                    struck(failing, spec)
                    verdict = deliver(connector, one)
                    healed(world)
                    assert not isinstance(verdict, Receipt), f"{status}: taken for success"
            assert not trap.log, f"{status}: {trap.log[0].method} {trap.log[0].path} went elsewhere"


@promise("source", "faults")
def calls_end_in_time(subject: Subject) -> None:
    """A system that never answers, or a byte at a time, takes no more than its limit; then all is as before."""
    how = reads(subject)
    most = float(TIMEOUT) * 4 + _SLACK_SECS
    with subject.world() as world, subject.connected(world) as connector:
        failing = simulated(world)
        how.fill(world, 3)
        for fault in ("half_open", "timeout_before", "slow_drip"):
            struck(failing, f"{fault}*;hang=1")
            start = time.monotonic()
            error = read_failure(connector, how)
            took = time.monotonic() - start
            healed(world)
            assert type(error) is Unavailable, f"{fault}: {type(error).__name__}"
            assert took < most, f"{fault}: {took:.1f} s"
        assert len(records(connector, how)) == 3, "it does not recover"


@promise("faults")
def expired_credentials_are_renewed_by_themselves(subject: Subject) -> None:
    """A token that ended between two calls is asked for again, once, and nobody notices."""
    with subject.world() as world:
        failing = simulated(world)
        if type(failing).expire_tokens is Simulator.expire_tokens:
            raise NotPromised("its credentials do not end")
        with subject.connected(world) as connector:
            if subject.read is not None:
                how = reads(subject)
                how.fill(world, 3)
                records(connector, how)
                failing.expire_tokens()
                assert len(records(connector, how)) == 3
            if subject.write is not None:
                target = writes(subject)
                written(connector, item(target, world, 0))
                failing.expire_tokens()
                written(connector, item(target, world, 1))
                assert target.count(world, 1) == 1


@promise("check")
def the_health_check_tells(subject: Subject) -> None:
    """``check`` is right about good and bad credentials and about a system that is gone, and never raises."""
    with subject.world() as world:
        with subject.connected(world) as connector:
            health = connector.check()
            assert health.ok and health.message, f"all is well, but it says: {health.message}"
        if not isinstance(world, Simulator):
            return
        for fault in ("401*", "503*", "half_open*", "reset_before*", "307*"):
            with subject.connected(world) as connector:
                struck(world, f"{fault};hang=1")
                health = connector.check()
                healed(world)
                assert not health.ok and health.message, f"{fault}: it says all is well"


@promise("target", "faults")
def an_unknown_outcome_is_never_a_plain_failure(subject: Subject) -> None:
    """500 to a write leaves it open whether it was done."""
    how = writes(subject)
    with subject.world() as world, subject.connected(world) as connector:
        failing = simulated(world)
        written(connector, item(how, world, 0))
        struck(failing, "500;only=writes")
        verdict = deliver(connector, item(how, world, 1))
        assert type(verdict) is DeliveryUnknown, f"500 to a write: {type(verdict).__name__}"
