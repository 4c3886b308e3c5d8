"""What keeps one target from being exported is that target's error, and is found before a worker is asked."""

from types import SimpleNamespace

import pytest

from edgeopt.devices.channel import ChannelClosed, ChannelGarbled, ChannelTimeout
from edgeopt.devices.local import LocalDevice
from edgeopt.errors import BadInputError, ExportError, PluginError
from edgeopt.pipeline.exporting import Workers, _why_it_died
from edgeopt.pipeline.request import ExportSettings, Silence
from edgeopt.pipeline.workspace import Workspace


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Return a function that exports one target, up to where a worker would be asked; and the folder of the run."""

    def asked(self, plan, calibration, log):
        raise ZeroDivisionError("asked")

    monkeypatch.setattr(Workers, "_ask_worker", asked)
    workspace = Workspace.create(tmp_path, "m")
    choice = SimpleNamespace(path="m.keras")
    workers = Workers(choice, workspace, ExportSettings(jobs=1), Silence(), LocalDevice())
    plan = SimpleNamespace(target=SimpleNamespace(name="t"))

    def outcome():
        ((name, error),) = workers.export([plan], tmp_path, lambda _: None)
        assert name == "t"
        return error

    return outcome, workspace.folder


def test_a_users_folder_in_the_artifacts_place_is_bad_input_before_anything_is_exported(export):
    outcome, folder = export
    (folder / "t").mkdir()
    error = outcome()
    assert isinstance(error, BadInputError)
    assert error.message == f"{folder / 't'} exists and was not written by edgeopt"


def test_a_log_that_cannot_be_replaced_is_bad_input(export):
    outcome, folder = export
    (folder / "logs" / "t.log").mkdir()
    error = outcome()
    assert isinstance(error, BadInputError)
    assert error.message == f"the log {folder / 'logs' / 't.log'} cannot be replaced: Is a directory"
    assert error.log == ""


def test_anything_else_is_the_plugins_fault(export):
    error = export[0]()
    assert isinstance(error, PluginError)
    assert error.message == "what the backend gave back cannot be used: ZeroDivisionError: asked"


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (
            ChannelTimeout(0.5),
            ExportError,
            "gave no answer within 0.5 s and was ended",
            "allow more time with --timeout",
        ),
        (ChannelClosed("was killed"), ExportError, "its process ended after 2.0 s: was killed", ""),
        (ChannelGarbled("sent"), PluginError, "its process ended after 2.0 s: sent", ""),
        (ChannelClosed("used more", "cuInit", hint="allow more"), ExportError, None, "allow more"),
    ],
)
def test_how_a_worker_died_is_told_with_what_to_do(error, kind, message, hint):
    told = _why_it_died(error, ExportSettings(timeout_s=0.5), 2.0)
    assert type(told) is kind
    assert message is None or told.message == message
    assert told.hint == hint
