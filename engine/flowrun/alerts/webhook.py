"""Alerts as JSON to a webhook: one POST to one host, within the rules of egress, in bounded time."""

from __future__ import annotations

import httpx

from flowrun.egress import Resolve, resolve
from flowrun.errors import ConnectorError, ProjectError
from flowrun.transport import Limits, build_client
from flowrun.values import Secret, encode_json

TIMEOUT_SECS = 5.0  # without progress; the whole request may take four times as long
MAX_ANSWER = 64 * 1024  # bytes; nothing of the answer is used


class NotSent(Exception):
    """It did not arrive, as far as we know. The words hold no address and no secret."""


def post(url: Secret, body: object, name: str, *, allow_private: bool = False, resolve: Resolve = resolve) -> None:
    """name: the notice's, as Idempotency-Key: it stays the same when a notice is sent again. Raises NotSent."""
    try:
        whole = httpx.URL(url.reveal())
        origin = str(whole.copy_with(userinfo=b"", path="/", query=None, fragment=None))
        client = build_client(
            origin,
            limits=Limits(timeout=TIMEOUT_SECS, concurrent=1, max_answer=MAX_ANSWER),
            allow_private=allow_private,
            resolve=resolve,
        )
    except (httpx.InvalidURL, ProjectError):
        raise NotSent("the url is no address of a web service") from None
    headers = {"content-type": "application/json", "idempotency-key": name}
    with client:
        try:
            answer = client.post(whole, content=encode_json(body), headers=headers)
        except ConnectorError as error:
            raise NotSent(error.message.replace("on the connection", "on the channel")) from None
        except httpx.HTTPError as error:
            raise NotSent(f"the receiver cannot be reached ({type(error).__name__})") from None
    if not answer.is_success:
        raise NotSent(f"the receiver answered {answer.status_code}")
