"""Quantizes a float model to 8-bit integers with NNCF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt_openvino.saving import operators
from edgeopt_openvino.toolkit import nncf, no_bars, openvino

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NORMALISING = {"MVN", "SquaredDifference"}
"""Operators of a layer or group normalisation, which computes its statistics from its own input."""
RECURRENT = ("GRUSequence", "LSTMSequence", "RNNSequence")
"""Operators kept in float: an LSTM of 128 units has 39 dB in 120 us; in int8, 17 dB in 63 us."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings for one quantization."""

    name: str
    symmetric: bool = False
    """Whether an activation's integers are symmetric around zero."""
    transformer: bool = False
    smooth: bool = False
    """Whether SmoothQuant moves large activations into the weights."""
    means: bool = False
    """Whether an activation's range is NNCF's mean over feeds, and biases are corrected in one pass."""
    worth_db: float = 0.0
    """Minimum gain over the best recipe so far, since this one may be slower."""


CONVOLUTIONAL = (
    Recipe("symmetric", symmetric=True),
    Recipe("symmetric-means", symmetric=True, means=True),
    Recipe("asymmetric", worth_db=1.0),
)
"""The second has NNCF's own settings, so that no model is less accurate than with those. The first two are as fast.

In dB, on 32 other feeds: MobileNetV2 10.5, 11.2 and 10.6; keyword spotting 25.6, 30.6 and 34.1; ResNet-8 26.4, 16.6 and
28.5. Asymmetric integers may cost 12 % of the time.
"""
TRANSFORMER = (
    Recipe("transformer", transformer=True),
    Recipe("transformer-smooth", transformer=True, smooth=True, worth_db=1.0),
)
"""SmoothQuant is designed for large language models and cost up to 25 dB on small transformers, so both are tried."""


def recipes(file: Path) -> tuple[Recipe, ...]:
    """Return the recipes for a float model.

    Normalisation at run time decides: with NNCF's recipe for transformers, additions and normalisations around it stay
    float, which is faster and more accurate (4 blocks of 128: 0.37 ms and 38.8 dB against 0.45 ms and 28.3 dB). Plain
    convolutions are faster without this recipe (ResNet-8: 85 us against 88).
    """
    found = {operator.get_type_name() for operator in operators(openvino().Core().read_model(str(file)))}
    return CONVOLUTIONAL if found.isdisjoint(NORMALISING) else TRANSFORMER


def quantize(file: Path, feeds: Sequence[Mapping[str, Any]], recipe: Recipe, *, reduce_range: bool) -> Any:
    """Return the model of `file` with 8-bit weights and activations; 7-bit weights if reduced.

    NNCF reduces only the first convolution by default: without VNNI, the autoencoder of MLPerf Tiny then has 31 dB, and
    41 dB with all weights reduced.

    If a recipe does not set `means`, an activation's range is its minimum and maximum over all feeds, and biases are
    corrected by running the model repeatedly (ResNet-8: 26 dB instead of 17, at the same speed). A transformer's biases
    are corrected in one pass, which was at least as accurate, in half the time.
    """
    tool = nncf()
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    advanced: dict[str, Any] = {"overflow_fix": OverflowFix.ENABLE if reduce_range else OverflowFix.DISABLE}
    if not recipe.means:
        advanced["activations_range_estimator_params"] = RangeEstimatorParametersSet.MINMAX
    if not recipe.smooth:
        advanced["smooth_quant_alphas"] = AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
    with no_bars():
        return tool.quantize(
            openvino().Core().read_model(str(file)),
            tool.Dataset([dict(feed) for feed in feeds]),
            subset_size=len(feeds),
            preset=tool.QuantizationPreset.PERFORMANCE if recipe.symmetric else tool.QuantizationPreset.MIXED,
            model_type=tool.ModelType.TRANSFORMER if recipe.transformer else None,
            fast_bias_correction=recipe.transformer or recipe.means,
            ignored_scope=tool.IgnoredScope(types=list(RECURRENT), validate=False),
            advanced_parameters=tool.AdvancedQuantizationParameters(**advanced),
        )
