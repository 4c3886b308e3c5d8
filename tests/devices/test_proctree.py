"""Memory of a process and what it started: both ways of asking agree."""

import os
import signal
import subprocess
import sys

import pytest

from edgeopt.devices import proctree

HOLD = "held = bytearray(150_000_000); print('ready', flush=True); input()"
START = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {HOLD!r}])"


@pytest.fixture(scope="module")
def parent():
    """A process with a child that holds 150 MB."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield process.pid
    process.communicate("\n", timeout=10)


@pytest.mark.parametrize("ask", [proctree.tree_rss_bytes, proctree._rss_from_ps])
def test_the_memory_of_a_child_counts(parent, ask):
    assert 150_000_000 < ask(parent) < 200_000_000


def test_a_process_that_has_ended_holds_nothing():
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    assert proctree.tree_rss_bytes(process.pid) == 0
    assert proctree.tree_rss_bytes(os.getpid()) > 1_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the environment of a process")
def test_a_mark_is_found_in_whatever_a_process_has_started():
    environment = {**os.environ, "EDGEOPT_TEST_MARK": "abc-1"}
    with subprocess.Popen(
        [sys.executable, "-c", "import os, time; os.fork() or os.setsid(); print(flush=True); time.sleep(60)"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.stdout.readline()
        found = proctree.marked("EDGEOPT_TEST_MARK=abc-1")
        assert process.pid in found
        assert len(found) == 2
        assert proctree.marked("EDGEOPT_TEST_MARK=abc") == []
        for pid in found:
            os.kill(pid, signal.SIGKILL)
