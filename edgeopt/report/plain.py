"""Text from outside (names of models, devices, messages of libraries) made safe to show on a terminal."""

from __future__ import annotations

import unicodedata

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def plain(text: object) -> str:
    """Return `text` in one line, with everything that a terminal would obey instead of show written as an escape.

    That covers control characters, ANSI sequences, text direction marks and invisible characters. White space of
    any kind becomes one space.
    """
    joined = " ".join(str(text).split())
    if joined.isascii() and joined.isprintable():
        return joined
    return "".join(_escaped(char) if unicodedata.category(char) in _UNSAFE else char for char in joined)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
