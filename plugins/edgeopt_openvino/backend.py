"""Backend `openvino`: one model as `model.xml` and `model.bin`, in the number format set by the options."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgeopt.api import Artifact, Backend
from edgeopt_openvino.production import Options, Production

if TYPE_CHECKING:
    from edgeopt.api import ExportRequest

NEEDED = ("openvino", "nncf")


class OpenVino(Backend):
    """Writes `model.xml` (the graph) and `model.bin` (the weights)."""

    name: ClassVar[str] = "openvino"
    summary: ClassVar[str] = "an OpenVINO model, for the CPUs of PCs and servers"
    runner: ClassVar[Path] = Path(__file__).with_name("runner.py")
    Options = Options
    requires: ClassVar[tuple[str, ...]] = ("openvino>=2026.4", "numpy>=1.23")

    @classmethod
    def unavailable(cls) -> str | None:
        """Return the missing packages and the command that installs them, or None."""
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if not missing:
            return None
        verb = "is" if len(missing) == 1 else "are"
        return f"{' and '.join(missing)} {verb} not installed; add with: pip install 'edgeopt[openvino]'"

    def export(self, request: ExportRequest) -> Artifact:
        """Write the model from the float model that all targets of this backend share.

        Raises:
            ExportError: OpenVINO does not support an operator, or the model cannot be converted to this format.
        """
        feeds = list(request.calibration)
        file = request.out_dir / "model.xml"
        product = Production(request.source, feeds, request.options, request.cpu_features, file, request.log).run()
        quantized = product.quantization == "int8"
        return Artifact(
            main=file,
            files=(file, file.with_suffix(".bin")),
            metadata={
                "quantization": product.quantization,
                "recipe": product.recipe,
                "matrix_operators": product.operators.count,
                "float_matrix_operators": len(product.operators.floats),
                "fused_kernels": product.fused_kernels,
                **product.weights.metadata,
            },
            warnings=product.warnings,
            calibration_feeds=len(feeds) if quantized else 0,
            needs=product.weights.needs,
            fallback=product.weights.fallback,
        )
