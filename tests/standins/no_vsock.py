"""Executes a command that cannot open sockets to a virtual machine's host: adbd would listen there for everybody.

    python no_vsock.py COMMAND...

Such sockets belong to no network namespace, so the kernel is told to refuse them.
"""

import ctypes
import os
import platform
import struct
import sys

ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # AUDIT_ARCH_*, number of socket(2)
AF_VSOCK, EAFNOSUPPORT = 40, 97
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF: load a word, compare, end
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # where they are in seccomp_data
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def refuse_vsock():
    """Install the filter for this process and what it executes. As root, which keeps set-user programs working."""
    architecture, socket = ARCHITECTURES[platform.machine()]
    instructions = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 0, 5, architecture),
        (LOAD, 0, 0, NUMBER),
        (JUMP_EQUAL, 0, 3, socket),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_EQUAL, 0, 1, AF_VSOCK),
        (RETURN, 0, 0, ERRNO | EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
    program = Program(len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    refuse_vsock()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - this program is only a step to the other
