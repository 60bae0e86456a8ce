"""Jinja text → jinja2's own tree, its ``lineno`` holding character offsets, and its numbers exact."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser

from flowrun.errors import ExpressionError
from flowrun.expressions.parsed import DEPTH_MAX, NameUse, Parsed, check_length, too_deep

REFUSED = {
    "macro": "a flow has no macros; name the value under `vars:`, or use a fragment",
    "call": "a flow has no macros to call",
    "include": "a template cannot read other files; use a fragment",
    "import": "a template cannot read other files; use a fragment",
    "from": "a template cannot read other files; use a fragment",
    "extends": "a template cannot read other files; use a fragment",
    "block": "blocks belong to `extends`, and a template cannot read other files",
    "autoescape": "nothing is escaped in a flow; use the filter `escape` where HTML is wanted",
    "filter": "write the filter behind the value: {{ value | upper }}",
    "with": "use {% set %}",
    "do": "a template changes nothing",
    "print": "write {{ … }}",
}
"""Statements that a template may not hold, and why."""


_LEXER = Environment().lexer  # noqa: S701 - only its tokens are used; nothing is rendered by jinja2


class _Tokens:
    """What jinja2's parser asks of its environment: tokens, here with their character offset where it keeps a line
    number, so every node and error has the offset; and no extensions."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str, str]] = []

    def iter_extensions(self) -> tuple[()]:
        return ()

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        return TokenStream(self._placed(source, state), name, filename)

    def _placed(self, source: str, state: str | None) -> Iterator[Token]:
        at = 0
        try:
            for _, kind, value in _LEXER.tokeniter(source, None, None, state):
                found = source.find(value, at)
                start = found if found >= 0 else at
                at = start + len(value)
                if kind == "whitespace":
                    continue
                self.seen.append((start, kind, value))
                if kind == "float":
                    yield Token(start, "float", Decimal(value.replace("_", "")))  # type: ignore[arg-type]
                else:
                    yield from _LEXER.wrap(iter([(start, kind, value)]))
        except TemplateSyntaxError as error:
            raise TemplateSyntaxError(error.message or "", at) from None


def parse_jinja(language: Literal["template", "calc"], text: str) -> Parsed:
    check_length(language, text)
    environment: Any = _Tokens()
    tree: Any
    try:
        if language == "template":
            tree = Parser(environment, text).parse()
        else:
            parser = Parser(environment, text, state="variable")
            tree = parser.parse_expression()
            if not parser.stream.eos:
                token = parser.stream.current
                raise TemplateSyntaxError(f"{token.value!r} cannot stand here", token.lineno)
    except TemplateSyntaxError as error:
        raise _translated(error, text, environment) from None
    except RecursionError:
        raise too_deep() from None
    except (ValueError, ArithmeticError) as error:  # a number of too many digits
        raise ExpressionError(f"not Jinja: {error}", code="FR101") from None
    tokens = tuple(environment.seen)
    builds = _survey(tree, tokens)
    return Parsed(language, text, tree, _names(tree), tokens, builds)


def _translated(error: TemplateSyntaxError, text: str, environment: _Tokens) -> ExpressionError:
    at = min(error.lineno, len(text))
    message = error.message or "syntax error"
    word = next((value for start, _, value in environment.seen if start == at), "")
    if word in REFUSED and "unknown tag" in message:
        return ExpressionError(
            f"{{% {word} %}} is not allowed here: {REFUSED[word]}", offset=at, length=len(word), code="FR117"
        )
    if "'end of template'" in message or "'end of print statement'" in message:
        message = "the expression ends too early"
    elif "'end of statement block'" in message:
        message = "the statement ends too early"
    if "end of template" in (error.message or ""):
        at, word = len(text), ""
    return ExpressionError(f"not Jinja: {message}", offset=at, length=len(word) or 1, code="FR101")


_STATEMENTS = {
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.Scope: "autoescape",
    nodes.FilterBlock: "filter",
    nodes.With: "with",
}


def _survey(tree: nodes.Node, tokens: tuple[tuple[int, str, str], ...]) -> bool:
    """One walk: the depth is bounded, every statement is allowed. Gives whether lists or names are made on the way."""
    layer, depth, builds = [tree], 0, False
    while layer:
        depth += 1
        if depth > DEPTH_MAX:
            raise too_deep(layer[0].lineno or 0)
        below: list[nodes.Node] = []
        for node in layer:
            kind = type(node)
            if kind in _STATEMENTS:
                raise _refused(node, _STATEMENTS[kind], tokens)
            builds = builds or kind in _BUILDERS
            below.extend(node.iter_child_nodes())
        layer = below
    return builds


_BUILDERS = frozenset([nodes.List, nodes.Dict, nodes.Tuple, nodes.Assign, nodes.AssignBlock])


def _refused(node: nodes.Node, word: str, tokens: tuple[tuple[int, str, str], ...]) -> ExpressionError:
    after = node.lineno or 0
    at = next((start for start, _, value in tokens if start >= after and value == word), after)
    return ExpressionError(
        f"{{% {word} %}} is not allowed here: {REFUSED[word]}", offset=at, length=len(word), code="FR117"
    )


# -- names ---------------------------------------------------------------------------------------------------------


def static_path(node: nodes.Node) -> tuple[nodes.Name, tuple[str | int, ...]] | None:
    """``order.items[0].sku`` → the name and ``("items", 0, "sku")``; None for anything else."""
    path: list[str | int] = []
    while not isinstance(node, nodes.Name):
        if isinstance(node, nodes.Getattr):
            path.append(node.attr)
        elif isinstance(node, nodes.Getitem) and (key := constant_key(node.arg)) is not None:
            path.append(key)
        else:
            return None
        node = node.node
    return node, tuple(reversed(path))


def constant_key(node: nodes.Node) -> str | int | None:
    """A key or place written out: ``['a b']``, ``[0]``, ``[-1]``."""
    if isinstance(node, nodes.Neg) and isinstance(node.node, nodes.Const) and type(node.node.value) is int:
        return -node.node.value
    if isinstance(node, nodes.Const) and type(node.value) in (str, int):
        value: str | int = node.value
        return value
    return None


def _names(tree: nodes.Node) -> tuple[NameUse, ...]:
    found: list[NameUse] = []
    _collect(tree, frozenset(), found)
    return tuple(sorted(found, key=lambda use: use.offset))


def assigned(target: nodes.Node) -> list[str]:
    """The names an assignment target or loop target sets."""
    if isinstance(target, nodes.Name):
        return [target.name]
    if isinstance(target, nodes.Tuple):
        return [name for item in target.items for name in assigned(item)]
    return []


def set_names(body: list[Any]) -> list[str]:
    """Names that {% set %} gives a value somewhere in this body; {% if %} shares its names, {% for %} keeps its own."""
    found: list[str] = []
    for node in body:
        if isinstance(node, (nodes.Assign, nodes.AssignBlock)):
            found += assigned(node.target)
        elif isinstance(node, nodes.If):
            found += set_names([*node.body, *node.elif_, *node.else_])
    return found


def _collect(node: nodes.Node, own: frozenset[str], found: list[NameUse]) -> None:
    path = static_path(node)
    if path is not None:
        name, parts = path
        if name.name not in own and name.ctx == "load":
            found.append(NameUse(name.name, name.lineno or 0, len(name.name), parts))
        return
    if isinstance(node, nodes.Template):
        own |= frozenset(set_names(node.body))
    elif isinstance(node, nodes.For):
        _collect(node.iter, own, found)
        inner = own | {"loop", *assigned(node.target), *set_names(node.body)}
        if node.test is not None:
            _collect(node.test, inner, found)
        for child in node.body:
            _collect(child, inner, found)
        for child in node.else_:
            _collect(child, own | set(set_names(node.else_)), found)
        return
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
        for child in [*node.args, *node.kwargs]:
            _collect(child, own, found)
        return
    for child in node.iter_child_nodes():
        _collect(child, own, found)
