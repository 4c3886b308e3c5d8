"""What stands in for a device in the tests: real servers, a second architecture, whole emulated machines, bad links.

Everything listens on loopback, and ends together with all that it has started. `CONTRIBUTING.md` says what each needs.
"""
