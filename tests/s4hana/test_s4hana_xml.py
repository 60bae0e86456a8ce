"""Hostile XML in an error and in metadata: refused at once, no file is read, no connection is made."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx
import pytest

from flowrun.errors import ConnectorError
from flowrun_connectors._odata.edmx import Metadata
from flowrun_connectors._odata.errors import problem

CANARY = "canary-in-a-file"
LAUGHS = "<!DOCTYPE {root} [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
) + "]>{open}&i;{close}"  # fmt: skip
KINDS = {
    "laughs": LAUGHS,
    "few laughs": "<!DOCTYPE {root} [<!ENTITY a 'ha'>]>{open}&a;{close}",
    "file": "<!DOCTYPE {root} [<!ENTITY a SYSTEM 'file://{file}'>]>{open}&a;{close}",
    "socket": "<!DOCTYPE {root} [<!ENTITY a SYSTEM 'http://127.0.0.1:{port}/'>]>{open}&a;{close}",
    "outer dtd": "<!DOCTYPE {root} SYSTEM 'http://127.0.0.1:{port}/x.dtd'>{open}{close}",
    "parameter": "<!DOCTYPE {root} [<!ENTITY % a SYSTEM 'http://127.0.0.1:{port}/x'> %a;]>{open}{close}",
    "xinclude": "{open}<x:include xmlns:x='http://www.w3.org/2001/XInclude' href='{file}' parse='text'/>{close}",
    "deep": "{open}" + "<a>" * 200_000 + "</a>" * 200_000 + "{close}",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_harmless(tmp_path: Path, kind: str, encoding: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.05)
        told = {"file": str(secret), "port": str(listening.getsockname()[1])}

        def made(root: str, open_: str, close: str) -> bytes:
            words = KINDS[kind]
            for name, value in {**told, "root": root, "open": open_, "close": close}.items():
                words = words.replace(f"{{{name}}}", value)
            return f'<?xml version="1.0" encoding="{encoding}"?>{words}'.encode(encoding)

        begun = time.process_time()
        error = made("error", "<error><code>X/1</code><message>", "</message></error>")
        found = problem(httpx.Response(400, content=error, headers={"content-type": "application/xml"}))
        if kind not in ("xinclude", "deep"):
            assert found is None, "a document type is no error of OData's"
        assert found is None or (CANARY not in found.text and "ha" not in found.text)
        metadata = made("Edmx", "<Edmx><a>", "</a></Edmx>")
        try:
            assert Metadata(metadata, "x").sets() == []
            assert kind in ("xinclude", "deep")
        except ConnectorError as refused:
            assert "document type" in refused.message
        assert time.process_time() - begun < 5
        with pytest.raises(TimeoutError):
            listening.accept()
