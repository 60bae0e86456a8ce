"""The service's HTTP face: the door, and what tells how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowrun.service.door import Door

ANSWER_SECS = 0.9  # a health check that takes longer is a bad sign of its own


def make_app(
    door: Door, *, troubles: Callable[[], list[str]], ready: Callable[[], list[str]], metrics: Callable[[], bytes]
) -> Starlette:
    """troubles: what is wrong with this process (asked in a thread). ready: why it should get no traffic now."""

    async def healthz(_: Request) -> Response:
        return await _judged(troubles)

    async def readyz(_: Request) -> Response:
        return await _judged(lambda: [*ready(), *troubles()])

    async def prometheus(_: Request) -> Response:
        return Response(await asyncio.to_thread(metrics), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/hooks/{connection}", door, methods=["POST", "GET", "HEAD", "OPTIONS"]),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", prometheus),
        ]
    )


async def _judged(ask: Callable[[], list[str]]) -> Response:
    try:
        async with asyncio.timeout(ANSWER_SECS):
            found = await asyncio.to_thread(ask)
    except TimeoutError:
        found = ["the store is slow to answer"]
    status = "unavailable" if found else "ok"
    return JSONResponse({"status": status, "troubles": found}, status_code=503 if found else 200)
