"""What a runner requires against what a device really has, before anything is pushed."""

from contextlib import closing

import pytest

from edgeopt.devices import remote_device
from edgeopt.devices.book import Entry
from edgeopt.devices.local import LocalDevice
from edgeopt.devices.preflight import SYSTEMS, Preflight, fitting_system, lacks
from edgeopt.devices.remote import RemoteDevice
from edgeopt.devices.store import Store
from edgeopt.errors import DeviceError
from edgeopt.pipeline.plan import Refusal, make_plan, refuse_unfit
from edgeopt.targets import find_targets

LITERT = ("ai-edge-litert>=2.3", "numpy>=1.23")


@pytest.fixture
def connected(known):
    """A function that gives the connected device of a stand-in."""
    devices = []

    def connect(board):
        device = remote_device(Entry("", uri=f"ssh://{known(board).alias}", python=board.python))
        devices.append(device)
        device.connect()
        return device

    yield connect
    for device in devices:
        device.close()


def test_a_board_that_is_too_old_is_refused_before_anything_of_an_artifact_is_pushed(
    connected, old_board, tmp_path, monkeypatch
):
    device = connected(old_board)
    pushed = []
    push = Store.push
    monkeypatch.setattr(Store, "push", lambda store, *paths: pushed.extend(paths) or push(store, *paths))
    plans = make_plan([find_targets(tmp_path)[name] for name in ("tflite-int8", "tf-gpu")], [])
    old, absent = refuse_unfit(plans, device)
    assert (old.error.kind, absent.error.kind) == ("unavailable", "unavailable")
    assert old.error.message.startswith("ai-edge-litert 2.")
    assert (
        "on the device ssh://board does not load: it was built for Python 3.10, and this is 3.9; " in old.error.message
    )
    assert "libLiteRt.so needs GLIBC 2.34, and the system has 2.31; libLiteRt.so needs GLIBCXX 3.4.30, and the" in (
        old.error.message
    )
    assert old.error.hint == (
        "Debian 12 or newer has what it needs; to look for an older version that fits: edgeopt devices prepare NAME"
    )
    assert absent.error.message == ("the device ssh://board does not have tensorflow>=2.21, which its runner needs")
    assert absent.error.hint == "install it there: edgeopt devices prepare NAME, or pip install 'tensorflow>=2.21'"
    ours = {"guard.py", "forked.py", "proctree.py", "agent.py", "libraries.py", "elf.py", "observer.py", "system.py"}
    assert {path.name for path in pushed} == ours


def test_a_board_of_another_architecture_that_has_everything(connected, arm_board, tmp_path):
    device = connected(arm_board)
    plans = make_plan([find_targets(tmp_path)["tflite-int8"]], [])
    assert refuse_unfit(plans, device) == plans
    given = Preflight(device).provided
    assert given["machine"] == "aarch64"
    own = {**dict(SYSTEMS)["Debian 12"], "GCC": "11.0"}  # nothing newer is defined for this architecture
    assert given["versions"] == own


def test_what_is_refused_does_not_hold_up_the_others(connected, sshd, tmp_path, monkeypatch):
    plans = make_plan([find_targets(tmp_path)[name] for name in ("tflite-int8", "tf-gpu")], [])
    monkeypatch.setattr(plans[0].backend, "requires", ("numpy<1", "packaging"))
    refused, fit = refuse_unfit(plans, connected(sshd))
    assert isinstance(refused, Refusal)
    assert refused.error.message.startswith("the device ssh://board does not have numpy<1 (")
    assert fit is plans[1]


def test_no_room_for_any_runtime(connected, sshd, monkeypatch):
    device = connected(sshd)
    assert 0 < device.free_bytes() <= device.facts().memory_bytes
    monkeypatch.setattr(RemoteDevice, "free_bytes", lambda self: 40 << 20)
    misfit = Preflight(device).misfit(LITERT)
    assert misfit.reason == "the device ssh://board has 40 MiB of memory free, and a runtime needs 64 MiB"
    assert misfit.hint == "end other processes there"
    assert not misfit.missing
    monkeypatch.setattr(RemoteDevice, "free_bytes", lambda self: 70 << 20)
    assert Preflight(device).misfit(LITERT) is None
    assert Preflight(device).little_memory(5 << 20) is None
    large = Preflight(device).little_memory(100 << 20)
    assert large.reason == (
        "the device ssh://board has 70 MiB of memory free, and a runtime with this file needs 164 MiB"
    )


def test_of_this_machine_only_versions_are_looked_at():
    with closing(LocalDevice()) as device:
        assert Preflight(device).misfit(LITERT) is None
        misfit = Preflight(device).misfit(("no-such-runtime>=2",))
    assert (misfit.hint, misfit.missing) == ("install it there: pip install 'no-such-runtime>=2'", True)


@pytest.mark.parametrize(
    ("wanted", "system"),
    [
        ({"GLIBC": "2.31"}, "Debian 11"),
        ({"GLIBC": "2.31", "GLIBCXX": "3.4.29"}, "Debian 12"),
        ({"GLIBC": "2.38"}, "Debian 13"),
        ({"GLIBC": "2.99"}, ""),
        ({"GLIBC": "garbage"}, ""),
    ],
)
def test_the_oldest_system_that_would_do(wanted, system):
    assert fitting_system(wanted) == system


def test_in_words():
    found = [
        {"file": "a/b.so", "family": "file", "wanted": "", "has": "it is cut short"},
        {"file": "c/d.so", "family": "machine", "wanted": "aarch64", "has": "x86_64"},
        {"file": "e/f\x1b[31m.so", "family": "CXXABI", "wanted": "1.3.13", "has": ""},
    ]
    assert lacks(found) == (
        "b.so: it is cut short; d.so was built for aarch64, and this is x86_64;"
        " f.so needs CXXABI 1.3.13, and the system has none"
    )


@pytest.mark.parametrize(
    "told",
    [{}, {"platforms": "x"}, {"versions": {"GLIBC": "x"}}, {"versions": []}, {"markers": {"a": 1}}, {"python": None}],
)
def test_a_device_that_tells_nonsense_of_its_system(connected, sshd, monkeypatch, told):
    device = connected(sshd)
    whole = device.provided()
    monkeypatch.setattr(device, "_ask", lambda message: {**whole, **told} if told else {})
    with pytest.raises(DeviceError, match="ssh://board: ") as caught:
        device.provided()
    assert caught.value.hint == "is its system whole?"
