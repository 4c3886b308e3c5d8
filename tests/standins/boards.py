"""What `/proc` and `/sys` of a known board say, for an emulated processor that matches.

LiteRT's kernels choose by these files. With those of the host a foreign LiteRT crashes; without any, XNNPACK is off.
All other values are made up.
"""

import shutil
from dataclasses import dataclass

MEMORY_FIELDS = {"MemTotal": 1.0, "MemFree": 0.5, "MemAvailable": 0.75, "Buffers": 0, "Cached": 0, "SwapTotal": 0}
SHARED_FEATURES = "fp asimd evtstrm"


@dataclass(frozen=True)
class Board:
    """A board: `cpu` is qemu's name for its processor."""

    cpu: str
    model: str
    variant: str
    part: str
    revision: int
    features: str
    max_khz: int
    memory_kb: int
    cores: int = 4


PI4 = Board(
    cpu="cortex-a72",
    model="Raspberry Pi 4 Model B Rev 1.4",
    variant="0x0",
    part="0xd08",
    revision=3,
    features=f"{SHARED_FEATURES} crc32 cpuid",
    max_khz=1_800_000,
    memory_kb=3_884_360,
)
PI5 = Board(
    cpu="cortex-a76",
    model="Raspberry Pi 5 Model B Rev 1.0",
    variant="0x4",
    part="0xd0b",
    revision=1,
    features=f"{SHARED_FEATURES} aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    max_khz=2_400_000,
    memory_kb=8_256_704,
)


def write(board, folder):
    """Write `cpuinfo`, `meminfo` and the tree `sys` into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    files = {
        "cpuinfo": _cpuinfo(board),
        "meminfo": "".join(
            f"{name + ':':15}{int(board.memory_kb * share):>9} kB\n" for name, share in MEMORY_FIELDS.items()
        ),
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/firmware/devicetree/base/model": f"{board.model}\0",
    }
    cpus = "sys/devices/system/cpu"
    files |= {f"{cpus}/{name}": f"0-{board.cores - 1}\n" for name in ("online", "possible", "present")}
    files[f"{cpus}/kernel_max"] = f"{board.cores - 1}\n"
    for core in range(board.cores):
        frequency = f"{cpus}/cpu{core}/cpufreq"
        files[f"{frequency}/cpuinfo_max_freq"] = files[f"{frequency}/scaling_cur_freq"] = f"{board.max_khz}\n"
        files[f"{frequency}/cpuinfo_min_freq"] = "600000\n"
        files[f"{frequency}/scaling_governor"] = "ondemand\n"
        files |= {f"{cpus}/cpu{core}/{name}": text for name, text in _topology(board, core).items()}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _topology(board, core):
    """What OpenVINO reads of a core; without these files it corrupts its memory and is killed."""
    every, cores = f"{(1 << board.cores) - 1:x}\n", f"0-{board.cores - 1}\n"
    implementer, variant, part = 0x41, int(board.variant, 16), int(board.part, 16)
    midr = implementer << 24 | variant << 20 | 0xF << 16 | part << 4 | board.revision
    return {
        "topology/core_id": f"{core}\n",
        "topology/physical_package_id": "0\n",
        "topology/thread_siblings": f"{1 << core:x}\n",
        "topology/thread_siblings_list": f"{core}\n",
        "topology/core_siblings": every,
        "topology/core_siblings_list": cores,
        "cache/index0/shared_cpu_list": f"{core}\n",
        "cache/index1/shared_cpu_list": f"{core}\n",
        "cache/index2/shared_cpu_list": cores,
        "regs/identification/midr_el1": f"0x{midr:016x}\n",
    }


def _cpuinfo(board):
    core = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {board.features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: {board.variant}\nCPU part\t: {board.part}\nCPU revision\t: {board.revision}\n\n"
    )
    return "".join(f"processor\t: {number}\n{core}" for number in range(board.cores)) + f"Model\t\t: {board.model}\n"
