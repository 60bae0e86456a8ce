"""JUnit XML, for what validate finds and what test runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_NO_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


class Case(NamedTuple):
    """failures: (type, one line, all of it). said: what is no failure."""

    classname: str
    name: str
    failures: Sequence[tuple[str, str, str]] = ()
    said: Sequence[str] = ()


def junit(suite: str, cases: Sequence[Case]) -> str:
    from xml.sax.saxutils import escape, quoteattr  # brings urllib along: a fifth of the start-up

    def text(words: str) -> str:
        return escape(_NO_TEXT.sub("\ufffd", words))

    def quoted(words: str) -> str:
        return quoteattr(_NO_TEXT.sub("\ufffd", words))

    failed = sum(bool(case.failures) for case in cases)
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuite name={quoted(suite)} tests="{len(cases)}" failures="{failed}" errors="0" skipped="0">',
    ]
    for case in cases:
        out.append(f"  <testcase classname={quoted(case.classname)} name={quoted(case.name)}>")
        for kind, line, words in case.failures:
            of_kind = f" type={quoted(kind)}" if kind else ""
            out.append(f"    <failure{of_kind} message={quoted(line)}>{text(words)}</failure>")
        if case.said:
            out.append(f"    <system-out>{text(chr(10).join(case.said))}</system-out>")
        out.append("  </testcase>")
    return "\n".join([*out, "</testsuite>"])
