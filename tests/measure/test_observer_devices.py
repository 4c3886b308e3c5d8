"""The observer on the stand-ins: a board, a phone without Python, one with it, and a whole emulated machine."""

import json

import pytest

from edgeopt.measure import observer, system
from edgeopt.measure.facts import OBSERVER_FILES, Facts, Health, find_doubts

pytestmark = pytest.mark.slow

BOTH = "import json, observer; print(json.dumps([observer.facts(), observer.health()]))"


def ask(device):
    """Facts and health that the two files find on a device behind ssh."""
    for file in OBSERVER_FILES:
        assert device.run(f"cat > {file.name}", input=file.read_text()).returncode == 0
    done = device.run(f"python3 -W error -c '{BOTH}'")
    assert done.stderr == ""
    facts, health = json.loads(done.stdout)
    return Facts.from_dict(facts), Health.from_dict(health)


def test_a_board_of_another_architecture(arm_board):
    facts, health = ask(arm_board)
    assert (facts.machine, facts.cpu, facts.memory_bytes) == ("aarch64", "4x Cortex-A76", 8_256_704 * 1024)
    assert facts.os.startswith("Debian GNU/Linux ")
    assert facts.details["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert facts.details["core_types"] == "4x Cortex-A76 at 2.40 GHz"
    assert facts.details["libc"].startswith("glibc 2.")
    assert facts.details["int8_features"] == "asimddp"
    assert facts.details["emulated"] == health.emulated == "qemu-user"
    assert (health.governor, health.temperature_c, health.temperature_zone) == ("ondemand", 48.312, "cpu-thermal")
    assert health.frequencies_mhz["cpu3"] == {"cur": 2400, "max": 2400}
    assert any("emulated (qemu-user)" in doubt for doubt in find_doubts(health, health, {}))


def test_an_old_board_lacks_the_dot_product(old_board):
    facts, _ = ask(old_board)
    assert (facts.cpu, facts.details["int8_features"], facts.details["libc"]) == ("4x Cortex-A72", "none", "glibc 2.31")


def test_a_whole_machine_is_emulated_though_all_in_it_looks_real(emulated_machine):
    facts, health = ask(emulated_machine)
    assert (facts.machine, facts.cpu, facts.cores) == ("aarch64", "1x Cortex-A76", 1)
    assert facts.details["virtual"] == facts.details["emulated"] == health.emulated == "qemu"
    assert 900_000_000 < facts.memory_bytes < 2**30
    assert health.available_bytes < facts.memory_bytes


def test_a_phone_without_python_is_read_by_its_shell(adb_phone):
    done = adb_phone.adb("shell", system.SHELL_PROBE)
    assert (done.returncode, done.stderr) == (0, "")
    texts = system.texts_from_shell(done.stdout)
    facts = Facts.from_dict(observer.facts_from_texts(texts))
    health = Health.from_dict(observer.health_from_texts(texts))
    own = observer.facts()
    assert facts.os == f"Android 14, {own['os'].rpartition(', ')[2]}"
    assert (facts.cpu, facts.cores, facts.memory_bytes) == (own["cpu"], own["cores"], own["memory_bytes"])
    assert (facts.details["board"], facts.details["abi"], facts.python) == ("Edgeopt Stand-in", "x86_64", "")
    assert (health.battery_percent, health.charging) == (87, True)
    assert 0 <= health.busy_share <= 1


def test_a_phone_with_python_says_the_same_as_its_shell(python_phone, tmp_path):
    for file in OBSERVER_FILES:
        assert python_phone.adb("push", file, "/data/local/tmp").returncode == 0
    done = python_phone.adb("shell", f"cd /data/local/tmp && python3 -W error -c '{BOTH}'")
    facts, health = json.loads(done.stdout)
    texts = system.texts_from_shell(python_phone.adb("shell", system.SHELL_PROBE).stdout)
    assert {**facts, "python": ""} == observer.facts_from_texts(texts)
    moving = ("load_average", "busy_share", "available_bytes")
    still = {name: value for name, value in observer.health_from_texts(texts).items() if name not in moving}
    assert still == {name: health[name] for name in still}
    assert health["load_average"] == pytest.approx(observer.health_from_texts(texts)["load_average"], abs=1)
