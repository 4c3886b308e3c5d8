"""Feeds on disk, from a user's `.npz`, the demo or noise; calibration and evaluation apart.

A set of feeds is a folder with `index.json` (`inputs`: input name to `.npy` file, `count`, `batch`) and one file per
input that holds `count x batch` samples along its first axis, in the shape and dtype of the model. A feed is `batch`
successive samples. The folder can be read one feed at a time, here and by the harness on a device.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from edgeopt.errors import BadInputError
from edgeopt.npz import LABELS, NpzFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from edgeopt.contract import Array, Feed, TensorSpec

DEMO = Path(__file__).parent / "source" / "demo"
CALIBRATION_SAMPLES = 200
"""Maximum number of samples for calibration, which never takes more than half of them."""
EVALUATION_SAMPLES = 1000
"""Maximum number of samples for evaluation."""
NOISE_CALIBRATION_SAMPLES = 64
NOISE_EVALUATION_SAMPLES = 100
NOISE_BYTES = 256 << 20
"""If the samples would take more, fewer are drawn."""
BLOCK_BYTES = 16 << 20
"""Number of bytes converted and written at once."""


@dataclass(frozen=True, slots=True)
class FeedSet:
    """The feeds of one run; no sample is in both folders."""

    calibration: Path
    """The folder of calibration feeds; see `read_feeds`."""
    evaluation: Path
    """The folder of evaluation feeds; never given to a backend."""
    calibration_count: int
    """Number of feeds, each of `batch` samples."""
    evaluation_count: int
    batch: int
    source: str
    """`noise`, `demo` or the path of the user's file."""
    sha256: str
    """Hash of names, dtypes, shapes and numbers of the calibration samples."""
    seed: int
    labels: Path | None = None
    """A `.npy` file with one class per evaluation sample."""

    @property
    def labelled(self) -> bool:
        """Whether the evaluation feeds have labels."""
        return self.labels is not None

    def read_labels(self) -> Array | None:
        """Return the class of every evaluation sample, None without labels."""
        import numpy as np

        labels: Array | None = None if self.labels is None else np.load(self.labels, allow_pickle=False)
        return labels


class Feeds(Sequence["Feed"]):
    """The feeds in a folder, read from disk on access; can be walked any number of times."""

    def __init__(self, folder: Path) -> None:
        import numpy as np

        index = json.loads((folder / "index.json").read_text("utf-8"))
        self._arrays: dict[str, Array] = {
            name: np.load(folder / file, mmap_mode="r", allow_pickle=False) for name, file in index["inputs"].items()
        }
        self._count, self._batch = int(index["count"]), int(index["batch"])

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, position: int) -> Feed: ...
    @overload
    def __getitem__(self, position: slice) -> list[Feed]: ...
    def __getitem__(self, position: int | slice) -> Feed | list[Feed]:
        import numpy as np

        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(self._count))]
        number = range(self._count)[position]
        rows = slice(number * self._batch, (number + 1) * self._batch)
        # A copy, so that a backend cannot change the feed of others.
        return {name: np.array(array[rows]) for name, array in self._arrays.items()}


def read_feeds(folder: Path) -> Feeds:
    """Return the feeds in a folder of a `FeedSet`: a sequence of mappings from input name to array."""
    return Feeds(folder)


def load_feeds(
    data: Path, inputs: Sequence[TensorSpec], folder: Path, *, outputs: Sequence[TensorSpec] = (), seed: int = 0
) -> FeedSet:
    """Split the samples of a user's file at random into calibration and evaluation feeds.

    The file has the format of `numpy.savez`: one array per input, named like it, with the samples along the first axis.
    An array called `labels` may hold one integer class per sample. Numbers may have another type than the model's if
    that keeps their values (`uint8` for `float32`); floats may also be rounded to a smaller float.

    Args:
        data: The `.npz` file.
        inputs: The model's inputs; the first dimension of each is the batch.
        folder: Output folder.
        outputs: The model's outputs, to check the labels against.
        seed: Seed of the split.

    Raises:
        BadInputError: The file does not fit the model, holds NaN, or has too few samples.
    """
    import numpy as np

    batch = inputs[0].shape[0]
    with NpzFile.open(data) as file:
        samples = file.check(inputs)
        labels = file.read_labels(inputs, samples, outputs)
        if samples < 2 * batch:
            raise BadInputError(
                f"{data} holds {_counted(samples)}; calibration and evaluation need at least {batch} each",
                hint="add samples" if batch == 1 else "add samples, or make --batch smaller",
            )
        calibration = _whole(min(CALIBRATION_SAMPLES, samples // 2), batch)
        evaluation = _whole(min(EVALUATION_SAMPLES, samples - calibration), batch)
        order = np.random.default_rng(seed).permutation(samples)
        rows = {"calibration": order[:calibration], "evaluation": order[calibration : calibration + evaluation]}
        for part, chosen in rows.items():
            _write_feeds(folder / part, inputs, _Chosen(file, chosen), len(chosen))
    return _feed_set(folder, inputs, str(data), seed, None if labels is None else labels[rows["evaluation"]])


def demo_feeds(inputs: Sequence[TensorSpec], folder: Path) -> FeedSet:
    """Return the feeds of the embedded demo, split as in its training.

    Args:
        inputs: The model's inputs; the first dimension of each is the batch.
        folder: Output folder.

    Raises:
        BadInputError: The batch is larger than the number of samples.
    """
    import numpy as np

    batch = inputs[0].shape[0]
    labels: Any = None
    for part in ("calibration", "evaluation"):
        with NpzFile.open(DEMO / f"{part}.npz") as file:
            samples = file.check(inputs)
            if samples < batch:
                raise BadInputError(
                    f"the demo has {_counted(samples)} for {part}, less than one batch of {batch}",
                    hint="make --batch smaller",
                )
            chosen = np.arange(_whole(samples, batch))
            _write_feeds(folder / part, inputs, _Chosen(file, chosen), len(chosen))
            labels = file.read_labels(inputs, samples)
    return _feed_set(folder, inputs, "demo", 0, labels[: len(chosen)])


def noise_feeds(
    inputs: Sequence[TensorSpec], ranges: Mapping[str, tuple[float, float]], folder: Path, *, seed: int = 0
) -> FeedSet:
    """Return feeds of uniform noise: floats within a range, integers including both its ends.

    Args:
        inputs: The model's inputs; the first dimension of each is the batch.
        ranges: A range for every input, by name.
        folder: Output folder.
        seed: Seed of the noise.

    Raises:
        BadInputError: An input does not hold numbers, or a range does not fit its type.
    """
    batch = inputs[0].shape[0]
    wanted = {"calibration": NOISE_CALIBRATION_SAMPLES, "evaluation": NOISE_EVALUATION_SAMPLES}
    sample_bytes = sum(math.prod(spec.shape[1:]) * _dtype(spec).itemsize for spec in inputs)
    scale = min(1.0, NOISE_BYTES / max(1, sample_bytes * sum(wanted.values())))
    for number, (part, samples) in enumerate(wanted.items()):
        count = _whole(int(samples * scale), batch)
        _write_feeds(folder / part, inputs, _Noise(ranges, count, (seed, number)), count)
    return _feed_set(folder, inputs, "noise", seed, None)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Yields the chosen samples of a file."""

    file: NpzFile
    rows: Any

    def blocks(self, spec: TensorSpec) -> Iterator[Array]:
        array = self.file.read(spec)
        for rows in _slices(spec, len(self.rows)):
            yield self.file.convert(array[self.rows[rows]], spec)


@dataclass(frozen=True, slots=True)
class _Noise:
    """Draws samples."""

    ranges: Mapping[str, tuple[float, float]]
    count: int
    seed: tuple[int, int]

    def blocks(self, spec: TensorSpec) -> Iterator[Array]:
        import numpy as np

        dtype, (low, high) = _dtype(spec), self.ranges[spec.name]
        # Seeded by the name, so that an input's noise does not depend on the other inputs.
        rng = np.random.default_rng([*self.seed, *spec.name.encode()])
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            if low < limits.min or high > limits.max:
                raise BadInputError(
                    f"the range {low:g} to {high:g} of the input {spec.name} does not fit its type {spec.dtype}",
                    hint="choose another with --input-range",
                )
        for rows in _slices(spec, self.count):
            shape = (rows.stop - rows.start, *spec.shape[1:])
            if dtype.kind in "iu":
                yield rng.integers(math.ceil(low), math.floor(high), shape, dtype, endpoint=True)
            elif dtype.kind == "b":
                yield rng.integers(0, 2, shape).astype(dtype)
            else:
                yield rng.uniform(low, high, shape).astype(dtype)


def _feed_set(folder: Path, inputs: Sequence[TensorSpec], source: str, seed: int, labels: Array | None) -> FeedSet:
    """Write the labels into `folder`, and return the description of its feeds."""
    import numpy as np

    calibration, evaluation = folder / "calibration", folder / "evaluation"
    file = folder / f"{LABELS}.npy"
    if labels is not None:
        with _writing(folder):
            np.save(file, labels)
    return FeedSet(
        calibration=calibration,
        evaluation=evaluation,
        calibration_count=len(read_feeds(calibration)),
        evaluation_count=len(read_feeds(evaluation)),
        batch=inputs[0].shape[0],
        source=source,
        sha256=_hash(calibration, len(inputs)),
        seed=seed,
        labels=None if labels is None else file,
    )


def _write_feeds(folder: Path, inputs: Sequence[TensorSpec], source: _Chosen | _Noise, count: int) -> None:
    """Write a folder of feeds; `index.json` comes last and marks it as complete."""
    files = {spec.name: f"{number}.npy" for number, spec in enumerate(inputs)}
    with _writing(folder):
        folder.mkdir(parents=True)
        for spec in inputs:
            _write_npy(folder / files[spec.name], (count, *spec.shape[1:]), _dtype(spec), source.blocks(spec))
        index = {"inputs": files, "count": count // inputs[0].shape[0], "batch": inputs[0].shape[0]}
        (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", "utf-8")


def _write_npy(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Iterable[Array]) -> None:
    """Write an array in blocks, so that it is never in memory as a whole.

    It avoids a memory map, which would end the process on a full disk.
    """
    from numpy.lib import format as npy

    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with file.open("wb") as stream:
        npy.write_array_header_1_0(stream, header)
        for block in blocks:
            stream.write(block.tobytes())


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn a file system error into a BadInputError with a hint."""
    try:
        yield
    except OSError as error:
        raise BadInputError(
            f"the feeds cannot be written to {folder}: {error.strerror}",
            hint="free some space, or choose another folder with --out",
        ) from error


def _hash(folder: Path, inputs: int) -> str:
    """Return the hash of the samples in a folder of feeds."""
    digest = hashlib.sha256(json.dumps(list(json.loads((folder / "index.json").read_text("utf-8"))["inputs"])).encode())
    for number in range(inputs):
        with (folder / f"{number}.npy").open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _slices(spec: TensorSpec, count: int) -> Iterator[slice]:
    """Split `count` samples of an input into slices of moderate size."""
    step = max(1, BLOCK_BYTES // max(1, math.prod(spec.shape[1:]) * _dtype(spec).itemsize))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _whole(samples: int, batch: int) -> int:
    """Return the number of samples in whole feeds, at least one feed."""
    return max(1, samples // batch) * batch


def _counted(samples: int) -> str:
    return f"{samples:,} sample" + ("" if samples == 1 else "s")


def _dtype(spec: TensorSpec) -> np.dtype[Any]:
    """Return the dtype of an input.

    Raises:
        BadInputError: It is not numeric.
    """
    import numpy as np

    try:
        dtype = np.dtype(spec.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise BadInputError(
            f"the input {spec.name} is of type {spec.dtype}; edgeopt can feed numbers only",
            hint="export the part of the model that comes after it",
        )
    return dtype
