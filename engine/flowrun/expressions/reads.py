"""Reading paths in generated code: each path once where that is certain, containers looked at once."""

from __future__ import annotations

from flowrun.expressions.code import Code
from flowrun.expressions.runtime import NOT_THERE, as_dict, element, step

Path = tuple[str | int, ...]


def read(code: Code, root: str, path: Path) -> str:
    """Emit the read of ``path`` under the local ``root``; returns a local that holds the value, None when absent."""
    if not path:
        return root
    known = code.known(root, path)
    if known is not None:
        return known
    last = path[-1]
    value = code.temp("v")
    if root in code.constants:
        constant = code.constants[root]
        for part in path:
            constant = step(constant, part)
        code.line(f"{value} = {code.bind(None if constant is NOT_THERE else constant, 'constant')}")
        if type(constant) is str:
            code.learn(value, text=True, said=bool(constant.strip()), most=len(constant))
        code.remember(root, path, value)
        return value
    if isinstance(last, str):
        holder = dict_view(code, root, path[:-1])
        code.line(f"{value} = {holder}.get({code.bind(last)})")
    else:
        holder = read(code, root, path[:-1])
        slow = f"{code.bind(element, 'element')}({holder}, {last})"
        if last == 0:
            code.line(f"{value} = {holder}[0] if type({holder}) is list and {holder} else {slow}")
        else:
            code.line(f"{value} = {slow}")
    code.remember(root, path, value)
    return value


def dict_view(code: Code, root: str, path: Path) -> str:
    """A local that is surely a mapping: the value at the path, or an empty one."""
    known = code.known(root, path, "dict")
    if known is not None:
        return known
    value = read(code, root, path)
    view = code.temp("d")
    code.line(f"{view} = {value} if type({value}) is dict else {code.bind(as_dict, 'as_dict')}({value})")
    code.remember(root, path, view, "dict")
    return view
