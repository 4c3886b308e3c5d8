"""The emulated machine is one of its own, and measures the same on every run."""

import pytest

pytestmark = pytest.mark.slow

COUNT = """
import time
start = time.perf_counter_ns()
sum(range(300_000))
print(time.perf_counter_ns() - start)
"""


def test_it_has_its_own_kernel_memory_and_processor_and_counts_the_same_every_time(emulated_machine):
    asked = "uname -m; id -un; nproc; grep MemTotal /proc/meminfo; grep -m 1 part /proc/cpuinfo"
    machine, user, cores, memory, part = emulated_machine.run(asked).stdout.splitlines()
    assert (machine, user, cores, part) == ("aarch64", "pi", "1", "CPU part\t: 0xd0b")
    assert 900_000 < int(memory.split()[1]) < 1_048_576
    load = "python3 -c 'import numpy, ai_edge_litert.interpreter; print(1)'"
    assert emulated_machine.run(load).stdout == "1\n"
    counts = [int(emulated_machine.run("python3 -", input=COUNT).stdout) for _ in range(3)]
    assert max(counts) / min(counts) < 1.02, counts


@pytest.mark.parametrize("emulated_machine", ["cortex-a72"], indirect=True)
def test_it_can_be_another_processor_and_is_fresh_after_a_restart(emulated_machine):
    assert emulated_machine.run("grep -m 1 part /proc/cpuinfo; touch new").stdout == "CPU part\t: 0xd08\n"
    emulated_machine.stop()
    assert emulated_machine.run("true").returncode == 255
    emulated_machine.start()
    assert emulated_machine.run("ls").stdout == ""
