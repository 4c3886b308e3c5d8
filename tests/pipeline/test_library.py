"""`edgeopt.export`: how its arguments become the settings of a run."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import edgeopt
from edgeopt.errors import BadInputError, ExitCode
from edgeopt.pipeline.export import Outcome
from edgeopt.pipeline.request import ExportSettings, Silence

pytestmark = pytest.mark.quick


@pytest.fixture
def asked(monkeypatch):
    """The settings and the progress that a run would have."""
    seen = []

    def run_export(settings, progress):
        seen.append((settings, progress))
        return Outcome("the run", ExitCode.EXPORT_FAILED)

    monkeypatch.setattr("edgeopt.pipeline.export.run_export", run_export)
    return seen


def test_a_failed_target_is_no_exception(asked):
    assert edgeopt.export("model.keras", "tflite-int8") == "the run"


def test_paths_lists_and_texts(asked):
    edgeopt.export(Path("m.keras"), ["a", "b"], data="d.npz", out="o", threads=4, settings=["x=1"])
    ((settings, progress),) = asked
    assert settings == ExportSettings(
        model="m.keras",
        targets=("a", "b"),
        data=Path("d.npz"),
        out=Path("o"),
        threads=4,
        settings=("x=1",),
        command=("edgeopt.export", "a", "b"),
    )
    assert isinstance(progress, Silence)


def test_a_model_in_memory_is_handed_on(asked):
    model, progress = object(), Silence()
    edgeopt.export(model, "a", progress=progress)
    assert asked[0][0].model is model
    assert asked[0][1] is progress


def test_a_profile_takes_the_same_forms(monkeypatch):
    seen = []

    def run_profile(path, devices, settings, progress):
        seen.append((path, devices, settings))
        return SimpleNamespace(failure=None, runs=("a run",))

    monkeypatch.setattr("edgeopt.pipeline.profile.run_profile", run_profile)
    assert edgeopt.profile("dist/m", ["pi5", "local"], targets="a", native_program="bench", settings=[]) == ("a run",)
    settings = ExportSettings(
        targets=("a",), rank=True, native_program=Path("bench"), command=("edgeopt.profile", "dist/m")
    )
    assert seen == [(Path("dist/m"), ("pi5", "local"), settings)]


def test_a_misspelt_setting():
    with pytest.raises(TypeError, match="thread"):
        edgeopt.export("m.keras", "a", thread=4)


@pytest.mark.parametrize("failure", [BadInputError("the disk is full"), ZeroDivisionError("a bug")])
def test_a_run_that_cannot_be_saved_is_returned_and_a_bug_is_raised(monkeypatch, failure):
    outcome = Outcome("the run", ExitCode.OK, failure)
    monkeypatch.setattr("edgeopt.pipeline.export.run_export", lambda settings, progress: outcome)
    if isinstance(failure, BadInputError):
        with pytest.warns(UserWarning, match="the disk is full"):
            assert edgeopt.export("m.keras", "a") == "the run"
    else:
        with pytest.raises(ZeroDivisionError):
            edgeopt.export("m.keras", "a")
