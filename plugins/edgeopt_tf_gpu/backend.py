"""The backend `tf-gpu`: a SavedModel for inference on a GPU, checked for correctness on the CPU."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeopt.api import Artifact, Backend
from edgeopt_tf_gpu.check import check
from edgeopt_tf_gpu.half import half_of_graph, half_of_keras
from edgeopt_tf_gpu.saving import copy_saved_model, save

if TYPE_CHECKING:
    from edgeopt.api import ExportRequest

SETTINGS = "settings.json"
"""The runner's settings, stored beside the SavedModel."""


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """The options of `tf-gpu`."""

    precision: Literal["float32", "float16"] = field(
        default="float32", metadata={"help": "float16 halves the weights; inputs and outputs stay as they are"}
    )
    xla: bool = field(default=False, metadata={"help": "compile the whole model with XLA at the first inference"})
    allow_cpu: bool = field(default=False, metadata={"help": "measure on the CPU where the device has no GPU"})


class TfGpu(Backend):
    """Writes an inference-only SavedModel with a fixed batch, one signature and every weight once."""

    name = "tf-gpu"
    summary = "TensorFlow SavedModel for inference on a GPU"
    runner = Path(__file__).with_name("runner.py")
    Options = GpuOptions
    preferred_devices = ("gpu",)
    requires = ("tensorflow>=2.21",)

    @classmethod
    def unavailable(cls) -> str | None:
        """Return why this backend cannot work here, or None."""
        return None if importlib.util.find_spec("tensorflow") else "the package tensorflow is not installed"

    def export(self, request: ExportRequest) -> Artifact:
        """Write the SavedModel and the runner's settings, and check the model against the source.

        Raises:
            ExportError: The model cannot be made, or its answers differ from the source's.
        """
        options: GpuOptions = request.options
        folder = request.out_dir / "model"
        arithmetic, warnings = _write(request, folder)
        settings = {
            "allow_cpu": options.allow_cpu,
            "mixed_precision": arithmetic == "mixed",
            "outputs": {spec.name: spec.dtype for spec in request.source.outputs},
        }
        (request.out_dir / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", "utf-8")
        request.log("checking it against the source")
        max_abs = check(request, folder)
        if options.allow_cpu:
            warnings.append("measured on the CPU where the device has no GPU (allow_cpu)")
        metadata: dict[str, Any] = {
            "precision": options.precision,
            "arithmetic": arithmetic,
            "xla": options.xla,
            "max_abs_error_on_cpu": max_abs,
        }
        files = sorted(path for path in request.out_dir.rglob("*") if path.is_file())
        return Artifact(folder, tuple(files), metadata, tuple(warnings))


def _write(request: ExportRequest, folder: Path) -> tuple[str, list[str]]:
    """Write the SavedModel; return its arithmetic (`float32`, `float16`, `mixed`) and warnings about it."""
    options: GpuOptions = request.options
    if options.precision == "float32":
        if options.xla:
            save(request.source.saved_model(), folder, request.source.inputs, xla=True)
        else:
            copy_saved_model(request.source.saved_model(), folder)
        return "float32", []
    why = "this is no Keras model"
    if request.source.format != "saved_model":
        request.log("rebuilding the model in float16")
        try:
            half_of_keras(request.source, folder, xla=options.xla)
        except Exception as error:  # noqa: BLE001 - a custom layer may raise anything; the other way needs no layer
            why = " ".join(str(error).split())[:200]
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return "float16", []
    request.log("storing the weights in float16")
    half_of_graph(request.source, folder, xla=options.xla)
    arithmetic = "is float32" if options.xla else "is float16 only on a GPU, where TensorFlow finds it safe"
    warning = f"the weights are stored in float16, but the arithmetic {arithmetic}: {why}"
    return "float32" if options.xla else "mixed", [warning]
