"""Sessions with PostgreSQL: limits on both sides, so that neither a frozen process nor a silent network holds for ever
what others wait for. Needs the driver, which is an extra."""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, exc, text

IDLE_SECS = 10.0  # that a transaction may stand still: none spans a call outside, so its process froze
RESTED_SECS = 1.0  # without use, after which a session is tried before it is used
LOCK_SECS = 15.0  # that a statement waits for a lock: longer than a frozen process can hold it
ANSWER_SECS = 120.0  # that an answer is waited for; kernels tell of a dead peer sooner, but not of one behind a proxy

END_FROZEN = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND application_name = current_setting('application_name')"
    " AND state <> 'idle' AND wait_event_type = 'Client'"  # the server waits for the process, which holds locks
    " AND state_change < clock_timestamp() - make_interval(secs => :secs)"
)


def make_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        connect_args={  # a network that swallows all is noticed, also while we wait for an answer
            "fallback_application_name": "flowrun", "connect_timeout": 10, "tcp_user_timeout": 30_000,
            "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
        },
    )  # fmt: skip

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, args: Any, options: Any) -> Session:
        return Session.connect(*args, **options)

    @event.listens_for(engine, "connect")
    def configure(session: Any, _record: Any) -> None:
        limits = {
            "idle_in_transaction_session_timeout": IDLE_SECS,
            "tcp_user_timeout": IDLE_SECS,  # the same for a process that froze while an answer was on its way
            "lock_timeout": LOCK_SECS,
        }
        with session.cursor() as cursor:
            for name, secs in limits.items():
                cursor.execute(f"SET {name} = {round(secs * 1000)}")
            # A plan made while the tables were small would go through all of them later; and what is asked for is
            # nearly always in memory, so by index.
            cursor.execute("SET plan_cache_mode = force_custom_plan; SET random_page_cost = 1.1")
        session.commit()

    @event.listens_for(engine, "checkin")
    def rest(session: Any, record: Any) -> None:
        record.info["rests_since"] = monotonic()
        if session is not None:
            session.patient = False

    @event.listens_for(engine, "checkout")
    def wake(session: Any, record: Any, _proxy: Any) -> None:
        # A server may be restarted while nobody asks it. Within a busy second it is noticed by what is asked.
        if monotonic() - record.info.get("rests_since", -RESTED_SECS) < RESTED_SECS:
            return
        try:
            session.execute("SELECT 1")
            session.rollback()
        except psycopg.OperationalError as error:
            raise exc.DisconnectionError from error  # the pool connects again

    return engine


def wait_long(connection: Connection) -> None:
    """Until this transaction ends, however long locks and answers take (migrations)."""
    session: Any = connection.connection.driver_connection
    session.patient = True
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")


class Session(psycopg.Connection[Any]):
    """A connection that is closed when no answer comes in time. patient: without that limit."""

    patient = False

    def wait(self, gen: Any, *args: Any, **more: Any) -> Any:
        return super().wait(gen if self.patient else self._in_time(gen), *args, **more)

    def _in_time(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """psycopg's own steps of an exchange; it sends 0 each time that nothing came for a moment."""
        end = monotonic() + ANSWER_SECS
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and monotonic() > end:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server gave no answer for {ANSWER_SECS:.0f} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value
