"""JSON: strict and UTF-8, whatever a stranger put into it."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgeopt.report.document import to_json

pytestmark = pytest.mark.quick


def test_what_json_or_utf8_cannot_hold_is_replaced():
    document = {
        "nan": float("nan"), "inf": -float("inf"), "fine": 0.5, "count": 3, "yes": True, "none": None,
        "bad \udcff": ["a \udcff", ("µ",)], "numpy": np.float64("nan"), "path": Path("a/b"), "other": np.int64(3),
    }  # fmt: skip
    text = to_json(document)
    text.encode("utf-8")
    assert json.loads(text, parse_constant=lambda name: 1 / 0) == {
        "nan": None, "inf": None, "fine": 0.5, "count": 3, "yes": True, "none": None,
        "bad \\udcff": ["a \\udcff", ["µ"]], "numpy": None, "path": "a/b", "other": "3",
    }  # fmt: skip
    assert "µ" in text
