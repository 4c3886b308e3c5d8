"""The backend `numpy`: `layers.json` says what to compute, `weights.npz` with which numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeopt.api import Artifact, Backend, ExportError

if TYPE_CHECKING:
    from edgeopt.api import ExportRequest

TOLERANCE = {"float32": 1e-3, "float16": 5e-2}
"""How far an answer may be from the source's, as a share of the largest number in it."""


@dataclass(frozen=True)
class Options:
    """The options of `numpy`."""

    precision: Literal["float32", "float16"] = field(
        default="float32", metadata={"help": "how the weights are stored; the arithmetic is float32"}
    )


class Numpy(Backend):
    """Writes the layers of a Keras model, and its weights."""

    name = "numpy"
    summary = "simple Keras models, run with NumPy alone"
    runner = Path(__file__).with_name("runner.py")
    Options = Options
    requires = ("numpy>=1.23",)

    def export(self, request: ExportRequest) -> Artifact:
        """Write the two files, and check that they answer as the source does.

        Raises:
            ExportError: The model has a layer that this backend does not know, or answers otherwise.
        """
        import numpy as np

        from edgeopt_numpy.layers import read

        precision: str = request.options.precision
        request.log("reading the layers")
        graph, weights = read(request.source)
        layers, numbers = request.out_dir / "layers.json", request.out_dir / "weights.npz"
        layers.write_text(json.dumps(graph, indent=1, sort_keys=True) + "\n", "utf-8")
        np.savez(numbers, **{name: array.astype(precision) for name, array in sorted(weights.items())})
        request.log("comparing it with the source")
        error = _largest_error(request, layers)
        if not error <= TOLERANCE[precision]:  # NaN is refused too
            raise ExportError(
                f"the exported model is {error:.1%} away from the source",
                hint="tell the authors of edgeopt-numpy which model it was",
            )
        metadata = {"precision": precision, "layers": len(graph["steps"]), "largest_error": error}
        return Artifact(layers, (layers, numbers), metadata)


def _largest_error(request: ExportRequest, layers: Path) -> float:
    """Return the largest difference to the source's answers, as a share of the largest number in each."""
    import numpy as np

    from edgeopt_numpy.runner import load

    model = load(str(layers), 1)
    errors = [0.0]
    for feed in request.calibration:
        wanted: dict[str, Any] = request.source.infer(feed)
        model.feed(feed)
        model.invoke()
        got = model.outputs()
        errors += [float(np.abs(got[name] - wanted[name]).max() / np.abs(wanted[name]).max()) for name in wanted]
    return max(errors)
