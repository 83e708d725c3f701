"""Kill switches: a file, looked at again and again."""

from pathlib import Path

import pytest

from recall_plugin.switches import Off, Switches


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "switches.toml"


def test_without_a_file_nothing_is_off(file: Path) -> None:
    """Neither where none is named nor where it is not there yet."""
    assert Off() == Switches(None).read(now_s=0)
    assert Off() == Switches(file).read(now_s=0)


def test_each_switch_stops_what_it_names(file: Path) -> None:
    """Global, experiment, channel."""
    file.write_text('[off]\nexperiments = ["uniecs-recall"]\nchannels = ["style"]\n')
    off = Switches(file).read(now_s=0)

    assert [True, False] == [off.stops("uniecs-recall"), off.stops("other")]
    assert {"style"} == off.channels
    assert Off(everything=True).stops("other")


def test_a_change_is_followed_within_a_second_and_back(file: Path) -> None:
    """No restart, in either direction."""
    switches = Switches(file)
    seen = [switches.read(now_s=0).everything]
    file.write_text("[off]\nall = true\n")
    seen.append(switches.read(now_s=1.0).everything)
    file.write_text("[off]\nall = false")
    seen.append(switches.read(now_s=2.0).everything)
    file.unlink()
    seen.append(switches.read(now_s=3.0).everything)

    assert [False, True, False, False] == seen


def test_the_file_is_not_read_for_every_request(file: Path) -> None:
    """At most twice a second."""
    switches = Switches(file)
    switches.read(now_s=0)
    file.write_text("[off]\nall = true\n")

    assert not switches.read(now_s=0.49).everything


@pytest.mark.parametrize(
    "text",
    [
        b"[off",
        b"all = true",
        b"[off]\nall = 1",
        b"[off]\nchannels = 'uniecs'",
        b"[off]\neverything = true",
        b"\xff",
    ],
)
def test_a_file_that_cannot_be_read_switches_everything_off(file: Path, text: bytes) -> None:
    """Whoever is writing it means to stop something; the base harms nobody."""
    file.write_bytes(text)

    assert Switches(file).read(now_s=0).everything
