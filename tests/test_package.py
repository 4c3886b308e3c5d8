"""What `import edgeopt` gives: names that load when they are used."""

from importlib.metadata import version

import pytest

import edgeopt


def test_names():
    assert edgeopt.__version__ == version("edgeopt")
    assert edgeopt.Run.__module__ == "edgeopt.report.schema"
    assert callable(edgeopt.export)
    assert {"Run", "__version__", "export"} <= set(dir(edgeopt))


def test_misspelt_name():
    with pytest.raises(AttributeError, match="module 'edgeopt' has no attribute 'exprt'"):
        edgeopt.exprt  # noqa: B018 - reading it is the test
