"""An environment on a real device: from its own registry, or from wheels that are pushed."""

import json
import os
import shlex
import signal
import socket
import threading
from contextlib import closing

import pytest

from edgeopt.devices import preflight, remote_device
from edgeopt.devices.book import CONFIG_VARIABLE, find_entry, make_entry, save
from edgeopt.devices.preflight import Preflight
from edgeopt.devices.preparation import choose, plan, prepare
from edgeopt.errors import UnavailableError, UsageError
from edgeopt.registry import find_backends
from tests.standins.registry import OURS
from tests.standins.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture
def prepared(known, tmp_path, monkeypatch):
    """A function that adds a stand-in to the book, prepares it for backends, and returns what was done and said."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config"))

    def do(board, *backends, python=None, offline=False):
        known(board)
        try:
            entry = find_entry("pi5")
        except UsageError:
            entry = save(make_entry("pi5", {"uri": f"ssh://{board.alias}", "python": python or board.python}))
        said = []
        with closing(remote_device(entry)) as device:
            device.connect()
            return prepare(plan(entry, device, backends), device, said.append, offline=offline), said

    return do


def test_a_device_that_has_no_way_to_a_package_gets_it_pushed(prepared, sshd, runtime):
    done, said = prepared(sshd, "tflite")
    folder = f"{sshd.workdir}/.cache/edgeopt/python"
    assert done.entry.python == find_entry("pi5").python == f"{folder}/bin/python"
    assert done.source == "wheels that were fetched here"
    assert done.failed == {}
    assert done.versions["edgeopt-test-runtime"] == "1.5"
    assert said[:2] == [f"making {folder}", f"installing {OURS}, numpy>=1.23"]
    assert said[2].startswith("the device cannot install it by itself: Could not find a version that satisfies the req")
    assert said[3:] == ["fetching wheels for the device", f"making {folder}", "installing the wheels"]
    with closing(remote_device(find_entry("pi5"))) as again:
        again.connect()
        assert Preflight(again).misfit((OURS, "packaging")) is None
        assert again.versions(["tensorflow"]) == {}
    assert json.loads(sshd.run(f"cat {folder}/edgeopt-environment.json").stdout) == {
        "requirements": {"tflite": [OURS, "numpy>=1.23"]},
        "base": sshd.python,
    }
    assert sshd.run("cd .cache/edgeopt && ls -d * && find files -name '*.whl'").stdout == "files\nlock\npython\n"


def test_a_device_with_a_registry_of_its_own_installs_by_itself_unless_that_would_not_load(
    prepared, sshd, registry, monkeypatch
):
    monkeypatch.setattr(preflight, "HARNESS", ())
    monkeypatch.setattr(find_backends().backends["tflite"].backend, "requires", ("runtime",))
    settings = f"[global]\nno-index = true\nfind-links = {sshd.workdir}/registry\n"
    sshd.run("mkdir -p registry .config/pip && cat >.config/pip/pip.conf", input=settings)

    def publish(version, glibc):
        wheel = registry("runtime", version, glibc=glibc, machine=os.uname().machine)
        sshd.run(f"cat >registry/{wheel.name}", input=wheel.read_bytes(), text=False)

    publish("1.0", "2.17")
    done, said = prepared(sshd, "tflite")
    assert (done.source, done.versions) == ("its own package registry", {"runtime": "1.0"})
    assert said == [f"making {sshd.workdir}/.cache/edgeopt/python", "installing runtime"]
    publish("2.0", "9.99")
    done, said = prepared(sshd, "tflite")
    assert (done.source, done.versions) == ("wheels that were fetched here", {"runtime": "1.0"})
    assert said[2].startswith("runtime 2.0 on the device ssh://board does not load: lib.so needs GLIBC 9.99, and the ")
    assert said[4].startswith("runtime 2.0 would not load: lib.so needs GLIBC 9.99, and the system has ")


def test_ctrl_c_ends_pip_there_and_leaves_nothing_half_made(prepared, sshd):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}"
        sshd.run("mkdir -p .config/pip && cat >.config/pip/pip.conf", input=f"[global]\nindex-url = {index}\n")

        def interrupt():
            with silent.accept()[0]:  # pip has asked, and will wait
                signal.raise_signal(signal.SIGINT)
                ended.wait(60)

        ended = threading.Event()
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            prepared(sshd, "tflite")
        ended.set()
        interrupting.join()
    assert sshd.run("ls .cache/edgeopt").stdout == "files\nlock\n"
    until(lambda: sshd.processes() == {})
    assert find_entry("pi5").python == sshd.python


def test_what_was_prepared_before_stays_and_a_failure_changes_nothing(prepared, sshd, runtime, tmp_path, monkeypatch):
    prepared(sshd, "tf-gpu", offline=True)
    done, said = prepared(sshd, "tflite", "openvino", offline=True)
    assert list(done.failed) == ["openvino"]
    assert done.failed["openvino"].message.startswith("there is no wheel of no-such-runtime for its Python")
    assert f"{done.failed['openvino'].message}; looking at each backend alone" in said
    # 1.5 would do for one of them, but both of them live there
    assert done.versions == {"edgeopt-test-runtime": "1.2", "numpy": done.versions["numpy"]}
    written = "cat .cache/edgeopt/python/edgeopt-environment.json; ls .cache/edgeopt"
    before = sshd.run(written).stdout
    assert before.startswith(
        '{"requirements": {"tf-gpu": ["edgeopt-test-runtime<1.5", "numpy>=1.23"], "tflite": ["edgeo'
    )
    assert f'"base": "{sshd.python}"' in before
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UnavailableError, match=r"tf-gpu: there is no wheel of .*; tflite: there is no wheel of "):
        prepared(sshd, "tflite", offline=True)
    assert sshd.run(written).stdout == before
    assert sshd.run(f"{find_entry('pi5').python} -c 'import numpy'").returncode == 0


def test_a_python_without_venv(prepared, sshd, runtime):
    lines = ["mkdir poor", "echo 'raise ImportError' | tee poor/venv.py >poor/ensurepip.py"]
    lines.append(f"printf '#!/bin/sh\\nPYTHONPATH=$HOME/poor exec {shlex.quote(sshd.python)} -S \"$@\"\\n' >python3")
    assert sshd.run("; ".join([*lines, "chmod +x python3"])).returncode == 0
    done, _ = prepared(sshd, "tflite", python=f"{sshd.workdir}/python3", offline=True)
    assert done.versions["edgeopt-test-runtime"] == "1.5"
    assert sshd.run(f"{done.entry.python} -c 'import numpy; print(numpy.__file__)'").stdout == (
        f"{sshd.workdir}/.cache/edgeopt/python/site/numpy/__init__.py\n"
    )


def test_the_real_runtime_on_a_board_of_another_architecture(prepared, arm_board):
    done, _ = prepared(arm_board, "tflite", offline=True)
    load = "from ai_edge_litert.interpreter import Interpreter; print(Interpreter.__module__)"
    assert arm_board.run(f"{done.entry.python} -c '{load}'").stdout == "ai_edge_litert.interpreter\n"
    assert done.failed == {}


def test_which_backends_are_meant(monkeypatch):
    wanted, left_out = choose(())
    assert set(left_out) == {"saved-without-optimizer", "tf-gpu"}
    assert wanted["tflite"][0].startswith("ai-edge-litert>=")
    assert choose(["tf-gpu"]) == ({"tf-gpu": ("tensorflow>=2.21", "numpy>=1.23")}, ())
    with pytest.raises(UsageError, match="no backend is called 'tflit'") as caught:
        choose(["tflit"])
    assert caught.value.hint == "did you mean tflite?"
