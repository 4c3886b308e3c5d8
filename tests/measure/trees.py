"""Made-up machines: what /proc and /sys of four kinds of devices say, in the forms that real ones have.

A tree maps paths to texts. `programs` maps what a program is called with to what it prints.
"""

from dataclasses import dataclass, field

CPUS = "sys/devices/system/cpu"
THERMAL = "sys/class/thermal"
SUPPLY = "sys/class/power_supply"


@dataclass(frozen=True)
class Tree:
    """A machine."""

    files: dict[str, str]
    programs: dict[str, str] = field(default_factory=dict)

    def write(self, root, folder):
        """Write the files below `root`, and the programs into `folder`."""
        for path, text in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        for command, text in self.programs.items():
            name, *arguments = command.split()
            script = folder / name
            before = script.read_text() if script.exists() else "#!/bin/sh\n"
            case = f"if [ \"$*\" = '{' '.join(arguments)}' ]; then cat <<'END'\n{text}\nEND\nfi\n"
            script.write_text(before + case)
            script.chmod(0o755)


def arm_cores(parts, features, bogomips="108.00"):
    """/proc/cpuinfo of cores made by Arm."""
    return "".join(
        f"processor\t: {number}\nBogoMIPS\t: {bogomips}\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: {part}\nCPU revision\t: 0\n\n"
        for number, part in enumerate(parts)
    )


def memory(total_kb, available_kb):
    """/proc/meminfo."""
    return (
        f"MemTotal:       {total_kb:>8} kB\nMemFree:        {available_kb // 2:>8} kB\n"
        f"MemAvailable:   {available_kb:>8} kB\nBuffers:           11111 kB\n"
    )


def policy(number, cores, most_khz, now_khz, governor, **more):
    """A group of cores that share a clock."""
    files = {
        "related_cpus": " ".join(map(str, cores)),
        "cpuinfo_max_freq": most_khz,
        "scaling_max_freq": most_khz,
        "scaling_cur_freq": now_khz,
        "scaling_governor": governor,
        **more,
    }
    return {f"{CPUS}/cpufreq/policy{number}/{name}": f"{text}\n" for name, text in files.items()}


def numbered(folder, entries):
    """Folders `folder0`, `folder1` and on, with these files."""
    return {f"{folder}{n}/{name}": f"{text}\n" for n, entry in enumerate(entries) for name, text in entry.items()}


PI5 = Tree(
    {
        "proc/cpuinfo": arm_cores(
            ["0xd0b"] * 4,
            "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        )
        + "Revision\t: d04170\nSerial\t\t: 1234567890abcdef\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
        "proc/meminfo": memory(8_256_704, 7_000_000),
        "proc/loadavg": "0.31 0.22 0.10 1/201 4321\n",
        "proc/stat": "cpu  100 0 50 800 20 0 5 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nID=debian\n',
        "sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "sys/firmware/devicetree/base/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
        **policy(0, range(4), 2_400_000, 1_500_000, "ondemand"),
        **numbered(f"{THERMAL}/thermal_zone", [{"type": "cpu-thermal", "temp": 61250}]),
        **numbered(
            f"{THERMAL}/cooling_device",
            [{"type": "pwm-fan", "cur_state": 2, "max_state": 4}, {"type": "cpufreq-cpu0", "cur_state": 0}],
        ),
    },
    {"vcgencmd get_throttled": "throttled=0x50005"},
)
PHONE = Tree(
    {
        "proc/cpuinfo": arm_cores(
            ["0xd05"] * 4 + ["0xd41"] * 3 + ["0xd44"],
            "fp asimd aes crc32 atomics fphp asimdhp asimddp dcpop i8mm bf16",
            "38.40",
        )
        + "Hardware\t: Qualcomm Technologies, Inc SM8350\n",
        "proc/meminfo": memory(7_600_000, 2_900_000),
        "proc/loadavg": "7.11 6.52 6.00 3/4021 9999\n",
        **policy(0, range(4), 1_804_800, 691_200, "schedutil"),
        **policy(4, (4, 5, 6), 2_419_200, 710_400, "schedutil"),
        **policy(7, (7,), 2_841_600, 844_800, "schedutil", scaling_max_freq=1_500_000),
        **numbered(
            f"{THERMAL}/thermal_zone",
            [
                {"type": "aoss0-usr", "temp": 41200},
                {"type": "cpu-1-0-usr", "temp": 47300},
                {"type": "pm8350b-bcl-lvl0", "temp": 0},
                {"type": "modem-off", "temp": -273000},
                {"type": "vbat", "temp": 4_211_000},
                {"type": "battery", "temp": 31000},
            ],
        ),
        **numbered(
            f"{THERMAL}/cooling_device",
            [
                {"type": "thermal-cpufreq-7", "cur_state": 6, "max_state": 19},
                {"type": "thermal-devfreq-0", "cur_state": 3, "max_state": 8},
            ],
        ),
    },
    {
        "getprop": "[ro.build.version.release]: [14]\n[ro.build.version.sdk]: [34]\n[ro.board.platform]: [lahaina]\n"
        "[ro.product.cpu.abi]: [arm64-v8a]\n[ro.product.manufacturer]: [Acme]\n[ro.product.model]: [Phone 9]\n"
        "[ro.soc.manufacturer]: [QTI]\n[ro.soc.model]: [SM8350]\n[ro.odd]: [two\nlines]\n",
        "dumpsys battery": "Current Battery Service state:\n  AC powered: false\n  USB powered: true\n"
        "  Wireless powered: false\n  Max charging current: 500000\n  status: 2\n  present: true\n  level: 17\n"
        "  scale: 100\n  temperature: 310\n",
        "dumpsys thermalservice": "IsStatusOverride: false\nThermal Status: 2\nCached temperatures:\n"
        "\tTemperature{mValue=99.9, mType=0, mName=OLD, mStatus=0}\nHAL Ready: true\n"
        "Current temperatures from HAL:\n\tTemperature{mValue=71.5, mType=0, mName=CPU7, mStatus=2}\n"
        "\tTemperature{mValue=88.0, mType=3, mName=SKIN, mStatus=2}\nCurrent cooling devices from HAL:\n"
        "\tCoolingDevice{mValue=3, mType=2, mName=cpu}\n",
    },
)
SERVER = Tree(
    {
        "proc/cpuinfo": "".join(
            f"processor\t: {number}\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold 6430\n"
            "cpu MHz\t\t: 2100.000\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx_vnni amx_tile amx_int8\n\n"
            for number in range(12)
        ),
        "proc/meminfo": memory(131_072_000, 120_000_000),
        "proc/loadavg": "0.00 0.01 0.05 1/900 1\n",
        "proc/self/cgroup": "0::/user.slice/job: 7.scope\n",
        "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
        "sys/fs/cgroup/user.slice/memory.max": "max\n",
        "sys/fs/cgroup/user.slice/job: 7.scope/memory.max": f"{2**34}\n",
        "sys/class/dmi/id/sys_vendor": "Acme Inc.\n",
        "sys/class/dmi/id/product_name": "Server R1\n",
        **{
            path: text
            for number in range(12)
            for path, text in policy(
                number,
                (number,),
                3_400_000,
                2_100_000 if number else 2_600_000,
                "performance" if number < 10 else "powersave",
                base_frequency=2_100_000,
            ).items()
        },
        **{f"{CPUS}/cpu{n}/thermal_throttle/core_throttle_count": f"{n}\n" for n in range(12)},
        **{f"{CPUS}/cpu{n}/thermal_throttle/package_throttle_count": "40\n" for n in range(12)},
        **numbered(
            f"{THERMAL}/thermal_zone", [{"type": "acpitz", "temp": 27800}, {"type": "x86_pkg_temp", "temp": 55000}]
        ),
        **numbered(f"{THERMAL}/cooling_device", [{"type": "Processor", "cur_state": 0, "max_state": 10}]),
    }
)
LAPTOP_POWER = {
    f"{SUPPLY}/BAT0/type": "Battery\n",
    f"{SUPPLY}/BAT0/capacity": "64\n",
    f"{SUPPLY}/BAT0/status": "Discharging\n",
    f"{SUPPLY}/hid-mouse/type": "Battery\n",
    f"{SUPPLY}/hid-mouse/scope": "Device\n",
    f"{SUPPLY}/hid-mouse/capacity": "3\n",
    f"{SUPPLY}/ucsi-source-psy-USBC000:001/type": "USB\n",
    f"{SUPPLY}/ucsi-source-psy-USBC000:001/online": "0\n",
    f"{SUPPLY}/AC/type": "Mains\n",
    f"{SUPPLY}/AC/online": "0\n",
}
CONTAINER = Tree({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"})
