"""Whatever a plugin does, the other targets go on, the row says what happened, and nothing is left behind."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

KEPT = ("logs", "profile-local.jsonl", "reference", "run.json")
"""What lies beside the artifacts of a run that came to its measuring."""

UNRULY = '''
    """A distribution of backends that misbehave; each is named after what it does."""

    import os
    import sys
    import time
    from pathlib import Path

    from edgeopt.api import Artifact, Backend, ExportError, hookimpl

    class Unruly(Backend):
        summary = "does what its name says"
        runner = Path(__file__).with_name("unruly_runner.py")

        def write(self, request, text="fine"):
            main = request.out_dir / "model.txt"
            main.write_text(text)
            return Artifact(main, (main,))

    class Aborts(Unruly):
        name = "aborts"
        def export(self, request):
            print("about to abort", file=sys.stderr, flush=True)
            os.abort()

    class Hangs(Unruly):
        name = "hangs"
        def export(self, request):
            time.sleep(3600)

    class Hoards(Unruly):
        name = "hoards"
        def export(self, request):
            kept = []
            while True:
                kept.append(bytearray(os.urandom(1 << 20)) * 64)

    class Raises(Unruly):
        name = "raises"
        def export(self, request):
            raise ValueError("it is Tuesday")

    class Refuses(Unruly):
        name = "refuses"
        def export(self, request):
            raise ExportError("the model has a layer that I do not know", hint="use another layer")

    class Quits(Unruly):
        name = "quits"
        def export(self, request):
            sys.exit(0)

    class Strays(Unruly):
        name = "strays"
        def export(self, request):
            artifact = self.write(request)
            elsewhere = request.out_dir.parent / "elsewhere.txt"
            elsewhere.touch()
            return Artifact(artifact.main, (*artifact.files, elsewhere))

    class Lies(Unruly):
        name = "lies"
        def export(self, request):
            return "done"

    class Prints(Unruly):
        name = "prints"
        def export(self, request):
            print('{"main": "forged"}', flush=True)
            [os.write(1, b"x" * 1_000_000) for _ in range(30)]
            return self.write(request)

    class Wanders(Unruly):
        name = "wanders"
        def export(self, request):
            Path("stray.txt").write_text("here I was")
            (request.out_dir.parent / "neighbour").mkdir()
            return self.write(request)

    class Forks(Unruly):
        name = "forks"
        def export(self, request):
            import subprocess
            subprocess.Popen(["sleep", "3600"], start_new_session=True)
            if os.fork() == 0:
                os.setsid()
                time.sleep(3600)
                os._exit(0)
            return self.write(request)

    class Spins(Unruly):
        name = "spins"
        def export(self, request):
            import threading
            threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)]).start()
            return self.write(request)

    class Segfaults(Unruly):
        name = "segfaults"
        def export(self, request):
            import ctypes
            ctypes.string_at(0)

    class Floods(Unruly):
        name = "floods"
        def export(self, request):
            with (request.out_dir / "flood.bin").open("wb") as file:
                while True:
                    file.write(bytes(1 << 20))

    class Fragile(Unruly):
        name = "fragile"
        def export(self, request):
            return self.write(request, "abort")

    class Garbled(Unruly):
        name = "garbled"
        def export(self, request):
            return self.write(request, "garble")

    class Constant(Unruly):
        name = "constant"
        def export(self, request):
            return self.write(request, "zeros")

    @hookimpl
    def edgeopt_backends():
        return [
            Aborts, Hangs, Hoards, Raises, Refuses, Quits, Strays, Lies, Prints,
            Wanders, Forks, Spins, Segfaults, Floods, Fragile, Garbled, Constant,
        ]
'''
RUNNER = """
import os
import time

import numpy as np


class Runner:
    untimed = None

    def __init__(self, word):
        self.word = word

    def feed(self, inputs):
        self.image = np.asarray(inputs["image"])

    def invoke(self):
        if self.word == "abort":
            os.abort()
        time.sleep(0.001)

    def outputs(self):
        if self.word == "garble":
            return {"something_else": np.zeros(3, np.float32)}
        if self.word == "zeros":
            return {OUTPUT: np.zeros((1, 10), np.float32)}
        pixels = self.image.reshape(-1)[400:410].astype(np.float32)
        return {OUTPUT: pixels[None]}

    def facts(self):
        return {}


def load(path, threads):
    with open(path) as file:
        return Runner(file.read())
"""
NAMES = (
    "aborts", "hangs", "hoards", "raises", "refuses", "quits",
    "strays", "lies", "prints", "wanders", "forks", "spins", "segfaults", "fragile", "garbled", "constant",
)  # fmt: skip


@pytest.fixture
def unruly(edgeopt):
    """A user's folder in which every unruly backend is a target."""
    edgeopt.install("edgeopt-unruly", UNRULY, version="6.6")
    runner = edgeopt.folder / "site-packages" / "unruly_runner.py"
    runner.write_text(RUNNER.replace("OUTPUT", repr("probabilities")))
    (edgeopt.folder / "targets").mkdir()
    for name in NAMES:
        (edgeopt.folder / "targets" / f"{name}.toml").write_text(f'backend = "{name}"\n')
    return edgeopt


def children_of(folder):
    """Processes that run in, or for, a folder: their command line or their folder names it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            environment = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if int(process.name) != os.getpid() and str(folder) in command + environment:
            found.append(command)
    return found


@pytest.mark.slow
def test_each_misdeed_is_one_row_and_the_others_go_on(unruly):
    limits = ("--timeout", "25", "--memory-limit", "1500MB", "--seconds", "0.2", "--min-iterations", "30")
    code, run = unruly.json("export", "-t", ",".join(NAMES), *limits)
    rows = {row["target"]: row for row in run["results"]}
    errors = {name: row["error"] and (row["error"]["kind"], row["error"]["message"]) for name, row in rows.items()}
    assert errors["source"] is None
    assert errors["raises"] == ("export", "ValueError: it is Tuesday")
    assert errors["refuses"] == ("export", "the model has a layer that I do not know")
    assert rows["refuses"]["error"]["hint"] == "use another layer"
    assert errors["quits"] == ("export", "SystemExit: 0")
    assert errors["lies"] == ("plugin", "the backend returned str, not an Artifact")
    assert "outside its output folder" in errors["strays"][1]
    assert "SIGABRT" in errors["aborts"][1]
    assert "about to abort" in Path(rows["aborts"]["error"]["log"]).read_text()
    assert errors["hangs"] == ("export", "gave no answer within 25 s and was ended")
    assert "used more memory than the limit of 1.5 GB" in errors["hoards"][1]
    assert "SIGABRT" in errors["fragile"][1]
    assert "something_else" in errors["garbled"][1]
    assert errors["constant"][0] == "degenerate"
    assert rows["constant"]["latency"]["median_s"] > 0.001
    folder = unruly.folder.resolve()
    strays = errors["wanders"][1].removeprefix("the backend wrote outside its output folder: ").split(", ")
    assert errors["wanders"][0] == "plugin"
    assert strays[0] == str(folder / "stray.txt")
    assert strays[1].endswith("/exports/neighbour")
    assert "SIGSEGV" in errors["segfaults"][1]
    assert (errors["prints"], errors["forks"], errors["spins"]) == (None, None, None)
    assert rows["prints"]["plugin"] == "edgeopt-unruly 6.6"
    assert code == 6
    kept = {path.name for path in (unruly.folder / "dist" / run["model"]["name"]).iterdir()}
    assert kept == {*KEPT, "prints", "forks", "spins"}
    assert children_of(unruly.folder) == []


@pytest.mark.slow
def test_a_backend_that_fills_the_disk_leaves_room_for_the_others(unruly):
    disk = unruly.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    (unruly.folder / "targets" / "floods.toml").write_text('backend = "floods"\n')
    try:
        quick = ("--seconds", "0.2", "--min-iterations", "30", "--jobs", "1", "--out", disk)
        code, run = unruly.json("export", "-t", "floods,tflite-int8", *quick)
        kept = {path.name for path in (disk / "demo").iterdir()}
    finally:
        subprocess.run(["umount", disk], check=True)
    rows = {row["target"]: row for row in run["results"]}
    assert code == 8
    assert (rows["floods"]["error"]["kind"], rows["floods"]["error"]["message"]) == ("bad-input", "the disk is full")
    assert rows["floods"]["plugin"] == "edgeopt-unruly 6.6"
    assert rows["tflite-int8"]["status"] == "ok"
    assert rows["tflite-int8"]["latency"]["median_s"] > 0
    assert {"run.json", "tflite-int8"} <= kept


def wait_for_line(process, text):
    """Read standard error until a line with `text`."""
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    pytest.fail("".join(seen))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_during_an_export_leaves_nothing_half_done(unruly, number):
    with unruly.start("export", "-t", "hangs") as process:
        wait_for_line(process, "hangs")
        time.sleep(0.5)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert out == ""
    model = next((unruly.folder / "dist").iterdir())
    assert {path.name for path in model.iterdir()} == {"logs", "run.json"}
    assert children_of(unruly.folder) == []


@pytest.mark.slow
def test_an_interrupt_while_measuring_keeps_what_is_complete(unruly):
    with unruly.start("export", "-t", "prints", "--seconds", "150") as process:
        wait_for_line(process, "measuring")
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130
    model = next((unruly.folder / "dist").iterdir())
    assert {path.name for path in model.iterdir()} == {*KEPT, "prints"}
    assert unruly.run("verify", model / "prints")[0] == 0
    assert children_of(unruly.folder) == []


def test_no_process_stays_when_edgeopt_is_killed(unruly):
    with unruly.start("export", "-t", "hangs") as process:
        wait_for_line(process, "hangs")
        process.kill()
        process.communicate(timeout=20)
    deadline = time.monotonic() + 30
    while children_of(unruly.folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert children_of(unruly.folder) == []
