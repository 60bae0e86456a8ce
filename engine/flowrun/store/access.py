"""Who may ask the admin API: named tokens with a role. Only their hashes are kept, so that whoever reads the store
cannot ask with them."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import RowMapping, insert, select, update

from flowrun.errors import ProjectError
from flowrun.store import schema as t
from flowrun.store.database import Database

ROLES = ("viewer", "operator", "admin")
"""Each may do what those before it may: look; correct, replay, pause; move cursors, read the audit, revoke tokens."""
PREFIX = "flowrun_"  # so that scanners of code and logs know one when they see it
USED_EVERY_SECS = 60.0  # between two notes of a use


@dataclass(frozen=True, slots=True)
class Token:
    """Times are seconds since 1970. used_at: to about a minute."""

    name: str
    role: str
    created_at: float
    created_by: str
    used_at: float | None
    revoked_at: float | None

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


class Access:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, name: str, role: str, who: str) -> str:
        """Returns the token, which nobody can ask for again. Audited. Raises ProjectError for a name that was ever
        used: the audit names tokens."""
        token = PREFIX + secrets.token_urlsafe(32)
        once = self._db.dialect_insert(t.access_tokens).on_conflict_do_nothing(index_elements=["name"])
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            values = {"name": name, "role": role, "hash": _hash(token), "created_at": now, "created_by": who}
            if tx.execute(once.returning(t.access_tokens.c.name), [values]).first() is None:
                raise ProjectError(f"there is, or was, a token '{name}'", help="choose another name")
            said = {"at": now, "who": who, "action": "token add", "detail": f"{name}: {role}"}
            tx.execute(insert(t.audit).values(**said))
        return token

    def find(self, token: str) -> Token | None:
        """Whose it is; None for one that is not there, or revoked."""
        a = t.access_tokens.c
        with self._db.transaction() as tx:
            query = select(t.access_tokens).where(a.hash == _hash(token), a.revoked_at.is_(None))
            row = tx.execute(query).mappings().first()
            if row is None:
                return None
            now = self._db.time(tx)
            if row["used_at"] is None or now - row["used_at"] > USED_EVERY_SECS:
                tx.execute(update(t.access_tokens).where(a.name == row["name"]).values(used_at=now))
            return _token(row)

    def revoke(self, name: str, who: str) -> bool:
        """False when there is no such token any more. Audited; holds from the next request on."""
        a = t.access_tokens.c
        with self._db.transaction() as tx:
            now = self._db.time(tx)
            gone = update(t.access_tokens).where(a.name == name, a.revoked_at.is_(None)).values(revoked_at=now)
            if not tx.execute(gone).rowcount:
                return False
            tx.execute(insert(t.audit).values(at=now, who=who, action="token revoke", detail=name))
        return True

    def all(self) -> list[Token]:
        with self._db.transaction() as tx:
            query = select(t.access_tokens).order_by(t.access_tokens.c.name)
            return [_token(row) for row in tx.execute(query).mappings()]


def _token(row: RowMapping) -> Token:
    return Token(row["name"], row["role"], row["created_at"], row["created_by"], row["used_at"], row["revoked_at"])


def _hash(token: str) -> str:
    """Plain, since a token is 256 bits of chance: there is nothing to guess that a slower hash would protect."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
