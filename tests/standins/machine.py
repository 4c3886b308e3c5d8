"""A whole emulated aarch64 machine with its own kernel, whose clock counts instructions.

What is measured in it is the same on every run, whatever else this machine does, so rankings can be asserted.
They are counts of instructions and no board's milliseconds.
"""

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.standins import cache, confined, needs, ports, rootfs
from tests.standins.sshhost import SshHost, new_key

MEMORY_MB = 1024
FREE_MB = 200
START_LIMIT_S = 120
READY = b"standin is ready"
MODULES = "virtio_mmio virtio_blk virtio_net virtio_rng ext4"
# What the machine's first program does before the disk can be read.
EARLY_INIT = """\
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read module; do insmod "/modules/$module"; done < /modules/order
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
mount -t ext4 /dev/vda /root
umount /proc /sys
exec switch_root /root /standin/init
"""
# qemu's own network gives its guest this address and lets only the forwarded port in.
INIT = f"""\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
busybox=/standin/busybox
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
$busybox mount -t devtmpfs dev /dev
mkdir -p /dev/pts
$busybox mount -t devpts pts /dev/pts
$busybox mount -t tmpfs run /run
mkdir -m 755 /run/sshd
hostname standin
$busybox ifconfig lo 127.0.0.1 up
$busybox ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
echo {READY.decode()}
exec /usr/sbin/sshd -D -e -f /standin/sshd_config
"""
SSHD_CONFIG = """\
Port 22
HostKey /standin/host_key
AuthorizedKeysFile /standin/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
"""


def made():
    """The folder with kernel, first files, disk and keys, built if it is not in the cache."""
    needs.require("mmdebstrap", "mke2fs", "cpio", "gzip", "depmod", "modprobe", "ssh-keygen", root=True)
    files = rootfs.made(rootfs.BOARD)
    return cache.built("machine", f"{files.name}{Path(__file__).read_text()}", lambda folder: _build(files, folder))


def _build(files, folder):
    for name in ("host_key", "client_key"):
        new_key(folder / name)
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    rootfs.unpack(unpacked, "arm64", rootfs.BOARD.suite, "linux-image-arm64 busybox-static")
    busybox = next(path for path in (unpacked / "usr/bin/busybox", unpacked / "bin/busybox") if path.exists())
    shutil.copy(next(unpacked.glob("boot/vmlinuz-*")), folder / "vmlinuz")
    _write_early_files(unpacked, busybox, folder)
    _write_disk(files, busybox, folder)
    shutil.rmtree(unpacked)


def _write_early_files(unpacked, busybox, folder):
    """Write the archive that the kernel starts from: busybox, and the drivers of qemu's disk and network."""
    early = folder / "early"
    for name in ("bin", "dev", "modules", "proc", "root", "sys"):
        (early / name).mkdir(parents=True)
    shutil.copy(busybox, early / "bin/busybox")
    (early / "bin/sh").symlink_to("busybox")
    (early / "init").write_text(EARLY_INIT)
    (early / "init").chmod(0o755)
    version = next(unpacked.glob("lib/modules/*")).name
    rootfs.run(needs.program("depmod"), "--basedir", unpacked, version)
    order = []
    for module in MODULES.split():
        wanted = ("--dirname", unpacked, "--set-version", version, "--show-depends", module)
        lines = rootfs.run(needs.program("modprobe"), *wanted).splitlines()
        order += [line.split()[1] for line in lines if line.startswith("insmod")]
    order = list(dict.fromkeys(order))
    for path in order:
        shutil.copy(path, early / "modules")
    (early / "modules/order").write_text("".join(f"{Path(path).name}\n" for path in order))
    pack = f"cd '{early}' && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1 > '{folder}/early.gz'"
    rootfs.run("sh", "-euc", pack)
    shutil.rmtree(early)


def _write_disk(files, busybox, folder):
    tree = folder / "tree"
    rootfs.run("cp", "-a", "--reflink=auto", files, tree)
    own = tree / "standin"
    own.mkdir()
    shutil.copy(busybox, own / "busybox")
    shutil.copy(folder / "host_key", own)
    shutil.copy(folder / "client_key.pub", own / "authorized_keys")
    (own / "sshd_config").write_text(SSHD_CONFIG)
    (own / "init").write_text(INIT)
    (own / "init").chmod(0o755)
    home = tree / "home/pi"
    home.mkdir(parents=True)
    shutil.chown(home, 1000, 1000)
    size_mb = int(rootfs.run("du", "-sm", tree).split()[0]) + FREE_MB
    rootfs.run(needs.program("mke2fs"), "-q", "-t", "ext4", "-d", tree, folder / "disk", f"{size_mb}M")
    shutil.rmtree(tree)


class Machine(SshHost):
    """An emulated machine that one logs in to as `pi`; `with` starts and stops it. Every start is from a fresh disk.

    Args:
        folder: where the log lies.
        image: what `made` gives.
        cpu: qemu's name of the processor.
    """

    workdir = "/home/pi"
    python = "/usr/bin/python3"

    def __init__(self, folder, image, cpu="cortex-a76"):
        super().__init__(folder, ports.reserve(), "pi", key=image / "client_key")
        self._image, self.cpu = image, cpu
        self.log = self.folder / "log"
        self._process = None
        self.introduce((image / "host_key.pub").read_text())

    def start(self):
        """Switch it on, and wait until one can log in."""
        self.log.write_bytes(b"")
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        end = time.monotonic() + START_LIMIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"it did not start: {self.log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.1)
        return self

    def _command(self):
        image = self._image
        return [
            *(
                "qemu-system-aarch64",
                "-machine",
                "virt",
                "-cpu",
                self.cpu,
                "-m",
                str(MEMORY_MB),
                "-nographic",
                "-no-reboot",
            ),
            # One nanosecond for each instruction, and one core: with more, their order would differ from run to run.
            *("-smp", "1", "-icount", "shift=0,sleep=on", "-accel", "tcg,thread=single"),
            *("-kernel", image / "vmlinuz", "-initrd", image / "early.gz", "-append", "console=ttyAMA0 quiet panic=-1"),
            *(
                "-drive",
                f"file={image}/disk,if=none,id=disk,format=raw,snapshot=on",
                "-device",
                "virtio-blk-device,drive=disk",
            ),
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{self.host}:{self.port}-:22"),
            *("-device", "virtio-net-device,netdev=net", "-device", "virtio-rng-device"),
        ]

    def _answers(self):
        if READY not in self.log.read_bytes():
            return False
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1) as connection:
            connection.settimeout(10)
            return connection.recv(4) == b"SSH-"
        return False

    def stop(self):
        """Take the power away."""
        confined.kill([self._process.pid])
        self._process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        ports.release(self.port)
