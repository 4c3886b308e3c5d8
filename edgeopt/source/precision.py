"""Restore a model trained in mixed precision to float32."""

from __future__ import annotations

from typing import Any

from edgeopt.errors import BadInputError, one_line

HALF = {"float16", "bfloat16", "mixed_float16", "mixed_bfloat16"}


def uses_half(model: Any) -> bool:
    """Return whether any layer computes or keeps its weights in 16 bits."""
    return any(policy in HALF for policy in _policies(model))


def restore_float32(model: Any, *, trusted: bool) -> Any:
    """Return a float32 copy of a Keras model with the same weights.

    Raises:
        BadInputError: The model cannot be rebuilt from its configuration.
    """
    import keras

    config = float32_config(keras.saving.serialize_keras_object(model))
    config.pop("compile_config", None)
    try:
        copy = keras.saving.deserialize_keras_object(config, safe_mode=not trusted)
        copy.set_weights(model.get_weights())
    except Exception as error:
        raise BadInputError(
            f"the mixed-precision model cannot be rebuilt in float32: {one_line(error)}",
            hint="save it in float32: keras.config.set_dtype_policy('float32') before building it, then set_weights",
        ) from error
    return copy


def float32_config(config: Any) -> Any:
    """Return a model's configuration with every 16-bit dtype and policy replaced by float32."""
    if isinstance(config, dict):
        return {
            key: "float32" if key in {"dtype", "name"} and _is_half(key, value, config) else float32_config(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(float32_config(item) for item in config)
    return config


def _is_half(key: str, value: Any, config: dict[str, Any]) -> bool:
    """Return whether a value is a 16-bit dtype; a `name` counts only if a policy holds nothing else."""
    return isinstance(value, str) and value in HALF and (key == "dtype" or set(config) <= {"name", "source_name"})


def _policies(model: Any) -> set[str]:
    """Return the names of all dtype policies inside a model."""
    found = {str(layer.dtype_policy.name) for layer in model._flatten_layers()}  # noqa: SLF001 - goes into nested models
    return found | {str(weight.dtype) for weight in model.weights}
