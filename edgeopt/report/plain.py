"""Make external text (model and device names, library messages) safe to show on a terminal."""

from __future__ import annotations

import unicodedata

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def plain(text: object) -> str:
    """Return `text` on one line, with everything that a terminal would interpret escaped.

    This covers control characters, ANSI sequences, text direction marks and invisible characters. Any white space
    becomes one space.
    """
    joined = " ".join(str(text).split())
    if joined.isascii() and joined.isprintable():
        return joined
    return "".join(_escaped(char) if unicodedata.category(char) in _UNSAFE else char for char in joined)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
