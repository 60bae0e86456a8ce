"""Converters and the contract as lines, each with a local of its own, so that what is certain of one stays certain.

Short cuts are taken while nothing is explained, and change no result: a value whose first step makes text of it is made
text at once, and is tested as text from there on; the usual converters of text stand inline; text that costs much to
convert (numbers, dates) is remembered with its result, since prices repeat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from flowrun.contract import Field
from flowrun.expressions.converters import Convert, converter
from flowrun.expressions.memo import Memo
from flowrun.expressions.to_contract import canonical, fitter
from flowrun.flow.model import ConverterCall, Expr, First, Value
from flowrun.plan.called import is_blank, no_value
from flowrun.plan.lines import Lines, said

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


class Converting(Lines):
    """Emits single steps; ``Steps`` puts them in order."""

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
        if any(call.of.source for call in value.converters):
            return None  # a project's own; nobody knows whether it gives the same twice
        names = {call.name for call in value.converters}
        if not (names & {*_COSTLY} or kind in _COSTLY) or names & {"list", "unjson"} or kind in ("list", "object"):
            return None  # cheap; or what is made can be changed, so that no two records may share it
        steps = [made(call) for call in value.converters]
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
        slow = f"{self.fn(made(call), call.name)}({v})"
        gives = call.of.gives
        if before.text and not code.explain:
            if call.name == "truncate":
                return self._cut(value, place, v, slow, contract, raw, missing)
            result = self._quick(call, v, slow)
        elif code.known(v, (), "count") and call.name == "text":
            result = self.local(f"f'{{{v}}}'")
        else:
            result = self.local(slow)
        self.event("converted", repr(" ".join((call.name, *call.args))), v, result)
        if call.of.source:
            return result  # a project's own may give None, whatever it declares
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
            made = f"{v}.{'strip' if name == 'trim' else name}()"
            result = (None if self.code.explain else self.code.once(v, made, name)) or self.local(made)
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

    # -- the contract --------------------------------------------------------------------------------------------------

    def _fitted(self, value: Value, v: str, contract: Field | None) -> str:
        """The contract step: a local, or ``v`` itself when there is nothing to do."""
        code = self.code
        fit = fitter(contract, self.text_numbers)
        known = code.fact(v)
        if fit is None or (fit is canonical and (known.text or not _dated(value))):
            return v
        last = value.converters[-1].of if value.converters else None
        gives = last.gives if last is not None and not last.source else None  # a project's date may be a datetime
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
        if known.text:
            with code.block(f"if len({v}) > {most}:"):
                code.line(call)  # says what is wrong
            code.learn(v, most=most)
            return v
        test = f"type({v}) is str" + (f" and len({v}) <= {most}" if most is not None else "")
        result = self.local(f"{v} if {test} else {call}")
        code.learn(result, text=True, said=known.said, most=most)
        return result


def made(call: ConverterCall) -> Convert:
    """The function of a converter, its arguments given."""
    return call.of.make(*call.args) if call.of.source else converter(call.name, call.args)


def _is_text(contract: Field | None, least: int = 0) -> bool:
    """Whether the contract asks for text and nothing but a length, of ``least`` or more."""
    if contract is None or contract.type != "text" or contract.enum:
        return False
    return contract.max_length is None or contract.max_length >= least


def _dated(value: Value) -> bool:
    """Whether a date may stand here that must become text: from a converter, or read from a variable."""
    if value.converters:
        return value.converters[-1].of.gives in ("date", "datetime", "time", "any", None)
    if value.lookup is not None:
        return False
    if isinstance(value.origin, Expr):
        return value.origin.language != "template" and "vars" in value.origin.text
    return isinstance(value.origin, First)
