"""Backend `onnxruntime`: one ONNX file, in the number format set by the options."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgeopt.api import Artifact, Backend
from edgeopt_onnxruntime.production import Options, Production

if TYPE_CHECKING:
    from edgeopt.api import ExportRequest

PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


class OnnxRuntime(Backend):
    """Writes `model.onnx`."""

    name: ClassVar[str] = "onnxruntime"
    summary: ClassVar[str] = "an ONNX file, for ONNX Runtime on servers, desktops and boards"
    runner: ClassVar[Path] = Path(__file__).with_name("runner.py")
    Options = Options
    requires: ClassVar[tuple[str, ...]] = ("onnxruntime>=1.23", "numpy>=1.23")

    @classmethod
    def unavailable(cls) -> str | None:
        """Return the missing packages and the command that installs them, or None."""
        missing = [name for name in PACKAGES if find_spec(name) is None]
        verb = "is" if len(missing) == 1 else "are"
        return f"{', '.join(missing)} {verb} not installed: pip install 'edgeopt[onnx]'" if missing else None

    def export(self, request: ExportRequest) -> Artifact:
        """Write the file from the float file that all targets of this backend share.

        Raises:
            ExportError: The model cannot be converted to this format.
        """
        from edgeopt_onnxruntime.operators import read_operators

        options: Options = request.options
        feeds = list(request.calibration)
        file = request.out_dir / "model.onnx"
        product = Production(request.source, feeds, options, request.cpu_features, file, request.log).run()
        operators = read_operators(file)
        static = options.quantization == "int8"
        return Artifact(
            main=file,
            files=(file,),
            metadata={
                "quantization": options.quantization,
                "operators": operators.count,
                "float_operators": len(operators.floats),
                **product.weights.metadata,
            },
            warnings=(*product.warnings, *operators.remarks(options.quantization)),
            calibration_feeds=len(feeds) if static else 0,
            needs=product.weights.needs,
            fallback=product.weights.fallback,
        )
