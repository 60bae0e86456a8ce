"""The box ``target``: where records go, and how one effect stays one."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from flowrun.contract import Field, Shape
from flowrun.diagnostics import near
from flowrun.document import Node, Seq
from flowrun.flow import words
from flowrun.flow.ends import read_connection, read_object
from flowrun.flow.model import Guard, Save, Target
from flowrun.flow.reading import Reader, Scope, percentage
from flowrun.flow.rhs import Values
from flowrun.flow.standing import check_one_value
from flowrun.flow.systems import Systems


class TargetReader:
    """records: what is known of an answer, by its contract; one object for all flows that write the same."""

    def __init__(
        self, reader: Reader, values: Values, systems: Systems, records: dict[tuple[str, int], Field] | None = None
    ) -> None:
        self.reader = reader
        self.values = values
        self.systems = systems
        self.records = records if records is not None else {}
        self.connections: set[str] = set()
        """Of the targets that were read."""

    def target(self, node: Node | None, scope: Scope) -> Target | None:
        r = self.reader
        parts = r.box(node, words.TARGET, "target")
        if not parts or node is None:
            return None
        before = len(r.found)
        connection, connector = read_connection(r, self.systems, parts.get("connection"))
        self.connections.add(connection)
        object, info = read_object(r, self.systems, connection, parts.get("object"))
        action = r.text(parts.get("action"), "action")
        shape = self.systems.shape(connection, object) if connection and object else None
        once = "none"
        if info is not None and action and action not in info.actions:
            guess = near(action, info.actions)
            r.say(
                "FR174",
                f"{connection} cannot {action} '{object}'",
                parts["action"],
                label=f"did you mean '{guess}'?" if guess else "",
                help=info.note or f"it can: {', '.join(info.actions) or 'nothing; it is read only'}",
                fix=r.rename(parts["action"], guess),
            )
        elif info is not None and action:
            once = info.actions[action]
        idempotency = (
            r.box(parts.get("idempotency"), words.IDEMPOTENCY, "idempotency") if "idempotency" in parts else {}
        )
        key = self.values.value(idempotency.get("key"), scope, "idempotency.key")
        check_one_value(r, ("idempotency.key", key), scope)
        find = r.texts(idempotency.get("find_existing"), "find_existing")
        if action == "create" and "key" not in idempotency:
            r.say(
                "FR175",
                "'create' without an idempotency key may create twice",
                r.head(parts.get("action", node)),
                help='idempotency: { key: "{{ … }}" }, the same however often a record is tried',
            )
        if info is not None and info.find:
            for field in find:
                if field not in info.find:
                    r.say(
                        "FR176",
                        f"{object} cannot be looked up by '{field}'",
                        idempotency["find_existing"],
                        help=f"it can by: {', '.join(info.find)}",
                    )
        if once == "find" and action == "create" and not find and "idempotency" in parts:
            r.say(
                "FR177",
                "after a lost answer nothing can be asked: 'find_existing' is missing",
                r.head(node),
                severity="lint",
                help=f"find_existing: {info.find[0] if info and info.find else 'FIELD'}; without it: at least once",
            )
            once = "none"
        match = r.texts(parts.get("match"), "match")
        possible = info is None or action in info.actions
        if possible and action in ("update", "upsert", "delete") and not match:
            r.say(
                "FR178",
                f"'{action}' does not say which object it means",
                r.head(parts.get("action", node)),
                help="match: FIELD of the target that the map fills",
            )
        if info is not None and info.match:
            for field in match:
                if field not in info.match:
                    r.say(
                        "FR176",
                        f"{object} cannot be matched by '{field}'",
                        parts["match"],
                        help=f"it can by: {', '.join(info.match)}",
                    )
        guard = None
        if "guard" in parts:
            inner = r.box(parts["guard"], words.GUARD, "guard")
            guard = Guard(r.count(inner.get("max_changes"), "max_changes"), self._share(inner.get("max_share")))
        batch = r.count(parts.get("batch"), "batch") or 1
        save = self._saves(parts.get("save"), {**scope, "response": self.response(shape)})
        if not connector or any(d.severity == "error" for d in r.found[before:]):
            return None
        return Target(
            connection=connection,
            connector=connector,
            object=object,
            action=action,
            span=node.span,
            once=once,
            idempotency_key=key,
            find_existing=find,
            settles_secs=float(r.duration(idempotency.get("settles_after"), "settles_after") or 0),
            match=match,
            save=save,
            only_changes=r.boolean(parts.get("only_changes"), "only_changes"),
            batch=max(1, batch),
            guard=guard,
            shape=shape,
        )

    def response(self, shape: Shape | None) -> Field:
        """What the target answers: its own fields, as far as is known, and perhaps more."""
        key = ("response", id(shape))
        if key not in self.records:
            open_shape = replace(shape, closed=False) if shape is not None else None
            self.records[key] = Field("response", "object", shape=open_shape) if open_shape else Field("response")
        return self.records[key]

    def _share(self, node: Node | None) -> Decimal | None:
        if node is None:
            return None
        text = self.reader.text(node, "max_share")
        found = percentage(text)
        if found is None:
            self.reader.say("FR038", f"max_share is a percentage such as 40%, not '{text}'", node)
        return found

    def _saves(self, node: Node | None, scope: Scope) -> tuple[Save, ...]:
        if node is None:
            return ()
        r = self.reader
        items = node.items if isinstance(node, Seq) else [node]
        found = []
        for item in items:
            parts = r.box(item, words.SAVE, "save")
            source_id = self.values.value(parts.get("source_id"), scope, "source_id")
            target_id = self.values.value(parts.get("target_id"), scope, "target_id")
            xref = r.text(parts.get("xref"), "xref")
            for one in (("source_id", source_id), ("target_id", target_id)):
                check_one_value(r, one, scope)
            if source_id and target_id and xref:
                found.append(Save(xref, source_id, target_id, item.span))
        return tuple(found)
