"""Options: from texts and TOML values to a backend's frozen dataclass."""

from dataclasses import dataclass, field, make_dataclass
from typing import Literal

import pytest

from edgeopt.contract import NoOptions
from edgeopt.errors import PluginError, UsageError
from edgeopt.options import OptionField, check_options_class, describe, fill

pytestmark = pytest.mark.quick


@dataclass(frozen=True)
class Options:
    precision: Literal["float32", "float16"] = field(default="float32", metadata={"help": "of weights"})
    xla: bool = False
    depth: int = 3
    scale: float = 0.5
    label: str = ""


def test_options_are_described_in_their_order():
    assert describe(Options) == [
        OptionField("precision", "choice", "float32", "of weights", ("float32", "float16")),
        OptionField("xla", "bool", False, ""),
        OptionField("depth", "int", 3, ""),
        OptionField("scale", "float", 0.5, ""),
        OptionField("label", "str", "", ""),
    ]


def test_texts_are_read_as_the_type_of_the_option():
    texts = {"precision": "float16", "xla": "yes", "depth": "7", "scale": "1e-3", "label": "a=b"}
    assert fill(Options, texts, origin="--set") == Options("float16", True, 7, 0.001, "a=b")


def test_toml_values_pass_as_they_are():
    assert fill(Options, {"xla": True, "depth": 7, "scale": 2}, origin="t.toml") == Options(
        xla=True, depth=7, scale=2.0
    )


def test_what_is_not_given_keeps_its_default():
    assert fill(Options, {}, origin="--set") == Options()


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        (
            {"precison": "float16"},
            "--set: unknown option 'precison'; the valid ones are: precision, xla, depth, scale, label",
            "did you mean precision?",
        ),
        (
            {"precision": "float61"},
            "--set: precision is 'float61'; wanted one of: float32, float16",
            "did you mean float16 or float32?",
        ),
        ({"xla": "maybe"}, "--set: xla is 'maybe'; wanted true or false", ""),
        ({"xla": 1}, "--set: xla is 1; wanted true or false", ""),
        ({"depth": "3.5"}, "--set: depth is '3.5'; wanted a whole number", ""),
        ({"depth": 3.5}, "--set: depth is 3.5; wanted a whole number", ""),
        ({"depth": True}, "--set: depth is True; wanted a whole number", ""),
        ({"scale": "fast"}, "--set: scale is 'fast'; wanted a finite number", ""),
        ({"scale": "inf"}, "--set: scale is 'inf'; wanted a finite number", ""),
        ({"scale": float("nan")}, "--set: scale is nan; wanted a finite number", ""),
        ({"scale": 10**400}, f"--set: scale is {10**400}; wanted a finite number", ""),
        ({"depth": float("inf")}, "--set: depth is inf; wanted a whole number", ""),
        ({"label": 3}, "--set: label is 3; wanted a text", ""),
    ],
)
def test_what_cannot_be_used_is_named_with_what_is_wanted(values, message, hint):
    with pytest.raises(UsageError) as caught:
        fill(Options, values, origin="--set")
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_backend_without_options_says_so():
    with pytest.raises(UsageError, match="the valid ones are: it has none"):
        fill(NoOptions, {"x": "1"}, origin="--set")


@dataclass(frozen=True)
class WithoutDefault:
    depth: int


@dataclass(frozen=True)
class WithAList:
    depth: tuple = ()


@dataclass
class NotFrozen:
    depth: int = 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (WithoutDefault, "the option depth has no default"),
        (WithAList, "the option depth is no bool, int, float, str or Literal of texts"),
        (NotFrozen, "Options is a dataclass, but not frozen"),
        (dict, "Options is <class 'dict'>; wanted a frozen dataclass"),
    ],
)
def test_an_options_class_that_breaks_the_contract_is_refused(options, message):
    with pytest.raises(PluginError) as caught:
        check_options_class(options)
    assert caught.value.message == message


def made(annotation, default, **metadata):
    """A class with one option."""
    return make_dataclass("Made", [("it", annotation, field(default=default, metadata=metadata))], frozen=True)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [(int, "3"), (int, True), (float, float("nan")), (bool, "yes"), (str, None), (Literal["a", "b"], "c"), (int, None)],
)
def test_a_default_that_the_option_would_not_take_is_the_plugins_mistake(annotation, default):
    with pytest.raises(PluginError, match="the default of the option it"):
        check_options_class(made(annotation, default))


def test_a_help_that_is_no_text_is_the_plugins_mistake():
    with pytest.raises(PluginError, match="the help of the option it is no text"):
        check_options_class(made(int, 3, help=5))
    check_options_class(made(float, 3, help="a whole number is a number too"))


@dataclass(frozen=True)
class Checked:
    level: int = 1

    def __post_init__(self):
        if not 0 < self.level < 10:
            raise ValueError("level is from 1 to 9")


def test_what_a_backend_itself_refuses_is_said_in_its_words():
    check_options_class(Checked)
    with pytest.raises(UsageError) as caught:
        fill(Checked, {"level": "99"}, origin="--set")
    assert caught.value.message == "--set: the backend refuses these options: ValueError: level is from 1 to 9"


def test_defaults_that_a_backend_itself_refuses_are_its_mistake():
    with pytest.raises(PluginError, match=r"Options\(\) with nothing but defaults fails: ValueError: level is"):
        check_options_class(make_dataclass("Bad", [("level", int, 0)], bases=(Checked,), frozen=True))
