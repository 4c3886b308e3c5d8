"""Feeds from the user's file, from the demo and of noise, and everything that can be wrong with a file."""

import json
import os
import resource
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeopt.contract import TensorSpec
from edgeopt.data import demo_feeds, load_feeds, noise_feeds, read_feeds
from edgeopt.errors import BadInputError, ExitCode
from edgeopt.measure import harness

X = TensorSpec("x", (1, 3), "float32")
IMAGE = TensorSpec("image", (1, 4, 4, 1), "float32")
TOKENS = TensorSpec("tokens", (1, 5), "int32")
DIGITS = TensorSpec("image", (1, 28, 28, 1), "float32")
CLASSES = TensorSpec("probabilities", (1, 10), "float32")
HOW_X = 'write it with numpy.savez("data.npz", x=..., labels=...); x float32 (samples, 3), labels optional'
HOW_IMAGE = (
    'write it with numpy.savez("data.npz", image=..., labels=...); image float32 (samples, 4, 4, 1), labels optional'
)


def batched(spec: TensorSpec, batch: int) -> TensorSpec:
    return TensorSpec(spec.name, (batch, *spec.shape[1:]), spec.dtype)


def numbered(count: int, dtype="float32") -> np.ndarray:
    """Samples of X that can be told apart: sample n holds n three times."""
    return np.repeat(np.arange(count, dtype=dtype)[:, None], 3, 1)


@pytest.fixture
def save(tmp_path):
    """Return a function that writes a `.npz`."""

    def write(**arrays) -> Path:
        file = tmp_path / "data.npz"
        np.savez_compressed(file, **arrays)
        return file

    return write


@pytest.fixture
def load(save, tmp_path):
    """Return a function that writes a `.npz` and loads it."""

    def load(inputs=(X,), *, outputs=(), seed=0, out="feeds", **arrays):
        return load_feeds(save(**arrays), inputs, tmp_path / out, outputs=outputs, seed=seed)

    return load


@pytest.fixture
def refused(load):
    """Return a function that loads what must be refused, and gives back the sentence without the path, and the hint."""

    def refused(inputs=(X,), **arrays):
        with pytest.raises(BadInputError) as caught:
            load(inputs, **arrays)
        assert caught.value.exit_code == ExitCode.BAD_INPUT
        return without_folder(caught.value.message), caught.value.hint

    return refused


def without_folder(message: str) -> str:
    words = message.split(" ")
    return " ".join(Path(word).name if "/" in word and "npz" in word else word for word in words)


def numbers(folder: Path) -> list[int]:
    """The numbers of the samples in a folder of feeds of X."""
    return [int(row[0]) for feed in read_feeds(folder) for row in feed["x"]]


# --- the split


def test_split_is_disjoint_complete_and_labels_follow(load):
    feeds = load(x=numbered(50), labels=np.arange(50) * 2)
    calibration, evaluation = numbers(feeds.calibration), numbers(feeds.evaluation)
    assert (feeds.calibration_count, feeds.evaluation_count, feeds.batch) == (25, 25, 1)
    assert sorted(calibration + evaluation) == list(range(50))
    assert feeds.read_labels().tolist() == [2 * number for number in evaluation]
    assert feeds.labelled
    assert Path(feeds.source).name == "data.npz"


def test_split_follows_the_seed(load):
    first, again, other = (load(x=numbered(40), seed=s, out=out) for s, out in ((1, "a"), (1, "b"), (2, "c")))
    assert numbers(first.calibration) == numbers(again.calibration) != numbers(other.calibration)
    assert first.sha256 == again.sha256 != other.sha256
    assert (first.seed, other.seed) == (1, 2)


def test_large_files_are_cut_to_200_and_1000(load):
    feeds = load(x=numbered(5000))
    assert (feeds.calibration_count, feeds.evaluation_count) == (200, 1000)
    assert not set(numbers(feeds.calibration)) & set(numbers(feeds.evaluation))


def test_batches_are_whole_feeds(load):
    feeds = load((batched(X, 4),), x=numbered(31))
    assert (feeds.calibration_count, feeds.evaluation_count, feeds.batch) == (3, 4, 4)
    assert {feed["x"].shape for feed in read_feeds(feeds.evaluation)} == {(4, 3)}
    assert len(set(numbers(feeds.calibration) + numbers(feeds.evaluation))) == 28


def test_two_samples_are_enough(load):
    feeds = load(x=numbered(2))
    assert (feeds.calibration_count, feeds.evaluation_count) == (1, 1)


def test_unlabelled(load):
    feeds = load(x=numbered(4))
    assert (feeds.labels, feeds.labelled, feeds.read_labels()) == (None, False, None)


def test_several_inputs_stay_together(load):
    inputs = (TensorSpec("a/b:0", (1,), "int64"), X)
    feeds = load(inputs, **{"x": numbered(20), "a/b:0": np.arange(20)})
    for feed in read_feeds(feeds.evaluation):
        assert feed["x"][0, 0] == feed["a/b:0"][0]


def test_an_input_may_be_called_labels(load):
    feeds = load((TensorSpec("labels", (1, 3), "float32"),), labels=numbered(4))
    assert not feeds.labelled
    assert read_feeds(feeds.calibration)[0]["labels"].shape == (1, 3)


# --- the folder


def test_folder_is_as_the_harness_reads_it(load):
    feeds = load((X, TOKENS), x=numbered(9), tokens=np.arange(45).reshape(9, 5))
    assert json.loads((feeds.evaluation / "index.json").read_text()) == {
        "inputs": {"x": "0.npy", "tokens": "1.npy"},
        "count": 5,
        "batch": 1,
    }
    assert np.load(feeds.evaluation / "1.npy").dtype == np.int32
    here, there = read_feeds(feeds.evaluation), list(harness.Feeds(str(feeds.evaluation)).walk())
    assert len(here) == len(there) == 5
    for ours, theirs in zip(here, there, strict=True):
        assert {name: a.tolist() for name, a in ours.items()} == {name: a.tolist() for name, a in theirs.items()}


def test_feeds_are_a_sequence_of_copies(load):
    feeds = read_feeds(load(x=numbered(20)).calibration)
    first = feeds[0]["x"].copy()
    feeds[0]["x"][:] = -1
    assert np.array_equal(feeds[0]["x"], first)
    assert [feed["x"][0, 0] for feed in feeds] == [feed["x"][0, 0] for feed in feeds]
    assert np.array_equal(feeds[-1]["x"], feeds[9]["x"])
    assert [len(feeds[2:5]), len(feeds[::2])] == [3, 5]
    with pytest.raises(IndexError):
        feeds[10]


def test_large_samples_are_written_in_blocks(load, monkeypatch):
    monkeypatch.setattr("edgeopt.data.BLOCK_BYTES", 50)  # four samples of twelve bytes
    assert sorted(numbers(load(x=numbered(30)).evaluation) + numbers(load(x=numbered(30), out="b").calibration)) == [
        *range(30)
    ]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [("uint8", "float32"), ("float64", "float32"), ("int64", "int32"), ("bool", "float32"), ("int64", "float32")],
)
def test_types_that_keep_their_values_are_taken(load, found, wanted):
    feeds = load((TensorSpec("x", (1, 3), wanted),), x=numbered(2).astype(found))
    (feed,) = read_feeds(feeds.calibration)
    assert feed["x"].dtype == wanted
    assert feed["x"].tolist() in ([[0, 0, 0]], [[1, 1, 1]])


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_labels_of_any_integer_type(load, shape, dtype):
    feeds = load(x=numbered(6), labels=np.array([0, 1, 0, 1, 0, 1], dtype).reshape(shape))
    assert feeds.read_labels().tolist() == [number % 2 for number in numbers(feeds.evaluation)]
    assert feeds.read_labels().dtype == np.int64


# --- what does not fit


def test_other_names(refused):
    assert refused(image=numbered(4)) == ("data.npz has no array for the input x; it holds image", HOW_X)


def test_names_that_are_no_identifiers(refused):
    message, hint = refused((TensorSpec("a/b", (1, 3), "float32"), X), x=numbered(4))
    assert message == "data.npz has no array for the input a/b; it holds x"
    assert hint == (
        "write it with numpy.savez(\"data.npz\", **{'a/b': ..., 'x': ...}, labels=...); "
        "a/b float32 (samples, 3), x float32 (samples, 3), labels optional"
    )


def test_no_arrays(refused):
    assert refused() == ("data.npz holds no arrays", HOW_X)


def test_unknown_array(refused):
    assert refused(x=numbered(4), label=np.zeros(4, int)) == (
        "data.npz holds label, no input of the model; the inputs are x",
        "leave it out; classes must be called labels",
    )


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((5, 4, 4), "add the last axis: image[..., None]"),
        ((4, 4, 1), "the samples are the first axis: image[None] is one sample"),
        ((5, 1, 4, 4), HOW_IMAGE),
        ((), HOW_IMAGE),
    ],
)
def test_other_shape(refused, shape, hint):
    assert refused((IMAGE,), image=np.zeros(shape)) == (
        f"data.npz: image has the shape {shape}; the model wants (samples, 4, 4, 1)",
        hint,
    )


def test_inputs_of_different_length(refused):
    message, _ = refused((X, TOKENS), x=numbered(4), tokens=np.zeros((3, 5), int))
    assert message == "data.npz: the inputs differ in their number of samples: x has 4, tokens has 3"


@pytest.mark.parametrize(
    ("array", "spec", "message"),
    [
        (
            numbered(4) + 0.5,
            TensorSpec("x", (1, 3), "int32"),
            "x is float32, which does not fit into the model's int32",
        ),
        (
            numbered(4, int) + 300,
            TensorSpec("x", (1, 3), "uint8"),
            "x is int64, which does not fit into the model's uint8",
        ),
        (
            numbered(4, int) - 9,
            TensorSpec("x", (1, 3), "uint8"),
            "x is int64, which does not fit into the model's uint8",
        ),
        (numbered(4, int) + 2**24 + 1, X, "x is int64, which does not fit into the model's float32"),
        (numbered(4, float) + 1e39, X, "x is float64, which does not fit into the model's float32"),
        (numbered(4).astype(str), X, "x is <U32; the model wants float32"),
        (numbered(4) * 1j, X, "x is complex64; the model wants float32"),
    ],
)
def test_types_that_would_change_values(refused, array, spec, message):
    assert refused((spec,), x=array)[0] == f"data.npz: {message}"


def test_type_of_the_model_that_holds_no_numbers(refused):
    message, _ = refused((TensorSpec("x", (1, 3), "string"),), x=numbered(4))
    assert message == "the input x is of type string; edgeopt can feed numbers only"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(refused, value):
    samples = numbered(30)
    samples[[7, 9], 1] = value
    assert refused(x=samples) == (
        "data.npz: x holds NaN or infinity in 2 of 30 samples, first in number 7",
        "repair these samples, or leave them out",
    )


@pytest.mark.parametrize(
    ("count", "batch", "message", "hint"),
    [
        (0, 1, "0 samples; calibration and evaluation need at least 1 each", "add samples"),
        (1, 1, "1 sample; calibration and evaluation need at least 1 each", "add samples"),
        (7, 4, "7 samples; calibration and evaluation need at least 4 each", "add samples, or make --batch smaller"),
    ],
)
def test_too_few_samples(refused, count, batch, message, hint):
    assert refused((batched(X, batch),), x=numbered(count)) == (f"data.npz holds {message}", hint)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3, int), "the labels have the shape (3,), but there are 4 samples"),
        (np.eye(4, dtype=int), "the labels have the shape (4, 4), but there are 4 samples"),
        (np.zeros(4), "the labels are float64, not integer classes"),
        (np.array(["a", "b", "c", "d"]), "the labels are <U1, not integer classes"),
        (np.array([0, 1, -1, 2]), "the labels run from -1 to 2 and must be 0 to 9, as the model has 10 classes"),
        (np.array([1, 10, 3, 2]), "the labels run from 1 to 10 and must be 0 to 9, as the model has 10 classes"),
    ],
)
def test_labels_that_are_none(refused, labels, message):
    assert refused(x=numbered(4), labels=labels, outputs=(CLASSES,))[0] == f"data.npz: {message}"


def test_negative_labels_of_any_model(refused):
    message, _ = refused(x=numbered(4), labels=np.array([0, 1, -1, 2]))
    assert message == "data.npz: the labels run from -1 to 2 and must be 0 or more"


def test_labels_that_int64_does_not_hold_are_told_as_they_are(refused):
    message, _ = refused(x=numbered(4), labels=np.full(4, 2**63, np.uint64))
    assert message == (
        "data.npz: the labels run from 9,223,372,036,854,775,808 to 9,223,372,036,854,775,808"
        " and must be less than 2,147,483,648"
    )


def test_one_hot_labels_get_a_hint(refused):
    assert refused(x=numbered(4), labels=np.eye(4, dtype=int))[1] == (
        "give one class per sample, for instance labels.argmax(-1)"
    )


# --- files that cannot be read


def refusal(file: Path, folder: Path) -> tuple[str, str]:
    with pytest.raises(BadInputError) as caught:
        load_feeds(file, (X,), folder / "feeds")
    return caught.value.message.replace(str(folder) + "/", ""), caught.value.hint


def test_missing_file(tmp_path):
    assert refusal(tmp_path / "none.npz", tmp_path) == ("there is no file none.npz", "--data takes a .npz file")


def test_folder(tmp_path):
    (tmp_path / "some.npz").mkdir()
    assert refusal(tmp_path / "some.npz", tmp_path) == ("some.npz is a folder", "--data takes a .npz file")


def test_file_without_permission(save, tmp_path):
    file = save(x=numbered(4))
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read every file")
    assert refusal(file, tmp_path)[0] == "data.npz cannot be read: Permission denied"


@pytest.mark.parametrize("write", [lambda f: np.save(f, numbered(4)), lambda f: f.write(b"a,b\n1,2\n"), lambda f: None])
def test_no_npz(tmp_path, write):
    with (tmp_path / "data.npz").open("wb") as file:
        write(file)
    assert refusal(tmp_path / "data.npz", tmp_path) == (
        "data.npz is no .npz file",
        "write it with numpy.savez or numpy.savez_compressed",
    )


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_truncated(save, tmp_path, part):
    file = save(x=np.random.default_rng(0).random((500, 3)))
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])
    message, hint = refusal(file, tmp_path)
    assert message == "data.npz is cut short or damaged"
    assert hint == "copy or write it again"


@pytest.mark.parametrize("position", [60, 100, 5000])
def test_damaged_inside(save, tmp_path, position):
    file = save(x=np.random.default_rng(0).random((5000, 3)))
    content = bytearray(file.read_bytes())
    content[position : position + 8] = bytes(byte ^ 0xFF for byte in content[position : position + 8])
    file.write_bytes(content)
    assert "damaged" in refusal(file, tmp_path)[0]


def test_what_is_no_regular_file_is_not_read_for_ever(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    for name in ("pipe.npz", "zero.npz"):
        assert refusal(tmp_path / name, tmp_path) == (f"{name} is no regular file", "--data takes a .npz file")


@pytest.mark.parametrize("shape", ["(99999999999, 3)", "(-5, 3)", "(4, 2)"])
def test_an_array_that_is_not_as_large_as_it_says(tmp_path, shape):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00v\x00" + text + bytes(48))
    message, hint = refusal(tmp_path / "data.npz", tmp_path)
    assert message.startswith(f"data.npz: x holds 48 bytes, and its shape {shape} of float32 needs ")
    assert hint == "copy or write it again"


def test_an_array_that_is_larger_than_the_memory(save, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeopt.npz.available_bytes", lambda: 1_000_000)
    message, hint = refusal(save(x=numbered(100_000)), tmp_path)
    assert "of memory is free" in message
    assert hint == "give fewer samples"


def test_zip_without_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("config.json", "{}")
    assert refusal(tmp_path / "data.npz", tmp_path) == ("data.npz holds no arrays", HOW_X)


def test_array_that_is_none(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x.npy", "1, 2, 3")
    assert refusal(tmp_path / "data.npz", tmp_path)[0].startswith("data.npz is damaged or holds no NumPy arrays: ")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def test_pickled_objects_are_never_loaded(refused, tmp_path):
    assert refused(x=np.array([Trap(tmp_path / "sprung")], object)) == (
        "data.npz: x holds pickled Python objects, which edgeopt never loads",
        "save plain arrays of numbers, all samples in one shape",
    )
    assert not (tmp_path / "sprung").exists()


def test_folder_that_cannot_be_written(save, tmp_path):
    (tmp_path / "feeds").write_text("a file where the folder should be")
    message, hint = refusal(save(x=numbered(4)), tmp_path)
    assert message == "the feeds cannot be written to feeds/calibration: Not a directory"
    assert hint == "free some space, or choose another folder with --out"


def test_disk_that_fills_up(save, tmp_path):
    """A limit on the size of files fails in the same place as a full disk does, and needs no file system."""
    file = save(x=numbered(40000))
    code = (
        "import sys; from pathlib import Path"
        "\nfrom edgeopt.contract import TensorSpec; from edgeopt.data import load_feeds"
        "\ntry: load_feeds(Path(sys.argv[1]), (TensorSpec('x', (1, 3), 'float32'),), Path(sys.argv[2]))"
        "\nexcept Exception as error: print(type(error).__name__, error.message)"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    argv = [sys.executable, "-c", code, file, tmp_path / "feeds"]
    done = subprocess.run(argv, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.replace(str(tmp_path) + "/", "") == (
        "BadInputError the feeds cannot be written to feeds/calibration: File too large\n"
    )


# --- the demo


def test_demo(tmp_path):
    feeds = demo_feeds((DIGITS,), tmp_path)
    assert (feeds.calibration_count, feeds.evaluation_count, feeds.source, feeds.seed) == (200, 1000, "demo", 0)
    assert np.bincount(feeds.read_labels()).tolist() == [100] * 10
    feed = read_feeds(feeds.evaluation)[0]["image"]
    assert (feed.shape, feed.dtype, feed.min(), feed.max()) == ((1, 28, 28, 1), np.float32, 0, 255)


def test_demo_in_batches_keeps_labels_beside_their_images(tmp_path):
    one = demo_feeds((DIGITS,), tmp_path / "one")
    many = demo_feeds((batched(DIGITS, 64),), tmp_path / "many")
    assert (many.calibration_count, many.evaluation_count, many.batch) == (3, 15, 64)
    assert np.array_equal(many.read_labels(), one.read_labels()[:960])
    assert np.array_equal(read_feeds(many.evaluation)[14]["image"][-1], read_feeds(one.evaluation)[959]["image"][0])


def test_demo_in_too_large_batches(tmp_path):
    with pytest.raises(BadInputError, match="the demo has 200 samples for calibration, less than one batch of 201"):
        demo_feeds((batched(DIGITS, 201),), tmp_path)


# --- noise


def test_noise_fills_its_range(tmp_path):
    feeds = noise_feeds((X, TOKENS), {"x": (-2.0, 3.0), "tokens": (0.0, 9.0)}, tmp_path)
    assert (feeds.calibration_count, feeds.evaluation_count, feeds.source) == (64, 100, "noise")
    assert not feeds.labelled
    x, tokens = (np.concatenate([feed[name] for feed in read_feeds(feeds.evaluation)]) for name in ("x", "tokens"))
    assert (x.dtype, tokens.dtype) == (np.float32, np.int32)
    assert -2 <= x.min() < -1.8 < 2.8 < x.max() <= 3
    assert set(tokens.flat) == set(range(10))


def test_noise_is_seeded_and_its_parts_differ(tmp_path):
    first, again, other = (noise_feeds((X,), {"x": (0, 1)}, tmp_path / str(n), seed=n // 2) for n in range(3))
    assert first.sha256 == again.sha256 != other.sha256
    calibration, evaluation = (
        {feed["x"].tobytes() for feed in read_feeds(f)} for f in (first.calibration, first.evaluation)
    )
    assert not calibration & evaluation


@pytest.mark.parametrize(("dtype", "ends"), [("uint8", (0, 255)), ("int8", (-128, 127)), ("bool", (0, 1))])
def test_noise_of_small_types(tmp_path, dtype, ends):
    feeds = noise_feeds((TensorSpec("x", (1, 99), dtype),), {"x": ends}, tmp_path)
    values = np.concatenate([feed["x"] for feed in read_feeds(feeds.evaluation)])
    assert (values.dtype, values.min(), values.max()) == (np.dtype(dtype), *ends)


def test_noise_in_batches(tmp_path):
    feeds = noise_feeds((batched(X, 80),), {"x": (0, 1)}, tmp_path)
    assert (feeds.calibration_count, feeds.evaluation_count) == (1, 1)


def test_noise_for_large_inputs_is_less(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeopt.data.NOISE_BYTES", 164 * 12 // 4)
    feeds = noise_feeds((X,), {"x": (0, 1)}, tmp_path)
    assert (feeds.calibration_count, feeds.evaluation_count) == (16, 25)


def test_noise_out_of_the_range_of_its_type(tmp_path):
    with pytest.raises(BadInputError, match="the range 0 to 300 of the input x does not fit its type uint8"):
        noise_feeds((TensorSpec("x", (1, 3), "uint8"),), {"x": (0, 300)}, tmp_path)


def test_importing_costs_nothing():
    code = "import sys, edgeopt.data, edgeopt.measure.fidelity, edgeopt.measure.size; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
