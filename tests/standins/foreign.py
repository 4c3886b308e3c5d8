"""Programs of another architecture, started by the kernel as if they were this machine's own: qemu's user mode."""

from pathlib import Path

BINFMT = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")  # Debian's own line for the kernel


def register():
    """Shell lines, for a mount namespace, that teach the kernel. Another process may do the same at the same time."""
    folder = "/proc/sys/fs/binfmt_misc"
    known = f"[ -e {folder}/qemu-aarch64 ]"
    return [
        f"mount -t binfmt_misc binfmt_misc {folder}",
        f"{known} || cat {BINFMT} > {folder}/register 2>/dev/null || {known}",
    ]
