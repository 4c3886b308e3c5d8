"""The table as text: whole outputs at three widths, then what single rows can hold."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from edgeopt.report.grid import wrapped
from edgeopt.report.notes import notes
from edgeopt.report.schema import BudgetLine, Comparison, Control, ErrorRecord, EvaluationRecord, Ranked, Ranking, Run
from edgeopt.report.table import head_line, render
from tests.report.conftest import DEAD, FLOAT32, GPU, INT8, SAVED, SOURCE, artifact, fidelity, latency

pytestmark = pytest.mark.quick

AT_80 = """\
mobilenet_v2 (.keras, 42.9 MB) on local (AMD EPYC, 1 thread), 1,000 feeds

target                          size  smaller          latency  speed-up  agrees
source                   ok  42.9 MB           14.31 ms ± 0.08
tflite-float32           ok  14.0 MB     3.1x   6.71 ms ± 0.04     2.13x   100 %
tflite-int8              ok  4.03 MB      11x   3.12 ms ± 0.05     4.58x  98.8 %
tf-gpu                   ok  14.9 MB     2.9x  no GPU on this device       100 %
saved-without-optimizer  ok  14.6 MB     2.9x  14.29 ms ± 0.07      same   exact
tflite-int8-int16        failed
  its process ended after 3.1 s: killed by signal SIGSEGV
board                    unavailable
  needs the program boardc, which is not on the path

tflite-int8 is 4.58x faster (4.50 to 4.66) and 11x smaller than the source, and
gives the same answer on 988 of 1,000 feeds.

Notes
  tflite-int8-int16: try --set quantizer=converter
  tflite-int8-int16: log dist/mobilenet_v2/logs/tflite-int8-int16.log
  board: see edgeopt backends

Artifacts, logs and run.json are in dist/mobilenet_v2"""

AT_120 = """\
mobilenet_v2 (.keras, 42.9 MB) on local (AMD EPYC, 1 thread), 1,000 feeds

target                          size  smaller          latency      speed-up  agrees    peak      p90      SQNR  cosine
source                   ok  42.9 MB           14.31 ms ± 0.08                        612 MB  15.2 ms
tflite-float32           ok  14.0 MB     3.1x   6.71 ms ± 0.04  2.13x ± 0.02   100 %   46 MB  7.00 ms  118.2 dB  0.9991
tflite-int8              ok  4.03 MB      11x   3.12 ms ± 0.05  4.58x ± 0.08  98.8 %   21 MB  3.30 ms   31.4 dB  0.9991
tf-gpu                   ok  14.9 MB     2.9x  no GPU on this device           100 %                   121.0 dB  0.9991
saved-without-optimizer  ok  14.6 MB     2.9x  14.29 ms ± 0.07          same   exact  611 MB  15.1 ms     exact   exact
tflite-int8-int16        failed: its process ended after 3.1 s: killed by signal SIGSEGV
board                    unavailable: needs the program boardc, which is not on the path

tflite-int8 is 4.58x faster (4.50 to 4.66) and 11x smaller than the source, and gives the same answer on 988 of 1,000
feeds.

Notes
  tflite-int8-int16: try --set quantizer=converter
  tflite-int8-int16: log dist/mobilenet_v2/logs/tflite-int8-int16.log
  board: see edgeopt backends

Artifacts, logs and run.json are in dist/mobilenet_v2"""

AT_60 = """\
mobilenet_v2 (.keras, 42.9 MB) on local (AMD EPYC, 1
thread), 1,000 feeds

target                          size  smaller   latency
source                   ok  42.9 MB           14.31 ms
tflite-float32           ok  14.0 MB     3.1x   6.71 ms
tflite-int8              ok  4.03 MB      11x   3.12 ms
tf-gpu                   ok  14.9 MB     2.9x         -
  no GPU on this device
saved-without-optimizer  ok  14.6 MB     2.9x  14.29 ms
tflite-int8-int16        failed
  its process ended after 3.1 s: killed by signal SIGSEGV
board                    unavailable
  needs the program boardc, which is not on the path

tflite-int8 is 4.58x faster (4.50 to 4.66) and 11x smaller
than the source, and gives the same answer on 988 of 1,000
feeds.

Notes
  tflite-int8-int16: try --set quantizer=converter
  tflite-int8-int16: log
  dist/mobilenet_v2/logs/tflite-int8-int16.log
  board: see edgeopt backends

Artifacts, logs and run.json are in dist/mobilenet_v2"""


@pytest.mark.parametrize(("width", "expected"), [(80, AT_80), (120, AT_120), (60, AT_60)])
def test_whole_table(run: Run, width: int, expected: str) -> None:
    assert run.table(width) == expected
    assert max(map(len, expected.splitlines())) <= width


def test_target_and_status_stay_where_nothing_fits(run: Run) -> None:
    table = run.table(10).splitlines()
    assert "target" in table
    assert "tflite-int8              ok" in table
    assert "tflite-int8-int16        failed" in table


def test_terminal_gets_the_same_text_in_colour(run: Run) -> None:
    screen = StringIO()
    Console(file=screen, width=120, force_terminal=True, color_system="standard", legacy_windows=False).print(
        render(run), crop=False
    )
    assert "\x1b[32m4.58x ± 0.08\x1b[0m" in screen.getvalue()
    assert "\x1b[1;31mfailed: its process ended" in screen.getvalue()


def with_rows(run: Run, *results) -> Run:
    return replace(run, results=(SOURCE, *results), folder="")


def on_noise(run: Run) -> Run:
    data = replace(
        run.data,
        calibration=replace(run.data.calibration, source="noise"),
        evaluation=replace(run.data.evaluation, source="noise", count=100),
    )
    return replace(run, data=data, model=replace(run.model, chosen_by="the embedded demo"))


def test_noise_is_loud_in_the_rows_that_were_calibrated(run: Run) -> None:
    rows = (FLOAT32, replace(INT8, fidelity=fidelity(0.97, feeds=100)))
    assert on_noise(with_rows(run, *rows)).table(80) == """\
mobilenet_v2 (the embedded demo, .keras, 42.9 MB) on local (AMD EPYC, 1 thread),
100 feeds of noise

target                 size  smaller          latency      speed-up  agrees
source          ok  42.9 MB           14.31 ms ± 0.08
tflite-float32  ok  14.0 MB     3.1x   6.71 ms ± 0.04  2.13x ± 0.02   100 %
tflite-int8     ok  4.03 MB      11x   3.12 ms ± 0.05  4.58x ± 0.08    97 %
  ! calibrated on noise

tflite-int8 is 4.58x faster (4.50 to 4.66) and 11x smaller than the source, and
gives the same answer on 97 of 100 feeds of noise.

Notes
  calibrated and compared on noise, which says little about real inputs; export
  with real feeds: --data FILE.npz"""  # fmt: skip


def test_where_nothing_was_compared_nothing_is_said_to_be_compared_on_noise(run: Run) -> None:
    alone = replace(FLOAT32, fidelity=None)
    assert notes(on_noise(with_rows(run, alone))) == []
    assert notes(on_noise(with_rows(run, FLOAT32))) == [
        "compared on noise, which says little about real inputs; export with real feeds: --data FILE.npz"
    ]
    assert notes(on_noise(with_rows(run, replace(INT8, fidelity=None)))) == [
        "calibrated on noise; export with real feeds: --data FILE.npz"
    ]


def test_a_profile_without_the_source_s_answers_says_so_instead_of_no_feeds(run: Run) -> None:
    data = replace(run.data, evaluation=EvaluationRecord("noise", 0, labelled=False))
    assert head_line(replace(run, data=data)) == (
        "mobilenet_v2 (.keras, 42.9 MB) on local (AMD EPYC, 1 thread), without the source's answers"
    )


def test_labels_give_accuracy_and_its_change(run: Run) -> None:
    rows = (
        replace(INT8, fidelity=fidelity(0.988, accuracy=0.912, source_accuracy=0.915)),
        replace(SAVED, fidelity=fidelity(1.0, sqnr_db=None, max_abs=0.0, accuracy=0.915, source_accuracy=0.915)),
    )
    labelled = replace(run, data=replace(run.data, evaluation=replace(run.data.evaluation, labelled=True)))
    assert with_rows(labelled, *rows).table(120) == """\
mobilenet_v2 (.keras, 42.9 MB) on local (AMD EPYC, 1 thread), 1,000 labelled feeds

target                          size  smaller          latency      speed-up       accuracy    peak      p90  agrees
source                   ok  42.9 MB           14.31 ms ± 0.08                       91.5 %  612 MB  15.2 ms
tflite-int8              ok  4.03 MB      11x   3.12 ms ± 0.05  4.58x ± 0.08  91.2 % (-0.3)   21 MB  3.30 ms  98.8 %
saved-without-optimizer  ok  14.6 MB     2.9x  14.29 ms ± 0.07          same   91.5 % (0.0)  611 MB  15.1 ms   exact

tflite-int8 is 4.58x faster (4.50 to 4.66) and 11x smaller than the source, and gives the same answer on 988 of 1,000
feeds; its accuracy is 91.2 %, the source's 91.5 %."""  # fmt: skip


def test_numbers_without_classes_give_sqnr(run: Run) -> None:
    rows = (replace(INT8, fidelity=fidelity(None)),)
    assert with_rows(run, *rows).table(113) == """\
mobilenet_v2 (.keras, 42.9 MB) on local (AMD EPYC, 1 thread), 1,000 feeds

target              size  smaller          latency      speed-up     SQNR    peak      p90  cosine  largest error
source       ok  42.9 MB           14.31 ms ± 0.08                         612 MB  15.2 ms
tflite-int8  ok  4.03 MB      11x   3.12 ms ± 0.05  4.58x ± 0.08  31.4 dB   21 MB  3.30 ms  0.9991          0.087

tflite-int8 is 4.58x faster (4.50 to 4.66) and 11x smaller than the source, and differs by at most 0.087 on 1,000
feeds (SQNR 31.4 dB)."""  # fmt: skip


def test_row_that_failed_after_measuring_keeps_its_figures(run: Run) -> None:
    zero = "every output is zero: each of 1,000 probabilities is below one step of int8 (1/256)"
    row = replace(
        INT8,
        status="failed",
        error=ErrorRecord("export", zero, "use trained weights, or --allow-degenerate", ""),
        latency=latency(3.1234, 0.004, steady=False),
        budget=(
            BudgetLine("max_size_bytes", 3e6, 4.03e6, met=False),
            BudgetLine("min_top1_agreement", 0.9, 0.95, met=True),
            BudgetLine("max_median_s", 0.001, None, met=None),
        ),
    )
    assert with_rows(run, row).table(80) == """\
mobilenet_v2 (.keras, 42.9 MB) on local (AMD EPYC, 1 thread), 1,000 feeds

target                  size  smaller           latency      speed-up  agrees
source       ok      42.9 MB            14.31 ms ± 0.08
tflite-int8  failed  4.03 MB      11x  3.123 ms ± 0.004  4.58x ± 0.08  98.8 %
  every output is zero: each of 1,000 probabilities is below one step of int8
  (1/256)
  ! over budget: size_bytes is 4.03 MB, wanted at most 3.00 MB

No artifact to ship came out of this run.

Notes
  tflite-int8: its latency had not settled when its measuring began
  tflite-int8: use trained weights, or --allow-degenerate"""  # fmt: skip


def test_everything_failed(run: Run) -> None:
    only = replace(SOURCE, latency=None, memory=None, untimed="interrupted")
    assert replace(run, results=(only, DEAD), folder="").table(80) == """\
mobilenet_v2 (.keras, 42.9 MB) on local (AMD EPYC), 1,000 feeds

target                    size  latency
source             ok  42.9 MB  interrupted
tflite-int8-int16  failed
  its process ended after 3.1 s: killed by signal SIGSEGV

No artifact to ship came out of this run.

Notes
  tflite-int8-int16: try --set quantizer=converter
  tflite-int8-int16: log dist/mobilenet_v2/logs/tflite-int8-int16.log"""  # fmt: skip


def test_what_comes_from_outside_cannot_steer_the_terminal(run: Run) -> None:
    hostile = "a\x1b]0;owned\x07[bold red]b[/]\u202egnp\r\n\u2066c"
    shown = r"a\x1b]0;owned\x07[bold red]b[/]\u202egnp \u2066c"
    nasty = replace(
        with_rows(run, replace(INT8, target=hostile, warnings=(hostile,)), replace(DEAD, target="x")),
        model=replace(run.model, name=hostile, warnings=("\x9b2J",)),
        device=replace(run.device, cpu=hostile, health={"doubts": [hostile]}),
    )
    table = nasty.table(200)
    assert table.count(shown) >= 5
    assert r"\x9b2J" in table
    assert all(char.isprintable() for line in table.splitlines() for char in line)


def test_wide_characters_keep_the_columns(run: Run) -> None:
    lines = with_rows(run, replace(INT8, target="模型")).table(80).splitlines()
    assert lines[2:5] == [
        "target         size  smaller          latency      speed-up  agrees    peak",
        "source  ok  42.9 MB           14.31 ms ± 0.08                        612 MB",
        "模型    ok  4.03 MB      11x   3.12 ms ± 0.05  4.58x ± 0.08  98.8 %   21 MB",
    ]


def test_bigger_slower_artifact(run: Run) -> None:
    row = replace(GPU, latency=latency(30, 0.5), versus_source=Comparison(0.5, 0.477, (0.47, 0.484), "slower"))
    row = replace(row, untimed="", warnings=())
    lines = with_rows(run, row).table(80).splitlines()
    assert lines[4] == "tf-gpu  ok  14.9 MB    0.50x    30.0 ms ± 0.5  0.477x ± 0.007   100 %"
    assert lines[6:] == [
        "tf-gpu is 2.10x slower (2.07 to 2.13) and 2.0x bigger than the source, and gives",
        "the same answer on 1,000 of 1,000 feeds.",
    ]


def test_number_and_unit_stay_together() -> None:
    for text in ("a source's 98.5 %.", "(of 42.9 MB, 12 B)", "SQNR 31.4 dB) b", "5 Bs"):
        for width in range(1, 20):
            lines = [line.plain for line in wrapped(text, width)]
            assert " ".join(lines) == text
            assert not {"%.", "MB,", "B)", "dB)"} & {line.split()[0] for line in lines}
    assert [line.plain for line in wrapped("5 Bs", 2)] == ["5", "Bs"]


def test_long_path_is_never_broken(run: Run) -> None:
    folder = "out/" + "deep/" * 20 + "model"
    assert (
        replace(run, folder=folder, results=(SOURCE, replace(INT8, artifact=artifact("a", 1))))
        .table(40)
        .endswith(f"Artifacts, logs and run.json are in\n{folder}")
    )


@pytest.mark.parametrize(
    ("chosen_by", "words"),
    [
        ("edgeopt.toml", "mobilenet_v2 (from edgeopt.toml, .keras, 42.9 MB) on"),
        ("the program", "mobilenet_v2 (.keras, 42.9 MB) on"),
        ("", "mobilenet_v2 (.keras, 42.9 MB) on"),
    ],
)
def test_head_line_tells_where_an_unnamed_model_came_from(run: Run, chosen_by: str, words: str) -> None:
    assert replace(run, model=replace(run.model, chosen_by=chosen_by)).table(100).startswith(words)


def test_a_row_from_a_gpu_and_one_of_a_single_launch_say_so(run):
    fast = replace(latency(0.5, 0.0), ci95_s=None, launches=1)
    gpu = replace(
        GPU,
        untimed="",
        warnings=(),
        latency=fast,
        artifact=replace(GPU.artifact, metadata={"accelerator": "NVIDIA T4"}),
        versus_source=Comparison(2.879, 28.6, None, None),
    )
    shown = replace(run, results=(SOURCE, gpu)).table(width=100)
    row = next(line for line in shown.splitlines() if line.startswith("tf-gpu"))
    assert row.split() == ["tf-gpu", "ok", "14.9", "MB", "2.9x", "500", "µs", "100", "%", *row.split()[9:]]
    assert "500 µs ±" not in row
    assert "  tf-gpu: ran on NVIDIA T4\n" in shown
    assert "  tf-gpu: measured in one launch only, so neither its interval nor a verdict is known\n" in shown
    assert Run.from_json(replace(run, results=(SOURCE, gpu)).to_json()).results[1].latency.ci95_s is None


@pytest.mark.parametrize(
    ("seconds", "takes_s", "note"),
    [
        (14.0, 12.3, "; --seconds 14 would probably decide, in about 12 s"),
        (14.0, 84.0, "; --seconds 14 would probably decide, in about 1.4 min"),
        (14.0, None, "; --seconds 14 would probably decide"),
        (None, None, "; more --seconds or a quieter device may decide"),
    ],
)
def test_an_unclear_verdict_says_what_would_decide_it(run, seconds, takes_s, note):
    compared = Comparison(2.938, 1.004, (0.99, 1.018), "unclear", 0.0241, seconds, takes_s)
    row = replace(SAVED, versus_source=compared)
    rows = with_rows(run, row)
    assert "unclear (within 2.4 %)" in rows.table(200)
    assert " unclear " in rows.table(80).splitlines()[4]
    expected = f"faster or slower than the source is unclear (within 2.4 %){note}"
    assert f"saved-without-optimizer: {expected}" in " ".join(rows.table(80).split())
    assert Run.from_json(rows.to_json()).results[1].versus_source == row.versus_source


def test_a_difference_of_about_one_percent_is_hardly_ever_decided(run):
    row = replace(SAVED, versus_source=Comparison(2.938, 1.0102, (1.008, 1.012), "unclear", 0.016))
    shown = " ".join(with_rows(run, row).table(80).split())
    assert "is unclear (within 1.6 %): the difference is too near 1 %, below which two artifacts are the same" in shown
    wide = replace(SAVED, versus_source=Comparison(2.938, 1.0102, (0.99, 1.03), "unclear", 0.03))
    shown = " ".join(with_rows(run, wide).table(80).split())
    assert "is unclear (within 3.0 %); more --seconds or a quieter device may decide" in shown


def test_a_verdict_that_is_open_by_more_than_double_has_no_bound(run):
    row = replace(SAVED, versus_source=Comparison(2.938, 0.7, (0.1, 8.0), "unclear", 41.3))
    shown = with_rows(run, row).table(200)
    assert "unclear (within" not in shown
    assert "is not measurably faster or slower than the source (0.10x to 8.00x)" in shown


@pytest.mark.parametrize(
    ("control", "note"),
    [
        (
            Control("tflite-int8", 0.9823, (0.97, 0.99), 3),
            "two copies of tflite-int8 differed by 1.8 % here, in 3 launches of each",
        ),
        (
            Control("tflite-int8", 1.004, None, 1),
            "two copies of tflite-int8 differed by 0.4 % here, in 1 launch of each",
        ),
        (
            Control("tflite-int8", 1.004, (0.99, 1.01), 3, "does not load"),
            "3 launches of each the control ended early: does not load",
        ),
        (
            Control(problem="80 MiB needed, 12 MiB free"),
            "no second copy was measured as a control: 80 MiB needed, 12 MiB free",
        ),
    ],
)
def test_what_two_copies_differ_by_is_a_note(run, control, note):
    with_control = replace(run, control=control)
    assert note in " ".join(with_control.table(80).split())
    assert Run.from_json(with_control.to_json()).control == control


def test_ranking_goes_through_json_and_the_table(run):
    ranking = Ranking(0.98, None, "tflite-int8", (Ranked("tflite-int8", 1, ""), Ranked("source", 2, "4.58x slower")))
    again = Run.from_json(replace(run, ranking=ranking).to_json())
    assert again.ranking == ranking
    shown = again.table(width=80)
    assert "\nWhich to ship\n  tflite-int8: the fastest here that gives the source's answer on at least 98 %" in shown
    assert "\n  not source: 4.58x slower\n" in shown
    assert "<li>not source: 4.58x slower</li>" in again._repr_html_()


def test_what_is_over_budget_is_not_recommended(run):
    over = replace(INT8, budget=(BudgetLine("max_size_bytes", 3e6, 4.03e6, met=False),))
    shown = with_rows(run, over, FLOAT32).table(100)
    assert "tflite-int8     over budget" in shown
    assert "tflite-float32 is 2.13x faster (2.11 to 2.15) and 3.1x smaller than the source" in shown
    alone = with_rows(run, over).table(100)
    assert "No artifact is within its budget." in alone


def test_a_wide_interval_is_told_by_its_ends(run):
    unsure = replace(INT8, versus_source=Comparison(10.65, 59.0, (23.0, 149.0), "faster"))
    shown = with_rows(run, unsure).table(100)
    assert "23x to 149x" in shown
    assert "tflite-int8 is 23x to 149x faster and 11x smaller than the source" in shown


EMULATED_AT_80 = """\
mobilenet_v2 (.keras, 42.9 MB) on ssh://board, an emulated processor (qemu-user,
4x Cortex-A76 + 4x Cortex-A55, cores 4-7: 4x Cortex-A76 at 2.40 GHz, 1 thread),
1,000 feeds

target              size  smaller         emulated      speed-up  agrees    peak
source       ok  42.9 MB           14.31 ms ± 0.08                        612 MB
tflite-int8  ok  4.03 MB      11x   3.12 ms ± 0.05  4.58x ± 0.08  98.8 %   21 MB
"""


def test_a_device_is_called_as_the_user_calls_it(run: Run) -> None:
    device = replace(run.device, uri="ssh://pi@192.0.2.7", details={"name": "pi5"})
    text = replace(run, device=device).table(120)
    assert text.splitlines()[0].startswith(
        "mobilenet_v2 (.keras, 42.9 MB) on pi5 (ssh://pi@192.0.2.7, AMD EPYC, 1 thread)"
    )


def test_emulated_figures_are_labelled_and_the_cores_that_ran_them_are_named(run: Run) -> None:
    details = {"emulated": "qemu-user", "cores_used": "4-7", "core_types_used": "4x Cortex-A76 at 2.40 GHz"}
    device = replace(run.device, uri="ssh://board", cpu="4x Cortex-A76 + 4x Cortex-A55", details=details)
    text = replace(run, device=device, results=(SOURCE, INT8)).table(80)
    assert text.startswith(EMULATED_AT_80)
    html = replace(run, device=device)._repr_html_()
    assert "on ssh://board, an emulated processor (qemu-user, 4x" in html
    assert ">emulated</th>" in html
    assert ">latency</th>" not in html


def test_that_it_is_emulated_may_be_known_from_its_health_alone(run: Run) -> None:
    device = replace(run.device, health={"emulated": "qemu"}, details={"cores_used": "3"})
    assert "local, an emulated processor (qemu, AMD EPYC, core 3, 1 thread)" in replace(run, device=device).table(200)
