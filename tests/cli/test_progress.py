"""Progress: plain lines in a pipe, live lines on a terminal."""

from io import StringIO

import pytest
from rich.console import Console

from edgeopt.cli.progress import watch

pytestmark = pytest.mark.quick


def console(**settings) -> Console:
    return Console(file=StringIO(), width=60, **settings)


def test_plain_lines_tell_the_first_stage_and_every_outcome():
    piped = console()
    with watch(piped) as progress:
        progress.say("model: demo")
        for number in range(100):
            progress.stage("tflite-int8", f"feed {number} of 100")
        progress.done("tflite-int8", "exported in 3.2 s")
        progress.stage("tflite-int8", "measuring \x1b[2J")
    assert (
        piped.file.getvalue()
        == """\
model: demo
tflite-int8: feed 0 of 100
tflite-int8: exported in 3.2 s
tflite-int8: measuring \\x1b[2J
"""
    )


def test_plain_lines_are_told_again_after_a_while(monkeypatch):
    clock = iter([0.0, 5.0, 10.0])
    monkeypatch.setattr("edgeopt.cli.progress.time.monotonic", lambda: next(clock))
    piped = console()
    with watch(piped) as progress:
        for number in range(3):
            progress.stage("a", f"feed {number}")
    assert piped.file.getvalue() == "a: feed 0\na: feed 2\n"


def test_terminal_shows_what_is_busy_and_keeps_what_is_done():
    screen = console(force_terminal=True, color_system=None, legacy_windows=False)
    with watch(screen) as progress:
        progress.stage("tflite-int8", "calibrating")
        progress.stage("tf-gpu", "exporting, which is told in more words than this line can hold " * 2)
        live = screen.render_lines(progress, screen.options, pad=False)
        progress.done("tf-gpu", "exported in 1.0 s")
        after = screen.render_lines(progress, screen.options, pad=False)
    shown = ["".join(segment.text for segment in line) for line in live]
    assert shown[0][2:] == "tflite-int8 0 s  calibrating"
    assert shown[1][2:].startswith("tf-gpu 0 s  exporting, which is told")
    assert shown[1].endswith("…")
    assert len(shown[1]) == 60
    assert len([line for line in after if line]) == 1
    assert "tf-gpu: exported in 1.0 s\n" in screen.file.getvalue()
