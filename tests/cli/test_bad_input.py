"""What a user in a hurry gets wrong: one clear line, a hint, the right exit code, and nothing on standard output."""

import zipfile
from pathlib import Path

import pytest


def bad_target(folder):
    (folder / "targets").mkdir()
    (folder / "targets" / "bad.toml").write_text('backend = "tflite"\nquantization = "int8"\n')


def bad_option_in_target(folder):
    (folder / "targets").mkdir()
    (folder / "targets" / "bad.toml").write_text('backend = "tflite"\n[options]\nquantisation = "int8"\n')


def cut_keras(folder):
    (folder / "cut.keras").write_bytes(b"PK\x03\x04 and no more")


def no_hdf5(folder):
    (folder / "no.h5").write_bytes(b"not a bit of it")


def empty_folder(folder):
    (folder / "saved").mkdir()


def foreign_zip(folder):
    with zipfile.ZipFile(folder / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")


def bad_project(folder):
    (folder / "edgeopt.toml").write_text("modell = 'x.keras'\n")


CASES = {
    "no target": ((), None, 2, "no target was named", "hint: for instance --target tflite-int8"),
    "unknown target": (("-t", "tflite-int"), None, 2, "no target is called 'tflite-int'", "did you mean tflite-int8"),
    "unknown option": (
        ("-t", "tflite-int8", "--set", "quantiser=x"),
        None,
        2,
        "unknown option 'quantiser'",
        "quantizer",
    ),
    "ill-typed option": (("-t", "tf-gpu", "--set", "xla=maybe"), None, 2, "xla is 'maybe'; wanted true or false", ""),
    "unknown device": (("-t", "tf-gpu", "--device", "loca"), None, 2, "loca", "local"),
    "target file": (("-t", "bad"), bad_target, 8, "unknown key 'quantization'", ""),
    "option in target file": (("-t", "bad"), bad_option_in_target, 8, "unknown option 'quantisation'", "quantization"),
    "missing file": (("no.keras", "-t", "tflite-int8"), None, 8, "there is no file or folder no.keras", ""),
    "no SavedModel": (("saved", "-t", "tflite-int8"), empty_folder, 8, "saved", "hint: "),
    "truncated .keras": (("cut.keras", "-t", "tflite-int8"), cut_keras, 8, "cut.keras", "hint: "),
    "zip that is no model": (("other.keras", "-t", "tflite-int8"), foreign_zip, 8, "other.keras", ""),
    "no HDF5": (("no.h5", "-t", "tflite-int8"), no_hdf5, 8, "no.h5", "HDF5"),
    "unknown application": (("keras:MobilNetV2", "-t", "tflite-int8"), None, 2, "MobilNetV2", "did you mean"),
    "project file": (("-t", "tflite-int8"), bad_project, 8, "modell", "did you mean model?"),
    "data that is not there": (("-t", "tf-gpu", "--data", "no.npz"), None, 8, "no.npz", ""),
    "an empty name": (("-t", ""), None, 2, "no target was named", "for instance --target tflite-int8"),
    "targets without a comma": (
        ("m.keras", "-t", "tf-gpu", "tflite-int8"),
        None,
        2,
        "unexpected extra argument",
        "hint: name several targets in one list, with commas and no spaces: -t a,b",
    ),
    "signature of a file": (("--signature", "x", "-t", "tf-gpu"), None, 2, "--signature goes with a SavedModel", ""),
    "shape": (("--input-shape", "3,x", "-t", "tf-gpu"), None, 2, "3,x", ""),
    "memory": (("--memory-limit", "much", "-t", "tf-gpu"), None, 2, "--memory-limit 'much' is no size", "4GB"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_a_hint_and_the_code(edgeopt, case):
    arguments, prepare, code, message, hint = CASES[case]
    if prepare:
        prepare(edgeopt.folder)
    returned, out, err = edgeopt.run("export", *arguments)
    assert (returned, out) == (code, ""), err
    lines = err.splitlines()
    assert [line for line in lines if line.startswith("error: ") and message in line], err
    assert hint in err
    assert len(lines) <= 3, err
    assert not (edgeopt.folder / "dist").exists()


def make_data(folder, **arrays):
    import numpy as np

    np.savez(folder / "data.npz", **arrays)


def test_what_only_tensorflow_can_tell_keeps_its_code_through_the_worker(edgeopt):
    import numpy as np

    images = np.zeros((20, 28, 28, 1), np.float32)
    images[3, 4, 5] = np.nan
    make_data(edgeopt.folder, image=images)
    code, out, err = edgeopt.run("export", "-t", "tflite-int8", "--data", "data.npz")
    assert (code, out) == (8, "")
    assert "NaN" in err
    assert not list((edgeopt.folder / "dist" / "demo").glob("tflite*"))


def test_a_lambda_layer_is_refused_until_the_model_is_trusted(edgeopt):
    import keras

    layers = [
        keras.Input((4,), name="x"),
        keras.layers.Lambda(lambda x: x * 2, output_shape=(4,)),
        keras.layers.Dense(2),
    ]
    keras.Sequential(layers).save(edgeopt.folder / "with_code.keras")
    code, _, err = edgeopt.run("export", "with_code.keras", "-t", "tflite-float32")
    assert code == 8
    assert "--trust-model" in err
    quick = ("--seconds", "0.1", "--min-iterations", "30")
    code, _, err = edgeopt.run("export", "with_code.keras", "-t", "tflite-float32", "--trust-model", *quick)
    assert code == 0, err


def test_a_model_in_the_place_of_a_command(edgeopt):
    code, out, err = edgeopt.run("model.keras", "-t", "tf-gpu")
    assert (code, out) == (2, "")
    assert "hint: did you mean edgeopt export model.keras?" in err


def test_data_that_does_not_fit_the_demo_says_that_no_model_was_named(edgeopt):
    import numpy as np

    make_data(edgeopt.folder, x=np.zeros((20, 8), np.float32))
    code, _, err = edgeopt.run("export", "-t", "tflite-int8", "--data", "data.npz")
    assert code == 8
    assert "hint: no model was named, so this is the embedded demo" in err


def test_a_full_standard_output_is_no_bug(edgeopt):
    import subprocess
    import sys

    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "edgeopt", "targets", "--json", "-"]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 8
    assert done.stderr.startswith("error: the output cannot be written: No space left on device\nhint: free some space")


@pytest.mark.parametrize("arguments", [(), ("--json", "-")])
def test_a_reader_that_has_seen_enough_is_no_error(arguments):
    import os
    import subprocess
    import sys

    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        argv = [sys.executable, "-m", "edgeopt", "targets", *arguments]
        done = subprocess.run(argv, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("delay_s", [0.03, 0.1, 0.15, 0.2, 0.3])
def test_a_very_quick_ctrl_c_is_one_line(edgeopt, delay_s):
    import signal
    import time

    with edgeopt.start("backends") as process:
        while Path(f"/proc/{process.pid}/cmdline").read_bytes().count(b"edgeopt") == 0:
            time.sleep(0.001)
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode in (130, 0, -2)  # -2: before the first line of edgeopt ran
    if process.returncode == 130:
        assert (out, err) == ("", "error: interrupted\n")


def test_a_current_folder_that_is_gone_is_no_bug(edgeopt):
    import os
    import subprocess
    import sys

    (edgeopt.folder / "gone").mkdir()
    script = "import os; os.rmdir(os.getcwd()); from edgeopt.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "targets"],
        cwd=edgeopt.folder / "gone", env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (8, "")
    assert done.stderr == "error: the current folder no longer exists\nhint: change into another one\n"
