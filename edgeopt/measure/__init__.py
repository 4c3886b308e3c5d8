"""Runs artifacts on a device that it is given, and turns what they took into numbers."""
