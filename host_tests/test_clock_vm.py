"""The compiled clock on the VM: how the chip is really set, DNS and NTP over the network, and the dates of HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tests.udp_lab import UdpLab
from host_tests.virtual_board.time_server import Behaviour
from scripts.build import compile_mpy
from scripts.console import ROOT
from scripts.vm import Vm

pytestmark = pytest.mark.vm

MODULES = ("app/board", "app/clock", "app/ntpsync", "app/timerules", "app/timesync", "lib/timing", "lib/http_date")
STAND_INS = {
    "log": "def info(part, text, *args):\n    print('LOG', text % args)\nwarning = info\n",
    "site": "def evict():\n    pass\n",
}
SERVERS = ("0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "time.cloudflare.com")
IPS = ("127.0.123.10", "127.0.123.11", "127.0.123.12", "127.0.123.2")

SCRIPT = """
    import _board
    from app import board
    from app.clock import Clock
    from app.ntpsync import sync
    from app.timesync import estimate, from_http, set_time

    class Wifi:
        ip = "10.0.0.2"
        wlan = network.WLAN(network.STA_IF)
        settings = {"ntp_servers": %r}

    def off_ms():
        return board.clock_ms() - _board.clock_read(r.NTP) * 1000 - words[r.NTP + 1]

    async def for_a_minute(beat):
        task = asyncio.create_task(clock.run(Wifi, beat))
        await asyncio.sleep_ms(60000)
        task.cancel()
        await asyncio.sleep_ms(20)  # in which it closes its socket

    def tell_clock():
        say("off", off_ms())
        say("clock", (clock.quality, clock.source, clock.steps, clock.failures))

    beats = []
    clock = Clock()
    estimate(clock, 0)
    boot_ms = _board.clock_read(r.NTP) * 1000 + words[r.NTP + 1] - clock.uptime_ms()
    """


@pytest.fixture
def net(tmp_path: Path, vm: Vm) -> Iterator[UdpLab]:
    with UdpLab(tmp_path, vm) as net:
        (net.tree / "app").mkdir()
        for name in MODULES:
            target = net.tree / (name.removeprefix("lib/") + ".mpy")
            target.write_bytes(compile_mpy(ROOT / "device" / f"{name}.py", f"{name}.py"))
        for name, text in STAND_INS.items():
            (net.tree / "app" / f"{name}.py").write_text(text)
        yield net


def run(net: UdpLab, script: str, servers: str = " ".join(SERVERS), **words: int) -> dict[str, Any]:
    """What the script said. `words` begin with a clock that was never set."""
    lines = "".join(f"    {line}\n" for line in script.strip().splitlines())
    return net.run(SCRIPT % servers + "\n" + lines, **words)


ONE_ROUND = "run(wait=sync(clock, Wifi, lambda: None))\ntell_clock()"


def test_a_board_without_a_clock_has_the_time_after_one_round(net: UdpLab) -> None:
    said = run(net, ONE_ROUND + '\nsay("base", clock.base_s)\nsay("boot", boot_ms // 1000 + 946684800)')
    assert said["clock"] == (2, "ntp", 0, 0)
    assert abs(said["off"]) <= 30
    assert said["base"] in (said["boot"], said["boot"] - 1, said["boot"] + 1)
    assert net.times.asked == list(IPS[:2])
    assert "LOG set by NTP" in net.lab.output


@pytest.mark.parametrize("place", range(3))
def test_one_wrong_server_of_three_is_outvoted_on_the_network_too(net: UdpLab, place: int) -> None:
    net.times.at[IPS[place]] = Behaviour(offset_ms=-86_400_000)
    said = run(net, ONE_ROUND)
    assert said["clock"] == (2, "ntp", 0, 0)
    assert abs(said["off"]) <= 30


def test_a_kiss_of_death_is_heeded(net: UdpLab) -> None:
    net.times.at[IPS[0]] = Behaviour(fault="kiss of death")
    said = run(net, f'{ONE_ROUND}\nrun(again=sync(clock, Wifi, lambda: None))\nsay("refused", list(clock.refused))')
    assert said["refused"] == [SERVERS[0]]
    assert net.times.asked == [IPS[0], IPS[1], IPS[2], IPS[1]]


def test_the_task_has_the_time_10_s_after_the_link_with_three_servers_of_four_dead(net: UdpLab) -> None:
    for ip in IPS[:3]:
        net.times.at[ip] = Behaviour(fault="dead")
    said = run(
        net,
        """
run(task=for_a_minute(lambda: beats.append((time.ticks_ms(), clock.quality))))
tell_clock()
say("after", [ms for ms, quality in beats if quality == 2][0] - beats[0][0])
say("silence", max([b[0] - a[0] for a, b in zip(beats, beats[1:])]))
""",
    )
    assert said["clock"] == (2, "ntp", 0, 0)
    assert said["after"] <= 10_000
    assert said["silence"] <= 3_000


def test_without_a_network_the_task_goes_on_trying_and_says_so_once(net: UdpLab) -> None:
    said = run(net, "run(task=for_a_minute(lambda: None))\ntell_clock()", NTP_OK=0)
    quality, source, _, failures = said["clock"]
    assert (quality, source) == (0, "")
    assert failures >= 2
    assert net.lab.output.count("LOG no time from NTP: ") == 1


def test_an_address_needs_no_name_server(net: UdpLab) -> None:
    net.names.fault = "dead"
    said = run(net, ONE_ROUND, servers=IPS[0])
    assert said["clock"] == (2, "ntp", 0, 0)
    assert net.names.asked == []


def test_steps_dates_and_a_browser_count_on_the_vm_as_on_cpython(net: UdpLab) -> None:
    said = run(
        net,
        """
uptimes = [clock.uptime_ms()]
def after(ms):
    time.sleep_ms(ms)
    uptimes.append(clock.uptime_ms())
from_http(clock, b"HTTP/1.1 200 OK\\r\\nDate: Tue, 29 Feb 2028 23:59:59 GMT")
say("http", (clock.quality, clock.source, board.unix_s()))
after(3000)
say("refused", set_time(clock, 1900000000000, "browser", 3000))
say("doubted", set_time(clock, 1900000000000, "ntp", 10))
after(2000)
say("step", set_time(clock, 1900000002123, "ntp", 10))
say("ms", board.clock_ms() + 946684800000 - 1900000002123)
say("steps", (clock.steps, clock.steps_s == clock.step_s, clock.base_s + clock.steps_s))
say("late", set_time(clock, 3092601600000, "ntp", 10)[0])
say("past", set_time(clock, 1704067199999, "ntp", 10)[0])
after(1000)
say("uptimes", [b - a for a, b in zip(uptimes, uptimes[1:])])
say("last", uptimes[-1])
""",
    )
    assert said["http"] == (2, "http", 1_835_481_599)
    assert said["refused"] == (False, "left alone, HTTP set it 0 minutes ago")
    assert said["doubted"][0] is False
    assert said["step"][0] is True
    assert said["step"][1].startswith("stepped ahead 6451839")
    assert 0 <= said["ms"] <= 50
    assert said["steps"][:2] == (1, True)
    assert (said["late"], said["past"]) == (False, False)
    assert all(abs(spent - asked) <= 50 for spent, asked in zip(said["uptimes"], (3000, 2000, 1000)))
    assert abs(said["steps"][2] * 1000 - (1_900_000_003_123 - said["last"])) <= 1100


def test_setting_the_clock_takes_little_memory(net: UdpLab) -> None:
    said = run(
        net,
        """
def spent(source, unix_ms):
    gc.collect()
    before = gc.mem_alloc()
    set_time(clock, unix_ms, source, 10)
    return gc.mem_alloc() - before
spent("ntp", 1900000000000)
say("bytes", spent("ntp", 1900000001500))
""",
    )
    assert said["bytes"] <= 2048
