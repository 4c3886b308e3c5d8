"""What the source model answered to a few feeds, kept beside the artifacts: a profile judges them by it later.

The folder `reference` holds the first evaluation feeds, the answers to them, the labels where there are some, and the
hash of the model that gave the answers. Neither the model nor TensorFlow is needed again.
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
"""About how much of the feeds and the answers is kept; a single feed is kept whatever its size."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Feeds, and what the source model answered to them."""

    feeds: Path
    """A folder as the harness reads it; it holds a whole number of feeds."""
    outputs: Mapping[str, Array]
    """By name; the first axis is the sample."""
    labels: Array | None
    samples: int
    """How many there are."""


def save_reference(workspace: Workspace, feeds: FeedSet, outputs: Mapping[str, Array], model_sha256: str) -> None:
    """Keep a part of the evaluation feeds and of what the source model answered to them.

    Raises:
        OSError: It cannot be written, or something else is in its place.
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
    """Return what was kept of a model in the folder of its run.

    Returns:
        None where that is nothing, is broken, or is of another model.
    """
    import numpy as np
    from numpy.lib.format import open_memmap

    place = folder / FOLDER
    try:
        index = json.loads((place / INDEX).read_text("utf-8"))
        if index["model"] != model_sha256:
            return None
        for file in index["inputs"].values():
            open_memmap(place / file, mode="r")  # the harness reads it, and each artifact would fail for a broken one
        outputs = {name: np.array(open_memmap(place / file, mode="r")) for name, file in index["outputs"].items()}
        labels = np.array(open_memmap(place / "labels.npy", mode="r")) if (place / "labels.npy").is_file() else None
        return Reference(place, outputs, labels, int(index["count"]) * int(index["batch"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
