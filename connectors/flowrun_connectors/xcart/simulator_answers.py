"""How a simulated X-Cart reads and answers: bodies, types of its input, filters by date, errors in JSON and JSON-LD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flowrun.testing.simulator import SimRequest, SimResponse, json_response
from flowrun.values import decode_json

Row = dict[str, Any]


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def between(rows: list[Row], query: Mapping[str, str], name: str) -> list[Row]:
    """``NAME[after]`` and its kin on the creation date. A value that is no date is ignored in silence."""
    tests: dict[str, Callable[[datetime, datetime], bool]] = {
        "after": lambda a, b: a >= b, "strictly_after": lambda a, b: a > b,
        "before": lambda a, b: a <= b, "strictly_before": lambda a, b: a < b,
    }  # fmt: skip
    for word, holds in tests.items():
        try:
            limit = datetime.fromisoformat(query.get(f"{name}[{word}]", ""))
        except ValueError:
            continue
        limit = limit if limit.tzinfo is not None else limit.replace(tzinfo=UTC)
        rows = [row for row in rows if holds(time(row["create_date"]), limit)]
    return rows


def fits(given: Any, default: Any) -> bool:
    """The types of the product's input: whole numbers, numbers, switches, texts (null where the default is null)."""
    if default is None:
        return given is None or isinstance(given, str)
    if isinstance(default, bool):
        return isinstance(given, bool)
    if isinstance(default, int):
        return isinstance(given, int if default == 1000 else int | Decimal) and not isinstance(given, bool)
    return isinstance(given, type(default)) and (not isinstance(given, list) or all(isinstance(g, str) for g in given))


def body(request: SimRequest) -> Any:
    try:
        return decode_json(request.body)
    except ValueError:
        return None


def json(value: Any, status: int = 200, *, hydra: bool = False) -> SimResponse:
    answer = json_response(value, status)
    answer.headers["content-type"] = f"application/{'ld+json' if hydra else 'json'}; charset=utf-8"
    return answer


def linked(request: SimRequest) -> bool:
    return "ld+json" in request.headers.get("accept", "")


def problem(request: SimRequest, status: int, detail: str) -> SimResponse:
    title = "An error occurred"
    if linked(request):
        error = {
            "@context": "/api/contexts/Error",
            "@type": "hydra:Error",
            "hydra:title": title,
            "hydra:description": detail,
        }
        return json(error, status, hydra=True)
    return json({"type": "https://tools.ietf.org/html/rfc2616#section-10", "title": title, "detail": detail}, status)


def violation(request: SimRequest, path: str, message: str) -> SimResponse:
    title, words = "An error occurred", f"{path}: {message}"
    violations = [{"propertyPath": path, "message": message, "code": "c1051bb4-d103-4f74-8988-acbcafc7fdc3"}]
    if linked(request):
        error = {"@type": "ConstraintViolationList", "hydra:title": title, "hydra:description": words}
        return json({**error, "violations": violations}, 422, hydra=True)
    kind = "https://tools.ietf.org/html/rfc2616#section-10"
    return json({"type": kind, "title": title, "detail": words, "violations": violations}, 422)
