"""A small device is small, and goes on after it has run out."""

from tests.standins import needs, rootfs
from tests.standins.adbd import Phone
from tests.standins.limits import Limits
from tests.standins.roots import OtherRoot
from tests.standins.sshd import Sshd


def test_a_job_that_needs_more_memory_than_there_is_is_killed_and_the_device_stays(tmp_path):
    needs.require("sshd", "ssh", root=True)
    job = "print(len(bytearray({}))//1000000)"
    with Limits(memory_bytes=96_000_000) as limits, Sshd(tmp_path, limits=limits) as device:
        assert device.run(f"{device.python} -S -c '{job.format(40_000_000)}'").stdout == "40\n"
        assert limits.memory_kills() == 0
        assert device.run(f"{device.python} -S -c '{job.format(300_000_000)}'").returncode == 137
        assert limits.memory_kills() == 1
        assert device.run("echo alive").stdout == "alive\n"
    assert not limits.group.exists()


def test_a_disk_can_be_full(tmp_path):
    needs.require("sshd", "ssh", root=True)
    with Limits(disk_bytes=1_000_000) as limits, Sshd(tmp_path, limits=limits) as device:
        assert device.run("cat > small", input="x" * 500_000).returncode == 0
        done = device.run("cat > large", input="x" * 5_000_000)
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert device.run("rm large && wc -c < small").stdout == "500000\n"


def test_a_phone_can_be_full(adb_server, tmp_path):
    needs.require("ip", root=True)
    (tmp_path / "large").write_bytes(bytes(5_000_000))
    root = OtherRoot(rootfs.made(rootfs.PHONE))
    with Limits(disk_bytes=1_000_000) as limits, Phone(tmp_path / "phone", adb_server, root, limits=limits) as phone:
        done = phone.adb("push", tmp_path / "large", phone.workdir)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr + done.stdout
