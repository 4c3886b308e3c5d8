"""Cold and hot: the table at several widths, and the sentences that say who wins and what that is worth."""

from dataclasses import replace

import pytest

from edgeopt.measure.facts import Health, find_doubts
from edgeopt.report.schema import Run, Sustained
from edgeopt.report.sustained import sentences
from tests.report.conftest import FLOAT32, INT8, SAVED, SOURCE

pytestmark = pytest.mark.quick

QUIET = {"busy_share": [0.01, 0.02], "doubts": []}
THROTTLED = find_doubts(Health(), Health(throttled=("throttled",)), {})


def ran(  # noqa: PLR0913 - each is a field
    *medians_ms, cold=False, hot=False, verdict="same", celsius=(45.0, 66.0), seconds=300.0, part_s=60.0, **health
):
    """What came of an artifact, from the medians of its parts."""
    medians_s = tuple(None if ms is None else ms / 1e3 for ms in medians_ms)
    last, first = medians_s[-1], medians_s[0]
    return Sustained(
        seconds, part_s, medians_s, tuple(s and (s, s) for s in medians_s), tuple(100 for _ in medians_s),
        last / first if last else None, verdict if last else None, cold, hot,
        {**QUIET, "temperature_c": list(celsius), **health} if last else {},
    )  # fmt: skip


FLOAT = replace(FLOAT32, sustained=ran(6.71, 6.72, 6.71, 6.74, 6.73, hot=True, celsius=(46.0, 58.0)))
INT = replace(
    INT8,
    sustained=ran(3.12, 3.4, 5.1, 7.3, 7.6, cold=True, verdict="slower", celsius=(45.0, 81.0), doubts=THROTTLED),
)
AT_80 = """\
Cold and hot
minute       tflite-float32  tflite-int8
1                   6.71 ms      3.12 ms
2                   6.72 ms      3.40 ms
3                   6.71 ms      5.10 ms
4                   6.74 ms      7.30 ms
5                   6.73 ms      7.60 ms
change                 same       +144 %
temperature     46 to 58 °C  45 to 81 °C

Each ran alone for 5 min, with a rest before it; cold is the first minute, hot
the last.
Cold, tflite-int8 (3.12 ms) is the fastest.
Hot, tflite-float32 (6.73 ms) is the fastest.
tflite-int8 became 144 % slower; tflite-float32 stayed as fast as at first.
Around tflite-int8: the device was throttled during the run (throttled)."""


def section(run: Run, width: int) -> str:
    """The part of the table's text that is about running on."""
    text = run.table(width)
    begin = text.find("Cold and hot")
    return text[begin : text.find("\n\nArtifacts,")] if begin >= 0 else ""


def told(run: Run, *results) -> str:
    return " ".join(sentences(replace(run, results=(SOURCE, *results))))


def test_without_it_there_is_no_section(run: Run) -> None:
    assert section(run, 80) == ""
    assert sentences(run) == []


def test_whole_section(run: Run) -> None:
    assert section(replace(run, results=(SOURCE, FLOAT, INT, SAVED)), 80) == AT_80


def test_what_has_no_room_stands_in_another_table(run: Run) -> None:
    narrow = section(replace(run, results=(SOURCE, FLOAT, INT)), 36)
    assert "minute       tflite-float32\n" in narrow
    assert "minute       tflite-int8\n" in narrow
    assert narrow.count("Cold and hot") == 1


def test_the_document_holds_it(run: Run) -> None:
    whole = replace(run, results=(SOURCE, FLOAT, INT))
    assert Run.from_json(whole.to_json()) == whole
    assert Run.from_json(run.to_json()).results[0].sustained is None


def test_the_notebook_has_it_too(run: Run) -> None:
    html = replace(run, results=(SOURCE, FLOAT, INT))._repr_html_()
    assert "<strong>Cold and hot</strong>" in html
    assert ">+144 %</td>" in html
    assert "<p>Hot, tflite-float32 (6.73 ms) is the fastest.</p>" in html


def test_one_that_wins_at_both_ends_and_short_parts(run: Run) -> None:
    fast = replace(INT, sustained=ran(3.0, 3.0, 3.1, cold=True, hot=True, seconds=30.0, part_s=10.0))
    slow = replace(FLOAT, sustained=ran(6.0, 6.0, 5.0, verdict="faster", seconds=30.0, part_s=10.0))
    text = told(run, slow, fast)
    assert "Each ran alone for 30 s, with a rest before it; cold is the first 10 s part, hot the last." in text
    assert "tflite-int8 is the fastest, cold (3.00 ms) and hot (3.10 ms)." in text
    assert "tflite-float32 became 17 % faster; of tflite-int8 no change larger than the 3 % that came and went" in text
    assert "10 s part" in section(replace(run, results=(SOURCE, slow, fast)), 80)


def test_what_cannot_be_told_apart_wins_together(run: Run) -> None:
    one, other = (replace(result, sustained=ran(3.0, 3.0, 3.0, cold=True, hot=True)) for result in (FLOAT32, INT8))
    text = told(run, one, other)
    assert "Cold, tflite-float32 (3.00 ms) and tflite-int8 (3.00 ms) are the fastest, and cannot be told apart." in text
    assert "tflite-float32 and tflite-int8 stayed as fast as at first." in text


def test_a_single_one_has_nobody_to_win_against(run: Run) -> None:
    assert told(run, INT).startswith("It ran alone for 5 min; cold is the first minute, hot the last. tflite-int8 bec")


def test_one_that_did_not_come_to_its_end(run: Run) -> None:
    died = replace(INT8, sustained=ran(3.0, 3.1, None, cold=True), sustained_problem="was killed by SIGKILL")
    text = told(run, died, FLOAT)
    assert "Cold, tflite-int8 (3.00 ms) is the fastest. Hot, tflite-float32 (6.73 ms) is the fastest." in text
    assert "tflite-int8 did not come to its end" in text
    table = replace(run, results=(SOURCE, died)).table(80)
    assert [line.split() for line in table.splitlines() if line.startswith(("3 ", "change"))] == [
        ["3", "-"],
        ["change", "-"],
    ]
    assert "tflite-int8: it did not run on to the end: was killed by SIGKILL" in " ".join(table.split())
    never = replace(INT8, sustained_problem="the link was lost")
    table = " ".join(replace(run, results=(SOURCE, never)).table(80).split())
    assert "tflite-int8: how it does when it runs on is not known: the link was lost" in table
    assert told(run, died) != ""
    assert "Hot, the fastest is not known." in told(run, died, replace(died, target="other"))


def test_beginnings_that_were_not_alike_are_told(run: Run) -> None:
    warm = replace(INT, sustained=replace(INT.sustained, health={**QUIET, "temperature_c": [52.0, 80.0]}))
    text = told(run, FLOAT, warm)
    assert "They did not begin alike: tflite-int8 at 52 °C, tflite-float32 at 46 °C." in text
    unknown = replace(INT, sustained=replace(INT.sustained, health={**QUIET, "temperature_c": [None, None]}))
    text = told(run, FLOAT, unknown)
    assert "The device tells no temperature, so whether all began alike is not known." in text


def test_what_the_device_says_of_the_time_around_each_is_told_but_not_what_it_says_of_the_whole_run(run: Run) -> None:
    busy = find_doubts(Health(busy_share=0.4), Health(), {})
    governor = find_doubts(Health(governor="schedutil"), Health(), {})
    hot = ran(3.0, 3.1, 4.0, verdict="slower", doubts=[*THROTTLED, *governor])
    both = replace(run, device=replace(run.device, health={"doubts": governor}))
    one, other = (
        replace(INT8, sustained=hot),
        replace(FLOAT32, sustained=replace(hot, health={"doubts": THROTTLED + busy})),
    )
    assert sentences(replace(both, results=(SOURCE, one, other)))[-2:] == [
        "Around tflite-int8 and tflite-float32: the device was throttled during the run (throttled).",
        "Around tflite-float32: other processes used 40 % of the machine.",
    ]


@pytest.mark.parametrize(
    ("sustained", "text"),
    [
        (ran(1.0, 1.01, 1.02), "tflite-int8 stayed as fast as at first."),
        (ran(1.0, 1.3, 1.1), "of tflite-int8 no change larger than the 30 % that came and went was seen."),
        (
            replace(ran(1.0, 1.0, 1.0), ci95_s=((0.0008, 0.0012), (0.0009, 0.0011), (0.0009, 0.0011))),
            "of tflite-int8 no change larger than the 50 % that came and went was seen.",
        ),
        (
            replace(ran(1.0, 1.5, 2.0), verdict=None, ci95_s=(None, None, None)),
            "whether tflite-int8 changed is not known, since it ran too seldom for an interval.",
        ),
    ],
)
def test_only_what_is_known_to_be_steady_is_called_so(run: Run, sustained: Sustained, text: str) -> None:
    result = replace(INT8, sustained=sustained)
    assert sentences(replace(run, results=(SOURCE, result)))[1:] == [text]
    lines = section(replace(run, results=(SOURCE, result)), 80).splitlines()
    change = next(line.split()[1] for line in lines if line.startswith("change  "))
    assert change == ("-" if sustained.verdict is None else "same")


@pytest.mark.parametrize(("minutes", "first", "last"), [(12, "1", "12"), (60, "1", "60")])
def test_of_many_parts_a_dozen_have_a_row(run: Run, minutes: int, first: str, last: str) -> None:
    long = replace(INT, sustained=ran(*[3.0] * minutes, seconds=60.0 * minutes))
    lines = section(replace(run, results=(SOURCE, long)), 80).splitlines()[2:]
    numbers = [line.split()[0] for line in lines[: lines.index(next(s for s in lines if s.startswith("change")))]]
    assert (numbers[0], numbers[-1], len(numbers)) == (first, last, 12)


def test_names_from_a_device_are_escaped(run: Run) -> None:
    evil = replace(INT, target="a\x1b[31m", sustained=replace(INT.sustained, health={**QUIET, "doubts": ["\x1b[0m"]}))
    assert "\x1b" not in replace(run, results=(SOURCE, FLOAT, evil)).table(80)
