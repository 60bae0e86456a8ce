"""Converters of a project, in Python: a word, what it takes, what it gives, and examples that run as tests.

    @converter(takes="text", gives="text", examples=[("4006381333931", "04006381333931")])
    def gtin14(value: str) -> str:
        "a GTIN with 14 digits"
        return value.zfill(14)

It is installed like any package, registered in the entry point group ``flowrun.converters``, and works in the projects
whose flowrun.yaml lists it under ``converters:``. No file of a project is ever run, so that writing flows does not mean
running code; what is not listed is not imported.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, TypeVar, get_args

from flowrun.connector import installed
from flowrun.errors import DataError, ProjectError
from flowrun.expressions.converters import CONVERTERS, Convert, Converter, Parameter, number_of, text_of
from flowrun.expressions.numbers import whole
from flowrun.expressions.runtime import BadValue, kind, show

GROUP = "flowrun.converters"
Type = Literal["text", "integer", "decimal", "boolean", "date", "datetime", "time", "list", "object", "any"]
_CLASSES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "decimal": (Decimal, int),
    "boolean": (bool,),
    "date": (date,),
    "datetime": (datetime,),
    "time": (time,),
    "list": (list,),
    "object": (dict,),
    "any": (str, int, Decimal, bool, date, time, list, dict),
}
_Function = TypeVar("_Function", bound=Callable[..., Any])
_MARK = "__flowrun_converter__"


def converter(*, takes: Type, gives: Type, examples: Sequence[tuple[Any, ...]]) -> Callable[[_Function], _Function]:
    """Declares a function of (value, *arguments) to be a converter; its docstring is what editors show.

    takes: ``text`` (a number comes as its digits), ``integer`` or ``decimal`` (plain decimal text comes as a number), …
    gives: what comes out is held against it; None means no value, a float is refused (it is not exact).
    arguments: the words behind the converter's name, as text; those with a default may be left out.
    examples: (value, *arguments, result) each. ``flowrun test`` runs them.
    The function raises ValueError for a value that does not fit; the record is bad_data with its words.
    Raises TypeError when this declaration is wrong.
    """
    for one in (takes, gives):
        if one not in get_args(Type):
            raise TypeError(f"a converter takes and gives one of {', '.join(get_args(Type))}, not {one!r}")
    if not examples:
        raise TypeError("a converter has at least one example")

    def declare(function: _Function) -> _Function:
        if not function.__doc__:
            raise TypeError(f"{function.__name__} has no docstring: it is what editors show")
        setattr(function, _MARK, (takes, gives, tuple(examples)))
        return function

    return declare


def own_converters(names: Iterable[str], points: Mapping[str, str] | None = None) -> dict[str, Converter]:
    """The listed converters. points: name → ``module:function``, those installed when None.

    Raises ProjectError: a name of the language's own, one that is not installed, or one that cannot be loaded.
    """
    found: dict[str, Converter] = {}
    for name in names:
        if name in CONVERTERS:
            raise ProjectError(f"'{name}' is a converter of the language itself", help="give yours another name")
        known = installed(GROUP) if points is None else points
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise ProjectError(f"no converter '{name}' is installed", help=f"installed in {GROUP}: {there}")
        found[name] = _load(name, known[name])
    return found


def _load(name: str, place: str) -> Converter:
    module, _, attribute = place.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a package does when it is imported
        raise ProjectError(f"converter '{name}' could not be loaded: {error}", help=f"it is {place}") from error
    declared = getattr(function, _MARK, None)
    if declared is None:
        raise ProjectError(f"converter '{name}' is not declared", help="from flowrun.converters import converter")
    takes, gives, examples = declared
    parameters = tuple(
        Parameter(one.name, "text", one.default is not one.empty)
        for one in list(inspect.signature(function).parameters.values())[1:]
    )
    return Converter(
        name,
        " ".join(function.__doc__.split()),
        lambda *args: _convert(name, function, takes, gives, args),
        parameters,
        gives,
        tuple((tuple(one[1:-1]), one[0], one[-1]) for one in examples),
        source=inspect.getsourcefile(function) or "",
    )


def _convert(name: str, function: Callable[..., Any], takes: str, gives: str, args: tuple[str, ...]) -> Convert:
    def convert(value: Any) -> Any:
        given = _taken(name, takes, value)
        try:
            made = function(given, *args)
        except DataError:
            raise
        except Exception as error:  # another's code: whatever it raises is about this value
            words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise BadValue(f"{name}: {words or show(value)}") from error
        if made is not None and (isinstance(made, bool) != (gives == "boolean") and gives != "any"):
            raise BadValue(f"{name} gave {kind(made)}, and declares {gives}")
        if made is not None and not isinstance(made, _CLASSES[gives]):
            raise BadValue(f"{name} gave {type(made).__name__}, and declares {gives}")
        return made

    return convert


def _taken(name: str, takes: str, value: Any) -> Any:
    """The value as the type that the converter takes. Raises BadValue."""
    if takes == "text":
        return text_of(value, name)
    if takes in ("integer", "decimal"):
        number = number_of(value, name)
        if takes == "decimal":
            return Decimal(number)
        found = whole(number)
        if found is None:
            raise BadValue(f"{name} takes a whole number, not {show(value)}")
        return found
    if not isinstance(value, _CLASSES[takes]):
        raise BadValue(f"{name} takes {takes}, not {kind(value)}")
    return value


def failures(own: Converter) -> list[str]:
    """Examples that do not come out, in words."""
    found = []
    for args, value, wanted in own.examples:
        call = " ".join((own.name, *args))
        try:
            made = own.make(*args)(value)
        except DataError as error:
            found.append(f"as {call}: {show(value)}: expected {show(wanted)}, got the error: {error.message}")
            continue
        if made != wanted or type(made) is not type(wanted):
            found.append(f"as {call}: {show(value)}: expected {show(wanted)}, got {show(made)}")
    return found
