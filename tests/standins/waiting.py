"""Waiting for what a stand-in does in its own time."""

import time


def until(condition, limit_s=10):
    """Wait until a condition holds; its value. Fails the test when it takes too long."""
    end = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {limit_s} s"
        time.sleep(0.02)
    return value
