"""What every device behind a link must do, however it is reached."""

import signal

import pytest

from edgeopt.devices import remote_channel
from edgeopt.devices.channel import ChannelClosed
from edgeopt.devices.link import Link
from edgeopt.errors import DeviceError
from tests.standins.waiting import until


class AnyLink:
    """Tests of a device, for a module with the fixtures `connected`, the device, and `standin`, what plays it."""

    def test_a_script_answers_and_nothing_is_left_of_it(self, connected, script, tmp_path, standin):
        with connected.open(script, log=tmp_path / "log") as channel:
            assert channel.ask({"spawn": True}, 30)["said"] == {"spawn": True}
        connected.close()
        until(lambda: standin.processes() == {})

    def test_a_file_with_any_name_arrives_as_it_is_and_once(self, connected, tmp_path, monkeypatch):
        folder = tmp_path / "a 'b' \"c\" $(touch x)\nd \x1b[31m"
        folder.mkdir()
        (folder / "data").write_bytes(bytes(range(256)) * 10_000)
        there = connected.push(folder)
        with monkeypatch.context() as offline:
            offline.setattr(Link, "run", None)
            assert connected.push(folder) == there
        connected.pull(there, tmp_path / "back")
        assert (tmp_path / "back" / "data").read_bytes() == (folder / "data").read_bytes()

    def test_what_a_script_wrote_comes_back(self, connected, script, tmp_path):
        with connected.place(tmp_path / "back") as place:
            with connected.open(script, log=tmp_path / "log") as channel:
                channel.ask({"write": place}, 30)
            connected.pull(place, tmp_path / "back")
        assert (tmp_path / "back" / "answer").read_text() == "42"
        with pytest.raises(DeviceError):
            connected.pull(place, tmp_path / "again")

    def test_a_crash_says_its_signal(self, connected, script, tmp_path):
        with connected.open(script, log=tmp_path / "log") as channel, pytest.raises(ChannelClosed, match="SIGSEGV"):
            channel.ask({"die": int(signal.SIGSEGV)}, 30)

    def test_a_crash_that_nobody_waits_for_says_its_signal_too(self, connected, script, tmp_path, standin):
        with connected.open(script, log=tmp_path / "log") as channel:
            channel.ask({"die_later": int(signal.SIGSEGV)}, 30)
            until(lambda: not [name for name in standin.processes().values() if script.name in name])
            with pytest.raises(ChannelClosed, match="SIGSEGV"):
                channel.ask({}, 30)

    def test_too_much_memory_and_too_much_time_are_ended_there(self, connected, script, tmp_path, monkeypatch):
        with (
            connected.open(script, log=tmp_path / "log", memory_limit_bytes=1 << 20) as channel,
            pytest.raises(ChannelClosed, match="used more memory than the limit of 1 MB"),
        ):
            channel.ask({"hang": True}, 30)
        monkeypatch.setattr(remote_channel, "LATER_S", -29.5)  # the host itself is too late
        with (
            connected.open(script, log=tmp_path / "log") as channel,
            pytest.raises(ChannelClosed, match="took too long to answer"),
        ):
            channel.ask({"hang": True}, 30)

    def test_any_text_gets_through(self, connected, script, tmp_path):
        with connected.open(script, log=tmp_path / "log") as channel:
            assert channel.ask({"é": "ü\n"}, 30)["said"] == {"é": "ü\n"}
