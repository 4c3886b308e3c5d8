"""Read a user's `.npz` file and check it against the model, with one clear sentence per mismatch."""

from __future__ import annotations

import math
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.errors import BadInputError, one_line
from edgeopt.measure.facts import available_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from edgeopt.contract import Array, TensorSpec

LABELS = "labels"
MOST_CLASSES = 1 << 31
"""Exclusive upper limit of a label."""
SHOWN_NAMES = 8


@dataclass(frozen=True, slots=True)
class Header:
    """Shape, type and size of an array, before its numbers are read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    found_bytes: int
    """Size of its numbers in the file, unpacked."""

    @property
    def wanted_bytes(self) -> int:
        """Size of an array of this shape and type."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class NpzFile:
    """An open `.npz` file; nothing in it is ever unpickled."""

    path: Path
    archive: zipfile.ZipFile
    headers: Mapping[str, Header]

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[NpzFile]:
        """Open a file and read the headers of its arrays.

        Raises:
            BadInputError: It is missing, not an `.npz` file, damaged, too large, or holds Python objects.
        """
        with _reading(path):
            archive = zipfile.ZipFile(path)
        with archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            with _reading(path):
                headers = {name: _read_header(archive, name) for name in names}
            file = cls(path, archive, headers)
            file._refuse_objects()
            file._check_sizes()
            yield file

    def check(self, inputs: Sequence[TensorSpec]) -> int:
        """Check names, shapes and types against the model's inputs, and return the number of samples.

        Raises:
            BadInputError: They do not match.
        """
        self._check_names(inputs)
        for spec in inputs:
            self._check_shape(spec, inputs)
        counts = {spec.name: self.headers[spec.name].shape[0] for spec in inputs}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} has {count:,}" for name, count in counts.items())
            raise BadInputError(f"{self.path}: the inputs differ in their number of samples: {listed}")
        return counts[inputs[0].name]

    def read(self, spec: TensorSpec) -> Array:
        """Return the samples of one input, as stored in the file.

        Raises:
            BadInputError: The file is damaged, or holds NaN or infinity.
        """
        import numpy as np

        array = self._read(spec.name)
        if array.dtype.kind == "f":
            broken = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1))
            if broken.size:
                raise BadInputError(
                    f"{self.path}: {spec.name} holds NaN or infinity in {broken.size:,} of {len(array):,} samples, "
                    f"first in number {broken[0]}",
                    hint="repair these samples, or leave them out",
                )
        return array

    def convert(self, samples: Array, spec: TensorSpec) -> Array:
        """Return samples in the dtype of the model.

        Raises:
            BadInputError: Their values would change; only floats may be rounded to a smaller float.
        """
        import numpy as np

        wanted = np.dtype(spec.dtype)
        with np.errstate(all="ignore"):
            converted = samples.astype(wanted)
        both_floats = samples.dtype.kind == "f" == wanted.kind
        same: Any = np.isfinite(converted) if both_floats else converted == samples
        if not same.all() or (samples.dtype.kind == "f" != wanted.kind):
            raise BadInputError(
                f"{self.path}: {spec.name} is {samples.dtype}, which does not fit into the model's {wanted}",
                hint=f"convert it before saving, for instance with .astype({str(wanted)!r})",
            )
        return converted

    def read_labels(
        self, inputs: Sequence[TensorSpec], samples: int, outputs: Sequence[TensorSpec] = ()
    ) -> Array | None:
        """Return one class per sample as int64; None if the file lacks labels.

        Raises:
            BadInputError: They are not classes of this model.
        """
        if LABELS not in self.headers or any(spec.name == LABELS for spec in inputs):
            return None
        header = self.headers[LABELS]
        if header.dtype.kind not in "biu":
            raise BadInputError(
                f"{self.path}: the labels are {header.dtype}, not integer classes",
                hint=f"give one class per sample, for instance {LABELS}={LABELS}.astype('int64')",
            )
        if header.shape not in {(samples,), (samples, 1)}:
            one_hot = len(header.shape) > 1 and header.shape[0] == samples
            raise BadInputError(
                f"{self.path}: the labels have the shape {header.shape}, but there are {samples:,} samples",
                hint=f"give one class per sample{f', for instance {LABELS}.argmax(-1)' if one_hot else ''}",
            )
        labels = self._read(LABELS).reshape(-1)
        self._check_classes(labels, outputs)  # before conversion: int64 cannot hold every uint64
        return labels.astype("int64")

    def _check_classes(self, labels: Any, outputs: Sequence[TensorSpec]) -> None:
        """Raise unless labels run from 0 to below the number of classes, or `MOST_CLASSES` if unknown."""
        if not labels.size:
            return
        low, high = int(labels.min()), int(labels.max())
        shapes = [spec.shape for spec in outputs]
        classes = shapes[0][1] if len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][1] > 1 else None  # noqa: PLR2004
        if low < 0 or high >= (MOST_CLASSES if classes is None else classes):
            wanted = "0 or more" if low < 0 else f"less than {MOST_CLASSES:,}"
            if classes is not None:
                wanted = f"0 to {classes - 1:,}, as the model has {classes:,} classes"
            raise BadInputError(
                f"{self.path}: the labels run from {low:,} to {high:,} and must be {wanted}",
                hint="number the classes from 0, in the order of the model's output",
            )

    def _refuse_objects(self) -> None:
        objects = [name for name, header in self.headers.items() if header.dtype.hasobject]
        if objects:
            raise BadInputError(
                f"{self.path}: {objects[0]} holds pickled Python objects, which edgeopt never loads",
                hint="save plain arrays of numbers, all samples in one shape",
            )

    def _check_sizes(self) -> None:
        """Refuse arrays whose size contradicts their header or exceeds the free memory."""
        free = available_bytes()
        for name, header in self.headers.items():
            if header.found_bytes != header.wanted_bytes:
                raise BadInputError(
                    f"{self.path}: {name} holds {header.found_bytes:,} bytes, and its shape {header.shape} of"
                    f" {header.dtype} needs {header.wanted_bytes:,}",
                    hint="copy or write it again",
                )
            if free and header.found_bytes > free:
                raise BadInputError(
                    f"{self.path}: {name} takes {header.found_bytes / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory"
                    " is free",
                    hint="give fewer samples",
                )

    def _check_names(self, inputs: Sequence[TensorSpec]) -> None:
        wanted, found = [spec.name for spec in inputs], list(self.headers)
        missing = [name for name in wanted if name not in found]
        unknown = [name for name in found if name not in wanted and name != LABELS]
        if not found:
            raise BadInputError(f"{self.path} holds no arrays", hint=_how_to_save(inputs))
        if missing:
            raise BadInputError(
                f"{self.path} has no array for the input{'s' if len(missing) > 1 else ''} {_listed(missing)}; "
                f"it holds {_listed(found)}",
                hint=_how_to_save(inputs),
            )
        if unknown:
            raise BadInputError(
                f"{self.path} holds {_listed(unknown)}, no input of the model; the inputs are {_listed(wanted)}",
                hint=f"leave it out; classes must be called {LABELS}",
            )

    def _check_shape(self, spec: TensorSpec, inputs: Sequence[TensorSpec]) -> None:
        found, sample = self.headers[spec.name].shape, spec.shape[1:]
        if self.headers[spec.name].dtype.kind not in "biuf":
            raise BadInputError(
                f"{self.path}: {spec.name} is {self.headers[spec.name].dtype}; the model wants {spec.dtype}",
                hint=_how_to_save(inputs),
            )
        if len(found) > 0 and found[1:] == sample:
            return
        hint = _how_to_save(inputs)
        if found == sample:
            hint = f"the samples are the first axis: {spec.name}[None] is one sample"
        elif (*found[1:], 1) == sample:
            hint = f"add the last axis: {spec.name}[..., None]"
        raise BadInputError(
            f"{self.path}: {spec.name} has the shape {found}; the model wants {_shape(spec)}", hint=hint
        )

    def _read(self, name: str) -> Array:
        from numpy.lib import format as npy

        with _reading(self.path), self.archive.open(f"{name}.npy") as stream:
            array: Array = npy.read_array(stream, allow_pickle=False)
        return array


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn any failure to read an `.npz` file into a BadInputError."""
    hint = "write it with numpy.savez or numpy.savez_compressed"
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe or a device would be read forever
            raise BadInputError(f"{path} is no regular file", hint="--data takes a .npz file")
        yield
    except FileNotFoundError as error:
        raise BadInputError(f"there is no file {path}", hint="--data takes a .npz file") from error
    except IsADirectoryError as error:
        raise BadInputError(f"{path} is a folder", hint="--data takes a .npz file") from error
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        damaged = _starts_like_zip(path)
        text = f"{path} is cut short or damaged" if damaged else f"{path} is no .npz file"
        raise BadInputError(text, hint="copy or write it again" if damaged else hint) from error
    except MemoryError as error:
        raise BadInputError(f"{path} does not fit into the memory that is free", hint="give fewer samples") from error
    except (ValueError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        message = f"{path} is damaged or holds no NumPy arrays: {one_line(error)}"
        raise BadInputError(message, hint=hint) from error


def _starts_like_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _read_header(archive: zipfile.ZipFile, name: str) -> Header:
    """Read the header of one array in the archive."""
    from numpy.lib import format as npy

    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
        return Header(shape, dtype, member.file_size - stream.tell())


def _how_to_save(inputs: Sequence[TensorSpec]) -> str:
    """Return a hint with the line of Python that writes such a file."""
    plain = all(spec.name.isidentifier() for spec in inputs)
    pairs = [f"{spec.name}=..." if plain else f"{spec.name!r}: ..." for spec in inputs]
    arrays = ", ".join(pairs) if plain else f"**{{{', '.join(pairs)}}}"
    what = ", ".join(f"{spec.name} {spec.dtype} {_shape(spec)}" for spec in inputs)
    return f'write it with numpy.savez("data.npz", {arrays}, {LABELS}=...); {what}, {LABELS} optional'


def _shape(spec: TensorSpec) -> str:
    """Return the shape that an array of samples must have."""
    return f"({', '.join(('samples', *map(str, spec.shape[1:])))})"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES])
    return shown if len(names) <= SHOWN_NAMES else f"{shown} and {len(names) - SHOWN_NAMES:,} more"
