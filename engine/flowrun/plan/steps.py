"""What happens to a value on its way: no value?, lookup, converters, the contract. One line of Python for each step.

Each step gives a local of its own, so what is certain of one (``Code.learn``) stays certain; a test whose answer is
certain is not emitted. Two short cuts are taken while nothing is explained, and change no result:

- a value whose first step makes text of it is made text at once, and is tested as text from there on;
- text that costs much to convert (numbers, dates) is remembered with its result (``Memo``), since prices repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

from flowrun.contract import Field
from flowrun.diagnostics import Span
from flowrun.expressions import Code, emit_kind, parse
from flowrun.expressions.converters import CONVERTERS, as_text, converter, text_of
from flowrun.expressions.runtime import BadValue, show
from flowrun.expressions.to_contract import canonical, fitter
from flowrun.flow.model import ConverterCall, Expr, First, Lookup, OnMiss, Value
from flowrun.flow.tables import normal
from flowrun.lookups import MISS
from flowrun.plan.memo import Memo

ABSENT: Final[Any] = type("Absent", (), {"__repr__": lambda self: "ABSENT", "__slots__": ()})()
Names = Mapping[str, str]
Path = tuple[str, ...]
"""Parts of a target path: text, or ``@local`` for the length of the list that local holds."""
_NEVER_BLANK = ("decimal", "integer", "boolean", "date", "datetime", "time", "list")
_KEEPS_TEXT = ("upper", "lower", "pad", "alpha", "trim", "hash", "json", "text")
"""Converters that never make blank text of text that is not blank."""
_TAKES_TEXT = (
    "trim",
    "upper",
    "lower",
    "truncate",
    "pad",
    "alpha",
    "digits",
    "replace",
    "word",
    "before",
    "after",
)
"""Converters that see a number as its text, and take nothing but numbers and text."""
_COSTLY = ("decimal", "integer", "not_below", "not_above", "date", "datetime", "time")
_COUNTS = ("decimal", "integer", "not_below", "not_above")


class SkipRecord(Exception):
    """A lookup said on_miss: skip."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


# -- what generated lines call ---------------------------------------------------------------------------------------


def no_value(what: str) -> None:
    raise BadValue(f"{what} has no value", help="write default: … or optional: true, or correct the record")


def no_row(name: str, key: Any) -> None:
    shown = ", ".join(show(part) for part in key) if isinstance(key, tuple) else show(key)
    raise BadValue(f"{name} has no row for {shown}", help=f"add the row, or change on_miss of lookup '{name}'")


def is_blank(value: Any) -> bool:
    """Whether this means no value: null, or text of white space."""
    return value is None or (type(value) is str and (not value or value.isspace()))


def needed_text(value: Any, what: str, word: str | None) -> str:
    """``some_text`` of what must be there."""
    if value is None:
        no_value(what)
    return some_text(value, word)


def some_text(value: Any, word: str | None) -> str:
    """What is no text, as the text that the converter ``word`` (None: a key, a field) works on."""
    return as_text(value) if word is None else text_of(value, word)


def _warned(lookup: str, key: Any) -> str:
    shown = ", ".join(map(show, key)) if isinstance(key, tuple) else show(key)
    return f"{lookup} has no row for {shown}; used the value of on_miss"


def _normal(trim: bool, ignore_case: bool) -> Callable[[Any], Any]:
    def convert(key: Any) -> Any:
        if isinstance(key, tuple):
            return normal(key, ignore_case, trim)
        return normal((key,), ignore_case, trim)[0]

    return convert


class Steps:
    """text_numbers: the target's decimals travel as text. lookups: the flow's tables by name."""

    def __init__(self, code: Code, lookups: Mapping[str, Lookup], *, text_numbers: bool) -> None:
        self.code = code
        self.lookups = lookups
        self.text_numbers = text_numbers
        self.paths: dict[int, tuple[Span, Path]] = {}  # id of the span that a line carries → its target path

    # -- plumbing ------------------------------------------------------------------------------------------------------

    def at(self, span: Span, path: Path) -> AbstractContextManager[None]:
        """Lines emitted inside speak for this place. Each place has a span object of its own, because one fragment's
        line serves several target paths."""
        own = replace(span)
        self.paths[id(own)] = (own, path)
        return self.code.at(own)

    def fn(self, function: Any, hint: str = "f") -> str:
        return self.code.bind(function, hint)

    def expr(self, expr: Expr, names: Names) -> str:
        return emit_kind(parse(expr.language, expr.text), self.code, names)[0]

    def local(self, text: str, hint: str = "v") -> str:
        name = self.code.temp(hint)
        self.code.line(f"{name} = {text}")
        return name

    def event(self, word: str, *parts: str) -> None:
        self.code.event(word, *parts)

    def value(
        self, value: Value, names: Names, path: Path, contract: Field | None, *, raw: bool = False
    ) -> tuple[str, bool]:
        raise NotImplementedError

    # -- the two ways of a value ---------------------------------------------------------------------------------------

    def required(self, value: Value, v: str, names: Names, path: Path, contract: Field | None, raw: bool) -> str:
        """A value that must be there: each test fails at once. Returns the local of what is sent."""
        missing = f"{self.fn(no_value, 'no_value')}({self.fn(said(value))})"
        work = self._work(value, contract, raw, missing=True)
        if work is not None and (self.code.fact(v).text or not self.code.fact(v).said):
            return self._remembered(value, v, work, contract, raw, missing)
        word = self._text_first(value, v, contract, raw)
        if word is not None:
            v = self._made_text(v, word, f"{self.fn(needed_text, 'needed')}({v}, {self.fn(said(value))}, {word[0]!r})")
        value, v = self._bared(value, v)
        self._unless_said(value, v, missing)
        if value.lookup is not None:
            v = self._lookup(self.lookups[value.lookup], v, names, path)
            self._unless_said(value, v, missing)
        for place in range(len(value.converters)):
            v = self._convert(value, place, v, contract, raw, missing)
        if value.converters:
            self._unless_said(value, v, missing)
        return v if raw else self._fitted(value, v, contract)

    def possible(
        self, value: Value, v: str, names: Names, path: Path, contract: Field | None, raw: bool
    ) -> tuple[str, bool]:
        """A value that may be absent; (the local of what is sent or ABSENT, whether it is always there)."""
        code = self.code
        work = self._work(value, contract, raw, missing=False)
        if work is not None and (code.fact(v).text or not code.fact(v).said):
            result = self._remembered(value, v, work, contract, raw, None)
            with code.block(f"if {result} is None:"):
                sure, _ = self._absent(value, result, names, path, contract, raw)
            return result, sure
        word = self._text_first(value, v, contract, raw)
        if word is not None:
            v = self._made_text(v, word, f"'' if {v} is None else {self.fn(some_text, 'some')}({v}, {word[0]!r})")
        value, v = self._bared(value, v)
        test = self._no_value(value, v)
        result = code.temp("r")
        with code.aside() as lines:
            if not value.keep_blank:
                code.learn(v, said=True)
            x = self._steps(value, v, names, path, contract, raw)
            cut = code.known(x, (), "cut")
            certain = code.fact(x).said
            if certain and not raw:
                x = self._fitted(value, x, contract)
            fact = code.fact(x)
            code.line(f"{result} = {x}")
        if not test:
            code.insert(lines)
        else:
            with code.block(f"if {test}:"):
                sure, usual = True, False
                if certain:
                    sure, usual = self._absent(value, result, names, path, contract, raw)
                else:
                    code.line(f"{result} = None")
            with code.block("else:"):
                code.insert(lines)
        if not certain:
            most = int(cut) if cut else None
            return self._settled(value, result, names, path, contract, raw, text=cut is not None, most=most)
        if not test:
            code.learn(result, text=fact.text, said=True, most=fact.most)
            return result, True
        if usual and fact.text:
            code.learn(result, text=True, said=True)
        return result, sure

    def _settled(
        self,
        value: Value,
        result: str,
        names: Names,
        path: Path,
        contract: Field | None,
        raw: bool,
        *,
        text: bool = False,
        most: int | None = None,
    ) -> tuple[str, bool]:
        """None in ``result`` means there is none; else the contract's type. text, most: certain when it is not None."""
        code = self.code
        with code.block(f"if {result} is None:"):
            sure, usual = self._absent(value, result, names, path, contract, raw)
        if not raw:
            with code.aside() as lines:
                code.learn(result, text=text, said=True, most=most)
                fitted = self._fitted(value, result, contract)
            if fitted != result:
                with code.block("else:"):
                    code.insert(lines)
                    code.line(f"{result} = {fitted}")
        if text and usual:
            code.learn(result, text=True, said=True)
        return result, sure

    def _absent(
        self, value: Value, result: str, names: Names, path: Path, contract: Field | None, raw: bool
    ) -> tuple[bool, bool]:
        """What no value means; (whether the field is there then, whether it is surely text that is not blank)."""
        if value.default is not None:
            local, sure = self.value(value.default, names, path, contract, raw=raw)
            fact = self.code.fact(local)
            if not sure and raw:
                local = f"None if {local} is {self.fn(ABSENT, 'absent')} else {local}"
            self.code.line(f"{result} = {local}")
            self.event("default", result, "'default'")
            return sure or raw, fact.text and fact.said
        if value.null_send:
            self.code.line(f"{result} = None")
            self.event("default", "None", "'null: send'")
            return True, False
        if value.optional:
            self.code.line(f"{result} = {'None' if raw else self.fn(ABSENT, 'absent')}")
            self.event("left_out")
            return raw, False
        self.code.line(f"{self.fn(no_value, 'no_value')}({self.fn(said(value))})")
        return True, False

    def _steps(self, value: Value, v: str, names: Names, path: Path, contract: Field | None, raw: bool) -> str:
        """Lookup and converters of a value that is there; the local holds None when nothing is left."""
        code = self.code
        if value.lookup is not None:
            v = self._lookup(self.lookups[value.lookup], v, names, path)
        guarded = bool(value.converters) and value.lookup is not None and not code.fact(v).said
        if guarded:
            kept = self.local(v)
            with code.block(f"if {v} is not None:"):
                for place in range(len(value.converters)):
                    v = self._convert(value, place, v, None, True, None)
                code.line(f"{kept} = {v}")
            v = kept
        else:
            for place in range(len(value.converters)):
                v = self._convert(value, place, v, contract, raw, None)
        if value.keep_blank or code.known(v, (), "cut") is not None or not (value.converters or value.lookup):
            return v
        test = self._no_value(value, v)
        if not test:
            return v
        return self.local(f"None if {test} else {v}")

    # -- is there a value? ---------------------------------------------------------------------------------------------

    def _no_value(self, value: Value, v: str) -> str:
        """The condition that there is none; "" when that is certain."""
        fact = self.code.fact(v)
        if fact.said or (value.keep_blank and fact.text):
            return ""
        if value.keep_blank:
            return f"{v} is None"
        if fact.text:
            bare = self.code.known(v, (), "bare") is not None
            return f"not {v}" if bare else f"not {v} or {v}.isspace()"
        return f"((not {v} or {v}.isspace()) if type({v}) is str else {v} is None)"

    def _unless_said(self, value: Value, v: str, missing: str) -> None:
        test = self._no_value(value, v)
        if test:
            with self.code.block(f"if {test}:"):
                self.code.line(missing)
        if not value.keep_blank:
            self.code.learn(v, said=True)

    def _bared(self, value: Value, v: str) -> tuple[Value, str]:
        """Text that is trimmed first is blank when nothing is left of it."""
        code, calls = self.code, value.converters
        if code.explain or value.keep_blank or value.lookup is not None or not code.fact(v).text:
            return value, v
        if not calls or calls[0].name != "trim":
            return value, v
        bare = self._quick(calls[0], v, "")
        code.learn(bare, text=True, said=code.fact(v).said)
        code.remember(bare, (), bare, "bare")
        return replace(value, converters=calls[1:]), bare

    # -- short cuts ----------------------------------------------------------------------------------------------------

    def _text_first(self, value: Value, v: str, contract: Field | None, raw: bool) -> tuple[str | None] | None:
        """The word of the first step when that step makes text of whatever comes, in a tuple; None when none does."""
        if self.code.explain or self.code.fact(v).text or value.keep_blank:
            return None
        if value.lookup is not None:
            return (None,) if len(self.lookups[value.lookup].key_columns) <= 1 else None
        if value.converters:
            name = value.converters[0].name
            return (name,) if name in _TAKES_TEXT else (None,) if name == "text" else None
        return (None,) if not raw and contract is not None and contract.type == "text" else None

    def _made_text(self, v: str, word: tuple[str | None], slow: str) -> str:
        """v as text: itself, when it is. What was made by a converter's rule is what a key or a field makes too."""
        code = self.code
        forms = ("made", "made key") if word[0] is None else ("made",)
        for form in forms:
            known = code.known(v, (), form)
            if known is not None:
                return known
        count = code.known(v, (), "count")
        made = self.local(f"f'{{{v}}}'" if count else f"{v} if type({v}) is str else {slow}")
        code.learn(made, text=True, said=code.fact(v).said)
        code.remember(v, (), made, forms[-1])
        return made

    def _work(self, value: Value, contract: Field | None, raw: bool, *, missing: bool) -> Callable[[Any], Any] | None:
        """All steps of a value as one function, when they are worth to be remembered. missing: no value is an error;
        else it gives None."""
        if self.code.explain or value.lookup is not None or value.keep_blank:
            return None
        kind = "" if raw or contract is None else contract.type
        names = {call.name for call in value.converters}
        if not (names & {*_COSTLY} or kind in _COSTLY) or names & {"list", "unjson"} or kind in ("list", "object"):
            return None  # cheap; or what is made can be changed, so that no two records may share it
        steps = [converter(call.name, call.args) for call in value.converters]
        fit = None if raw else fitter(contract, self.text_numbers)
        what = said(value)

        def work(v: Any) -> Any:
            for step in (None, *steps):
                if step is not None:
                    v = step(v)
                if (step is None or step is steps[-1]) and is_blank(v):
                    if missing:
                        no_value(what)
                    return None
            return v if fit is None else fit(v)

        return work

    def _remembered(
        self,
        value: Value,
        v: str,
        work: Callable[[Any], Any],
        contract: Field | None,
        raw: bool,
        missing: str | None,
    ) -> str:
        """Text by the memo, all else step by step. Without ``missing`` the local is None when there is no value."""
        code = self.code
        memo = self.fn(Memo(work), "memo")
        result = code.temp("r")
        if code.fact(v).text:
            code.line(f"{result} = {memo}[{v}]")
            return result
        first = value.converters[0].name if value.converters else contract.type if contract is not None else ""
        counts = f" or type({v}) is int" if first in _COUNTS else ""  # a moment in seconds never comes again
        with code.block(f"if type({v}) is str{counts}:"):
            code.line(f"{result} = {memo}[{v}]")
        with code.block(f"elif {v} is None:"):
            code.line(missing or f"{result} = None")
        with code.block("else:"):
            x = v
            code.learn(x, said=True)
            for place in range(len(value.converters)):
                x = self._convert(value, place, x, contract, raw, missing)
            code.line(f"{result} = {x}")
            test = self._no_value(value, x)
            if test:
                with code.block(f"if {test}:"):
                    code.line(missing or f"{result} = None")
                if not raw:
                    with code.block("else:"):
                        code.line(f"{result} = {self._fitted(value, x, contract)}")
            elif not raw:
                code.line(f"{result} = {self._fitted(value, x, contract)}")
        if missing is not None:
            code.learn(result, said=True)
        return result

    # -- converters ----------------------------------------------------------------------------------------------------

    def _convert(self, value: Value, place: int, v: str, contract: Field | None, raw: bool, missing: str | None) -> str:
        """One converter. missing: the line to run when nothing is left; without it None is left."""
        code = self.code
        call = value.converters[place]
        before = code.fact(v)
        slow = f"{self.fn(converter(call.name, call.args), call.name)}({v})"
        gives = CONVERTERS[call.name].gives
        if before.text and not code.explain:
            if call.name == "truncate":
                return self._cut(value, place, v, slow, contract, raw, missing)
            result = self._quick(call, v, slow)
        elif code.known(v, (), "count") and call.name == "text":
            result = self.local(f"f'{{{v}}}'")
        else:
            result = self.local(slow)
        self.event("converted", repr(" ".join((call.name, *call.args))), v, result)
        stays = call.name in _KEEPS_TEXT or gives in _NEVER_BLANK or gives is None
        code.learn(result, text=gives == "text" or (gives is None and before.text), said=stays and before.said)
        return result

    def _quick(self, call: ConverterCall, v: str, slow: str) -> str:
        """The usual converters of text, without a call."""
        name, most = call.name, self.code.fact(v).most
        if name == "text":
            return v
        form = " ".join(("as", name, *call.args))
        known = self.code.known(v, (), form)
        if known is not None:
            return known
        result = self._new_text(call, v, most, slow)
        self.code.remember(v, (), result, form)
        return result

    def _new_text(self, call: ConverterCall, v: str, most: int | None, slow: str) -> str:
        name = call.name
        if name in ("trim", "upper", "lower"):
            result = self.local(f"{v}.{'strip' if name == 'trim' else name}()")
            if name == "trim" and most is not None:
                self.code.learn(result, most=most)
            return result
        width = int(call.args[0]) if name in ("pad", "alpha") else 0
        if name == "pad":
            result = self.local(f"{v}.rjust({width}, '0')")
        elif name == "alpha":
            bare = self.local(f"{v}.strip()")
            result = self.local(f"{bare}.zfill({width}) if {bare}.isdigit() and {bare}.isascii() else {bare}")
        else:
            return self.local(slow)
        if most is not None:
            self.code.learn(result, most=max(most, width))
        return result

    def _cut(
        self, value: Value, place: int, v: str, slow: str, contract: Field | None, raw: bool, missing: str | None
    ) -> str:
        """Truncate: what is short enough is left alone; what was cut may be blank, or long as the target counts."""
        code = self.code
        count = int(value.converters[place].args[0])
        known = code.fact(v)
        if known.most is not None and known.most <= count:
            return v
        if place < len(value.converters) - 1 or value.keep_blank:
            result = self.local(f"{v} if len({v}) <= {count} else {slow}")
            code.learn(result, text=True)
            return result
        most = contract.max_length if contract is not None and not raw and _is_text(contract, least=count) else None
        result = self.local(v)
        with code.block(f"if len({v}) > {count}:"):
            code.line(f"{result} = {slow}")
            with code.block(f"if not {result} or {result}.isspace():"):
                code.line(missing or f"{result} = None")
            if most is not None:
                with code.block(f"elif len({result}) > {most}:"):
                    code.line(f"{result} = {self.fn(fitter(contract, self.text_numbers), 'fit')}({result})")
        if missing is not None:
            code.learn(result, text=True, said=known.said, most=most)
        else:
            code.remember(result, (), "" if most is None else str(most), "cut")
        return result

    # -- lookups -------------------------------------------------------------------------------------------------------

    def _lookup(self, lookup: Lookup, v: str, names: Names, path: Path) -> str:
        code = self.code
        miss = self.fn(MISS, "miss")
        key = v
        if len(lookup.key_columns) <= 1 and not code.fact(v).text:
            key = self.local(f"{v} if type({v}) is str else {self.fn(as_text, 'as_text')}({v})", "key")
        found = code.temp("found")
        certain, most = False, 0
        if lookup.kind in ("table", "file"):
            rows: dict[Any, str | None] = {k[0] if len(k) == 1 else k: row for k, row in lookup.rows.items()}
            certain = all(type(row) is str and row.strip() for row in rows.values())
            most = max((len(row) for row in rows.values() if row is not None), default=0) if certain else 0
            if lookup.trim or lookup.ignore_case:
                if len(lookup.key_columns) <= 1:
                    key = self.local(f"{key}{'.strip()' * lookup.trim}{'.casefold()' * lookup.ignore_case}", "key")
                else:
                    key = self.local(f"{self.fn(_normal(lookup.trim, lookup.ignore_case), 'normal')}({key})", "key")
            code.line(f"{found} = {self.fn(rows, 'table')}.get({key}, {miss})")
        else:
            name = code.bind(lookup.name)
            code.line(f"{found} = look.held.get({name}, {self.fn(_NO_ROWS, 'empty')}).get({key}, {miss})")
            with code.block(f"if {found} is {miss}:"):
                code.line(f"{found} = look.get({name}, {key})")
        self.event("looked_up", self.fn(lookup, "lookup"), key, found)
        with code.block(f"if {found} is {miss}:"):
            other = self._miss(lookup, lookup.on_miss, key, found, names, path)
        if certain and other is not None:
            code.learn(found, text=True, said=True, most=max(most, other) if other >= 0 else None)
        return found

    def _miss(self, lookup: Lookup, on_miss: OnMiss, key: str, found: str, names: Names, path: Path) -> int | None:
        """Lines for a key without a row. Returns the length of the text that stands in for it at most (-1: not known);
        None when it is not surely text."""
        code = self.code
        if on_miss.action == "error":
            code.line(f"{self.fn(no_row, 'no_row')}({code.bind(lookup.name)}, {key})")
            return 0
        if on_miss.action == "skip":
            code.line(f"raise {self.fn(SkipRecord, 'skip')}({code.bind(lookup.name)})")
            return 0
        if on_miss.warn:
            code.line(f"warnings.append({self.fn(_warned, 'warned')}({code.bind(lookup.name)}, {key}))")
        assert on_miss.use is not None
        local, _ = self.value(replace(on_miss.use, optional=True), names, path, None, raw=True)
        code.line(f"{found} = {local}")
        self.event("default", found, code.bind("on_miss.use of " + lookup.name))
        fact = code.fact(local)
        if not (fact.text and fact.said):
            return None
        return -1 if fact.most is None else fact.most

    # -- the contract --------------------------------------------------------------------------------------------------

    def _fitted(self, value: Value, v: str, contract: Field | None) -> str:
        """The contract step: a local, or ``v`` itself when there is nothing to do."""
        code = self.code
        fit = fitter(contract, self.text_numbers)
        known = code.fact(v)
        if fit is None or (fit is canonical and (known.text or not _dated(value))):
            return v
        gives = CONVERTERS[value.converters[-1].name].gives if value.converters else None
        if gives in ("date", "time") and (fit is canonical or (contract is not None and contract.type == gives)):
            return self.local(f"{v}.isoformat()")
        call = f"{self.fn(fit, 'fit')}({v})"
        if fit is canonical:
            return self.local(f"{v} if type({v}) is str else {call}")
        if contract is None or not _is_text(contract):
            return self.local(call)
        most = contract.max_length
        if known.text and (most is None or (known.most is not None and known.most <= most)):
            return v
        tests = [] if known.text else [f"type({v}) is str"]
        if most is not None:
            tests.append(f"len({v}) <= {most}")
        result = self.local(f"{v} if {' and '.join(tests)} else {call}")
        code.learn(result, text=True, said=known.said, most=most)
        return result


_NO_ROWS: Final[dict[Any, Any]] = {}


def _is_text(contract: Field | None, least: int = 0) -> bool:
    """Whether the contract asks for text and nothing but a length, of ``least`` or more."""
    if contract is None or contract.type != "text" or contract.enum:
        return False
    return contract.max_length is None or contract.max_length >= least


def said(value: Value) -> str:
    """What has no value, in the author's own words."""
    origin = value.origin
    if isinstance(origin, Expr):
        return origin.text if origin.language != "template" else f'"{origin.text}"'
    return f"lookup {value.lookup}" if value.lookup else "the field"


def _dated(value: Value) -> bool:
    """Whether a date may stand here that must become text: from a converter, or read from a variable."""
    if value.converters:
        return CONVERTERS[value.converters[-1].name].gives in ("date", "datetime", "time", None)
    if value.lookup is not None:
        return False
    if isinstance(value.origin, Expr):
        return value.origin.language != "template" and "vars" in value.origin.text
    return isinstance(value.origin, First)
