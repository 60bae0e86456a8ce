"""compile: Flow → Plan. A Plan is pure: no I/O, no clock, no chance; the same record gives the same outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from decimal import getcontext, setcontext
from types import TracebackType
from typing import Any

from flowrun.diagnostics import NOWHERE, Span
from flowrun.expressions import emit_kind, parse
from flowrun.expressions.code import Built, Code
from flowrun.expressions.converters import as_text
from flowrun.expressions.numbers import EXACT
from flowrun.expressions.runtime import BadValue, Fuel, as_data_error
from flowrun.flow.model import Expr, Flow, Value
from flowrun.flow.needs import needs_of_expr, needs_of_lookup, needs_of_map, needs_of_value
from flowrun.lookups import Snapshot, Wanted_
from flowrun.plan.called import ABSENT, SkipRecord, no_value
from flowrun.plan.emit import ValueEmitter
from flowrun.plan.explain import Event, Explanation
from flowrun.plan.lines import Path
from flowrun.plan.outcomes import Controls, Identity, Mapped, Outcome, Rejected, SavedXref, Skipped, Wanted

_NOTHING = Snapshot(closed=True)


class NotMet(Exception):
    """A requirement does not hold, or only_when says no."""

    def __init__(self, message: str, *, skip: bool = False) -> None:
        self.message = message
        self.skip = skip


def compile_plan(flow: Flow, env: Mapping[str, Any]) -> Plan:
    """The plan of a checked flow in one environment. env: the environment's values."""
    return Plan(flow, dict(env), ("steps",) if flow.steps else ())


class _Function:
    """A generated function with the table from its lines to places."""

    def __init__(self, built: Built, emitter: ValueEmitter) -> None:
        self.call = built.function
        self.built = built
        self._places = emitter.paths

    def place(self, error: BaseException) -> tuple[Span, str]:
        """(span, target path) of the deepest line of this function in the error's traceback."""
        trace: TracebackType | None = error.__traceback__
        span, path = NOWHERE, ""
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self.built.filename:
                own = self.built.span_at(trace.tb_lineno)
                found = self._places.get(id(own))
                if found is not None:
                    span, path = found[0], _spelled(found[1], trace.tb_frame.f_locals)
            trace = trace.tb_next
        return span, path


def _spelled(path: Path, local: Mapping[str, Any]) -> str:
    return "".join(f"[{len(local.get(part[1:], ()))}]" if part.startswith("@") else part for part in path)


class Plan:
    """What a flow does to one record. Thread-safe after the first use of each method."""

    def __init__(self, flow: Flow, env: Mapping[str, Any], beside: Sequence[str] = ()) -> None:
        """beside: names in scope whose values ``given`` brings (``steps`` of a workflow)."""
        self.flow = flow
        self.env = env
        self._beside = tuple(beside)
        self._given: tuple[Any, ...] = (None,) * len(self._beside)
        self._apply = self._generate_apply(explain=False)
        self._explain: _Function | None = None
        self._identify: _Function | None = None
        self._group: _Function | None = None
        self._saves: _Function | None = None
        self._controls: _Function | None = None

    def given(self, *values: Any) -> Plan:
        """The same plan with these values for the names that stand beside the record."""
        if self._saves is None and self.flow.target.save:
            self._saves = self._generate_saves()  # once, not for each record
        other = copy(self)
        other._given = values
        return other

    # -- the public face -------------------------------------------------------------------------------------------

    def apply(self, record: Mapping[str, Any], lookups: Snapshot = _NOTHING) -> Outcome:
        """Map one record; it is never changed. For grouped flows the record is ``{"key": …, "rows": […]}``."""
        outer = getcontext()
        setcontext(EXACT)
        try:
            return self._mapper(lookups)(record)
        finally:
            setcontext(outer)

    @contextmanager
    def applying(self, lookups: Snapshot = _NOTHING) -> Iterator[Callable[[Mapping[str, Any]], Outcome]]:
        """``with plan.applying(lookups) as apply:`` — ``apply`` for one record after the other, without the steps that
        each call would repeat. Decimal's context is ``numbers.EXACT`` in all code inside."""
        outer = getcontext()
        setcontext(EXACT)
        try:
            yield self._mapper(lookups)
        finally:
            setcontext(outer)

    def _mapper(self, lookups: Snapshot) -> Callable[[Mapping[str, Any]], Outcome]:
        call, fuel, given = self._apply.call, Fuel(), self._given
        limit = fuel.limit

        def mapped(record: Mapping[str, Any]) -> Outcome:
            fuel.left = limit
            try:
                return call(record, lookups, fuel, [], *given)  # type: ignore[no-any-return]
            except Exception as error:
                return self._failed(self._apply, error)

        return mapped

    def identify(self, record: Mapping[str, Any]) -> Identity | Rejected:
        """Key, version and lane of a record, at intake. Grouped flows give the group's key as lane and key."""
        if self._identify is None:
            self._identify = self._generate_identify()
        outer = getcontext()
        setcontext(EXACT)
        try:
            key, version, lane = self._identify.call(record, _NOTHING, Fuel(), [])
        except Exception as error:
            failed = self._failed(self._identify, error)
            assert isinstance(failed, Rejected)
            return failed
        finally:
            setcontext(outer)
        return Identity(key, version, lane if lane is not None else key)

    def group_of(self, row: Mapping[str, Any]) -> str | Rejected:
        """The group a source row belongs to (flows with group_by)."""
        if self._group is None:
            self._group = self._generate_group()
        outer = getcontext()
        setcontext(EXACT)
        try:
            found: str = self._group.call(row, _NOTHING, Fuel(), [])
        except Exception as error:
            failed = self._failed(self._group, error)
            assert isinstance(failed, Rejected)
            return failed
        finally:
            setcontext(outer)
        return found

    def saves(
        self, record: Mapping[str, Any], response: Mapping[str, Any], lookups: Snapshot | None = None
    ) -> tuple[SavedXref, ...] | Rejected:
        """The cross-references to remember after delivery. lookups: what the record was mapped with."""
        if not self.flow.target.save:
            return ()
        if self._saves is None:
            self._saves = self._generate_saves()
        outer = getcontext()
        setcontext(EXACT)
        try:
            found: list[SavedXref] = self._saves.call(record, lookups or _NOTHING, Fuel(), [], *self._given, response)
        except Exception as error:
            failed = self._failed(self._saves, error)
            assert isinstance(failed, Rejected)
            return failed
        finally:
            setcontext(outer)
        return tuple(found)

    def controls(self, record: Mapping[str, Any], lookups: Snapshot = _NOTHING) -> Controls | Rejected | Wanted:
        """What ``reconcile: { totals, per }`` says of one record."""
        if self._controls is None:
            self._controls = self._generate_controls()
        outer = getcontext()
        setcontext(EXACT)
        try:
            sums, per = self._controls.call(record, lookups, Fuel(), [])
            return Controls(
                {name: None if value is ABSENT else value for name, value in sums.items()},
                tuple((None if value is ABSENT else key_text(value)) or "" for value in per),
            )
        except Exception as error:
            failed = self._failed(self._controls, error)
            if isinstance(failed, Wanted | Rejected):
                return failed
            raise
        finally:
            setcontext(outer)

    def explain(self, record: Mapping[str, Any], lookups: Snapshot = _NOTHING) -> Explanation:
        """Why each field has its value, or is absent: the same plan in a mode that records."""
        if self._explain is None:
            self._explain = self._generate_apply(explain=True)
        events: list[Event] = []
        outer = getcontext()
        setcontext(EXACT)
        outcome: Outcome
        try:
            outcome = self._explain.call(record, lookups, Fuel(), [], *self._given, events.append)
        except Exception as error:
            outcome = self._failed(self._explain, error)
        finally:
            setcontext(outer)
        return Explanation(outcome, events)

    # -- failures --------------------------------------------------------------------------------------------------

    def _failed(self, function: _Function, error: Exception) -> Outcome:
        if isinstance(error, Wanted_):
            return Wanted({error.lookup: frozenset((error.key,))})
        if isinstance(error, SkipRecord):
            return Skipped(error.reason)
        span, path = function.place(error)
        if isinstance(error, NotMet):
            return Skipped("only_when") if error.skip else Rejected("bad_data", path or "require", error.message, span)
        known = as_data_error(error)
        if known is None:
            raise error
        return Rejected("bad_data", path, known.message, span, known.help)

    # -- generation ------------------------------------------------------------------------------------------------

    def _record_name(self) -> str:
        return "group" if self.flow.source.group_by is not None else self.flow.source.record

    def _begin(self, explain: bool) -> tuple[Code, ValueEmitter, dict[str, str]]:
        code = Code(explain=explain)
        shape = self.flow.target.shape
        emitter = ValueEmitter(code, self.flow.lookups, text_numbers=bool(shape and shape.text_numbers))
        names = {self._record_name(): "record", "env": code.bind(self.env, "env")}
        names.update((name, f"beside{n}") for n, name in enumerate(self._beside))
        if not explain:
            code.constants[names["env"]] = self.env
        return code, emitter, names

    def _generate_apply(self, *, explain: bool) -> _Function:
        flow = self.flow
        code, emitter, names = self._begin(explain)
        named = _Named(flow, code, emitter, names)
        if flow.source.only_when is not None:
            named.need(needs_of_expr(flow.source.only_when))
            with emitter.at(flow.source.only_when.span, ("only_when",)):
                emitter.event("begin", "('only_when',)", emitter.fn(flow.source.only_when.span))
                held = emitter.expr(flow.source.only_when, names)
                _traced(emitter, "only_when", flow.source.only_when, held)
                emitter.event("end", f"bool({held})")
                with code.block(f"if not {held}:"):
                    code.line(f"raise {emitter.fn(NotMet)}('only_when', skip=True)")
        for requirement in flow.require:
            named.need(needs_of_expr(requirement.rule) | needs_of_expr(requirement.message))
            with emitter.at(requirement.span, ("require",)):
                emitter.event("begin", "('require',)", emitter.fn(requirement.span))
                held = emitter.expr(requirement.rule, names)
                _traced(emitter, "require", requirement.rule, held)
                emitter.event("end", f"bool({held})")
                with code.block(f"if not {held}:"):
                    message = emitter.expr(requirement.message, names)
                    if requirement.level == "warn":
                        code.line(f"warnings.append({message})")
                    else:
                        code.line(f"raise {emitter.fn(NotMet)}({message})")
        named.need(_used(flow))
        body, _ = emitter.object(flow.map, names, ())
        key = "None"
        if flow.target.idempotency_key is not None:
            with emitter.at(flow.target.idempotency_key.span, ("idempotency.key",)):
                key, _ = emitter.value(flow.target.idempotency_key, names, ("idempotency.key",), None, raw=True)
                if not code.fact(key).text:
                    key = emitter.local(f"{emitter.fn(key_text)}({key})")
                if not code.fact(key).said:
                    with code.block(f"if not {key}:"):
                        code.line(f"{emitter.fn(no_value)}('the idempotency key')")
        for save in flow.target.save:
            for value in (save.source_id, save.target_id):
                needs = needs_of_value(value)
                if "response" not in needs and any(need.startswith("lookups.") for need in needs):
                    named.need(needs)  # asked now, so that its answer is held, or is missing, before anything is sent
                    with emitter.at(value.span, ("save",)):
                        emitter.value(value, names, ("save",), None, raw=True)
        match = ", ".join(f"{code.bind(name)}: {body}.get({code.bind(name)})" for name in flow.target.match)
        words = "tuple(warnings) if warnings else ()"
        code.line(f"return {emitter.fn(Mapped)}({body}, {key}, {{{match}}}, {words}, look)")
        arguments = self._arguments + (", trace" if explain else "")
        return _Function(code.build(arguments, name="apply"), emitter)

    def _generate_identify(self) -> _Function:
        source = self.flow.source
        code, emitter, names = self._begin(False)
        named = _Named(self.flow, code, emitter, names)
        found = []
        for title, value in (("key", source.key), ("version", source.version), ("keep_order_by", source.keep_order_by)):
            if value is None:
                found.append("None")
                continue
            named.need(needs_of_value(value))
            path = (f"source.{title}",)
            with emitter.at(value.span, path):
                local, _ = emitter.value(value, names, path, None, raw=True)
                found.append(emitter.local(f"{emitter.fn(key_text)}({local})"))
                if title == "key":  # records without one would all be the same record
                    with code.block(f"if not {found[-1]}:"):
                        code.line(f"{emitter.fn(no_value)}('the key')")
        code.line(f"return {', '.join(found)}")
        return _Function(code.build("record, look, fuel, warnings", name="identify"), emitter)

    def _generate_group(self) -> _Function:
        source = self.flow.source
        assert source.group_by is not None
        code, emitter, names = self._begin(False)
        names = {source.record: "record", "env": names["env"]}
        path = ("source.group_by",)
        with emitter.at(source.group_by.span, path):
            local, _ = emitter.value(Value(source.group_by, source.group_by.span), names, path, None, raw=True)
            code.line(f"return {emitter.fn(key_text)}({local})")
        return _Function(code.build("record, look, fuel, warnings", name="group"), emitter)

    def _generate_controls(self) -> _Function:
        code, emitter, names = self._begin(False)
        named = _Named(self.flow, code, emitter, names)
        made: dict[str, list[str]] = {"totals": [], "per": []}
        for word, found in made.items():
            for name, value in (self.flow.source.reconcile or {}).get(word, {}).items():
                named.need(needs_of_value(value))
                path = (f"reconcile.{word}.{name}",)
                with emitter.at(value.span, path):
                    local, _ = emitter.value(value, names, path, None, raw=True)
                    found.append(f"{code.bind(name)}: {local}" if word == "totals" else local)
        code.line(f"return {{{', '.join(made['totals'])}}}, ({''.join(one + ',' for one in made['per'])})")
        return _Function(code.build("record, look, fuel, warnings", name="controls"), emitter)

    def _generate_saves(self) -> _Function:
        code, emitter, names = self._begin(False)
        named = _Named(self.flow, code, emitter, names)
        names["response"] = "response"
        entries = []
        for save in self.flow.target.save:
            named.need(needs_of_value(save.source_id) | needs_of_value(save.target_id))
            ids = []
            for title, value in (("source_id", save.source_id), ("target_id", save.target_id)):
                path = (f"save.{title}",)
                with emitter.at(value.span, path):
                    local, _ = emitter.value(value, names, path, None, raw=True)
                    ids.append(emitter.local(f"{emitter.fn(key_text)}({local})"))
            entries.append(f"{emitter.fn(SavedXref)}({code.bind(save.xref)}, {', '.join(ids)})")
        kept = "one.source_id is not None and one.target_id is not None"  # an optional id leaves its entry out
        code.line(f"return [one for one in ({''.join(entry + ',' for entry in entries)}) if {kept}]")
        return _Function(code.build(f"{self._arguments}, response", name="saves"), emitter)

    @property
    def _arguments(self) -> str:
        return ", ".join(["record, look, fuel, warnings", *(f"beside{n}" for n in range(len(self._beside)))])


def _traced(emitter: ValueEmitter, name: str, expr: Expr, held: str) -> None:
    emitter.event("rule", repr(name), emitter.fn(expr.text), held, emitter.fn(expr.span))


class _Named:
    """Rules and variables, each emitted once, before its first use, needs first."""

    def __init__(self, flow: Flow, code: Code, emitter: ValueEmitter, names: dict[str, str]) -> None:
        self.code = code
        self.emitter = emitter
        self.names = names
        self.rules = {rule.name: rule for rule in flow.rules}
        self.vars = {f"vars.{v.name}": v for v in flow.vars}
        self.lookups = {f"lookups.{name}": lookup for name, lookup in flow.lookups.items()}
        self.done: set[str] = set()
        if flow.vars:
            names["vars"] = code.object("vars")

    def need(self, needed: set[str]) -> None:
        for name in needed & self.lookups.keys():  # never in a circle: the checker refuses that
            self.need(needs_of_lookup(self.lookups[name]))
        for name in [*self.vars, *self.rules]:  # in file order
            if name in needed or ("vars" in needed and name in self.vars):
                self._emit(name)

    def _emit(self, name: str) -> None:
        if name in self.done:
            return
        self.done.add(name)
        emitter, code = self.emitter, self.code
        if name in self.rules:
            rule = self.rules[name]
            self.need(needs_of_expr(rule.when))
            with emitter.at(rule.span, (name,)):
                emitter.event("begin", f"({name!r},)", emitter.fn(rule.span))
                held, kind = emit_kind(parse(rule.when.language, rule.when.text), code, self.names)
                local = emitter.local(held if kind == "boolean" else f"bool({held})", "rule")
                _traced(emitter, name, rule.when, local)
                emitter.event("end", local)
            self.names[name] = local
            return
        variable = self.vars[name]
        self.need(needs_of_value(variable.value))
        with emitter.at(variable.span, (name,)):
            emitter.event("begin", f"({name!r},)", emitter.fn(variable.span))
            local, _ = emitter.value(variable.value, self.names, (name,), None, raw=True)
            code.set_("vars", variable.name, local)
            emitter.event("end", local)


def _used(flow: Flow) -> set[str]:
    """Rules and variables that the mapping needs. The others are computed only when something needs them."""
    needed = needs_of_map(flow.map)
    if flow.target.idempotency_key is not None:
        needed |= needs_of_value(flow.target.idempotency_key)
    return needed


def key_text(value: Any) -> str | None:
    """A key as text. Raises BadValue for lists and objects."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, list | dict):
        raise BadValue("a key is one value, not a list or an object")
    return as_text(value)
