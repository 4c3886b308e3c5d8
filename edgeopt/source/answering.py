"""Run the normalised model in another Python, for a backend environment without TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeopt.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeopt.contract import Array, Feed, TensorSpec

ENVIRONMENT = ("PYTHONPATH", "PYTHONNOUSERSITE")
"""Variables of the backend's own environment to hide from the other Python."""


class Answers:
    """The source model's answers, from a process that starts on the first feed and ends with this one.

    Args:
        python: Interpreter with TensorFlow.
        saved_model: The normalised SavedModel.
        inputs: Its inputs.
        outputs: Its outputs.
    """

    def __init__(
        self, python: str, saved_model: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> None:
        self._python = python
        self._saved_model = saved_model
        self._inputs = sorted(spec.name for spec in inputs)
        self._outputs = sorted(spec.name for spec in outputs)
        self._process: subprocess.Popen[str] | None = None

    def ask(self, feed: Feed) -> dict[str, Array]:
        """Return the outputs for `feed`.

        Raises:
            ExportError: The process ended.
        """
        import numpy as np

        process = self._started()
        with tempfile.TemporaryDirectory(dir=self._saved_model.parent) as folder:
            # By position: an input may have the name of an argument of `np.savez`.
            np.savez(Path(folder) / "feed.npz", *(feed[name] for name in self._inputs))
            if process.stdin is None or process.stdout is None:  # pragma: no cover - both are opened as pipes
                raise ExportError("the source model cannot be asked")
            process.stdin.write(json.dumps(folder) + "\n")
            process.stdin.flush()
            if not process.stdout.readline():
                raise ExportError(f"the process that runs the source model ended with code {process.wait()}")
            with np.load(Path(folder) / "answer.npz", allow_pickle=False) as answer:
                return {name: answer[f"arr_{number}"] for number, name in enumerate(self._outputs)}

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            variables = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
            self._process = subprocess.Popen(
                [self._python, "-m", "edgeopt.source.answering", str(self._saved_model)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=variables,
            )
        return self._process


def main() -> None:
    """Answer the feeds in the folders listed on standard input, one per line, until it ends."""
    import numpy as np
    import tensorflow as tf

    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keep library output out of the answers
    loaded = tf.saved_model.load(sys.argv[1])
    function = loaded.signatures["serving_default"]
    names = sorted(function.structured_input_signature[1])
    for line in sys.stdin:
        folder = Path(json.loads(line))
        with np.load(folder / "feed.npz", allow_pickle=False) as feed:
            answer = function(**{name: tf.constant(feed[f"arr_{number}"]) for number, name in enumerate(names)})
        np.savez(folder / "answer.npz", *(answer[name].numpy() for name in sorted(answer)))
        said.write("answered\n")
        said.flush()


if __name__ == "__main__":
    main()
