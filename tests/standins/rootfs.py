"""Other systems' files, from Debian's packages: a board of another architecture, one that is too old, a phone.

Packages are unpacked and not installed, so nothing is emulated and it takes seconds. Root only.
"""

import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.standins import cache, needs, phone_files
from tests.standins.foreign import BINFMT, register

LITERT = importlib.metadata.version("ai-edge-litert")  # equal kernels on both sides give equal int8 outputs
COMMON = "bash coreutils dash findutils grep gzip hostname libc-bin procps sed tar util-linux"
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
NEWER_PYTHON = "3.10"  # the oldest that the wheels are made for
GLIBC_MINORS = (17, 24, 26, 27, 28, 31, 34, 35, 36)


@dataclass(frozen=True)
class Recipe:
    """A root filesystem: Debian's packages of a suite, and wheels in `/opt/wheels`.

    `wheels` are chosen for its Python, `newer_wheels` for a newer one and without what they depend on.
    """

    name: str
    architecture: str
    suite: str
    packages: str
    wheels: tuple[str, ...] = ()
    newer_wheels: tuple[str, ...] = ()

    @property
    def is_foreign(self):
        return MACHINES[self.architecture] != os.uname().machine


BOARD_PACKAGES = f"{COMMON} libstdc++6 login openssh-server openssh-sftp-server python3 python3-venv"
BOARD = Recipe("board", "arm64", "bookworm", BOARD_PACKAGES, (f"ai-edge-litert=={LITERT}",))
# What a newer Python on such a system would get: the wheel's tag asks for an older glibc than its libraries do.
OLD_BOARD = Recipe("old-board", "arm64", "bullseye", BOARD_PACKAGES, ("numpy",), (f"ai-edge-litert=={LITERT}",))
EVERY_RUNTIME = Recipe(
    "every-runtime",
    "arm64",
    "bookworm",
    BOARD_PACKAGES,
    tuple(f"{name}=={importlib.metadata.version(name)}" for name in ("ai-edge-litert", "onnxruntime", "openvino")),
)
PHONE = Recipe("phone", "amd64", "trixie", f"{COMMON} adbd toybox")
PYTHON_PHONE = Recipe(
    "python-phone", "amd64", "trixie", f"{PHONE.packages} libstdc++6 python3", (f"ai-edge-litert=={LITERT}",)
)

BOARD_USERS = """\
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
pi:x:1000:1000:,,,:/home/pi:/bin/bash
"""
BOARD_GROUPS = "root:x:0:\ntty:x:5:\nvideo:x:44:pi\nnogroup:x:65534:\npi:x:1000:\n"


def made(recipe):
    """The folder of a root filesystem, built if it is not in the cache; nobody may write to it."""
    needs.require("mmdebstrap", "apt-get", root=True)
    if recipe.is_foreign:
        needs.require("qemu-aarch64-static")
        if not BINFMT.exists():
            needs.refuse(f"needs {BINFMT}")
    sources = [Path(__file__), Path(phone_files.__file__)]
    text = "".join(source.read_text() for source in sources)
    return cache.built(recipe.name, f"{recipe}{text}", lambda folder: _build(recipe, folder))


def _build(recipe, folder):
    unpack(folder, recipe.architecture, recipe.suite, recipe.packages)
    for name in ("dev", "home", "opt/wheels", "proc", "root", "run", "sys", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for shell in ("bin/sh", "usr/bin/sh"):
        if not (folder / shell).exists():
            (folder / shell).symlink_to("dash")
    if "adbd" in recipe.packages:
        phone_files.write(folder)
    else:
        (folder / "etc/passwd").write_text(BOARD_USERS)
        (folder / "etc/group").write_text(BOARD_GROUPS)
        (folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
    _install_wheels(recipe, folder)
    lines = ["mount --make-rprivate /", *(register() if recipe.is_foreign else []), f"chroot '{folder}' /sbin/ldconfig"]
    run("unshare", "--mount", "sh", "-euc", "\n".join(lines))


def unpack(folder, architecture, suite, packages):
    """Unpack Debian's packages and what they depend on, from where this machine has its own packages from."""
    # `apt-get update` has told which of the configured archives is Debian's, and not one for security or of others.
    targets = ("Created-By: Packages", "Origin: Debian", "Label: Debian")
    found = run("apt-get", "indextargets", "--format", "$(REPO_URI)", *targets).split()
    if not found:
        needs.refuse("needs Debian's archive among the sources of apt, after `apt-get update`")
    run(
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=extract", f"--architectures={architecture}"),
        *(f"--include={','.join(packages.split())}", suite, folder, f"deb {found[0]} {suite} main"),
    )


def _install_wheels(recipe, folder):
    """Let this machine's pip unpack what the Python over there will import."""
    if not recipe.wheels:
        return
    (python,) = (path.name for path in (folder / "usr/bin").glob("python3.*") if path.name[8:].isdigit())
    _pip_install(recipe, folder, python.removeprefix("python"), *recipe.wheels)
    if recipe.newer_wheels:
        _pip_install(recipe, folder, NEWER_PYTHON, "--no-deps", *recipe.newer_wheels)
    packages = folder / "usr/lib/python3/dist-packages"
    packages.mkdir(parents=True, exist_ok=True)
    (packages / "wheels.pth").write_text("/opt/wheels\n")


def _pip_install(recipe, folder, python, *arguments):
    machine = MACHINES[recipe.architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS] + [f"manylinux2014_{machine}"]
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:"),
        *("--target", folder / "opt/wheels", "--implementation", "cp", "--python-version", python),
        *(part for platform in platforms for part in ("--platform", platform)),
        *arguments,
    )


def run(*command):
    """Run a step of a build; its standard output. Raises what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout
