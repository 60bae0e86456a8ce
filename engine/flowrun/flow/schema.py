"""JSON Schema for editors (draft 2020-12), made from ``words``: strict, with the words' own descriptions on hover.

It knows form only; names, contracts and expressions are the checker's business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from flowrun.connector import Registry
from flowrun.credentials.schemes import SCHEMES, choices
from flowrun.errors import ERROR_CLASSES
from flowrun.expressions.converters import CONVERTERS
from flowrun.flow import words
from flowrun.flow.words import Box, Word

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

_NAME = "^[A-Za-z_][A-Za-z0-9_]*$"
_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_DURATION = {"type": "string", "pattern": r"^\d{1,6}\s*(ms|s|m|h|d)$", "examples": ["30s", "15m", "2h", "1d"]}


def flow_schema(own: Iterable[str] = ()) -> Schema:
    """The schema of a file in ``flows/``: a flow or a fragment. own: converters of the project."""
    return {
        "$schema": DIALECT,
        "$id": "https://flowrun.dev/schema/flow-1.json",
        "title": "A flowrun flow or fragment",
        "type": "object",
        "if": {"required": ["fragment"]},
        "then": {"$ref": "#/$defs/fragment"},
        "else": {"$ref": "#/$defs/flow"},
        "$defs": {**_definitions(), "converters": _converters((*CONVERTERS, *own))},
    }


def project_schema(registry: Registry) -> Schema:
    """The schema of flowrun.yaml, with the settings of the connectors in ``registry``."""
    connectors = {name: registry[name] for name in registry}
    definitions = _definitions()
    definitions["connection"] = {
        "type": "object",
        "required": ["connector"],
        "properties": {"connector": {"enum": sorted(connectors), "description": words.CONNECTION["connector"].doc}},
        "allOf": [
            {
                "if": {"properties": {"connector": {"const": name}}},
                "then": {"$ref": f"#/$defs/connection_{name}"},
            }
            for name in connectors
        ],
    }
    for name, cls in connectors.items():
        definitions[f"connection_{name}"] = _connection(cls.Settings, cls.title)
    return {
        "$schema": DIALECT,
        "$id": "https://flowrun.dev/schema/project-1.json",
        "title": "flowrun.yaml",
        **_box(words.PROJECT),
        "$defs": definitions,
    }


def _connection(settings: Any, title: str) -> Schema:
    """All that one connector takes: the settings of every connection, and its own."""
    made = _box(words.CONNECTION, title)
    for one in dataclasses.fields(settings) if dataclasses.is_dataclass(settings) else ():
        about: Schema = {"description": one.metadata.get("doc", "")}
        if one.metadata.get("example"):
            about["examples"] = [one.metadata["example"]]
        about["$ref"] = "#/$defs/secret" if "Secret" in str(one.type) else "#/$defs/any_setting"
        made["properties"][one.name] = about
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            made["required"].append(one.name)
    return made


def _box(box: Box, title: str = "", *, needs_all: bool = True) -> Schema:
    made: Schema = {"type": "object", "additionalProperties": False}
    if title:
        made["title"] = title
    made["required"] = [name for name, word in box.items() if word.required and needs_all]
    made["properties"] = {name: _word(word) for name, word in box.items()}
    return made


def _word(word: Word) -> Schema:
    about: Schema = {"description": word.doc}
    if word.example:
        about["examples"] = [word.example]
    form = _KINDS.get(word.kind)
    return {**about, **form} if form is not None else {**about, "$ref": f"#/$defs/{word.kind}"}


def _no(pattern: str) -> Schema:
    """Not another language's signs: ``{{`` in a path, ``${`` anywhere."""
    return {"not": {"type": "string", "pattern": pattern}}


_KINDS: Mapping[str, Schema] = {
    "version": {"const": 1},
    "name": {"type": "string"},
    "text": _SCALAR,
    "template": {"type": "string", **_no(r"\$\{")},
    "path": {"type": "string", **_no(r"\$\{|\{\{|\{%")},
    "calc": {**_SCALAR, **_no(r"\$\{|\{\{|\{%")},
    "each": {"type": "string", "pattern": r"^\s*[A-Za-z_][A-Za-z0-9_]*\s+in\s+\S"},
    "boolean": {"type": "boolean"},
    "count": {"type": "integer", "minimum": 0},
    "duration": _DURATION,
    "constant": {"type": ["string", "number", "boolean", "null"]},
    "keep": {"const": "keep"},
    "send": {"const": "send"},
    "share": {"type": "string", "pattern": r"^\d{1,3}\s*%$"},
    "rate": {"type": "string", "pattern": r"^\d{1,9}(\.\d{1,6})?\s*/\s*[smhd](\s+\d{1,9}\s*/\s*[smhd])*$"},
    "plain": {},
    "reserved": {"not": {}},
    "names": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]},
}
"""Kinds that need no definition of their own."""


_EACH_ONLY = ("where", "number", "at_least", "empty")
_COMPANY: Schema = {
    "dependentRequired": {**{word: ["each"] for word in _EACH_ONLY}, "with": ["use"], "key": ["lookup"]},
    "dependentSchemas": {"lookup": {"not": {"anyOf": [{"required": ["each"]}, {"required": ["map"]}]}}},
}
"""Keys that mean something only beside another, and ``lookup``, which takes one value."""


def _definitions() -> dict[str, Schema]:
    value = {"$ref": "#/$defs/value"}
    return {
        "flow": _flow(),
        "fragment": _box(words.FRAGMENT, "A fragment: fields that several flows build alike"),
        "source": _box(words.SOURCE),
        "trigger": {**_box(words.TRIGGER), "minProperties": 1, "maxProperties": 1},
        "poll": _box(words.POLL),
        "schedule": _box(words.SCHEDULE),
        "reconcile": _box(words.RECONCILE),
        "filter": _any({"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]}),
        "owns": {"anyOf": [{"const": "all"}, {"$ref": "#/$defs/filter"}]},
        "totals": {**_any(value), "minProperties": 1},
        "privacy": _box(words.PRIVACY),
        "require": {"type": "array", "items": _box(words.REQUIREMENT)},
        "rules": {**_any(_SCALAR), "propertyNames": {"pattern": _NAME}},
        "vars": {**_any(value), "propertyNames": {"pattern": _NAME}},
        "lookups": _any({"$ref": "#/$defs/lookup"}),
        "lookup": {
            **_box(words.LOOKUP),
            "required": ["on_miss"],
            "oneOf": [{"required": [kind]} for kind in ("file", "table", "xref", "connection")],
        },
        "table": _any(_SCALAR),
        "on_miss": {"anyOf": [{"enum": ["error", "skip"]}, _box(words.ON_MISS)]},
        "map": {**_any(value), "minProperties": 1},
        "value": {
            "anyOf": [
                _KINDS["template"],
                {"type": "array", "items": value},
                {"$ref": "#/$defs/long_value"},
            ]
        },
        "values": {"anyOf": [_KINDS["template"], {"type": "array", "items": value, "minItems": 1}]},
        "long_value": {**_box(words.VALUE), "oneOf": _origins(), **_COMPANY},
        "first": {"type": "array", "minItems": 1, "items": {**_box(words.CASE), "oneOf": _origins(), **_COMPANY}},
        "with": _any(value),
        "default": {"anyOf": [{"type": ["string", "number", "boolean", "null"]}, {"$ref": "#/$defs/long_value"}]},
        "converters": _converters(CONVERTERS),
        "target": _box(words.TARGET),
        "idempotency": _box(words.IDEMPOTENCY),
        "saves": {"anyOf": [{"type": "array", "items": _box(words.SAVE)}, _box(words.SAVE)]},
        "guard": _box(words.GUARD),
        "on_error": {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: {"$ref": "#/$defs/policy"} for name in ERROR_CLASSES},
        },
        "policy": {**_box(words.POLICY), "minProperties": 1},
        "retry": _box(words.RETRY),
        "tests": {"type": "array", "items": {"$ref": "#/$defs/test"}},
        "test": {
            **_box(words.TEST),
            "required": ["name"],
            "anyOf": [{"required": [word]} for word in words.TEST if word.startswith("expect")],
        },
        "expect_error": _box(words.EXPECT_ERROR),
        "expect_dead_letter": _box(words.EXPECT_DEAD_LETTER),
        **_steps(),
        **_project_definitions(),
    }


def _flow() -> Schema:
    made = _box(words.FLOW, "A flow: records of one system become records of another")
    made["oneOf"] = [
        {"required": ["map", "target"], "not": {"required": ["steps"]}},
        {"required": ["steps"], "not": {"anyOf": [{"required": ["map"]}, {"required": ["target"]}]}},
    ]
    return made


def _steps() -> dict[str, Schema]:
    later: Schema = {"not": {"anyOf": [{"required": [word]} for word in words.LATER_KINDS]}}
    return {
        "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}},
        "step": {**_box(words.STEP), **later, "oneOf": [{"required": [kind]} for kind in words.KINDS]},
        "read": {**_box(words.READ), "oneOf": [{"required": ["key"]}, {"required": ["find"]}]},
        "write": _box(words.WRITE),
        "wait": _box(words.WAIT),
        "branches": {
            "type": "array",
            "minItems": 1,
            "items": {**_box(words.BRANCH), "oneOf": [{"required": ["when"]}, {"required": ["otherwise"]}]},
        },
        "expect_steps": {"type": "array", "items": _box(words.EXPECT_STEP)},
    }


def _origins() -> list[Schema]:
    plain = [{"required": [name]} for name in words.ORIGINS if name not in ("each", "map", "key")]
    alone = {"required": ["map"], "not": {"required": ["each"]}}
    return [*plain, {"required": ["each", "map"]}, alone, {"required": ["lookup", "key"]}]


def _converters(names: Iterable[str]) -> Schema:
    known = "|".join(names)
    pattern = rf"^\s*({known})(\s.*)?$"
    one = {"type": "string", "pattern": pattern, "examples": list(names)}
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


def _project_definitions() -> dict[str, Schema]:
    reference: Schema = {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {
            "env": {"type": "string", "description": "A variable of the operating system."},
            "secret": {"type": "string", "description": "A secret by name; flowrun why FR197 says where it is kept."},
        },
    }
    return {
        "secret": reference,
        "setting": {"anyOf": [_SCALAR, reference]},
        "any_setting": {"anyOf": [_SCALAR, reference, {"type": "object"}, {"type": "array"}]},
        "connections": _any({"$ref": "#/$defs/connection"}),
        "auth": {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {scheme: _scheme(scheme, box) for scheme, box in words.AUTH.items()},
        },
        "store": _box(words.STORE),
        "privacy": _box(words.PRIVACY),
        "key": {
            **reference,
            "properties": {
                **reference["properties"],
                "file": {"type": "string", "description": "A file of the project that only its owner may read."},
            },
        },
        "drift": _box(words.DRIFT),
        "limits": _box(words.LIMITS),
        "environments": _any({"anyOf": [{"type": "null"}, _box(words.ENVIRONMENT)]}),
        "env_values": {**_any(_SCALAR), "propertyNames": {"pattern": _NAME}},
        "overrides": _any({"type": "object"}),
        "approvers": _any({"type": "string"}),
        "alerts": _any({**_box(words.ALERT), **_at_most_one(words.ALERT_WAYS), "minProperties": 1}),
        "mail": _box(words.MAIL),
        "escalate": _box(words.ESCALATE),
    }


def _scheme(name: str, box: Box) -> Schema:
    made = _box(box)
    for one in dataclasses.fields(SCHEMES[name]):
        if choices(one):
            made["properties"][one.name] = {"description": box[one.name].doc, "enum": list(choices(one))}
    return made


def _at_most_one(names: Sequence[str]) -> Schema:
    return {"allOf": [{"not": {"required": list(pair)}} for pair in combinations(names, 2)]}


def _any(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}
