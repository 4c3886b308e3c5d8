"""The conversation with a child process, with real children that answer, crash, hang, eat memory and talk rubbish."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from edgeopt.devices import channel as channel_module
from edgeopt.devices.channel import Channel, ChannelClosed, ChannelGarbled, ChannelTimeout, describe_exit
from edgeopt.errors import BadInputError, DeviceError

LISTEN = """
import ctypes, json, os, signal, subprocess, sys, time
def say(**answer): print(json.dumps(answer), flush=True)
for line in sys.stdin:
    message = json.loads(line)
"""


@pytest.fixture
def open_child(tmp_path):
    """Start a child that runs `body` for each `message`; all children are gone after the test."""
    channels = []

    def start(body: str, **settings) -> Channel:
        script = LISTEN + textwrap.indent(textwrap.dedent(body), "    ")
        channel = Channel([sys.executable, "-S", "-c", script], log=tmp_path / "child.log", **settings)
        channels.append(channel)
        return channel

    yield start
    for channel in channels:
        channel.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for_end(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


def test_answers_come_back_and_events_go_to_the_listener(open_child):
    events = []
    channel = open_child("say(event='half', n=message['n']); say(event='nearly'); say(twice=2 * message['n'])")
    answers = [channel.ask({"n": n}, 10, events.append) for n in (1, 21)]
    assert answers == [{"twice": 2}, {"twice": 42}]
    assert events == [{"event": "half", "n": 1}, {"event": "nearly"}, {"event": "half", "n": 21}, {"event": "nearly"}]


def test_an_answer_of_a_megabyte_arrives_whole(open_child):
    answer = open_child("say(text='x' * 1_000_000)").ask({}, 10)
    assert answer == {"text": "x" * 1_000_000}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.abort()", "was killed by SIGABRT (Aborted)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV (Segmentation fault)"),
        ("sys.exit(3)", "ended with exit code 3"),
        ("print('INFO: loading', flush=True)", "sent something that is no answer: 'INFO: loading'"),
        ("print('[1, 2]', flush=True)", "sent something that is no answer: '[1, 2]'"),
    ],
)
def test_the_end_of_a_child_is_said_in_words(open_child, tmp_path, body, reason):
    channel = open_child(f"print('tensor \\x1b[31mbroken\\x1b[0m\\x07', file=sys.stderr, flush=True); {body}")
    with pytest.raises(ChannelClosed) as caught:
        channel.ask({}, 10)
    assert (caught.value.reason, caught.value.message) == (reason, reason)
    assert caught.value.log_tail == "tensor broken"
    assert caught.value.hint == "its last words: tensor broken"
    assert caught.value.log == str(tmp_path / "child.log")
    with pytest.raises(ChannelClosed) as again:
        channel.ask({}, 10)
    assert again.value.reason == reason


def test_a_child_that_only_closes_its_output_is_ended(open_child, monkeypatch):
    monkeypatch.setattr(channel_module, "EXIT_GRACE_S", 0.2)
    channel = open_child("os.close(1); time.sleep(60)")
    with pytest.raises(ChannelClosed, match="closed its output and was ended"):
        channel.ask({}, 10)
    assert wait_for_end(channel.pid)


def test_a_kill_from_outside_names_the_usual_reason(open_child):
    channel = open_child("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(ChannelClosed, match="was killed by SIGKILL, by the system if memory ran out"):
        channel.ask({}, 10)


def test_an_unknown_signal_has_a_number():
    assert describe_exit(-200) == "was killed by signal 200"


def test_a_child_that_hangs_is_killed_with_everything_that_it_started(open_child):
    started = []
    channel = open_child("""
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        say(event="started", pid=child.pid)
        time.sleep(60)
    """)
    with pytest.raises(ChannelTimeout, match=r"gave no answer within 0\.5 s and was ended"):
        channel.ask({}, 0.5, started.append)
    assert wait_for_end(channel.pid)
    assert wait_for_end(started[0]["pid"])


def test_a_grandchild_that_holds_the_pipe_open_does_not_hide_the_end(open_child):
    channel = open_child("""
        subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        os._exit(5)
    """)
    with pytest.raises(ChannelClosed, match="ended with exit code 5"):
        channel.ask({}, 20)


def test_the_memory_limit_counts_what_the_child_started(open_child):
    channel = open_child(
        """
        hog = "held = bytearray(300_000_000); import time; time.sleep(60)"
        subprocess.Popen([sys.executable, "-S", "-c", hog]).wait()
        """,
        memory_limit_bytes=200_000_000,
    )
    with pytest.raises(ChannelClosed, match="used more memory than the limit of 200 MB") as caught:
        channel.ask({}, 20)
    assert caught.value.hint == "allow more with --memory-limit, or close other programs"


def test_a_child_below_the_memory_limit_lives(open_child):
    channel = open_child("time.sleep(0.5); say(fine=True)", memory_limit_bytes=200_000_000)
    assert channel.ask({}, 20) == {"fine": True}


def test_close_from_another_thread_ends_a_waiting_ask(open_child):
    channel = open_child("time.sleep(60)")
    threading.Timer(0.2, channel.close).start()
    with pytest.raises(ChannelClosed, match="was stopped"):
        channel.ask({}, 30)


def test_a_closed_channel_says_so_and_closes_twice(open_child):
    channel = open_child("say()")
    with channel:
        assert channel.ask({}, 10) == {}
    channel.close()
    assert wait_for_end(channel.pid)
    with pytest.raises(ChannelClosed, match="was stopped"):
        channel.ask({}, 10)


def test_an_answer_without_end_does_not_fill_the_memory(open_child, monkeypatch):
    monkeypatch.setattr(channel_module, "MOST_BYTES", 1 << 20)
    channel = open_child("while True: sys.stdout.write('x' * 10_000)")
    with pytest.raises(ChannelGarbled, match="sent something that is no answer: 'xxx"):
        channel.ask({}, 20)
    assert wait_for_end(channel.pid)


def test_what_is_no_answer_is_told_from_a_death(open_child):
    with pytest.raises(ChannelGarbled):
        open_child("print('INFO: loading', flush=True)").ask({}, 10)


def test_a_log_that_cannot_be_written_is_bad_input(tmp_path):
    with pytest.raises(BadInputError, match="cannot be written: Is a directory") as caught:
        Channel([sys.executable], log=tmp_path)
    assert caught.value.hint == "choose another folder with --out"


def test_a_program_that_does_not_exist(tmp_path):
    with pytest.raises(DeviceError, match="no-such-program cannot be started: No such file or directory"):
        Channel(["no-such-program"], log=tmp_path / "log")


def test_the_child_is_in_a_session_of_its_own_and_sees_env_and_folder(open_child, tmp_path):
    channel = open_child(
        "say(session=os.getsid(0), colour=os.environ.get('COLOUR'), folder=os.getcwd(), home='HOME' in os.environ)",
        env={"COLOUR": "blue"},
        cwd=tmp_path,
    )
    assert channel.ask({}, 10) == {"session": channel.pid, "colour": "blue", "folder": str(tmp_path), "home": False}
    assert channel.pid != os.getsid(0)


def test_interrupting_the_host_leaves_nothing(tmp_path):
    """A Ctrl-C while an answer is awaited: the context manager ends the child."""
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, str(tmp_path / "log")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    child = int(host.stdout.readline())
    host.send_signal(signal.SIGINT)
    _, errors = host.communicate(timeout=10)
    assert host.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert wait_for_end(child)


HOST = """
import sys
from pathlib import Path
from edgeopt.devices.channel import Channel
with Channel([sys.executable, "-S", "-c", "import time; time.sleep(60)"], log=Path(sys.argv[1])) as channel:
    print(channel.pid, flush=True)
    channel.ask({}, None)
"""
