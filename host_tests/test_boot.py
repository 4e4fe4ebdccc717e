"""Boot, reset, power cut, Wi-Fi and settings on the board: what people do to plug, router and file."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from host_tests.device import Device
from host_tests.virtual_board.vm import registers as r
from scripts import build, sim, vfs_image

pytestmark = pytest.mark.vm

MINUTE_MS = 60_000
STAMP = r"(\+\d+s|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"


def test_every_log_line_has_the_fixed_form(device: Device) -> None:
    device.advance(MINUTE_MS)
    device.stop_collector()
    device.state[r.AP_PRESENT] = 0
    device.advance(3 * MINUTE_MS)
    device.state[r.AP_PRESENT] = 1
    device.advance(3 * MINUTE_MS)
    device.post("/settings", b"telemetry_url=nonsense")
    device.advance(3 * MINUTE_MS)
    assert "connecting failed: it refused or broke off (error 104)" in device.log()
    assert "the address is not http://" in device.log()
    for line in device.board.log_lines:
        assert re.fullmatch(STAMP + r" (DEBUG|INFO|WARNING|ERROR|CRITICAL) [a-z]+: .+", line), line


def test_the_wifi_password_is_in_no_log_line_and_on_no_page(device: Device) -> None:
    assert sim.PASSWORD not in device.log()
    for path in ("/", "/tips", "/api/status"):
        assert sim.PASSWORD not in device.get(path).text


def test_a_pulled_plug_leaves_settings_and_flash_intact_and_no_number_used_twice(device: Device) -> None:
    device.post("/settings", b"name=Cellar")
    device.advance(MINUTE_MS)
    before = device.status()
    device.board.stop()  # kill -9 of the VM
    device.power_on()
    device.advance(MINUTE_MS)
    after = device.status()
    assert after["name"] == "Cellar"
    assert after["boot"] == before["boot"] + 1
    assert device.collector
    stored = [(x["boot"], x["seq"]) for x in device.collector.readings()]
    assert len({seq for _, seq in stored}) == len(stored)
    assert {boot for boot, _ in stored} == {before["boot"], after["boot"]}


def test_a_power_cut_at_any_flash_operation_of_a_save_leaves_old_or_new_settings(device: Device) -> None:
    device.post("/settings", b"name=old+name")
    first = device.state[r.FLASH_OPS]
    device.post("/settings", b"name=new+name")
    operations = device.state[r.FLASH_OPS] - first
    assert operations >= 3
    for k in range(1, operations + 1):
        device.post("/settings", b"name=old+name")
        device.state[r.CUT_AT_FLASH_OP] = device.state[r.FLASH_OPS] + k
        try:
            device.post("/settings", b"name=new+name")
        except (AssertionError, OSError):
            pass  # the board lost power before it answered
        device.board.stop()
        device.state[r.CUT_AT_FLASH_OP] = 0
        device.power_on()
        assert device.status()["name"] in ("old name", "new name"), f"cut at operation {k}"
        assert not re.search("settings.*default", device.log()), f"cut at operation {k}"


def test_a_damaged_settings_file_falls_back_to_the_previous_one_and_says_so(make_device: Callable[..., Device]) -> None:
    device = make_device()
    good = vfs_read(device)
    device.write_file("/settings.old", good)
    device.write_file(sim.SETTINGS_PATH, good[:20])
    device.start()
    assert "settings.json was damaged, the previous one is used" in device.log()


def vfs_read(device: Device) -> bytes:
    with vfs_image.mounted(device.state.flash_path) as fs:
        return vfs_image.read_file(fs, sim.SETTINGS_PATH) or b""


def test_a_wrong_value_in_the_file_is_defaulted_alone_and_unknown_keys_are_kept(
    make_device: Callable[..., Device],
) -> None:
    device = make_device(settings={"sample_period_s": -5, "name": "Attic", "of_the_future": [1, 2]})
    device.start()
    assert "sample_period_s must be 1 to 86400, the default is used" in device.log()
    assert device.status()["name"] == "Attic"
    device.post("/settings", b"name=Roof")
    device.board.stop()
    assert device.read_settings()["of_the_future"] == [1, 2]


def test_a_flash_that_refuses_writes_fails_the_form_and_nothing_else(device: Device) -> None:
    device.state[r.FLASH_FAIL] = 1
    assert device.post("/settings", b"name=Nope").status == 500
    assert device.status()["name"] == "Tally"
    device.state[r.FLASH_FAIL] = 0
    assert device.post("/settings", b"name=Yes").status == 303


def test_no_access_point_is_said_in_words_and_joined_when_it_comes(make_device: Callable[..., Device]) -> None:
    device = make_device()
    device.state[r.AP_PRESENT] = 0
    device.start(until="joining")
    device.advance(3 * MINUTE_MS)
    assert "not connected: network not found" in device.log()
    device.state[r.AP_PRESENT] = 1
    device.advance(2 * MINUTE_MS)
    device.board.wait_for_line("connected ip=127.0.0.1")
    assert device.get("/").status == 200
    assert device.board.resets == []
    assert device.status()["ledger"]["taken"] >= 20


def test_a_wrong_password_is_said_in_words(make_device: Callable[..., Device]) -> None:
    device = make_device(settings={"wifi_password": "wrong-password"})
    device.start(until="joining")
    device.advance(MINUTE_MS)
    assert "not connected: wrong password" in device.log()


def test_a_board_without_a_network_says_what_to_do_once(make_device: Callable[..., Device]) -> None:
    device = make_device(settings={"wifi_ssid": ""})
    device.start(until="no network is set: make provision SSID=")
    device.advance(10 * MINUTE_MS)
    assert device.log().count("no network is set") == 1
    assert device.board.resets == []


def test_a_router_reboot_is_survived_without_a_reset_or_a_missed_slot(device: Device) -> None:
    device.advance(MINUTE_MS)
    device.state[r.AP_PRESENT] = 0
    device.advance(2 * MINUTE_MS)
    device.state[r.AP_PRESENT] = 1
    device.advance(3 * MINUTE_MS)
    assert device.get("/").status == 200
    assert device.board.resets == []
    assert device.status()["sampling"]["missed_slots"] == 0
    assert device.status()["ledger"]["pending"] < 10


def test_ctrl_c_reaches_the_repl(device: Device) -> None:
    device.board.interrupt()
    device.board.wait_for_line("KeyboardInterrupt")
    device.board.wait_for_state(r.STATE_REPL)


def test_a_broken_application_crashes_into_a_reset_and_after_three_into_rescue_mode(
    make_device: Callable[..., Device],
) -> None:
    device = make_device()
    device.write_file("/app/compose.mpy", b"not byte code")
    device.board.start()
    for _ in range(100):
        if "rescue mode" in device.log():
            break
        device.wait_booted()
        device.advance(500)
    for crash in (1, 2, 3):
        assert re.search(rf"^crash {crash} \d+ Traceback", device.log(), re.MULTILINE)
    assert "rescue mode after 3 crashes: no sampling, no telemetry" in device.log()
    assert device.board.resets.count("reset") == 3


def test_a_heap_that_is_too_small_ends_in_resets_and_rescue_and_never_at_the_repl(
    make_device: Callable[..., Device],
) -> None:
    device = make_device(heap="40k")
    device.board.start()
    for _ in range(100):
        if device.log().count("rescue mode") >= 2:
            break
        device.wait_booted()
        device.advance(500)
    assert device.log().count("rescue mode") >= 2
    assert device.board.resets.count("reset") >= 4
    assert ">>>" not in device.log()


def test_the_application_sees_exactly_64_000_bytes_of_heap(device: Device) -> None:
    memory = device.status()["memory"]
    assert abs(memory["gc_used"] + memory["gc_free"] - 64_000) <= 64


def test_after_boot_and_pages_12_kb_of_the_heap_are_free_and_the_level_is_ok(device: Device) -> None:
    for path in ("/", "/tips", "/api/status", "/nope"):
        device.get(path)
    device.post("/settings", b"name=Warm")
    device.advance(MINUTE_MS)
    memory = device.status()["memory"]
    assert memory["gc_settled"] <= 64_000 - 12_288, memory
    assert memory["level"] == 0


def test_sixty_seconds_without_a_heartbeat_end_in_a_watchdog_reset(device: Device) -> None:
    # The fake's own test shows that an unfed watchdog bites; here the application must have started it.
    assert device.state[r.WDT_TIMEOUT_MS] == 60_000
    fed = device.state[r.WDT_FED_TICKS]
    device.advance(5_000)
    assert device.state[r.WDT_FED_TICKS] != fed


def replace_page(device: Device, name: str, body: str) -> None:
    """Put another page module on the board, as a bug in the next version would."""
    source = f"async def get(http):\n    {body}\n"
    device.write_file(f"/app/web/{name}.mpy", build.compile_text(source, f"app/web/{name}.py"))


def test_a_page_that_raises_is_a_500_for_that_client_with_the_traceback_in_the_log(
    make_device: Callable[..., Device],
) -> None:
    device = make_device()
    replace_page(device, "tips", "return {}['missing']")
    device.start()
    assert device.get("/tips").status == 500
    assert "KeyError: missing" in device.log()
    assert 'File "app/web/tips.py", line 2' in device.log()
    assert device.get("/").status == 200
    assert device.status()["http"] | {"requests": 0, "bytes_held": 0} == {
        "requests": 0,
        "refused": 0,
        "failed": 1,
        "evicted": 0,
        "expired": 0,
        "open": 1,
        "bytes_held": 0,
    }


def test_a_page_that_runs_out_of_memory_is_a_503_and_the_service_goes_on(make_device: Callable[..., Device]) -> None:
    device = make_device()
    replace_page(device, "tips", "return bytearray(70000)")
    device.start()
    answer = device.get("/tips")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert device.get("/").status == 200
    assert device.board.resets == []


def test_a_page_that_fails_after_it_began_is_cut_off_and_not_ended_properly(make_device: Callable[..., Device]) -> None:
    device = make_device()
    replace_page(device, "tips", "await http.write('x' * 3000); raise OSError(5)")
    device.start()
    with pytest.raises((AssertionError, ValueError)):
        device.get("/tips")
    assert device.get("/").status == 200


def test_a_program_that_hangs_is_reset_by_the_watchdog_and_serves_again(make_device: Callable[..., Device]) -> None:
    device = make_device()
    replace_page(device, "tips", "while True: pass")
    device.start()
    device.state[r.WDT_TIMEOUT_MS] = 500  # not to wait out the real minute: what hangs can't be skipped
    with pytest.raises((AssertionError, ConnectionResetError)):
        device.get("/tips")
    device.board.wait_for_line("watchdog reset")
    after = len(device.board.log_lines)
    device.board.wait_for_state(r.STATE_RUNNING)
    device.advance(6_000)
    device.board.wait_for_line("boot 2 after watchdog", after=after)
    device.board.wait_for_line("connected ip=", after=after)
    assert device.get("/").status == 200


def press_reset(device: Device) -> int:
    """Press the button and come back when the board is in the network again; where its new log begins."""
    after = len(device.board.log_lines)
    device.board.press_reset()
    device.board.wait_for_line(r"\[board\] reset", after=after)
    device.board.wait_for_state(r.STATE_RUNNING)
    device.advance(6_000)
    device.board.wait_for_line("connected ip=", after=after)
    return after


def test_rescue_mode_serves_pages_and_takes_no_samples(device: Device) -> None:
    device.state.put_bytes(r.RTC_MEMORY, b"3 0 x")
    device.state[r.RTC_MEMORY_LEN] = 5
    device.state.set_clock(r.RTC, 10)
    after = press_reset(device)
    device.board.wait_for_line("rescue mode after 3 crashes", after=after)
    device.advance(1000)
    before = device.status()["ledger"]["taken"]  # one may have been, before the reset
    device.advance(MINUTE_MS)
    assert device.get("/").status == 200
    assert device.status()["ledger"]["taken"] == before


def test_a_chip_clock_that_ran_on_through_a_reset_is_an_estimate_until_the_next_sync(device: Device) -> None:
    device.state[r.NTP_OK] = 0
    device.stop_collector()  # whose answers tell the time too
    press_reset(device)
    assert (device.status()["clock_quality"], device.status()["clock"]["source"]) == (1, "kept")
    device.advance(MINUTE_MS)
    assert device.get("/export?fmt=ndjson").text.splitlines()[-1].count('"quality":1') == 1
