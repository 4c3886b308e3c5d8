"""The harness in a process of its own, with runners that work, print, raise, crash and hang."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeopt.devices.channel import ChannelClosed, ChannelTimeout
from edgeopt.measure import harness


def test_it_runs_on_python_3_9_and_imports_nothing_of_edgeopt():
    text = Path(harness.__file__).read_text()
    tree = ast.parse(text, feature_version=(3, 9))
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    strangers = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert strangers == {"numpy"}


def test_a_whole_conversation(load, write_runner, feeds):
    runner = write_runner(invoke="time.sleep(0.002)", extra="def facts(self): return {'calls': self.calls, 'no': [1]}")
    channel, loaded = load(runner)
    assert loaded == {"load_s": pytest.approx(0, abs=0.1), "untimed": None, "facts": {"calls": 0}}
    assert channel.ask({"op": "feed", "feeds": str(feeds), "index": 1}, 10) == {}
    warm = channel.ask({"op": "warm", "seconds": 1.0}, 10)
    assert warm.keys() == {"first_s", "iterations", "latency_s", "steady"}
    assert warm["steady"] is True
    assert 0.002 < warm["latency_s"] < 0.1
    assert 0.002 < warm["first_s"] < 1
    timed = channel.ask({"op": "time", "iterations": 5, "settle": 3}, 10)["samples_ns"]
    assert len(timed) == 5
    assert min(timed) > 2_000_000
    memory = channel.ask({"op": "memory"}, 10)
    assert memory["facts"] == {"calls": warm["iterations"] + 8}
    assert 0 <= memory["model_bytes"] < 5_000_000 < memory["peak_bytes"] < 200_000_000
    assert channel.ask({"op": "quit"}, 10) == {}
    with pytest.raises(ChannelClosed, match="ended with exit code 0"):
        channel.ask({"op": "memory"}, 10)


def test_first_inference_counts_once_and_the_model_counts_what_it_holds(load, write_runner, feeds):
    runner = write_runner(
        load="Runner.weights = np.ones(5_000_000)",
        invoke="""
            if self.calls == 1:
                time.sleep(0.05)
                self.arena = np.ones(5_000_000)
        """,
    )
    channel, _ = load(runner)
    channel.ask({"op": "feed", "feeds": str(feeds)}, 10)
    first, second = (channel.ask({"op": "warm", "seconds": 0.1}, 10)["first_s"] for _ in range(2))
    assert first == second
    assert first > 0.05
    memory = channel.ask({"op": "memory"}, 10)
    assert 80_000_000 <= memory["model_bytes"] < 90_000_000
    assert memory["peak_bytes"] > memory["model_bytes"]


def test_a_latency_that_never_settles_is_not_steady(load, write_runner, feeds):
    channel, _ = load(write_runner(invoke="time.sleep(0.025 if self.calls % 2 else 0.04)"))
    channel.ask({"op": "feed", "feeds": str(feeds)}, 10)
    warm = channel.ask({"op": "warm", "seconds": 0.3}, 10)
    assert warm["steady"] is False
    assert warm["iterations"] >= 8


def test_a_slow_but_steady_latency_is_steady(load, write_runner, feeds):
    channel, _ = load(write_runner(invoke="time.sleep(0.4)"))
    channel.ask({"op": "feed", "feeds": str(feeds)}, 10)
    warm = channel.ask({"op": "warm", "seconds": 0.1}, 10)
    assert (warm["steady"], warm["iterations"]) == (True, 4)


@pytest.mark.parametrize("batch", [1, 3])
def test_evaluate_walks_all_feeds(load, write_runner, write_feeds, tmp_path, batch):
    samples = {"x": np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float16), "y": np.arange(6)}
    channel, _ = load(write_runner())
    message = {"op": "evaluate", "feeds": str(write_feeds(samples, batch)), "out": str(tmp_path / "out")}
    assert channel.ask(message, 10) == {"count": 6 // batch}
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index == {"outputs": {"double": "0.npy", "rows": "1.npy"}, "count": 6 // batch, "batch": batch}
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "0.npy"), 2 * samples["x"], strict=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "1.npy"), np.full(6 // batch, float(batch)), strict=True)


def test_a_feed_has_the_names_shapes_and_types_of_the_file(write_feeds):
    samples = {"x": np.arange(24, dtype=">i4").reshape(4, 2, 3), "flag": np.array([True, False, True, True])}
    feeds = harness.Feeds(str(write_feeds(samples, 2)))
    assert (feeds.count, feeds.batch) == (2, 2)
    for number, feed in enumerate(feeds.walk()):
        assert feed.keys() == samples.keys()
        for name, value in feed.items():
            np.testing.assert_array_equal(value, samples[name][2 * number : 2 * number + 2], strict=True)
            assert value.flags.writeable
    (last,) = feeds.walk(1)
    np.testing.assert_array_equal(last["x"], samples["x"][2:])


def test_many_feeds_do_not_count_as_memory_of_the_model(load, write_runner, write_feeds, tmp_path):
    feeds = write_feeds({"x": np.ones((60, 1_000_000), np.uint8)})
    channel, _ = load(write_runner(extra="outputs = lambda self: {'sum': self.inputs['x'].sum()}"))
    before = channel.ask({"op": "memory"}, 10)["peak_bytes"]
    channel.ask({"op": "feed", "feeds": str(feeds), "index": 59}, 20)
    channel.ask({"op": "evaluate", "feeds": str(feeds), "out": str(tmp_path / "out")}, 20)
    assert channel.ask({"op": "memory"}, 10)["peak_bytes"] - before < 10_000_000


def test_a_long_evaluation_says_how_far_it_is(load, write_runner, feeds, tmp_path):
    channel, _ = load(write_runner(invoke="time.sleep(0.2)"))
    events = []
    channel.ask({"op": "evaluate", "feeds": str(feeds), "out": str(tmp_path / "out")}, 20, events.append)
    assert events == [{"event": "evaluated", "done": done, "of": 6} for done in (3, 6)]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 2)), "ValueError: 5 samples are not 2 feeds of 2"),
        (np.asfortranarray(np.zeros((4, 2))), "ValueError: feeds must be stored in C order"),
        (np.array([None, {}, 1, 2]), "ValueError: feeds must be numbers, not Python objects"),
    ],
)
def test_feeds_that_cannot_be_used(load, write_runner, write_feeds, array, message):
    channel, _ = load(write_runner())
    answer = channel.ask({"op": "feed", "feeds": str(write_feeds({"x": array}, 2))}, 10)
    assert answer == {"error": {"kind": "ValueError", "message": message}}


def test_a_file_of_feeds_that_is_cut_off(load, write_runner, feeds):
    file = feeds / "0.npy"
    file.write_bytes(file.read_bytes()[:-4])
    channel, _ = load(write_runner())
    answer = channel.ask({"op": "feed", "feeds": str(feeds), "index": 5}, 10)
    assert answer == {"error": {"kind": "ValueError", "message": "ValueError: the file of feeds is cut off"}}


def test_a_runner_that_prints_and_reads_does_not_garble_the_conversation(load, write_runner, feeds, tmp_path):
    channel, loaded = load(
        write_runner(
            load="print('python says hello'); os.system('echo a C library says hello'); Runner.read = sys.stdin.read()",
            invoke="print('{}')",
            extra="facts = lambda self: {'read': self.read}",
        )
    )
    assert loaded["facts"] == {"read": ""}
    channel.ask({"op": "feed", "feeds": str(feeds)}, 10)
    assert len(channel.ask({"op": "time", "iterations": 3}, 10)["samples_ns"]) == 3
    channel.ask({"op": "quit"}, 10)
    log = (tmp_path / "harness.log").read_text()
    assert "a C library says hello" in log


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ({"load": "raise ValueError('no such\\nmodel')"}, ("ValueError", "ValueError: no such")),
        ({"load": "import a_missing_runtime"}, ("ModuleNotFoundError", "No module named 'a_missing_runtime'")),
        ({"load": "sys.exit(2)"}, ("SystemExit", "SystemExit: 2")),
        ({"load": "return object("}, ("SyntaxError", "SyntaxError: ")),
    ],
)
def test_what_a_runner_raises_is_an_answer(load, write_runner, lines, error):
    channel, answer = load(write_runner(**lines))
    assert answer["error"]["kind"] == error[0]
    assert error[1] in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]
    assert channel.ask({"op": "nonsense"}, 10) == {"error": {"kind": "KeyError", "message": "KeyError: 'nonsense'"}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("untimed = 5", "TypeError: untimed is a int; wanted None, or a text that says why"),
        ("untimed = object()", "TypeError: untimed is a object; wanted None, or a text that says why"),
        ("facts = lambda self: None", "TypeError: facts() gave a NoneType; wanted a mapping"),
    ],
)
def test_what_a_runner_says_of_itself_is_checked(load, write_runner, line, message):
    channel, answer = load(write_runner(extra=line))
    assert answer == {"error": {"kind": "TypeError", "message": message}}
    assert "error" in channel.ask({"op": "nonsense"}, 10)


def test_an_exception_without_words_is_an_answer(load, write_runner):
    odd = "class Odd(Exception):\n    __str__ = lambda self: 1 / 0\nraise Odd"
    channel, answer = load(write_runner(load=odd))
    assert answer["error"]["message"] == "Odd: <its text fails with ZeroDivisionError>"
    assert "error" in channel.ask({"op": "nonsense"}, 10)


def test_facts_that_no_document_can_hold_do_not_go_through(load, write_runner):
    facts = "facts = lambda self: {'nan': float('nan'), 'big': 10**5000, 'inf': -float('inf'), 'n': 1, 'yes': True}"
    assert load(write_runner(extra=facts))[1]["facts"] == {"n": 1, "yes": True}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ("None", "outputs() gave a NoneType; wanted a mapping from name to array"),
        ("{'y': np.array(['a'])}", "the output y holds <U1, and no numbers"),
        ("{'y': np.array([None])}", "the output y holds object, and no numbers"),
        ("{'y': np.zeros((1, 1 + self.calls))}", "feed 1 gave outputs of other names, shapes or types than the first"),
        ("{'y': np.zeros((1, 1), 'f4' if self.calls < 2 else 'f8')}", "feed 1 gave outputs of other names"),
        ("{'x': np.zeros(1), **({'y': np.zeros(1)} if self.calls < 2 else {})}", "feed 1 gave outputs of other names"),
    ],
)
def test_outputs_that_cannot_be_compared(load, write_runner, feeds, outputs, message):
    channel, _ = load(write_runner(extra=f"outputs = lambda self: {outputs}"))
    answer = channel.ask({"op": "evaluate", "feeds": str(feeds), "out": str(feeds.parent / "out")}, 10)
    assert answer["error"]["message"].partition(": ")[2].startswith(message)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to try")
def test_a_full_disk_is_an_answer_and_no_crash(load, write_runner, write_feeds, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0.npy").symlink_to("/dev/full")
    feeds = write_feeds({"x": np.ones((4, 100_000), np.float32)})
    channel, _ = load(write_runner())
    answer = channel.ask({"op": "evaluate", "feeds": str(feeds), "out": str(tmp_path / "out")}, 10)
    assert answer["error"]["message"] == "OSError: [Errno 28] No space left on device"


def test_a_runner_that_replaces_the_clocks_changes_nothing(load, write_runner, feeds):
    clocks = "; ".join(f"time.{name} = lambda: 0" for name in ("perf_counter", "perf_counter_ns", "monotonic"))
    channel, _ = load(write_runner(load=clocks))
    channel.ask({"op": "feed", "feeds": str(feeds)}, 10)
    assert channel.ask({"op": "warm", "seconds": 0.1}, 10)["latency_s"] > 0
    assert min(channel.ask({"op": "time", "iterations": 50}, 10)["samples_ns"]) > 0


def test_a_reason_not_to_time_goes_through(load, write_runner):
    _, loaded = load(write_runner(extra="untimed = 'no GPU on this device'"))
    assert loaded["untimed"] == "no GPU on this device"


def test_a_crash_says_which_signal_and_leaves_the_stack_in_the_log(load, write_runner, feeds):
    channel, _ = load(write_runner(invoke="os.abort()"))
    channel.ask({"op": "feed", "feeds": str(feeds)}, 10)
    with pytest.raises(ChannelClosed, match=r"was killed by SIGABRT \(Aborted\)") as caught:
        channel.ask({"op": "warm", "seconds": 1}, 10)
    assert "Fatal Python error: Aborted" in caught.value.log_tail
    assert "in invoke" in caught.value.log_tail


def test_a_hang_ends_at_the_time_limit(load, write_runner, feeds):
    channel, _ = load(write_runner(invoke="time.sleep(60)"))
    channel.ask({"op": "feed", "feeds": str(feeds)}, 10)
    with pytest.raises(ChannelTimeout):
        channel.ask({"op": "time", "iterations": 1}, 0.3)


def test_the_folder_of_the_harness_is_not_on_the_import_path_and_threads_are_pinned(load, write_runner):
    names = ["OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"]
    facts = f"facts = lambda self: {{'path': ':'.join(sys.path), **{{n: os.environ[n] for n in {names}}}}}"
    _, loaded = load(write_runner(extra=facts), threads=3)
    assert str(Path(harness.__file__).parent) not in loaded["facts"].pop("path").split(":")
    assert loaded["facts"] == dict(zip(names, "331", strict=True))


HOST = """
import json, subprocess, sys
harness = subprocess.Popen([sys.executable, sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                           start_new_session=True)
def send(**message):
    harness.stdin.write(json.dumps(message) + "\\n")
    harness.stdin.flush()
send(op="load", runner=sys.argv[2], artifact="", threads=1)
harness.stdout.readline()
send(op="time", iterations=1)
print(harness.pid, flush=True)
harness.wait()
"""


@pytest.mark.parametrize("invoke", ["time.sleep(60)", "while True: pass"])
def test_no_orphan_stays_when_the_host_is_killed(write_runner, invoke):
    runner = write_runner(invoke=invoke)
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, harness.__file__, str(runner)], stdout=subprocess.PIPE, text=True
    )
    with host:
        orphan = int(host.stdout.readline())
        os.kill(host.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{orphan}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{orphan}").exists()


def ask_operators(channel, runner, feeds):
    message = {"op": "operators", "runner": str(runner), "artifact": "/some/artifact", "threads": 3, "seconds": 0.5}
    return channel.ask({**message, "feeds": str(feeds)}, 10)


def test_operators_come_from_the_runner_file_without_loading(open_harness, write_runner, feeds):
    runner = write_runner(load="raise RuntimeError('loaded')")
    text = """
def operators(path, threads, feed, seconds):
    row = {"name": path, "kernel": f"{threads} threads", "count": np.int64(2), "time_s": np.float32(seconds), "x": b""}
    return [row, {"name": str(feed["x"].tolist()), "kernel": "", "count": True, "time_s": 1}]
"""
    runner.write_text(runner.read_text() + text)
    assert ask_operators(open_harness(), runner, feeds) == {
        "operators": [
            {"name": "/some/artifact", "kernel": "3 threads", "count": 2, "time_s": 0.5},
            {"name": "[[0.0, 1.0, 2.0]]", "kernel": "", "count": 1, "time_s": 1.0},
        ]
    }


def test_a_runner_that_cannot_tell_operators(open_harness, write_runner, feeds):
    runner = write_runner()
    assert ask_operators(open_harness(), runner, feeds) == {"operators": None}
    with runner.open("a") as file:
        file.write("\ndef operators(*_):\n    raise RuntimeError('runtime 1.0 has no profiler')\n")
    error = {"kind": "RuntimeError", "message": "RuntimeError: runtime 1.0 has no profiler"}
    assert ask_operators(open_harness(), runner, feeds) == {"error": error}
    with runner.open("a") as file:
        file.write("\ndef operators(*_):\n    return [{'name': 'ADD'}]\n")
    assert ask_operators(open_harness(), runner, feeds)["error"]["kind"] == "KeyError"
