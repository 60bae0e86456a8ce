"""JMESPath text → jmespath's own tree, with places and exact numbers, and strict where the library is lax."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn

from jmespath import ast, exceptions
from jmespath.lexer import Lexer
from jmespath.parser import Parser

from flowrun.errors import ExpressionError
from flowrun.expressions.parsed import DEPTH_MAX, NameUse, Parsed, check_length, too_deep

Node = dict[str, Any]

# The published type stubs hide the methods that are overridden here.
_LexerBase: Any = Lexer
_ParserBase: Any = Parser


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


class _Lexer(_LexerBase):  # type: ignore[misc]
    """jmespath's lexer; numbers in literals stay exact, and every token knows where it starts and ends."""

    def _consume_literal(self) -> dict[str, Any]:
        start = self._position
        lexeme = self._consume_until("`").replace("\\`", "`")
        end = self._end()
        try:
            value = json.loads(lexeme, parse_float=Decimal, parse_constant=_no_constant)
        except ValueError:
            try:  # the deprecated unquoted string of JEP-12, which the official suite still holds
                value = json.loads(f'"{lexeme.lstrip()}"')
            except ValueError:
                raise exceptions.LexerError(start, self._expression[start:end], f"Bad token {lexeme}") from None
        return {"type": "literal", "value": value, "start": start, "end": end}

    def _consume_quoted_identifier(self) -> dict[str, Any]:
        start = self._position
        token: dict[str, Any] = super()._consume_quoted_identifier()
        return {**token, "start": start, "end": self._end()}

    def _consume_raw_string_literal(self) -> dict[str, Any]:
        start = self._position
        token: dict[str, Any] = super()._consume_raw_string_literal()
        return {**token, "start": start, "end": self._end()}

    def _end(self) -> int:
        return int(self._length if self._current is None else self._position)


class _Parser(_ParserBase):  # type: ignore[misc]
    """jmespath's parser; nodes carry ``start`` and ``length``, and lists need their commas."""

    def _parse(self, expression: str) -> Any:
        self._tokens = list(_Lexer().tokenize(expression))
        self._index = 0
        tree = self._expression(binding_power=0)
        if self._current_token() != "eof":
            self._fail(self._lookahead_token(0))
        return tree

    def _fail(self, token: dict[str, Any]) -> NoReturn:
        raise exceptions.ParseError(token["start"], token["value"], token["type"], "unexpected")

    def _placed(self, node: Node, token: dict[str, Any]) -> Node:
        node["start"] = token["start"]
        node["length"] = max(1, token["end"] - token["start"])
        return node

    def _token_nud_unquoted_identifier(self, token: dict[str, Any]) -> Node:
        return self._placed(super()._token_nud_unquoted_identifier(token), token)

    def _token_nud_quoted_identifier(self, token: dict[str, Any]) -> Node:
        if self._current_token() == "lparen":
            self._fail(self._lookahead_token(0))  # a function's name is not quoted
        return self._placed(super()._token_nud_quoted_identifier(token), token)

    def _token_nud_literal(self, token: dict[str, Any]) -> Node:
        return self._placed(dict(ast.literal(token["value"])), token)

    def _token_nud_current(self, token: dict[str, Any]) -> Node:
        return self._placed(dict(ast.current_node()), token)

    def _token_nud_expref(self, token: dict[str, Any]) -> Node:
        token = {**token, "end": token["start"] + 1}
        return self._placed(super()._token_nud_expref(token), token)

    def _token_nud_star(self, token: dict[str, Any]) -> Node:
        return self._placed(super()._token_nud_star(token), token)

    def _token_nud_filter(self, token: dict[str, Any]) -> Node:
        return self._placed(super()._token_nud_filter(token), token)

    def _token_nud_flatten(self, token: dict[str, Any]) -> Node:
        return self._placed(super()._token_nud_flatten(token), token)

    def _token_nud_lbracket(self, token: dict[str, Any]) -> Node:
        return self._placed(super()._token_nud_lbracket(token), token)

    def _parse_comparator(self, left: Node, comparator: str) -> Node:
        token = self._lookahead_token(-1)
        node: Node = super()._parse_comparator(left, comparator)
        return self._placed(node, {**token, "end": token["start"] + (1 if comparator in ("lt", "gt") else 2)})

    def _token_led_lparen(self, left: Node) -> Node:
        """A call. As in the library, but a comma stands between every two arguments and nowhere else."""
        if left["type"] != "field":
            before = self._lookahead_token(-2)
            raise exceptions.ParseError(before["start"], before["value"], before["type"], "not a function name")
        args = []
        while self._current_token() != "rparen":
            args.append(self._expression())
            if self._current_token() == "comma":
                self._match("comma")
                if self._current_token() == "rparen":
                    self._fail(self._lookahead_token(0))
            elif self._current_token() != "rparen":
                self._fail(self._lookahead_token(0))
        self._match("rparen")
        node: Node = dict(ast.function_expression(left["value"], args))
        node["start"], node["length"] = left.get("start", 0), left.get("length", 1)
        return node

    def _parse_multi_select_hash(self) -> Node:
        pairs = []
        while True:
            key = self._lookahead_token(0)
            self._match_multiple_tokens(token_types=["quoted_identifier", "unquoted_identifier"])
            self._match("colon")
            pairs.append(ast.key_val_pair(key_name=key["value"], node=self._expression(0)))
            if self._current_token() == "rbrace":
                self._match("rbrace")
                return dict(ast.multi_select_dict(nodes=pairs))
            self._match("comma")

    def _parse_slice_expression(self) -> Node:
        first = self._lookahead_token(0)
        node: Node = super()._parse_slice_expression()
        if node["children"][2] == 0:
            raise ExpressionError("the step of a slice cannot be 0", offset=first["start"], length=1, code="FR113")
        return node


def parse_jmespath(text: str) -> Parsed:
    check_length("jmespath", text)
    try:
        tree = _Parser()._parse(text)
    except exceptions.EmptyExpressionError:
        raise ExpressionError("the expression is empty", code="FR101", length=1) from None
    except exceptions.IncompleteExpressionError:
        raise ExpressionError("the expression ends too early", offset=len(text), length=1, code="FR101") from None
    except exceptions.LexerError as error:
        raise ExpressionError(f"not JMESPath: {error.message}", offset=error.lex_position, length=1) from None
    except exceptions.ParseError as error:
        shown = error.token_value
        raise ExpressionError(
            f"not JMESPath: {shown!r} cannot stand here" if isinstance(shown, str) else f"not JMESPath: {error.msg}",
            offset=error.lex_position,
            length=len(shown) if isinstance(shown, str) and shown else 1,
            code="FR101",
        ) from None
    except RecursionError:
        raise too_deep() from None
    except (ValueError, IndexError) as error:
        if isinstance(error, ExpressionError):
            raise
        raise ExpressionError(f"not JMESPath: {error}", code="FR101") from None
    _check_depth(tree)
    names: list[NameUse] = []
    _names(tree, names)
    return Parsed("jmespath", text, tree, tuple(sorted(names, key=lambda use: use.offset)))


_CHAINS = ("subexpression", "index_expression")
"""Nodes whose children are steps of one path, each inside the one before."""


def _check_depth(tree: Node) -> None:
    layer, depth = [tree], 0
    while layer:
        depth += 1
        if depth > DEPTH_MAX or any(len(n["children"]) > DEPTH_MAX for n in layer if n["type"] in _CHAINS):
            raise too_deep()
        layer = [child for node in layer for child in node["children"] if isinstance(child, dict)]


def leading_path(node: Node) -> tuple[Node, tuple[str | int, ...], bool] | None:
    """The leading field, the fields and places read from it one after the other, and whether that is all the node
    does; None when the node starts otherwise (a function, a literal, …)."""
    kind = node["type"]
    if kind == "field":
        return node, (), True
    if kind in ("subexpression", "index_expression"):
        start = leading_path(node["children"][0])
        if start is None:
            return None
        first, path, whole = start
        for child in node["children"][1:]:
            if not whole:
                break
            if child["type"] == "index":
                path = (*path, child["value"])
                continue
            more = leading_path(child)
            if more is None:
                whole = False
            else:
                path, whole = (*path, more[0]["value"], *more[1]), more[2]
        return first, path, whole
    if kind in ("pipe", "projection", "value_projection", "filter_projection", "flatten"):
        start = leading_path(node["children"][0])
        return None if start is None else (start[0], start[1], False)
    return None


def _names(node: Node, found: list[NameUse]) -> None:
    """Collect the identifiers evaluated against the root; what is to the right of ``.`` or ``|`` or inside a
    projection, filter or ``&`` is not."""
    kind = node["type"]
    start = leading_path(node)
    if start is not None:
        first, path, _ = start
        found.append(NameUse(first["value"], first["start"], first["length"], path))
    elif kind in RIGHT_IS_ELEMENT:
        _names(node["children"][0], found)
    elif kind != "expref":
        for child in node["children"]:
            if isinstance(child, dict):
                _names(child, found)


RIGHT_IS_ELEMENT = frozenset(
    ["subexpression", "index_expression", "pipe", "projection", "value_projection", "filter_projection"]
)
"""Nodes whose first child alone is evaluated where the node itself is; the others see what the first one gave."""
