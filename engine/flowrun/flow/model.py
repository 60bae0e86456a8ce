"""Flow: what a checked flow file says, typed and complete, with the place of every part. Frozen once made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from flowrun.contract import Field, Shape
from flowrun.diagnostics import Span
from flowrun.expressions.converters import Converter

Constant = str | int | bool | Decimal | None

# -- values: the right-hand sides ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expr:
    """One expression. ``text`` as the YAML scalar gives it; ``span`` covers the scalar's content (quotes excluded
    where counting through the scalar is certain, otherwise the whole scalar)."""

    language: Literal["jmespath", "template", "calc"]
    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class ConverterCall:
    """``truncate 35``: name and arguments as text; see ``expressions.converters`` for what each takes."""

    name: str
    args: tuple[str, ...]
    span: Span
    of: Converter


@dataclass(frozen=True, slots=True)
class Case:
    """One case of ``first:``. when None: the last, unconditional one."""

    when: Expr | None
    value: Value
    span: Span


@dataclass(frozen=True, slots=True)
class First:
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Each:
    """``each: NAME in PATH`` + ``map:``; gives a list. number: the name that counts rows left by ``where`` from 1."""

    name: str
    items: Expr
    map: FieldMap
    where: Expr | None = None
    number: str | None = None
    at_least: int | None = None
    keep_empty: bool = False


@dataclass(frozen=True, slots=True)
class Nested:
    """``map:`` — an object. bindings: names that a fragment's ``with:`` binds inside (empty for plain nesting)."""

    map: FieldMap
    bindings: tuple[tuple[str, Value], ...] = ()
    fragment: str | None = None


@dataclass(frozen=True, slots=True)
class Items:
    """A YAML list of values: a fixed list."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Literal_:
    """``value:`` — a constant."""

    value: Constant


@dataclass(frozen=True, slots=True)
class Key:
    """``lookup:`` + ``key:`` with no other origin: the key parts are the origin (composite keys)."""

    parts: tuple[Value, ...]


Origin = Expr | First | Each | Nested | Items | Literal_ | Key


@dataclass(frozen=True, slots=True)
class Value:
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


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """One target field. path: as written, split at dots (``a.b:``); contract: the target's field, when known."""

    path: tuple[str, ...]
    value: Value
    span: Span  # of the key
    contract: Field | None = None


@dataclass(frozen=True, slots=True)
class FieldMap:
    fields: tuple[FieldMapping, ...]
    span: Span


# -- the boxes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Webhook:
    event: str


@dataclass(frozen=True, slots=True)
class Poll:
    """every: seconds. cursor: the source field (without the record's name). overlap: seconds."""

    every_secs: int
    cursor: str | None
    overlap_secs: int = 0
    full: bool = False
    page_size: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """cron: five fields; zone: an IANA name."""

    cron: str
    zone: str = "UTC"
    cursor: str | None = None
    overlap_secs: int = 0
    full: bool = False
    page_size: int | None = None


Trigger = Webhook | Poll | Schedule


@dataclass(frozen=True, slots=True)
class Source:
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
    reconcile: Mapping[str, Any] | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Requirement:
    rule: Expr
    message: Expr  # a template
    level: Literal["error", "warn"]
    span: Span


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    when: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Var:
    name: str
    value: Value
    span: Span


@dataclass(frozen=True, slots=True)
class OnMiss:
    """``error``, ``skip``, or use a value (constant, or a Value when written ``{ from: … }``)."""

    action: Literal["error", "skip", "use"]
    use: Value | None = None
    warn: bool = False


@dataclass(frozen=True, slots=True)
class Lookup:
    """kind table/file: ``rows`` maps the key (a tuple of text, one per key column) to the returned text.
    kind xref: the name of a cross-reference; reverse: from target id to source id.
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


@dataclass(frozen=True, slots=True)
class Save:
    """After delivery: remember source_id → target_id in cross-reference ``xref`` (``response`` is in scope)."""

    xref: str
    source_id: Value
    target_id: Value
    span: Span


@dataclass(frozen=True, slots=True)
class Guard:
    max_changes: int | None = None
    max_share: Decimal | None = None  # 0…1


@dataclass(frozen=True, slots=True)
class Target:
    connection: str
    connector: str
    object: str
    action: str
    span: Span
    once: str = "none"  # connector.Once
    idempotency_key: Value | None = None
    find_existing: tuple[str, ...] = ()
    match: tuple[str, ...] = ()
    save: tuple[Save, ...] = ()
    only_changes: bool = False
    batch: int = 1
    guard: Guard | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    times: int
    wait_secs: float
    max_wait_secs: float


@dataclass(frozen=True, slots=True)
class Policy:
    """What one error class leads to. dead_letter: the queue's name. finish: "success" ends the record as confirmed."""

    retry: Retry | None = None
    dead_letter: str | None = None
    alert: str | None = None
    pause: str | None = None
    flag: str | None = None
    finish: str | None = None
    undo: bool = False


@dataclass(frozen=True, slots=True)
class FlowTest:
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


@dataclass(frozen=True, slots=True)
class Flow:
    """A one-record flow. on_error: in file order, ``other`` always present. hash: of everything that decides the
    outcome (flow text, fragments, lookups, contracts, language version)."""

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
