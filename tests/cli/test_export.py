"""`edgeopt export`: how the command line becomes settings."""

from pathlib import Path

import pytest

from edgeopt.cli import export
from edgeopt.errors import UsageError
from edgeopt.pipeline.request import ExportSettings


@pytest.fixture
def asked(monkeypatch):
    """The settings and the `--json` that the command would run with."""
    seen = []
    monkeypatch.setattr(export, "_run", lambda settings, json: seen.append((settings, json)))
    return seen


def test_defaults_are_those_of_the_library(cli, asked, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/x/edgeopt", "export", "-t", "a"])
    assert cli("export", "-t", "a").code == 0
    assert asked == [(ExportSettings(targets=("a",), command=("edgeopt", "export", "-t", "a")), None)]


def test_every_option(cli, asked, monkeypatch):
    monkeypatch.setattr("sys.argv", ["edgeopt"])
    line = (
        "export m.keras -t a,b --target c --out o --data d.npz --device local --set x=1 --set a.y=2 --jobs 3"
        " --timeout 4 --memory-limit 1.5GiB --seconds 0.5 --min-iterations 6 --threads 7 --batch 8"
        " --input-shape 1,2 --input-shape x=3 --input-range 0,255"
        " --signature s --weights none --custom-objects p.q --trust-model --allow-degenerate"
        " --seed 9 --sustained 5m --json -"
    )
    assert cli(*line.split()).code == 0
    assert asked == [
        (
            ExportSettings(
                model="m.keras", targets=("a,b", "c"), out=Path("o"), data=Path("d.npz"), device="local",
                settings=("x=1", "a.y=2"), jobs=3, timeout_s=4.0, memory_limit_bytes=1_610_612_736, seconds=0.5,
                min_iterations=6, threads=7, batch=8, input_shapes=("1,2", "x=3"), input_ranges=("0,255",),
                signature="s", weights="none", custom_modules=("p.q",), trusted=True, allow_degenerate=True, seed=9,
                sustained_s=300.0,
                command=("edgeopt",),
            ),
            "-",
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("512MiB", 512 * 2**20), ("1.5 g", 1_500_000_000), ("100", 100), ("2TB", 2 * 10**12)],
)
def test_read_size(text, size):
    assert export.read_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "4XB", "-1GB", "0", "4GBs"])
def test_no_size(text):
    with pytest.raises(UsageError, match="is no size"):
        export.read_size(text)


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("1h", 3600), ("1.5 M", 90), (" 90S ", 90)])
def test_read_duration(text, seconds):
    assert export.read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5x", "1m30s", "1e3s", "infs", "5 min", "9999999999s", "٣s٣"])
def test_no_duration(text):
    with pytest.raises(UsageError, match="is no duration") as caught:
        export.read_duration(text)
    assert caught.value.hint == "write it as 30s, 5m or 1h"
