"""Flow: what a checked flow file says, typed and complete, with the place of every part. Frozen once made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct, field

from flowrun.contract import Field, Shape
from flowrun.diagnostics import Span
from flowrun.expressions.converters import Converter

Constant = str | int | bool | Decimal | None

# -- values: the right-hand sides ------------------------------------------------------------------------------


class Expr(Struct, frozen=True):
    """One expression. ``text`` as the YAML scalar gives it; ``span`` covers the scalar's content (quotes excluded
    where counting through the scalar is certain, otherwise the whole scalar)."""

    language: Literal["jmespath", "template", "calc"]
    text: str
    span: Span


class ConverterCall(Struct, frozen=True):
    """``truncate 35``: name and arguments as text; see ``expressions.converters`` for what each takes."""

    name: str
    args: tuple[str, ...]
    span: Span
    of: Converter


class Case(Struct, frozen=True):
    """One case of ``first:``. when None: the last, unconditional one."""

    when: Expr | None
    value: Value
    span: Span


class First(Struct, frozen=True):
    cases: tuple[Case, ...]


class Each(Struct, frozen=True):
    """``each: NAME in PATH`` + ``map:``; gives a list. number: the name that counts rows left by ``where`` from 1."""

    name: str
    items: Expr
    map: FieldMap
    where: Expr | None = None
    number: str | None = None
    at_least: int | None = None
    keep_empty: bool = False


class Nested(Struct, frozen=True):
    """``map:`` — an object. bindings: names that a fragment's ``with:`` binds inside (empty for plain nesting)."""

    map: FieldMap
    bindings: tuple[tuple[str, Value], ...] = ()
    fragment: str | None = None


class Items(Struct, frozen=True):
    """A YAML list of values: a fixed list."""

    values: tuple[Value, ...]


class Literal_(Struct, frozen=True):
    """``value:`` — a constant."""

    value: Constant


class Key(Struct, frozen=True):
    """``lookup:`` + ``key:`` with no other origin: the key parts are the origin (composite keys)."""

    parts: tuple[Value, ...]


Origin = Expr | First | Each | Nested | Items | Literal_ | Key


class Value(Struct, frozen=True):
    """Origin, then ``lookup``, then ``as``, then the contract; with what "no value" means.

    default: None when not written, else a Value (a constant is a Value over Literal_).
    null_send: ``null: send``. keep_blank: ``blank: keep``.
    lookup: the name of a table in Flow.lookups.
    """

    origin: Origin
    span: Span
    when: Expr | None = None
    lookup: str | None = None
    lookup_span: Span | None = None
    converters: tuple[ConverterCall, ...] = ()
    default: Value | None = None
    optional: bool = False
    keep_blank: bool = False
    null_send: bool = False


class FieldMapping(Struct, frozen=True):
    """One target field. path: as written, split at dots (``a.b:``); contract: the target's field, when known."""

    path: tuple[str, ...]
    value: Value
    span: Span  # of the key
    contract: Field | None = None


class FieldMap(Struct, frozen=True):
    fields: tuple[FieldMapping, ...]
    span: Span


# -- the boxes -------------------------------------------------------------------------------------------------


class Webhook(Struct, frozen=True):
    event: str


class Poll(Struct, frozen=True):
    """every: seconds. cursor: the source field (without the record's name). overlap: seconds."""

    every_secs: int
    cursor: str | None
    overlap_secs: int = 0
    full: bool = False
    page_size: int | None = None


class Schedule(Struct, frozen=True):
    """cron: five fields; zone: an IANA name."""

    cron: str
    zone: str = "UTC"
    cursor: str | None = None
    overlap_secs: int = 0
    full: bool = False
    page_size: int | None = None


Trigger = Webhook | Poll | Schedule


class Source(Struct, frozen=True):
    connection: str
    connector: str
    object: str
    record: str  # the name expressions use for it
    trigger: Trigger | None
    key: Value
    span: Span
    version: Value | None = None
    keep_order_by: Value | None = None
    only_when: Expr | None = None
    filter: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    expand: tuple[str, ...] = ()
    group_by: Expr | None = None
    reconcile: Mapping[str, Any] | None = None  # as ``SourceReader`` reads it; owns: None, "all", or field → values
    shape: Shape | None = None


class Requirement(Struct, frozen=True):
    rule: Expr
    message: Expr  # a template
    level: Literal["error", "warn"]
    span: Span


class Rule(Struct, frozen=True):
    name: str
    when: Expr
    span: Span


class Var(Struct, frozen=True):
    name: str
    value: Value
    span: Span


class OnMiss(Struct, frozen=True):
    """``error``, ``skip``, or use a value (constant, or a Value when written ``{ from: … }``)."""

    action: Literal["error", "skip", "use"]
    use: Value | None = None
    warn: bool = False


class Lookup(Struct, frozen=True):
    """kind table/file: ``rows`` maps the key (a tuple of text, one per key column) to the returned text.
    kind xref: the name of a cross-reference; reverse: from target id to source id.
    returns: the column of a file, or the field of a live look-up, that is the answer.
    kind connection: a live look-up (object, find, return)."""

    name: str
    kind: Literal["table", "file", "xref", "connection"]
    on_miss: OnMiss
    span: Span
    rows: Mapping[tuple[str, ...], str | None] = field(default_factory=dict)
    row_spans: Mapping[tuple[str, ...], Span] = field(default_factory=dict)
    key_columns: tuple[str, ...] = ()
    file: str | None = None
    xref: str | None = None
    reverse: bool = False
    ignore_case: bool = False
    trim: bool = False
    connection: str | None = None
    object: str | None = None
    find: tuple[str, ...] = ()
    returns: str | None = None


class Save(Struct, frozen=True):
    """After delivery: remember source_id → target_id in cross-reference ``xref`` (``response`` is in scope)."""

    xref: str
    source_id: Value
    target_id: Value
    span: Span


class Guard(Struct, frozen=True):
    max_changes: int | None = None
    max_share: Decimal | None = None  # 0…1


class Target(Struct, frozen=True):
    connection: str
    connector: str
    object: str
    action: str
    span: Span
    once: str = "none"  # connector.Once
    idempotency_key: Value | None = None
    find_existing: tuple[str, ...] = ()
    settles_secs: float = 0.0  # that a search may miss what was just written
    match: tuple[str, ...] = ()
    save: tuple[Save, ...] = ()
    only_changes: bool = False
    batch: int = 1
    guard: Guard | None = None
    shape: Shape | None = None


# -- the steps of a workflow -----------------------------------------------------------------------------------


class Read(Struct, frozen=True):
    """One record by its key. target: where it is read; its ``map`` gives the key, field by field."""

    target: Target
    map: FieldMap
    expand: tuple[str, ...] = ()


class Write(Struct, frozen=True):
    target: Target
    map: FieldMap


class Wait(Struct, frozen=True):
    """Until something is found. map: what is looked for, field by field."""

    target: Target
    map: FieldMap
    every_secs: float
    at_most_secs: float


class Branch(Struct, frozen=True):
    """name: what ``steps.ID.branch`` says when it was taken. when None: ``otherwise``."""

    name: str | None
    when: Expr | None
    steps: tuple[Step, ...]
    span: Span


class Choose(Struct, frozen=True):
    branches: tuple[Branch, ...]


Doing = Read | Write | Wait | Choose


class Step(Struct, frozen=True):
    """One step. id: unique in its flow. when None: always."""

    id: str
    does: Doing
    span: Span
    when: Expr | None = None

    @property
    def kind(self) -> str:
        """The word that the flow says it with."""
        return type(self.does).__name__.lower()


class Retry(Struct, frozen=True):
    times: int
    wait_secs: float
    max_wait_secs: float


class Policy(Struct, frozen=True):
    """What one error class leads to. dead_letter: the queue's name. finish: "success" ends the record as confirmed."""

    retry: Retry | None = None
    dead_letter: str | None = None
    alert: str | None = None
    pause: str | None = None
    flag: str | None = None
    finish: str | None = None
    undo: bool = False


class FlowTest(Struct, frozen=True):
    """One test. given/expect hold plain values: text for every YAML scalar but true, false, null and plain numbers.
    ``like`` is already merged into given."""

    name: str
    span: Span
    given: Mapping[str, Any]
    expect: Mapping[str, Any] | None = None
    expect_exact: Mapping[str, Any] | None = None
    expect_absent: tuple[str, ...] = ()
    expect_error: Mapping[str, str] | None = None
    expect_skipped: str | None = None
    expect_dead_letter: Mapping[str, str] | None = None
    expect_steps: tuple[Mapping[str, Any], ...] = ()


class Flow(Struct, frozen=True):
    """A one-record flow, or a workflow when it has steps. on_error: in file order, ``other`` always present. hash: of
    everything that decides the outcome (flow text, fragments, lookups, contracts, language version).

    target, map: of a workflow those of its first step that writes; each step brings its own (``workflow.pieces``)."""

    name: str
    file: str
    title: str
    owner: str
    source: Source
    target: Target
    map: FieldMap
    require: tuple[Requirement, ...]
    rules: tuple[Rule, ...]
    vars: tuple[Var, ...]
    lookups: Mapping[str, Lookup]
    on_error: Mapping[str, Policy]
    tests: tuple[FlowTest, ...]
    hash: str
    env_names: tuple[str, ...] = ()
    mask: tuple[tuple[str, ...], ...] = ()
    """Paths into the record whose values are not shown; ``[]`` stands for each row. Of the project, too."""
    steps: tuple[Step, ...] = ()

    @property
    def asked(self) -> tuple[str, ...]:
        """The connections that live look-ups ask while a record is mapped, and those of steps."""
        live = [lookup.connection for lookup in self.lookups.values() if lookup.connection]
        return tuple(dict.fromkeys([*live, *(one.connection for one in targets_of(self.steps))]))


def every_step(steps: tuple[Step, ...]) -> Iterator[Step]:
    """The steps and those inside, in file order."""
    for step in steps:
        yield step
        if isinstance(step.does, Choose):
            for branch in step.does.branches:
                yield from every_step(branch.steps)


def maps_of(steps: tuple[Step, ...]) -> Iterator[FieldMap]:
    """What steps send, and the keys of what they read."""
    for step in every_step(steps):
        if isinstance(step.does, Read | Write | Wait):
            yield step.does.map


def conditions_of(steps: tuple[Step, ...]) -> Iterator[Expr]:
    for step in every_step(steps):
        conditions = [step.when]
        if isinstance(step.does, Choose):
            conditions += [branch.when for branch in step.does.branches]
        yield from (one for one in conditions if one is not None)


def targets_of(steps: tuple[Step, ...]) -> Iterator[Target]:
    """What steps read and write."""
    for step in every_step(steps):
        if isinstance(step.does, Read | Write | Wait):
            yield step.does.target
