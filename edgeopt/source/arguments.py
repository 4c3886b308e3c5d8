"""Parse the user's shapes and ranges of inputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeopt.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    T = TypeVar("T")

RANGE_ENDS = 2


def parse_shapes(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return shapes by input name from texts such as `96,96,3` or `image=96,96,3`.

    An empty name stands for the only input.

    Raises:
        UsageError: A text is not a shape, or an input is named twice.
    """
    return _parse(texts, _shape, "--input-shape", "96,96,3 or NAME=96,96,3, without the batch")


def parse_ranges(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Return ranges by input name from texts such as `0,255` or `image=0,255`.

    An empty name stands for the only input.

    Raises:
        UsageError: A text is not a range, or an input is named twice.
    """
    return _parse(texts, _range, "--input-range", "0,255 or NAME=0,255")


def _parse(texts: Iterable[str], convert: Callable[[str], T], option: str, example: str) -> dict[str, T]:
    found: dict[str, T] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            converted = convert(value)
        except ValueError as error:
            raise UsageError(f"{option} {text!r}: {error}", hint=f"for instance {example}") from None
        if name.strip() in found:
            raise UsageError(f"{option} names {name.strip() or 'the input'} twice")
        found[name.strip()] = converted
    return found


def _shape(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.replace("x", ",").split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError("every dimension is a whole number above 0")
    return tuple(int(part) for part in parts)


def _range(text: str) -> tuple[float, float]:
    try:
        ends = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError("a range is two numbers") from None
    if len(ends) != RANGE_ENDS or not all(map(math.isfinite, ends)) or not ends[0] < ends[1]:
        raise ValueError("a range is two finite numbers, the lower one first")
    return (ends[0], ends[1])
