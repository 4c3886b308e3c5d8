"""A process that was forked from a warm parent is in all that counts like one that was started by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from edgeopt.devices import warm
from edgeopt.devices.channel import ChannelClosed
from edgeopt.devices.forked import connect, fork
from edgeopt.devices.local import LocalDevice
from edgeopt.devices.warm import WarmChannel, WarmParent, is_slow
from edgeopt.errors import BadInputError
from edgeopt.measure import forking
from tests.standins.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every process is started by itself")
HEAD = """
import json, os, signal, sys, time
def say(**answer):
    print(json.dumps(answer), flush=True)
def hear():
    return json.loads(sys.stdin.readline())
"""
FACTS = """
hear()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
say(
    modules=sorted(sys.modules),
    argv=sys.argv,
    main=__name__,
    cwd=os.getcwd(),
    environ=dict(os.environ),
    temporary=__import__("tempfile").gettempdir(),
    threads=int(status["Threads"]),
    rss=int(status["VmRSS"].split()[0]),
    session=os.getsid(0) == os.getpid(),
    files=len(os.listdir("/proc/self/fd")),
    sigchld=signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
)
hear()
"""


@pytest.fixture
def parent(monkeypatch):
    """A warm parent that has imported `decimal` and `tempfile`, which takes no second."""
    monkeypatch.setattr(warm, "SLOW", ("decimal", "tempfile"))
    parent = WarmParent([sys.executable])
    yield parent
    parent.close()


@pytest.fixture
def start(parent, tmp_path):
    """Return a function that runs a Python text in a process of the parent."""
    channels = []

    def started(text, **settings):
        (script := tmp_path / f"script{len(channels)}.py").write_text(HEAD + text)
        env = settings.pop("env", dict(os.environ))
        log = settings.pop("log", tmp_path / "log")
        channel = WarmChannel(parent, [sys.executable], [str(script)], log=log, env=env, **settings)
        channels.append(channel)
        return channel

    yield started
    for channel in channels:
        channel.close()


def parent_of(pid):
    """Return the process that started a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_is_the_main_program_with_the_environment_and_folder_that_were_asked_for(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = {**os.environ, "ONLY_HERE": "1", "OMP_NUM_THREADS": "7", "TMPDIR": str(tmp_path)}
    channel = start(FACTS, env=env)
    facts = channel.ask({}, 30)
    assert facts["main"] == "__main__"
    assert facts["argv"] == [str(tmp_path / "script0.py")]
    assert facts["cwd"] == str(tmp_path)
    assert facts["environ"]["ONLY_HERE"] == "1"
    assert facts["temporary"] == str(tmp_path)
    assert facts["environ"]["OMP_NUM_THREADS"] == "7"
    assert "decimal" in facts["modules"]
    assert facts["threads"] == 1
    assert facts["session"], "a Ctrl-C at the terminal must not reach it"
    assert facts["sigchld"]


def test_each_draws_other_random_numbers(monkeypatch, tmp_path):
    monkeypatch.setattr(warm, "SLOW", ("numpy.random",))
    (script := tmp_path / "script.py").write_text(
        HEAD + "import numpy, random\nhear()\nsay(numpy=float(numpy.random.random()), python=random.random())\n"
    )
    parent = WarmParent([sys.executable])
    try:
        drawn = []
        for _ in range(2):
            settings = {"log": tmp_path / "log", "env": dict(os.environ)}
            with WarmChannel(parent, [sys.executable], [str(script)], **settings) as channel:
                assert parent_of(channel.pid) == parent._channel.pid
                drawn.append(channel.ask({}, 30))
    finally:
        parent.close()
    assert drawn[0]["numpy"] != drawn[1]["numpy"]
    assert drawn[0]["python"] != drawn[1]["python"]


def test_processes_share_a_parent_and_nothing_of_each_other(start, parent):
    first, second = start(FACTS), start(FACTS)
    assert parent_of(first.pid) == parent_of(second.pid) == parent._channel.pid
    assert first.ask({}, 30)["files"] == second.ask({}, 30)["files"]


def test_its_memory_counts_what_the_parent_has_read_of_libraries(start):
    """In a plain fork the pages of files are missing: 367 MB instead of 723 MB with TensorFlow."""
    channel = start(FACTS)
    rss = channel.ask({}, 30)["rss"]
    lines = Path(f"/proc/{parent_of(channel.pid)}/status").read_text().splitlines()
    whole = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    assert rss > 0.95 * whole


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sys.exit(3)", "ended with exit code 3"),
        ("sys.exit('no')", "ended with exit code 1"),
        ("raise ZeroDivisionError('why')", "ended with exit code 1"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV (Segmentation fault)"),
        ("os.abort()", "was killed by SIGABRT (Aborted)"),
    ],
)
def test_how_it_ended_is_known(start, text, reason, tmp_path):
    with pytest.raises(ChannelClosed) as caught:
        start(f"hear()\n{text}").ask({}, 30)
    assert caught.value.reason == reason
    if "ZeroDivisionError" in text:
        assert "ZeroDivisionError: why" in (tmp_path / "log").read_text()


def test_closing_ends_it_with_all_that_it_started_and_the_parent_goes_on(start, parent):
    channel = start(
        "import subprocess\nhear()\nsay(pid=subprocess.Popen(['sleep', '60'], start_new_session=True).pid)\nhear()"
    )
    child = channel.ask({}, 30)["pid"]
    channel.close()
    until(lambda: not is_alive(channel.pid) and not is_alive(child), 10)
    assert start("hear()\nsay(ok=True)").ask({}, 30) == {"ok": True}
    assert is_alive(parent._channel.pid)


def test_one_that_is_closed_at_once_is_gone_at_once(start):
    for _ in range(10):
        channel = start("time.sleep(60)")
        begin = time.monotonic()
        channel.close()
        assert time.monotonic() - begin < 3
        assert not is_alive(channel.pid)


def test_one_that_takes_too_much_memory_is_ended(start):
    channel = start(
        "hear()\nkept = bytearray(400 << 20)\nkept[:] = b'x' * len(kept)\ntime.sleep(60)", memory_limit_bytes=200 << 20
    )
    with pytest.raises(ChannelClosed, match="used more memory than the limit"):
        channel.ask({}, 30)


def test_a_log_that_cannot_be_written_is_an_error(start, tmp_path):
    with pytest.raises(BadInputError, match="cannot be written"):
        start(FACTS, log=tmp_path)
    assert parent_of(start(FACTS).pid) != os.getpid(), "the parent is still of use"


@pytest.mark.parametrize("module", ["no_such_module", "starts_a_thread"])
def test_where_the_parent_is_of_no_use_a_process_is_started_as_usual(monkeypatch, tmp_path, module):
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(warm, "SLOW", (module,))
    (script := tmp_path / "script.py").write_text(HEAD + FACTS)
    parent = WarmParent([sys.executable])
    try:
        with WarmChannel(
            parent, [sys.executable], [str(script)], log=tmp_path / "log", env=dict(os.environ)
        ) as channel:
            assert module not in channel.ask({}, 30)["modules"]
            assert parent_of(channel.pid) == os.getpid()
    finally:
        parent.close()


def test_a_parent_that_died_is_replaced_by_processes_of_their_own(start, parent):
    assert start("hear()\nsay(ok=1)").ask({}, 30) == {"ok": 1}
    os.kill(parent._channel.pid, signal.SIGKILL)
    until(lambda: not is_alive(parent._channel.pid), 10)
    channel = start("hear()\nsay(ok=2)")
    assert channel.ask({}, 30) == {"ok": 2}
    assert parent_of(channel.pid) == os.getpid()


def test_a_process_outlives_its_parent(start, parent):
    channel = start("for line in sys.stdin: say(ok=1)")
    assert channel.ask({}, 30) == {"ok": 1}
    os.kill(parent._channel.pid, signal.SIGKILL)
    until(lambda: not is_alive(parent._channel.pid), 10)
    time.sleep(1)
    assert channel._process.poll() is None
    assert channel.ask({}, 30) == {"ok": 1}


def test_it_ends_as_a_program_does(start, tmp_path):
    """A kit that looks whether a process ends by itself, or a runner that cleans up, sees no difference."""
    script = """
import atexit, pathlib, threading
atexit.register(pathlib.Path(sys.argv[0]).with_suffix(".exit").touch)
threading.Thread(target=lambda: (time.sleep(0.5), pathlib.Path(sys.argv[0]).with_suffix(".thread").touch())).start()
hear()
"""
    with pytest.raises(ChannelClosed) as caught:
        start(script).ask({}, 30)
    assert caught.value.reason == "ended with exit code 0"
    assert (tmp_path / "script0.exit").exists()
    assert (tmp_path / "script0.thread").exists()


@pytest.mark.parametrize(
    ("variables", "is_forked"),
    [
        ({}, True),
        ({"KERAS_BACKEND": "tensorflow"}, True),
        ({"KERAS_BACKEND": "jax"}, False),
        ({"TF_USE_LEGACY_KERAS": "1"}, False),
    ],
)
def test_one_that_wants_another_keras_is_not_forked(start, parent, variables, is_forked):
    channel = start(FACTS, env={**os.environ, **variables})
    assert (parent_of(channel.pid) == parent._channel.pid) is is_forked


def test_only_runners_that_require_a_slow_package_are_forked(monkeypatch, tmp_path):
    assert is_slow(("numpy>=1.23", "TensorFlow>=2.21"))
    assert not is_slow(("numpy>=1.23", "ai-edge-litert>=2.3"))
    monkeypatch.setattr(warm, "SLOW", ("decimal",))
    (script := tmp_path / "script.py").write_text(HEAD + FACTS)
    device = LocalDevice()
    try:
        plain, forked = (device.open(script, log=tmp_path / "log", requires=(name,)) for name in ("numpy", "decimal"))
        assert parent_of(plain.pid) == os.getpid()
        assert "decimal" in forked.ask({}, 30)["modules"]
        pid = parent_of(forked.pid)
        assert pid != os.getpid()
    finally:
        device.close()
    assert not is_alive(pid)


def test_the_file_needs_nothing_of_edgeopt():
    assert "edgeopt" not in "".join(
        line for line in Path(forking.__file__).read_text().splitlines() if line.lstrip().startswith(("import", "from"))
    )


def listening(name):
    """Start a parent that listens, and return it."""
    command = [sys.executable, forking.__file__, name, "decimal"]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert json.loads(parent.stdout.readline()) == {"listens": True}
    return parent


def check_sound(name, parent):
    """Check that a parent forks a process that runs to its end, and then ends with its own standard input."""
    with connect(name) as host:
        process = fork(host, {"run": ["-m", "this"], "env": dict(os.environ), "cwd": "/"}, errors=2)
    assert process is not None
    with process.stdin, process.stdout:
        assert b"Zen" in process.stdout.readline()
        assert process.wait(20) == 0
    assert parent.poll() is None
    parent.stdin.close()
    assert parent.wait(20) == 0


@pytest.mark.parametrize("message", [b"{", b"[]", b"{}", b""])
def test_one_that_listens_survives_whatever_it_is_sent(message):
    name = f"edgeopt-test-{uuid.uuid4().hex}"
    with listening(name) as parent:
        with connect(name) as stranger:
            if message:
                stranger.send(message)
            else:
                stranger.close()
        check_sound(name, parent)


def test_one_that_listens_survives_what_another_user_sent_before_it_looked():
    if os.getuid():
        pytest.skip("only root can ask as another user")
    name = f"edgeopt-test-{uuid.uuid4().hex}"
    code = f"""
import os
from edgeopt.devices import forked
os.setuid(65534)
forked.peer_user = lambda _connection: 65534
with forked.connect({name!r}) as parent:
    parent.send(b"{{")
"""
    with listening(name) as parent:
        os.kill(parent.pid, signal.SIGSTOP)
        subprocess.run([sys.executable, "-c", code], check=True)
        os.kill(parent.pid, signal.SIGCONT)
        check_sound(name, parent)


def test_nobody_asks_a_stranger_for_a_process():
    if os.getuid():
        pytest.skip("only root can listen as another user")
    name = f"edgeopt-test-{uuid.uuid4().hex}"
    code = f"""
import os, socket, sys
os.setuid(65534)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as host:
    host.bind("\\0" + {name!r})
    host.listen()
    print(flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        stranger.stdout.readline()
        with pytest.raises(PermissionError, match="another user listens"):
            connect(name)
        stranger.stdin.close()


def test_one_that_listens_forks_for_its_own_user_only(tmp_path):
    """On a device, where any user can see the names that others listen under."""
    if os.getuid():
        pytest.skip("only root can ask as another user")
    (script := tmp_path / "script.py").write_text(HEAD + "say(user=os.getuid())")
    name = f"edgeopt-test-{uuid.uuid4().hex}"
    code = f"""
import json, os, sys
from edgeopt.devices import forked
os.setuid(int(sys.argv[1]))
forked.peer_user = lambda _connection: os.getuid()
with forked.connect({name!r}) as parent:
    process = forked.fork(parent, {{"run": [{str(script)!r}], "env": {{}}, "cwd": "/"}}, errors=2)
    print(process and json.loads(process.stdout.readline())["user"])
"""
    with listening(name) as parent:
        try:
            said = [
                subprocess.run([sys.executable, "-c", code, user], capture_output=True, text=True, check=True).stdout
                for user in ("65534", "0")
            ]
        finally:
            parent.kill()
    assert said == ["None\n", "0\n"]
