"""A system that takes whatever it is sent and, when it refuses, says all of it again: nobody is less discreet."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import parse_qsl

from flowrun.testing.simulator import SimRequest, SimResponse, Simulator, json_response
from flowrun.values import decode_json

ACCESS, REFRESH, SESSION = "cnry-access-token-3f", "cnry-refresh-token-3f", "cnry-session-cookie-3f"


class Repeating(Simulator):
    """refuses: writes are answered 400 with the whole request in words and fields. says_no: the same with status 200.
    told: bodies that came to the alerts' address."""

    name: ClassVar[str] = "repeating"

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.refuses = self.says_no = False
        self.told: list[bytes] = []
        self.rows: list[dict[str, Any]] = []

    def handle(self, request: SimRequest) -> SimResponse:
        if request.path.startswith("/token"):
            return self._token(request)
        if request.path.startswith("/login"):
            return SimResponse(200, b"{}", {"content-type": "application/json"}, (f"sid={SESSION}; Path=/",))
        if request.path.startswith("/hook"):
            self.told.append(request.body)
            return self._no(request, 500) if self.refuses else json_response({})
        if self.refuses and request.method == "POST":
            return self._no(request, 400)
        if self.says_no and request.method == "POST":
            return self._no(request, 200)
        if request.method == "POST":
            row = decode_json(request.body)
            self.rows.append(row)
            return json_response({"id": f"T{len(self.rows)}", **row})
        return json_response({"items": [row for row in self.rows if row.get("ref") == request.query.get("ref")]})

    def _token(self, request: SimRequest) -> SimResponse:
        form = dict(parse_qsl(request.body.decode()))
        if self.refuses:
            return json_response({"error": "invalid_client", "error_description": f"{form} {request.headers}"}, 400)
        body: dict[str, Any] = {"access_token": ACCESS, "token_type": "Bearer", "expires_in": 3600}
        if form.get("grant_type") == "refresh_token":
            body["refresh_token"] = REFRESH
        return json_response(body)

    @staticmethod
    def _no(request: SimRequest, status: int) -> SimResponse:
        words = f"{request.method} {request.path} {request.query} {dict(request.headers)} {request.body.decode()}"
        field = words if status == 200 else decode_json(request.body).get("greeting", "")  # what looks like a name, too
        return json_response({"error": {"message": words, "code": words[:80], "field": field}}, status)
