"""The box ``source``: where records come from, and when."""

from __future__ import annotations

from typing import Any

from flowrun.connector import ObjectInfo
from flowrun.contract import Field, Shape
from flowrun.diagnostics import near
from flowrun.document import Map, Node, Scalar, Seq
from flowrun.flow import words
from flowrun.flow.ends import read_connection, read_object
from flowrun.flow.known import ANY
from flowrun.flow.model import Literal_, Poll, Schedule, Source, Trigger, Value, Webhook
from flowrun.flow.reading import Reader, Scope
from flowrun.flow.rhs import Values
from flowrun.flow.standing import check_one_value
from flowrun.flow.systems import Systems


class SourceReader:
    """records: what is known of a record, by its name and contract; one object for all flows that read the same."""

    def __init__(
        self, reader: Reader, values: Values, systems: Systems, records: dict[tuple[str, int], Field] | None = None
    ) -> None:
        self.reader = reader
        self.values = values
        self.systems = systems
        self.records = records if records is not None else {}

    def source_scope(self, node: Node | None) -> tuple[str, dict[str, Field], Shape | None]:
        """(record name, what the record adds to the scope, its shape), read before the expressions that use it."""
        if not isinstance(node, Map):
            return "", {}, None
        scalars = [(e.key.text, e.value.text) for e in node.entries if isinstance(e.value, Scalar)]
        text = {k: v for k, v in scalars if k in words.SOURCE}
        for key, value in scalars:  # a misspelt key is said later, by ``source``
            text.setdefault(near(key, words.SOURCE) or key, value)
        record, connection, object = text.get("record", ""), text.get("connection", ""), text.get("object", "")
        known = connection in self.systems.project.connections
        shape = self.systems.shape(connection, object) if known else None
        if node.get("group_by") is not None:
            return record, {"group": self._group(shape)}, shape
        return record, ({record: self._record(record, shape)} if record else {}), shape

    def _record(self, name: str, shape: Shape | None) -> Field:
        made = Field(name, "object", shape=shape) if shape else Field(name)
        return self.records.setdefault((name, id(shape)), made)

    def _group(self, shape: Shape | None) -> Field:
        key = ("group of", id(shape))
        if key not in self.records:
            rows = Field("rows", "list", item=Field("", "object", shape=shape) if shape else ANY)
            group = Shape("group", {"key": Field("key", "text"), "rows": rows})
            self.records[key] = Field("group", "object", shape=group)
        return self.records[key]

    def source(self, node: Node | None, scope: Scope, shape: Shape | None) -> Source | None:
        r = self.reader
        parts = r.box(node, words.SOURCE, "source")
        if not parts or node is None:
            return None
        before = len(r.found)
        connection, connector = read_connection(r, self.systems, parts.get("connection"))
        object, info = read_object(r, self.systems, connection, parts.get("object"))
        record = r.name(parts.get("record"), "record")
        if record in words.RESERVED_NAMES:
            r.say("FR048", f"'{record}' has a meaning of its own", parts["record"], help="choose another name")
        if info is not None and not info.readable and "trigger" in parts:
            r.say("FR162", f"{connection} cannot read '{object}'", parts["object"], help=info.note)
        grouped = parts.get("group_by")
        row_scope = {record: self._record(record, shape), "env": scope.get("env", ANY)}
        trigger = self._trigger(parts.get("trigger"), connection, info, record, grouped, shape)
        source = Source(
            connection=connection,
            connector=connector,
            object=object,
            record=record,
            trigger=trigger,
            key=self.values.value(parts.get("key"), scope, "key") or _missing(node),
            span=node.span,
            version=self.values.value(parts.get("version"), scope, "version"),
            keep_order_by=self.values.value(parts.get("keep_order_by"), scope, "keep_order_by"),
            only_when=r.expression(parts.get("only_when"), "calc", scope, "only_when"),
            filter=self._filter(parts.get("filter"), info, shape),
            expand=r.texts(parts.get("expand"), "expand"),
            group_by=r.expression(parts.get("group_by"), "jmespath", row_scope, "group_by"),
            reconcile=self._reconcile(parts.get("reconcile"), record, scope),
            shape=shape,
        )
        self._expand(parts.get("expand"), shape)
        named = {"key": source.key, "version": source.version, "keep_order_by": source.keep_order_by}
        for one in named.items():
            check_one_value(r, one, scope)
        wrong = not connector or any(d.severity == "error" for d in r.found[before:])
        return None if wrong else source

    def _expand(self, node: Node | None, shape: Shape | None) -> None:
        if node is None or shape is None or not shape.closed:
            return
        for item in self.reader.items(node, "expand"):
            name = self.reader.text(item, "expand").split("/")[0]
            if name and name not in shape.fields:
                self.reader.say_unknown(
                    "FR108",
                    f"{shape.name} has nothing named '{name}' to expand",
                    item,
                    name,
                    [n for n, f in shape.fields.items() if f.type in ("list", "object")],
                )

    def _filter(
        self, node: Node | None, info: ObjectInfo | None, shape: Shape | None
    ) -> dict[str, str | tuple[str, ...]]:
        found: dict[str, str | tuple[str, ...]] = {}
        r = self.reader
        for entry in r.entries(node, "'filter'"):
            name = entry.key.text
            known = info.filters if info is not None and info.filters is not None else shape.fields if shape else None
            if known is not None and name not in known:
                help = f"it can by: {', '.join(list(known)[:20])}"
                r.say_unknown("FR163", f"the source cannot filter by '{name}'", entry.key, name, known, help=help)
            if isinstance(entry.value, Seq):
                found[name] = r.texts(entry.value, name)
            else:
                found[name] = r.text(entry.value, name)
        return found

    def _cursor(self, node: Node | None, record: str, info: ObjectInfo | None) -> str | None:
        """``order.updated_at`` → ``updated_at``."""
        if node is None:
            return None
        r = self.reader
        text = r.text(node, "cursor")
        head, dot, path = text.partition(".")
        if not dot or head != record:
            r.say("FR164", f"a cursor is a field of the record: {record}.FIELD", node, help=f"cursor: {record}.{text}")
            return None
        if info is not None and info.cursors and path not in info.cursors:
            r.say(
                "FR165",
                f"'{path}' does not order the changes of {info.name}",
                node,
                help=f"it can be read since: {', '.join(info.cursors)}",
            )
        if info is not None and not info.cursors:
            r.say(
                "FR165", f"{info.name} cannot be read since a change", node, help="write full: true instead of a cursor"
            )
        return path

    def _trigger(
        self,
        node: Node | None,
        connection: str,
        info: ObjectInfo | None,
        record: str,
        grouped: Node | None,
        shape: Shape | None,
    ) -> Trigger | None:
        r = self.reader
        if node is None:
            return None
        parts = r.box(node, words.TRIGGER, "trigger")
        if len(parts) != 1:
            if parts or isinstance(node, Map):
                r.say("FR166", "a trigger is exactly one of webhook, poll, schedule", r.head(node))
            return None
        if "webhook" in parts:
            event = r.text(parts["webhook"], "webhook")
            cls = self.systems.connector(connection) if connection else None
            if cls is not None and event and event not in cls.events:
                help = f"it sends: {', '.join(cls.events) or 'none; use poll'}"
                r.say_unknown(
                    "FR167",
                    f"connection '{connection}' sends no event '{event}'",
                    parts["webhook"],
                    event,
                    cls.events,
                    help=help,
                )
            return Webhook(event)
        name = "poll" if "poll" in parts else "schedule"
        box = words.POLL if name == "poll" else words.SCHEDULE
        inner = r.box(parts[name], box, name)
        if not inner:
            return None
        cursor = self._cursor(inner.get("cursor"), record, info)
        full = r.boolean(inner.get("full"), "full")
        overlap = r.duration(inner.get("overlap"), "overlap")
        page_size = r.count(inner.get("page_size"), "page_size")
        if "cursor" not in inner and not full:
            r.say(
                "FR168",
                f"the {name} says neither 'cursor' nor 'full: true'",
                r.head(parts[name]),
                help=f"cursor: {record}.FIELD   (or full: true to read everything each time)",
            )
        if cursor and "overlap" not in inner and _is_time(shape, cursor):
            r.say(
                "FR169",
                f"the {name} has a cursor without 'overlap'",
                r.head(parts[name]),
                severity="lint",
                help="changes that are written late are missed; write overlap: 5m",
            )
        if grouped is not None and cursor and info is not None and not _rereads(grouped, record, info):
            r.say(
                "FR170",
                "groups need the complete set; this source cannot read a group's rows again",
                r.head(parts[name]),
                help="full: true instead of a cursor",
            )
        if name == "schedule":
            cron = r.text(inner.get("cron"), "cron")
            self._cron(inner.get("cron"), cron)
            zone = r.text(inner.get("zone"), "zone") or "UTC"
            self._zone(inner.get("zone"), zone)
            return Schedule(cron, zone, cursor, int(overlap or 0), full, page_size)
        every = r.duration(inner.get("every"), "every")
        if every == 0:
            r.say("FR039", "'every' is longer than nothing", inner["every"], help="every: 10m")
        return Poll(int(every or 0), cursor, int(overlap or 0), full, page_size)

    def _cron(self, node: Node | None, text: str) -> None:
        if node is None or not text:
            return
        from datetime import UTC, datetime

        from cronsim import CronSim, CronSimError

        try:
            CronSim(text, datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            self.reader.say(
                "FR172", f"'{text}' is no cron line: {error}", node, help='five fields: "0 3 * * *" is 3:00 each day'
            )

    def _zone(self, node: Node | None, zone: str) -> None:
        from flowrun.expressions.converters import is_zone

        if node is not None and not is_zone(zone):
            self.reader.say("FR173", f"no time zone is named '{zone}'", node, help="an IANA name such as Europe/Berlin")

    def _reconcile(self, node: Node | None, record: str, scope: Scope) -> dict[str, Any] | None:
        if node is None:
            return None
        r = self.reader
        parts = r.box(node, words.RECONCILE, "reconcile")
        every, back = r.duration(parts.get("every"), "every"), r.duration(parts.get("look_back"), "look_back")
        self._cron(parts.get("full"), r.text(parts.get("full"), "full"))
        return {
            "every_secs": int(every) if every is not None else None,
            "look_back_secs": int(back) if back is not None else None,
            "full": r.text(parts.get("full"), "full") or None,
            "cursor": self._cursor(parts.get("cursor"), record, None),
            "compare": r.texts(parts.get("compare"), "compare"),
            "owns": self._owns(parts.get("owns")),
            "totals": self._by_field(parts.get("totals"), "totals", scope),
            "per": self._by_field(parts.get("per"), "per", scope),
            "on_difference": r.word(parts.get("on_difference"), "on_difference", ("report", "repair")) or "report",
        }

    def _owns(self, node: Node | None) -> Any:
        if isinstance(node, Scalar):
            return self.reader.word(node, "owns", ("all",)) or None
        return self._filter(node, None, None) or None

    def _by_field(self, node: Node | None, what: str, scope: Scope) -> dict[str, Value]:
        """The target's field → its value by the source."""
        found: dict[str, Value] = {}
        for entry in self.reader.entries(node, f"'{what}'"):
            name = entry.key.text
            value = self.values.value(entry.value, scope, f"{what}.{name}")
            check_one_value(self.reader, (f"{what}.{name}", value), scope)
            if value is not None:
                found[name] = value
        return found


def _missing(node: Node) -> Value:
    return Value(Literal_(""), node.span)


def _rereads(group_by: Node, record: str, info: ObjectInfo) -> bool:
    """Whether all rows of a group can be asked for: by one field, which the source can filter by."""
    field = group_by.text.strip().removeprefix(f"{record}.") if isinstance(group_by, Scalar) else ""
    return field.isidentifier() and field != record and (info.filters is None or field in info.filters)


def _is_time(shape: Shape | None, path: str) -> bool:
    field = shape.get(path.split(".")[0]) if shape else None
    return field is None or field.type in ("date", "datetime", "any", "text")
