"""Where the time goes: the table at several widths, and the sentences that say why."""

from dataclasses import replace

import pytest

from edgeopt.report.operators import duration, share
from edgeopt.report.reasons import reasons
from edgeopt.report.schema import Operator, Run
from tests.report.conftest import FLOAT32, INT8, SAVED, SOURCE, fidelity, latency

pytestmark = pytest.mark.quick


def operators(*rows):
    """Operators from texts: name, microseconds, kernel."""
    parts = (row.split() for row in rows)
    return tuple(Operator(name, kernel, 1, float(us) / 1e6) for name, us, kernel in parts)


FLOAT = replace(
    FLOAT32,
    latency=latency(0.5, 0.01),
    operators=operators(
        "FULLY_CONNECTED 393 XNNPACK", "BATCH_MATMUL 20 XNNPACK", "SOFTMAX 30 XNNPACK", "GELU 16.4 XNNPACK",
        "ADD 5 XNNPACK", "LESS 1.4 built-in", "SQUARED_DIFFERENCE 0.2 XNNPACK", "MEAN 0 XNNPACK", "CAST 1 built-in",
        "SELECT 1 built-in", "RESHAPE 0 XNNPACK", "TRANSPOSE 0 XNNPACK",
    ),
)  # fmt: skip
INT = replace(
    INT8,
    latency=latency(1.0, 0.01),
    operators=operators(
        "BATCH_MATMUL 390 built-in", "SQUARED_DIFFERENCE 300 built-in", "FULLY_CONNECTED 150 XNNPACK",
        "SOFTMAX 62 built-in", "QUANTIZE/DEQUANTIZE 58 XNNPACK", "ADD 5 XNNPACK", "ADD 4 built-in", "LESS 1.4 built-in",
        "MEAN 0 XNNPACK",
    ),
)  # fmt: skip
DYNAMIC = replace(
    INT, target="tflite-dynamic-int8", latency=latency(0.49, 0.01), operators=operators("CONV_2D 480 XNNPACK")
)
HALF = replace(FLOAT, target="tflite-float16", fidelity=fidelity(1.0, sqnr_db=70.0))


def profiled_run(run: Run, *results) -> Run:
    return replace(run, results=(SOURCE, *results, SAVED))


def section(run: Run, width: int) -> str:
    """The part of the table's text that is about operators."""
    text = run.table(width)
    begin = text.find("Where the time goes")
    return text[begin : text.find("\n\nArtifacts,")] if begin >= 0 else ""


AT_80 = """\
Where the time goes
operator                      tflite-float32              tflite-int8
FULLY_CONNECTED       393 µs  79 %  XNNPACK    150 µs  15 %  XNNPACK
BATCH_MATMUL         20.0 µs   4 %  XNNPACK    390 µs  39 %  built-in
SQUARED_DIFFERENCE     <1 µs  <1 %  XNNPACK    300 µs  30 %  built-in
SOFTMAX              30.0 µs   6 %  XNNPACK   62.0 µs   6 %  built-in
QUANTIZE/DEQUANTIZE                           58.0 µs   6 %  XNNPACK
GELU                 16.4 µs   3 %  XNNPACK
ADD                  5.00 µs   1 %  XNNPACK   9.00 µs   1 %  mixed
LESS                 1.40 µs  <1 %  built-in  1.40 µs  <1 %  built-in
CAST                 1.00 µs  <1 %  built-in
SELECT               1.00 µs  <1 %  built-in
3 others               <1 µs  <1 %  XNNPACK     <1 µs  <1 %  XNNPACK
together              468 µs                   970 µs
latency               500 µs                  1.00 ms

tflite-int8 is 2.0x slower than tflite-float32 here: BATCH_MATMUL is 19x slower
(20.0 µs to 390 µs); SQUARED_DIFFERENCE is slower (<1 µs to 300 µs);
FULLY_CONNECTED is 2.6x faster (393 µs to 150 µs); QUANTIZE/DEQUANTIZE, which
tflite-float32 has not, takes 6 % of its time.
In tflite-int8 BATCH_MATMUL (39 % of its time), SQUARED_DIFFERENCE (30 % of its
time) and SOFTMAX (6 % of its time) ran in built-in kernels, in tflite-float32
in XNNPACK kernels."""

FOUR_AT_80 = """\
Where the time goes
operator                tflite-float32        tflite-int8  tflite-dynamic-int8
CONV_2D                                                        480 µs  XNNPACK
FULLY_CONNECTED       393 µs  XNNPACK    150 µs  XNNPACK
BATCH_MATMUL         20.0 µs  XNNPACK    390 µs  built-in
SQUARED_DIFFERENCE     <1 µs  XNNPACK    300 µs  built-in
SOFTMAX              30.0 µs  XNNPACK   62.0 µs  built-in
QUANTIZE/DEQUANTIZE                     58.0 µs  XNNPACK
GELU                 16.4 µs  XNNPACK
ADD                  5.00 µs  XNNPACK   9.00 µs  mixed
LESS                 1.40 µs  built-in  1.40 µs  built-in
CAST                 1.00 µs  built-in
4 others             1.00 µs  mixed       <1 µs  XNNPACK
together              468 µs             970 µs                480 µs
latency               500 µs            1.00 ms                490 µs
"""


def test_float_and_int8_side_by_side_at_80_columns(run: Run) -> None:
    assert section(profiled_run(run, FLOAT, INT), 80) == AT_80


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(run: Run, width: int) -> None:
    lines = section(profiled_run(run, FLOAT, INT, DYNAMIC, HALF), width).splitlines()
    assert max(map(len, lines)) <= width
    # The shares go first; what has no room even so is a table of its own.
    assert sum(line.startswith("operator ") for line in lines) == {60: 3, 80: 2, 120: 1}[width]


def test_more_artifacts_than_the_terminal_has_room_for_go_below(run: Run) -> None:
    text = section(profiled_run(run, FLOAT, INT, DYNAMIC, HALF), 80)
    assert text.startswith(FOUR_AT_80)
    below = text.removeprefix(FOUR_AT_80).splitlines()
    assert below[1] == "operator                     tflite-float16"
    assert not any(line.startswith("CONV_2D") for line in below), "what none of them has is no row"


def test_a_run_that_was_not_asked_says_nothing(run: Run) -> None:
    assert section(run, 80) == ""
    assert reasons(run) == []


def test_why_is_told_beside_the_truest(run: Run) -> None:
    assert reasons(profiled_run(run, HALF, DYNAMIC, FLOAT)) == [
        "tflite-float16 is as fast as tflite-float32 here: no type of operator differs much.",
        (
            "tflite-dynamic-int8 is as fast as tflite-float32 here: CONV_2D, which tflite-float32 has not, takes 98 %"
            " of its time; FULLY_CONNECTED, 79 % of the time of tflite-float32, is gone; SOFTMAX, 6 % of the time of"
            " tflite-float32, is gone."
        ),
    ]


def test_one_artifact_and_one_kernel(run: Run) -> None:
    alone = profiled_run(run, DYNAMIC)
    assert (
        section(alone, 80)
        == """\
Where the time goes
operator  tflite-dynamic-int8
CONV_2D          480 µs  98 %
together         480 µs
latency          490 µs

All operators ran in XNNPACK kernels."""
    )


@pytest.mark.parametrize(
    ("latency_ms", "says"),
    [
        (0.60, None),
        (
            0.61,
            (
                "The operators of tflite-dynamic-int8 take 480 µs together, and an inference 610 µs: the rest lies"
                " between them, or in some that are too short for the profiler."
            ),
        ),
        (0.39, None),
        (
            0.38,
            (
                "The operators of tflite-dynamic-int8 take 480 µs together with the profiler, and an inference 380 µs"
                " without it: the profiler slows them down, or the device was busy."
            ),
        ),
    ],
)
def test_what_does_not_add_up_is_told(run: Run, latency_ms: float, says: str | None) -> None:
    found = reasons(profiled_run(run, replace(DYNAMIC, latency=latency(latency_ms, 0.01))))
    assert found[1:] == ([says] if says else [])


def test_operators_without_a_latency_or_of_no_length(run: Run) -> None:
    base, other = (replace(result, latency=None, operators=operators("ADD 0 one")) for result in (FLOAT, INT))
    assert reasons(profiled_run(run, base, other)) == [
        "tflite-int8 is as fast as tflite-float32 here: no type of operator differs much.",
        "All operators ran in one kernels.",
    ]
    assert "latency" not in section(profiled_run(run, base), 80)


def test_a_row_says_why_it_has_none(run: Run) -> None:
    told = profiled_run(run, replace(INT8, operators_problem="runtime 1.0 has no profiler"))
    assert "\n  tflite-int8: the time of its operators is not known: runtime 1.0 has no\n  profiler\n" in told.table(80)
    assert section(told, 80) == ""


def test_names_from_outside_cannot_do_harm(run: Run) -> None:
    nasty = (Operator("\x1b[31mADD\n<b>", "\u202eknl<b>", 1, 1e-3), Operator("MUL", "x", 1, 1e-4))
    told = profiled_run(run, replace(INT, operators=nasty), FLOAT)
    text = told.table(120)
    assert "\\x1b[31mADD <b>" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    html = told._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "Where the time goes" in html


def test_a_run_with_operators_is_read_back(run: Run) -> None:
    told = profiled_run(run, FLOAT, replace(INT8, operators_problem="no"))
    assert Run.from_json(told.to_json()) == Run.from_json(Run.from_json(told.to_json()).to_json())
    assert Run.from_json(told.to_json()).results[1].operators == FLOAT.operators


@pytest.mark.parametrize(
    ("part", "text"), [(0, "<1 %"), (0.004, "<1 %"), (0.005, "<1 %"), (0.006, "1 %"), (1, "100 %")]
)
def test_shares(part: float, text: str) -> None:
    assert share(part, 1.0) == text


def test_durations() -> None:
    assert [duration(time_s) for time_s in (0, 9.9e-7, 1e-6, 0.25)] == ["<1 µs", "<1 µs", "1.00 µs", "250 ms"]
