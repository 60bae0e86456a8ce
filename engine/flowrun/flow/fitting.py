"""Mapped fields against the target's contract: unknown, read-only, missing, too long, wrong type, not allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec.structs import replace

from flowrun.contract import Field, Shape
from flowrun.diagnostics import Fix, Span, near, surely
from flowrun.flow.known import static
from flowrun.flow.model import (
    Case,
    Each,
    Expr,
    FieldMap,
    FieldMapping,
    First,
    Items,
    Literal_,
    Lookup,
    Nested,
    Value,
)
from flowrun.flow.reading import Reader
from flowrun.flow.rhs import Values

_SIMPLE = ("text", "integer", "decimal", "boolean", "date", "datetime", "time")
_NEVER = {
    ("boolean", "integer"), ("boolean", "decimal"), ("boolean", "date"), ("boolean", "datetime"), ("boolean", "time"),
    ("integer", "boolean"), ("decimal", "boolean"), ("decimal", "date"), ("decimal", "datetime"),
    ("date", "integer"), ("date", "decimal"), ("date", "boolean"),
    ("datetime", "integer"), ("datetime", "decimal"), ("datetime", "boolean"),
}  # fmt: skip
"""Types of a value that can never become the type of the field; whatever else is given is tried at run time."""


class Fitter:
    """create: required fields must be there and creatable. Says every misfit; attaches the contract's field to each
    mapping so that the plan can convert to it."""

    def __init__(
        self,
        reader: Reader,
        values: Values,
        root: Shape,
        action: str,
        match: tuple[str, ...],
        lookups: Mapping[str, Lookup] | None = None,
    ) -> None:
        self.reader = reader
        self.values = values
        self.root = root
        self.action = action
        self.match = match
        self.lookups = lookups or {}

    def fit(
        self, fields: FieldMap, shape: Shape, *, where: str = "", top: bool = True, named: Iterable[str] = ()
    ) -> FieldMap:
        """The same fields with the contract's attached. named: fields that are written but wrong already."""
        fitted = []
        named = set(named)
        for one in fields.fields:
            fitted.append(self._field(one, shape, where, top))
            named.add(one.path[0] if one.path[0] in shape.fields else near(one.path[0], shape.fields) or "")
        if self.action == "create":
            for field in shape.fields.values():
                if field.required and field.creatable and field.name not in named:
                    self.reader.say(
                        "FR202",
                        f"{where or shape.name} needs '{field.name}' on create",
                        self._head(fields),
                        help=f"{field.name}: …" + (f"   ({field.title})" if field.title else ""),
                    )
        return FieldMap(tuple(fitted), fields.span)

    def _head(self, fields: FieldMap) -> Span:
        """The first line of a map that lies in this flow; a fragment's is pointed at where it starts."""
        span = fields.span
        document = self.reader.document
        if span.file != document.file:
            return span
        end = span.start + len(document.line(span.line)) - (span.column - 1)
        return document.span(span.start, max(span.start + 1, min(end, span.end)))

    def _field(self, one: FieldMapping, shape: Shape, where: str, top: bool) -> FieldMapping:
        at: Shape | None = shape
        field: Field | None = None
        for index, part in enumerate(one.path):
            if at is None:
                return one
            field = at.get(part)
            if field is None:
                self._unknown(one, part, at, where)
                return one
            at = field.shape if field.type == "object" else None
            if index < len(one.path) - 1 and field.type not in ("object", "any"):
                self.reader.say("FR205", f"'{part}' is {_a(field.type)}; it has no fields", one.span)
                return one
        assert field is not None
        writable = field.creatable if self.action == "create" else field.updatable
        if not writable and not (top and field.name in self.match) and not (field.key and self.action != "create"):
            self.reader.say(
                "FR201",
                f"'{field.name}' is read-only on {self.action} in {shape.name}",
                one.span,
                help=field.title or "leave it out; the system sets it",
            )
            return one
        text_numbers = shape.text_numbers
        return replace(one, contract=field, value=self._value(one.value, field, one, where, text_numbers))

    def _unknown(self, one: FieldMapping, part: str, shape: Shape, where: str) -> None:
        guess = near(part, shape.fields)
        elsewhere = _where_is(part, self.root, "") if guess is None or guess.lower() != part.lower() else []
        elsewhere = [place for place in elsewhere if place]
        certain = guess is not None and len(one.path) == 1 and surely(part, guess)
        fix = Fix(one.span.start, one.span.end, guess) if guess and certain else None
        self.reader.say(
            "FR200",
            f"{where or shape.name} has no field '{part}'",
            one.span,
            severity="error" if shape.closed else "lint",
            label=f"did you mean '{guess}'?" if guess else "",
            help=f"it does exist in {', '.join(elsewhere[:3])}" if elsewhere else "",
            fix=fix if shape.closed else None,
        )

    def _value(self, value: Value, field: Field, one: FieldMapping, where: str, text_numbers: bool) -> Value:
        origin = value.origin
        if value.converters and isinstance(origin, Each | Items | Nested):  # what is built is not what is sent
            self._last_converter(value, field)
            return value
        if isinstance(origin, Each):
            if field.type not in ("list", "any"):
                self._type(one, field, "a list")
                return value
            inner = field.item.shape if field.item else None
            if inner is not None:
                return replace(
                    value, origin=replace(origin, map=self.fit(origin.map, inner, where=field.name, top=False))
                )
            return value
        if isinstance(origin, Items):
            if field.type not in ("list", "any"):
                self._type(one, field, "a list")
                return value
            item = field.item
            if item is not None:
                return replace(
                    value,
                    origin=Items(tuple(self._value(v, item, one, field.name, text_numbers) for v in origin.values)),
                )
            return value
        if isinstance(origin, Nested):
            if field.type not in ("object", "any"):
                self._type(one, field, "an object")
                return value
            if field.shape is not None:
                return replace(
                    value, origin=replace(origin, map=self.fit(origin.map, field.shape, where=field.name, top=False))
                )
            return value
        if isinstance(origin, First):
            cases = tuple(
                Case(c.when, self._value(c.value, field, one, where, text_numbers), c.span) for c in origin.cases
            )
            value = replace(value, origin=First(cases))
        elif isinstance(origin, Literal_) and not value.converters and value.lookup is None:
            self._constant(origin.value, field, value)
        if value.default is not None and isinstance(value.default.origin, Literal_):
            self._constant(value.default.origin.value, field, value.default)
        before = len(self.reader.found)
        self._last_converter(value, field)
        if value.lookup is not None:
            self._answers(value, field)
        elif len(self.reader.found) == before:
            self._static(value, field)
        return value

    def _answers(self, value: Value, field: Field) -> None:
        """Every row of a table must fit the field it fills."""
        lookup = self.lookups.get(value.lookup or "")
        if lookup is None or value.converters or value.lookup_span is None or field.type != "text":
            return
        uses = [lookup.on_miss.use] if lookup.on_miss.use is not None else []
        answers = [*lookup.rows.values(), *(str(u.origin.value) for u in uses if isinstance(u.origin, Literal_))]
        for answer in dict.fromkeys(answers):
            if answer is None:
                continue
            if field.max_length is not None and len(answer) > field.max_length:
                message = (
                    f"lookup '{lookup.name}' can answer '{answer}'; {field.name} takes {field.max_length} characters"
                )
                self.reader.say("FR203", message, value.lookup_span)
                return
            if field.enum and answer not in field.enum:
                message = f"lookup '{lookup.name}' can answer '{answer}', which is not allowed for {field.name}"
                help = f"allowed: {', '.join(field.enum[:12])}"
                self.reader.say("FR206", message, value.lookup_span, help=help)
                return

    def _static(self, value: Value, field: Field) -> None:
        """What is known of the value before the run, against what the field takes."""
        kept = self.values.known.get(id(value))
        if kept is None or not isinstance(value.origin, Expr):
            return
        given = static(self.reader, value, kept[1])
        at = value.origin.span
        kinds = {given.type, field.type}
        if (kinds & {"list", "object"} and kinds & set(_SIMPLE)) or (given.type, field.type) in _NEVER:
            self.reader.say("FR205", f"'{field.name}' is {_a(field.type)}; this is {_a(given.type)}", at)
        elif field.type == "text" and field.max_length is not None and (given.max_length or 0) > field.max_length:
            self.reader.say(
                "FR203",
                f"the value may have {given.max_length} characters; {field.name} takes {field.max_length}",
                at,
                severity="lint",
                help=f"as: truncate {field.max_length}, or leave it: a longer one is bad_data",
            )
        elif field.type == "decimal" and field.scale is not None and (given.scale or 0) > field.scale:
            self.reader.say(
                "FR204",
                f"the value may have {given.scale} digits after the point; {field.name} takes {field.scale}",
                at,
                severity="lint",
                help=f"as: decimal {field.scale} half_up, or leave it: more digits are bad_data",
            )

    def _type(self, one: FieldMapping, field: Field, given: str) -> None:
        self.reader.say("FR205", f"'{field.name}' is {_a(field.type)}, not {given}", one.span)

    def _constant(self, constant: object, field: Field, value: Value) -> None:
        r = self.reader
        if constant is None:
            return
        text = str(constant)
        if isinstance(constant, bool):
            text = "true" if constant else "false"
        if field.type == "text":
            if field.max_length is not None and len(text) > field.max_length:
                r.say(
                    "FR203", f"'{text}' has {len(text)} characters; {field.name} takes {field.max_length}", value.span
                )
            if field.enum and text not in field.enum:
                guess = near(text, field.enum)
                r.say(
                    "FR206",
                    f"'{text}' is not allowed for {field.name}",
                    value.span,
                    help=f"did you mean '{guess}'?" if guess else f"allowed: {', '.join(field.enum[:12])}",
                )
        elif field.type in ("decimal", "integer"):
            try:
                number = Decimal(text)
            except ArithmeticError:
                r.say("FR205", f"'{text}' is no number, which {field.name} takes", value.span)
                return
            exponent = number.as_tuple().exponent
            if field.type == "integer" and number != number.to_integral_value():
                r.say("FR205", f"{text} is not a whole number, which {field.name} takes", value.span)
            elif field.scale is not None and isinstance(exponent, int) and -exponent > field.scale:
                r.say(
                    "FR204",
                    f"{text} has {-exponent} digits after the point; {field.name} takes {field.scale}",
                    value.span,
                )
        elif field.type == "boolean" and text not in ("true", "false"):
            r.say("FR205", f"'{text}' is not true or false, which {field.name} takes", value.span)
        elif field.type in ("list", "object"):
            r.say("FR205", f"'{field.name}' is {_a(field.type)}, not one value", value.span)

    def _last_converter(self, value: Value, field: Field) -> None:
        if not value.converters:
            return
        r = self.reader
        last = value.converters[-1]
        if (
            last.name == "decimal"
            and field.type == "decimal"
            and field.scale is not None
            and int(last.args[0]) > field.scale
        ):
            r.say(
                "FR204", f"decimal {last.args[0]} gives more digits than {field.name} takes ({field.scale})", last.span
            )
        if (
            last.name == "truncate"
            and field.type == "text"
            and field.max_length is not None
            and int(last.args[0]) > field.max_length
        ):
            r.say("FR203", f"truncate {last.args[0]} is longer than {field.name} takes ({field.max_length})", last.span)
        if (
            last.name in ("pad", "alpha")
            and field.type == "text"
            and field.max_length is not None
            and int(last.args[0]) > field.max_length
        ):
            r.say(
                "FR203", f"{last.name} {last.args[0]} is longer than {field.name} takes ({field.max_length})", last.span
            )
        wrong = {
            "date": ("decimal", "integer", "boolean"),
            "datetime": ("decimal", "integer", "boolean", "date"),
            "boolean": ("decimal", "integer", "date", "datetime"),
            "decimal": ("boolean", "date", "datetime"),
            "integer": ("boolean", "date", "datetime"),
            "list": ("text", "decimal", "integer", "date", "boolean"),
        }
        if field.type in wrong.get(last.name, ()):
            r.say("FR205", f"'{last.name}' gives {_a(last.name)}; {field.name} is {_a(field.type)}", last.span)


def _a(kind: str) -> str:
    words = {
        "integer": "a whole number",
        "object": "an object",
        "any": "anything",
        "text": "text",
        "datetime": "a moment",
        "date": "a day",
        "decimal": "a number",
        "boolean": "true or false",
        "list": "a list",
        "time": "a time",
    }
    return words.get(kind, kind)


def _where_is(name: str, shape: Shape, path: str, depth: int = 0) -> list[str]:
    """Where else the target has a field of this name."""
    found = []
    for field in shape.fields.values():
        inner = field.shape or (field.item.shape if field.item else None)
        if inner is not None and depth < 4:
            here = f"{path}{field.name}"
            if name in inner.fields:
                found.append(f"{here}.{name}")
            found += _where_is(name, inner, here + ".", depth + 1)
    if depth and not path:
        return found
    if name in shape.fields and depth == 0:
        found.insert(0, name)
    return found
