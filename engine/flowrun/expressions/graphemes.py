"""Counting characters as a person does: what the eye takes for one is never cut in two.

Source: Unicode Standard Annex 29, the rules that matter for names and texts (marks, joiners, flags, Hangul, CR LF).
"""

from __future__ import annotations

import unicodedata

_JOINER = "\u200d"


def _extends(char: str) -> bool:
    return (
        unicodedata.category(char) in ("Mn", "Me", "Mc")
        or char == _JOINER
        or "\ufe00" <= char <= "\ufe0f"
        or "\U0001f3fb" <= char <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= char <= "\U000e007f"  # tags of sub-national flags
    )


def _hangul(char: str) -> str:
    code = ord(char)
    if 0x1100 <= code <= 0x115F:
        return "L"
    if 0x1160 <= code <= 0x11A7:
        return "V"
    if 0x11A8 <= code <= 0x11FF:
        return "T"
    if 0xAC00 <= code <= 0xD7A3:
        return "LV" if (code - 0xAC00) % 28 == 0 else "LVT"
    return ""


_HANGUL_JOINS = {
    ("L", "L"), ("L", "V"), ("L", "LV"), ("L", "LVT"), ("LV", "V"), ("LV", "T"),
    ("V", "V"), ("V", "T"), ("LVT", "T"), ("T", "T"),
}  # fmt: skip


def cut(text: str, count: int) -> str:
    """The first ``count`` characters as a person counts them."""
    if len(text) <= count:
        return text
    if text.isascii() and "\r" not in text:
        return text[:count]
    seen = 0
    flags = 0  # regional indicators in a row
    previous = ""
    for index, char in enumerate(text):
        is_flag = "\U0001f1e6" <= char <= "\U0001f1ff"
        joins = bool(previous) and (
            _extends(char)
            or (previous == _JOINER and ord(char) >= 0x2190)  # a pictograph after a joiner
            or (is_flag and flags % 2 == 1)
            or (previous == "\r" and char == "\n")
            or (_hangul(previous), _hangul(char)) in _HANGUL_JOINS
        )
        flags = flags + 1 if is_flag else 0
        if not joins:
            if seen == count:
                return text[:index]
            seen += 1
        previous = char
    return text
