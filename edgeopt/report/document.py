"""Write JSON for all of edgeopt: strict and UTF-8, even with untrusted content."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from edgeopt.errors import readable


def to_json(document: Any, *, indent: int | None = 1) -> str:
    """Return a document as JSON that every parser accepts: no NaN, infinity or lone surrogate."""
    return json.dumps(_plain(document), indent=indent, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return `value` in JSON types; a number that is not finite becomes null, an unknown type its text."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {readable(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return readable(value)
