"""Imports point one way: each module of the engine imports only from those above it in the list."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORDER = """
diagnostics codes errors values children logs spans contract pacing document secret_places project connector credentials expressions
converters lookups flow masking plan showing workflow
store certificates egress transport tokens alerts drift connections writer runner planning comparing reconcile templates
testing promotion service cli
""".split()


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def under_type_checking(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom) and inner.module:
                    found |= {inner.module} | {f"{inner.module}.{a.name}" for a in inner.names}
    return found


def test_engine_imports_point_up() -> None:
    wrong = []
    for path in sorted((ROOT / "engine/flowrun").rglob("*.py")):
        parts = path.relative_to(ROOT / "engine/flowrun").with_suffix("").parts
        room = parts[0]
        if room in ("__init__", "__main__"):
            continue
        assert room in ORDER, f"{path}: a new room needs its place in the order"
        for name in imports(path) - under_type_checking(path):
            if name.startswith("flowrun_connectors"):
                wrong.append(f"{path}: the engine never imports a connector ({name})")
            if name.startswith("flowrun."):
                other = name.split(".")[1]
                if other in ORDER and ORDER.index(other) > ORDER.index(room):
                    wrong.append(f"{path}: {room} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_a_connector_knows_only_the_connector_side() -> None:
    allowed = {"connector", "errors", "contract", "values"}
    wrong = []
    base = ROOT / "connectors/flowrun_connectors"
    for path in sorted(base.rglob("*.py")):
        room = path.relative_to(base).parts[0]
        extra = {"testing"} if path.stem.startswith("simulator") or "simulator" in path.parts else set()
        for name in imports(path):
            if name.startswith("flowrun."):
                other = name.split(".")[1]
                if other not in allowed | extra and not other.startswith("__"):
                    wrong.append(f"{path}: imports flowrun.{other}")
            if name.startswith("flowrun_connectors."):
                other = name.split(".")[1]
                if other != room and not other.startswith("_"):
                    wrong.append(f"{path}: one vendor knows another ({name})")
    assert not wrong, "\n".join(wrong)
