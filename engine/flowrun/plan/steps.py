"""What happens to a value on its way, in order: no value?, lookup, converters, no value?, the contract."""

from __future__ import annotations

from flowrun.contract import Field
from flowrun.flow.model import Value
from flowrun.plan.called import ABSENT, needed_text, no_value, some_text
from flowrun.plan.converting import Converting
from flowrun.plan.lines import Names, Path, said


class Steps(Converting):
    """The two ways of a value: it must be there, or it may be absent."""

    def required(self, value: Value, v: str, names: Names, path: Path, contract: Field | None, raw: bool) -> str:
        """A value that must be there: each test fails at once. Returns the local of what is sent."""
        missing = f"{self.fn(no_value, 'no_value')}({self.fn(said(value))})"
        work = self._work(value, contract, raw, missing=True)
        if work is not None and (self.code.fact(v).text or not self.code.fact(v).said):
            return self._remembered(value, v, work, contract, raw, missing)
        word = self._text_first(value, v, contract, raw)
        if word is not None:
            v = self._made_text(v, word, f"{self.fn(needed_text, 'needed')}({v}, {self.fn(said(value))}, {word[0]!r})")
        given = v
        value, v = self._bared(value, v)
        self._unless_said(value, v, missing)
        if v != given:
            self.code.learn(given, said=True)  # something was left of it when it was trimmed
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
            if lines:
                with code.block("else:"):
                    code.insert(lines)
                    if fitted != result:
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
            self.code.line(f"{result} = {local}")
            self.event("default", result, "'default'")
            return sure, fact.text and fact.said
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
