"""The source model's outputs for some feeds, by which a later profile judges the artifacts.

The folder `reference` holds the first evaluation feeds, the outputs for them, the labels if available, and the hash of
the model that produced the outputs. A profile then needs neither the model nor TensorFlow.
"""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeopt.contract import Array
    from edgeopt.data import FeedSet
    from edgeopt.pipeline.workspace import Workspace

FOLDER, INDEX = "reference", "index.json"
MOST_BYTES = 8 << 20
"""Approximate limit for feeds and outputs together; one feed is kept regardless of its size."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Feeds, and the source model's outputs for them."""

    feeds: Path
    """A folder in the format that the harness reads, with a whole number of feeds."""
    outputs: Mapping[str, Array]
    """By name; the first axis is the sample."""
    labels: Array | None
    samples: int
    """Number of samples."""


def save_reference(workspace: Workspace, feeds: FeedSet, outputs: Mapping[str, Array], model_sha256: str) -> None:
    """Save the first evaluation feeds and the source model's outputs for them.

    Raises:
        OSError: The folder cannot be written, or exists and was not written by edgeopt.
    """
    import numpy as np

    index = json.loads((feeds.evaluation / INDEX).read_text("utf-8"))
    inputs = {name: np.load(feeds.evaluation / file, mmap_mode="r") for name, file in index["inputs"].items()}
    count, batch = int(index["count"]), int(index["batch"])
    feed_bytes = sum(array.nbytes for array in (*inputs.values(), *outputs.values())) // max(1, count)
    kept = min(count, max(1, MOST_BYTES // max(1, feed_bytes)))
    staged = workspace.scratch / FOLDER
    staged.mkdir()
    files = dict(index["inputs"])
    for name, array in inputs.items():
        np.save(staged / files[name], array[: kept * batch])
    named = {name: f"output{number}.npy" for number, name in enumerate(outputs)}
    for name, file in named.items():
        np.save(staged / file, outputs[name][: kept * batch])
    labels = feeds.read_labels()
    if labels is not None:
        np.save(staged / "labels.npy", labels[: kept * batch])
    described = {"inputs": files, "count": kept, "batch": batch, "outputs": named, "model": model_sha256}
    (staged / INDEX).write_text(json.dumps(described, indent=1) + "\n", "utf-8")
    final = workspace.folder / FOLDER
    if final.exists() and not (final / INDEX).is_file():
        raise FileExistsError(errno.EEXIST, f"{final} exists and was not written by edgeopt")
    shutil.rmtree(final, ignore_errors=True)
    staged.rename(final)


def load_reference(folder: Path, model_sha256: str) -> Reference | None:
    """Return the reference in the folder of a model's run.

    Returns:
        None if the reference is missing, broken, or from another model.
    """
    import numpy as np
    from numpy.lib.format import open_memmap

    place = folder / FOLDER
    try:
        index = json.loads((place / INDEX).read_text("utf-8"))
        if index["model"] != model_sha256:
            return None
        for file in index["inputs"].values():
            open_memmap(place / file, mode="r")  # check it here: in the harness, every artifact would fail on it
        outputs = {name: np.array(open_memmap(place / file, mode="r")) for name, file in index["outputs"].items()}
        labels = np.array(open_memmap(place / "labels.npy", mode="r")) if (place / "labels.npy").is_file() else None
        return Reference(place, outputs, labels, int(index["count"]) * int(index["batch"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
