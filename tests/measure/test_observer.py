"""The observer: on made-up machines and on this one, under old Pythons, through every shell, and fed with garbage."""

import ast
import json
import os
import platform
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeopt.measure import observer, system
from edgeopt.measure.facts import OBSERVER_FILES, Facts, Health
from tests.measure.trees import CONTAINER, LAPTOP_POWER, PHONE, PI5, SERVER, SUPPLY, THERMAL, Tree, arm_cores
from tests.standins import needs

TREES = {"pi5": PI5, "phone": PHONE, "server": SERVER, "container": CONTAINER, "laptop": Tree(LAPTOP_POWER)}
SHELLS = ("dash", "bash", "mksh", "busybox", "toybox")
MIB = 2**20


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A function that makes this machine another one, as far as the observer can tell, and returns its root."""
    root, folder = tmp_path / "a [root]", tmp_path / "bin"

    def put(tree):
        root.mkdir()
        folder.mkdir()
        tree.write(root, folder)
        monkeypatch.setattr(system, "ROOT", root)
        monkeypatch.setattr(system, "LOOK_S", 0.001)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return root

    return put


def told(found, *names):
    """Some of the values of a mapping."""
    return {name: found[name] for name in names}


OF_TREE = ("cpu", "memory_bytes", "details")


def facts_of_tree():
    """What was read from the tree, without what this machine's Python says of its kernel and itself."""
    found = told(observer.facts(), *OF_TREE)
    found["details"] = {k: v for k, v in found["details"].items() if k not in ("kernel", "userland_bits", "libc")}
    return found


def test_a_raspberry_pi(place):
    place(PI5)
    assert facts_of_tree() == {
        "cpu": "4x Cortex-A76",
        "memory_bytes": 8_256_704 * 1024,
        "details": {
            "soc": "brcm,bcm2712",
            "board": "Raspberry Pi 5 Model B Rev 1.0",
            "core_types": "4x Cortex-A76 at 2.40 GHz",
            "int8_features": "asimddp",
        },
    }
    assert observer.facts()["os"] == f"Debian GNU/Linux 12 (bookworm), {platform.system()} {platform.release()}"
    assert observer.health() == {
        "load_average": 0.31,
        "busy_share": None,
        "governor": "ondemand",
        "temperature_c": 61.25,
        "cores_allowed": len(os.sched_getaffinity(0)),
        "temperature_zone": "cpu-thermal",
        "frequencies_mhz": {"policy0": {"cur": 1500, "max": 2400, "allowed": 2400}},
        "throttled": ["under-voltage", "throttled"],
        "throttle_counts": {
            "under-voltage has occurred": 1,
            "Arm frequency capped has occurred": 0,
            "throttled has occurred": 1,
            "soft temperature limit has occurred": 0,
        },
        "available_bytes": 7_000_000 * 1024,
        "battery_percent": None,
        "charging": None,
        "emulated": "",
    }


def test_a_phone(place):
    place(PHONE)
    assert facts_of_tree() == {
        "cpu": "1x Cortex-X1 + 3x Cortex-A78 + 4x Cortex-A55",
        "memory_bytes": 7_600_000 * 1024,
        "details": {
            "soc": "QTI SM8350",
            "board": "Acme Phone 9",
            "core_types": "1x Cortex-X1 at 2.84 GHz + 3x Cortex-A78 at 2.42 GHz + 4x Cortex-A55 at 1.80 GHz",
            "abi": "arm64-v8a",
            "int8_features": "asimddp i8mm",
        },
    }
    assert observer.facts()["os"].startswith("Android 14, ")
    names = ("governor", "temperature_c", "temperature_zone", "throttled", "battery_percent", "charging")
    assert told(observer.health(), *names) == {
        "governor": "schedutil",
        "temperature_c": 47.3,
        "temperature_zone": "cpu-1-0-usr",
        "throttled": ["thermal-cpufreq-7 at 6 of 19", "thermal status moderate"],
        "battery_percent": 17,
        "charging": True,
    }
    assert observer.health()["frequencies_mhz"]["policy7"] == {"cur": 844, "max": 2841, "allowed": 1500}


def test_a_phone_that_hides_its_sensors_tells_them_by_its_service(place):
    place(Tree({k: v for k, v in PHONE.files.items() if not k.startswith(THERMAL)}, PHONE.programs))
    assert told(observer.health(), "temperature_c", "temperature_zone") == {
        "temperature_c": 71.5,
        "temperature_zone": "CPU7",
    }


def test_a_server_with_turbo(place):
    place(SERVER)
    assert facts_of_tree() == {
        "cpu": "Intel(R) Xeon(R) Gold 6430",
        "memory_bytes": 2**34,
        "details": {"board": "Acme Inc. Server R1", "int8_features": "avx512_vnni avx_vnni amx_int8"},
    }
    found = observer.health()
    assert list(found["frequencies_mhz"]) == [f"policy{number}" for number in range(12)]
    assert found["frequencies_mhz"]["policy0"] == {"cur": 2600, "max": 3400, "allowed": 3400, "base": 2100}
    names = ("temperature_c", "temperature_zone", "throttled", "throttle_counts", "available_bytes")
    assert told(found, *names) == {
        "temperature_c": 55.0,
        "temperature_zone": "x86_pkg_temp",
        "throttled": [],
        "throttle_counts": {"core_throttle_count": 66, "package_throttle_count": 40},
        "available_bytes": 2**34,
    }
    calm = " ".join(f"policy{number}" for number in range(10))
    assert found["governor"] == f"performance ({calm}), powersave (policy10 policy11)"


def test_a_container_without_anything(place):
    place(CONTAINER)
    assert facts_of_tree() == {
        "cpu": platform.machine(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "details": {},
    }
    assert observer.facts()["cores"] == 1
    nothing = {"governor", "temperature_c", "busy_share", "battery_percent", "charging"}
    assert {name: value for name, value in observer.health().items() if name in nothing} == dict.fromkeys(nothing)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (64, False)),
        ({f"{SUPPLY}/AC/online": "1"}, (64, True)),
        ({f"{SUPPLY}/BAT0/status": "Charging"}, (64, True)),
        ({f"{SUPPLY}/BAT0/status": "Unknown", f"{SUPPLY}/BAT0/capacity": "700"}, (None, False)),
        ({f"{SUPPLY}/BAT0/type": "UPS"}, (None, None)),
    ],
)
def test_a_battery(place, change, expected):
    place(Tree({**LAPTOP_POWER, **change}))
    found = observer.health()
    assert (found["battery_percent"], found["charging"]) == expected


QEMU = {"sys/firmware/devicetree/base/fw-cfg@9020000/compatible": "qemu,fw-cfg-mmio"}
PIXEL = "[ro.product.model]: [sdk_gphone64]\n[ro.boot.qemu]: [1]"


@pytest.mark.parametrize(
    ("texts", "emulated", "virtual"),
    [
        ({"proc/cpuinfo": arm_cores(["0xd0b"], "asimd", "125.00"), **QEMU}, "qemu", "qemu"),
        ({"proc/cpuinfo": arm_cores(["0xd0c"], "asimd", "50.00"), **QEMU}, "", "qemu"),
        ({"proc/cpuinfo": arm_cores(["0xd0b"], "asimd", "125.00")}, "", None),
        ({"$exe": "/usr/bin/qemu-aarch64-static"}, "qemu-user", None),
        ({"$exe": "/opt/qemu-tools/bin/python3"}, "", None),
        ({"$uname": "Linux 6.1 aarch64", "proc/cpuinfo": SERVER.files["proc/cpuinfo"]}, "qemu-user", None),
        ({"$uname": "Linux 6.1 x86_64", "proc/cpuinfo": SERVER.files["proc/cpuinfo"]}, "", None),
        ({"$getprop": PIXEL}, "Android emulator", None),
        ({"proc/cpuinfo": "processor: 0\nvendor_id: VirtualApple"}, "Rosetta", None),
        (
            {"proc/cpuinfo": "processor: 0\nmodel name: QEMU TCG CPU version 2.5+\nflags: fpu hypervisor"},
            "qemu",
            "a hypervisor",
        ),
        ({"proc/cpuinfo": "processor: 0\nflags: hypervisor", "sys/class/dmi/id/sys_vendor": "VMware"}, "", "VMware"),
        ({"sys/firmware/devicetree/base/hypervisor/compatible": "xen,xen-4.17\nxen,xen"}, "", "xen,xen-4.17"),
    ],
)
def test_what_is_no_real_machine_is_told_apart(texts, emulated, virtual):
    assert observer.health_from_texts(texts)["emulated"] == emulated
    details = observer.facts_from_texts(texts)["details"]
    assert (details.get("emulated", ""), details.get("virtual")) == (emulated, virtual)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"$libc": "glibc 2.36"}, "glibc 2.36"),
        ({"$libc": "musl libc (aarch64)\nVersion 1.2.4\nDynamic Program Loader"}, "musl 1.2.4"),
        ({"$libc": "ldd: unknown", "$getprop": "[a]: [b]"}, "bionic"),
        ({}, None),
    ],
)
def test_the_c_library(texts, expected):
    assert observer.facts_from_texts(texts)["details"].get("libc") == expected


def test_cores_that_no_table_has_are_shown_as_the_kernel_shows_them():
    cpuinfo = "Processor\t: ARMv7\nprocessor\t: 0\nprocessor\t: 1\nFeatures: neon\n"
    unknown = cpuinfo + "CPU implementer\t: 0x99\nCPU part\t: 0xabc\nHardware\t: Board\n"
    found = observer.facts_from_texts({"proc/cpuinfo": unknown})
    assert found["details"]["core_types"] == "2x part 0xabc of implementer 0x99"
    assert (found["cores"], found["details"]["int8_features"], found["details"]["soc"]) == (2, "none", "Board")
    assert "core_types" not in observer.facts_from_texts({"proc/cpuinfo": cpuinfo})["details"]


@pytest.mark.parametrize(("cores", "text"), [([], ""), ([3], "3"), ([7, 5, 4, 6, 4], "4-7"), ([0, 2, 3, 9], "0,2-3,9")])
def test_cores_as_people_write_them(cores, text):
    assert system.as_ranges(cores) == text
    assert system.in_ranges(text) == set(cores)


def test_the_cores_that_may_be_used_are_told_with_their_types(place):
    place(PHONE)
    texts = system.read_texts(system.FACT_FILES, {})
    used = {"core_types_used": "4x Cortex-A55 at 1.80 GHz", "cores_used": "0-3"}
    details = observer.facts_from_texts({**texts, "$cores": "0-3"})["details"]
    assert {name: details.get(name) for name in used} == used
    details = observer.facts_from_texts({**texts, "$cores": "7"})["details"]
    assert (details["cores_used"], details["core_types_used"]) == ("7", "1x Cortex-X1 at 2.84 GHz")
    assert "cores_used" not in observer.facts_from_texts({**texts, "$cores": ""})["details"]


def test_of_cores_of_one_kind_only_the_numbers_are_told(place):
    place(PI5)
    details = observer.facts_from_texts({**system.read_texts(system.FACT_FILES, {}), "$cores": "2-3"})["details"]
    assert details["cores_used"] == "2-3"
    assert "core_types_used" not in details


ASK = f"""
import json, os, sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from edgeopt.measure import observer
if len(sys.argv) > 1:
    os.sched_setaffinity(0, [int(sys.argv[1])])
print(json.dumps(observer.facts()["details"].get("cores_used")))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_the_cores_of_this_process_are_told_where_they_are_not_all():
    last = max(os.sched_getaffinity(0))
    done = subprocess.run([sys.executable, "-c", ASK, str(last)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == str(last)
    if len(os.sched_getaffinity(0)) == os.cpu_count():
        done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("glibc 2.36", ("glibc", "2.36")),
        ("musl libc (x86_64)\nVersion 1.2.4\nDynamic Program Loader\n", ("musl", "1.2.4")),
        ("ldd: cannot open", ("", "")),
        ("", ("", "")),
    ],
)
def test_what_a_c_library_says_of_itself(said, expected):
    assert system.libc(said) == expected


def test_an_os_release_is_read_as_a_shell_would():
    text = '# made\nID=raspbian\nPRETTY_NAME="Raspbian 11 \\"x\\"" # said\nBROKEN=\'half\nLAST=1\n'
    found = system.release(text)
    assert (found["ID"], found["PRETTY_NAME"], found["LAST"]) == ("raspbian", 'Raspbian 11 "x"', "1")
    assert "BROKEN" not in found


@pytest.mark.parametrize(
    ("files", "nproc", "cores"),
    [
        ({}, "8", 8),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, "8", 8),
        ({"sys/fs/cgroup/cpu.max": "150000 100000"}, "8", 1),
        ({"sys/fs/cgroup/cpu.max": "50000 100000"}, "8", 1),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, "8", 8),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, "8", 3),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000"}, "8", 8),
        ({"sys/fs/cgroup/a/cpu.max": "400000 100000", "sys/fs/cgroup/a/b/cpu.max": "200000 100000"}, "8", 2),
        ({"sys/fs/cgroup/cpu.max": "800000 100000"}, "4", 4),
        ({}, "no number", 1),
    ],
)
def test_cores_are_those_of_affinity_and_quota(files, nproc, cores):
    assert observer.cores_allowed({**files, "$nproc": nproc}) == cores


def test_a_limit_of_the_first_kind_of_control_groups_counts(place):
    group = "sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes"
    tree = {
        "proc/self/cgroup": "4:memory:/jobs/7\n1:cpu:/\n",
        group: "536870912\n",
        "proc/meminfo": "MemTotal: 9999999 kB",
    }
    place(Tree({**tree, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}))
    assert observer.memory_bytes(observer.limits()) == observer.available_bytes(observer.limits()) == 512 * MIB


@pytest.mark.parametrize(
    ("look", "share"),
    [
        ("cpu 100 0 0 100 0 0 0 0 0 0\ncpu 160 0 0 120 20 0 0 0 0 0", 0.6),
        ("cpu 100 0 0 100 9 0 0 0\ncpu 100 0 0 110 5 0 0 0", 0.0),
        ("cpu 1 2 3\ncpu 1 2 4", None),
        ("cpu 1 0 0 1 0 0 0 0", None),
    ],
)
def test_the_share_that_is_busy(look, share):
    assert observer.health_from_texts({"$look": look})["busy_share"] == share


def test_this_machine_is_busy_while_it_works():
    work = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        share = observer.health()["busy_share"]
    finally:
        work.kill()
        work.wait()
    if sys.platform == "linux":
        assert share > 0.5 / os.cpu_count()


def test_this_machine():
    found = observer.facts()
    assert (found["machine"], found["python"]) == (platform.machine(), platform.python_version())
    assert found["details"]["userland_bits"] == 64
    assert found["cpu"]
    assert 0 < observer.health()["available_bytes"] <= found["memory_bytes"]
    Facts.from_dict(json.loads(json.dumps(found)))
    Health.from_dict(json.loads(json.dumps(observer.health())))


def test_versions_of_what_is_installed_whole(tmp_path, monkeypatch):
    for name, metadata in {"whole": "Name: whole\nVersion: 1.5\n", "cut": "Name: cut\n"}.items():
        info = tmp_path / f"{name}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata)
    monkeypatch.syspath_prepend(tmp_path)
    assert observer.versions(["whole", "cut", "none", "", "../x"]) == {"whole": "1.5"}


def test_a_program_that_hangs_is_given_up(place, monkeypatch):
    place(Tree({}, {"getprop": "[a]: [b]"}))
    monkeypatch.setattr(system, "LIMIT_S", 0.2)
    folder = Path(os.environ["PATH"].partition(":")[0])
    (folder / "vcgencmd").write_text("#!/bin/sh\nexec sleep 60\n")
    (folder / "vcgencmd").chmod(0o755)
    (folder / "dumpsys").write_bytes(b"\x7fELF no program")
    (folder / "dumpsys").chmod(0o755)
    texts = system.read_texts((), system.PROGRAMS)
    assert texts["$getprop"] == "[a]: [b]"
    assert not {"$vcgencmd", "$battery"} & set(texts)


def python_of(version):
    """A real Python of that version, or None; a shim of pyenv may stand for one that is not chosen."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [*map(str, sorted(pyenv.glob(f"{version}.*/bin/python"))), shutil.which(f"python{version}")]
    works = (
        path
        for path in candidates
        if path and not subprocess.call([path, "-V"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    )
    return next(works, None)


def test_the_files_are_of_the_oldest_python_and_import_nothing_but_its_library():
    for file in OBSERVER_FILES:
        # what is imported from edgeopt stands behind `if __package__`, or is for types only
        tree = ast.parse(file.read_text(), feature_version=(3, 9))
        imported = {
            alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert imported - {"system"} <= sys.stdlib_module_names


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.13"])
def test_they_run_on_a_device_where_only_they_are(tmp_path, version):
    python = python_of(version)
    if python is None:
        pytest.skip(f"needs Python {version}")
    for file in OBSERVER_FILES:
        shutil.copy(file, tmp_path)
    code = "import json, observer; print(json.dumps([observer.facts(), observer.health(), observer.versions(['pip'])]))"
    done = subprocess.run(
        [python, "-W", "error", "-S", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stderr == ""
    facts, health, _ = json.loads(done.stdout)
    assert facts["python"].startswith(f"{version}.")
    mine = observer.facts()
    assert {**facts, "python": ""} == {**mine, "python": ""}
    assert health.keys() == observer.health().keys()


@pytest.fixture(params=SHELLS)
def shell(request, tmp_path):
    """A shell, with nothing but its own tools where it brings them along; a function that runs the probe with it."""
    needs.require(request.param)
    tools = tmp_path / "tools"
    tools.mkdir()
    if request.param in ("busybox", "toybox"):
        box = needs.program(request.param)
        for name in ("cat", "grep", "head", "nproc", "readlink", "sed", "sleep", "timeout", "uname"):
            (tools / name).symlink_to(box)
        # toybox is no shell; on Android it serves mksh
        starts = [box, "sh"] if request.param == "busybox" else [needs.program("mksh") or "/bin/sh"]
        (tools / "sh").symlink_to(box if request.param == "busybox" else starts[0])
    else:
        starts = [needs.program(request.param)]
    box_only = request.param in ("busybox", "toybox")

    def run(script, root, folder):
        path = f"{folder}:{tools}" if box_only else f"{folder}:{os.environ['PATH']}"
        argv = [*starts, "-c", script, "probe", str(root)]
        done = subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == ""
        return done.stdout

    return run


@pytest.mark.parametrize("name", TREES)
def test_every_shell_gives_the_same_texts_as_python(place, tmp_path, shell, name):
    root = place(TREES[name])
    output = shell(system.SHELL_PROBE, root, tmp_path / "bin")
    for ending in ("\n", "\r\n"):  # an old adb makes the second of the first
        texts = system.texts_from_shell(output.replace("\n", ending))
        expected = system.read_texts(system.FILES, {})
        of_groups = {key for key in expected if "user.slice" in key}  # no shell follows these
        assert {k: v for k, v in texts.items() if k[0] != "$"} == {
            k: v for k, v in expected.items() if k[0] != "$" and k not in of_groups
        }
        for command, said in TREES[name].programs.items():
            key = next(key for key, known in system.PROGRAMS.items() if known == command)
            assert texts[f"${key}"] == said.strip()
        assert texts["$uname"] == expected["$uname"]
        assert texts["$nproc"] == expected["$nproc"]


def test_a_hostile_text_forges_nothing(place, tmp_path, shell):
    evil = (
        "\x1b[31mred\x1b[0m $(reboot) `id`\r\n$battery:  level: 1\nproc/loadavg:99 9 9\n$end:\n"
        "../../etc/passwd:x\nsys/class/thermal/thermal_zone0/temp:99000\n"
    )
    root = place(
        Tree(
            {
                "proc/loadavg": "0.5 0 0\n" + evil,
                "sys/firmware/devicetree/base/model": evil,
                f"{THERMAL}/thermal_zone0/type": evil,
                f"{THERMAL}/thermal_zone0/temp": "50000\n",
                f"{SUPPLY}/a:b c/type": "Battery\n",
                f"{SUPPLY}/a:b c/capacity": "55\n",
            },
            {"getprop": evil.replace("'", "")},
        )
    )
    texts = system.texts_from_shell(shell(system.SHELL_PROBE, root, tmp_path / "bin"))
    assert "$battery" not in texts
    assert texts["sys/class/thermal/thermal_zone0/temp"] == "50000"
    health = Health.from_dict(observer.health_from_texts(texts))
    assert (health.load_average, health.temperature_c, health.battery_percent) == (0.5, 50.0, 55)
    facts = Facts.from_dict(observer.facts_from_texts(texts))
    for text in (health.temperature_zone, facts.details["board"]):
        assert text.startswith("red $(reboot)")
        assert text.isprintable()


@pytest.mark.parametrize("output", ["", "proc/loadavg:1 2 3\n", "error: device offline", "x$end:\n"])
def test_an_answer_that_was_cut_off_is_refused(output):
    with pytest.raises(ValueError, match="cut off"):
        system.texts_from_shell(output)


GARBAGE = (
    "",
    "\n\n\n",
    ":",
    "-1",
    "0",
    "999999999999999999999999999999",
    "١٢٣",
    "1_000",
    "nan",
    "inf",
    "1e999",
    "max max",
    "\ud800 lone",
    "\x00\x01\x1b[2J",
    "a" * 100_000,
    "processor: 0\nprocessor: 1\nCPU part: 0x\nCPU implementer:",
    "MemTotal: -5 kB\nMemAvailable: 99999999999999999 kB",
    "throttled=0xffffffffff",
    "throttled=0xffffffff",
    "level: 999\nAC powered: maybe",
    "Thermal Status: 7\nTemperature{mValue=NaN, mType=0, mName=}",
    "cpu 1 1 1 1 1 1 1 1\ncpu 0 0 0 0 0 0 0 0",
    "[]: []\n[a]: [b",
)
SHORT_GARBAGE = [text for text in GARBAGE if len(text) < 1000]


def test_garbage_in_every_text_is_borne():
    keys = [pattern.replace("*", star) for pattern in system.FILES for star in ("0", "999999999999", "x:y")]
    keys += [f"${name}" for name in system.PROGRAMS] + ["$memory", "$load", "$python", "sys/fs/cgroup/a/cpu.max"]
    chance = random.Random(5)  # noqa: S311 - the same garbage every time
    for text in GARBAGE:
        check(dict.fromkeys(keys, text))
    for _ in range(30):
        check({key: chance.choice(SHORT_GARBAGE) for key in keys})


def check(texts):
    """What is read from texts is JSON, and what the host accepts."""
    facts, health = observer.facts_from_texts(texts), observer.health_from_texts(texts)
    json.dumps([facts, health], allow_nan=False)
    assert Facts.from_dict(facts).cores >= 1
    assert Health.from_dict(health).cores_allowed >= 1


def test_garbage_in_every_file_is_borne(place):
    root = place(Tree(dict.fromkeys((pattern.replace("*", "0") for pattern in system.FILES), "garbage")))
    (root / "proc/loadavg").unlink()
    (root / "proc/loadavg").mkdir()
    (root / "proc/meminfo").write_bytes(bytes(range(256)) * 9)
    (root / "etc/os-release").unlink()
    (root / "etc/os-release").symlink_to("os-release")
    facts, health = Facts.from_dict(observer.facts()), Health.from_dict(observer.health())
    assert (facts.details["board"], health.governor, health.temperature_c) == ("garbage", "garbage", None)
