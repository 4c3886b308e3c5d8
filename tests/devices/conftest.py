"""Boards that the user's ssh knows."""

import shlex

import pytest

from edgeopt.devices.ssh import COMMAND_VARIABLE


@pytest.fixture
def known(monkeypatch):
    """A function that lets the user's ssh know a stand-in, and returns it."""

    def introduce(board):
        monkeypatch.setenv(COMMAND_VARIABLE, shlex.join(["ssh", "-F", str(board.config)]))
        return board

    return introduce
