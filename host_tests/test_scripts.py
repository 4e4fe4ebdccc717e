"""Host commands: the build and its manifest, partition tables, the file system image, help, README."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_tests.commands import run_command
from host_tests.virtual_board.state import BoardState
from scripts import build, make_help, partitions, sim, vfs_image
from scripts.console import EXIT_ENVIRONMENT, EXIT_USAGE, ROOT, Problem


def test_the_build_holds_every_file_once_with_its_hash() -> None:
    tree, _ = build.build()
    manifest = json.loads((tree / "manifest.json").read_text())
    on_disk = {"/" + p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()} - {"/manifest.json"}
    assert set(manifest["files"]) == on_disk
    for name, facts in manifest["files"].items():
        content = (tree / name[1:]).read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def test_only_main_is_source_on_the_board() -> None:
    tree, _ = build.build()
    assert [p.name for p in tree.rglob("*.py")] == ["main.py"]
    assert (tree / "lib" / "logging.mpy").exists()
    assert (tree / "config.mpy").exists()


def test_a_second_build_makes_nothing_anew() -> None:
    build.build()
    assert build.build()[1] == 0


def test_a_stale_file_disappears_from_the_build() -> None:
    tree, _ = build.build()
    (tree / "app" / "old.mpy").write_bytes(b"M")
    build.build()
    assert not (tree / "app" / "old.mpy").exists()


def test_tracebacks_name_the_module() -> None:
    tree, _ = build.build()
    assert b"app.web.index\0" in (tree / "app" / "web" / "index.mpy").read_bytes()


def test_pages_are_gzipped_the_same_way_every_time(tmp_path: Path) -> None:
    source = tmp_path / "x.css"
    source.write_text("/* why */\nbody  {  margin : 0 ; }\n")
    packed = build.compress_page(source)
    assert packed == build.compress_page(source)
    assert gzip.decompress(packed) == b"body{margin:0}"


def test_a_module_that_does_not_compile_is_reported_with_its_line(tmp_path: Path) -> None:
    source = tmp_path / "bad.py"
    source.write_text("x = 1\nmatch x:\n    case 1: pass\n")
    with pytest.raises(Problem, match="line 2"):
        build.compile_mpy(source, "bad.py")


def test_the_partition_table_is_read_back_as_it_was_written() -> None:
    rows = partitions.read_csv()
    table = partitions.to_bytes(rows)
    assert len(table) == 0xC00
    assert partitions.from_bytes(table) == rows
    assert (partitions.named(rows, "vfs").offset, partitions.named(rows, "vfs").size_bytes) == (0x200000, 0x100000)
    assert (partitions.named(rows, "log").offset, partitions.named(rows, "log").size_bytes) == (0x300000, 0x100000)


@given(st.integers(0, 0x9F), st.integers(1, 255))
def test_a_damaged_partition_table_is_never_taken_for_a_good_one(at: int, change: int) -> None:
    table = bytearray(partitions.to_bytes(partitions.read_csv()))
    table[at] ^= change
    with pytest.raises(Problem):
        partitions.from_bytes(bytes(table))


@pytest.mark.parametrize(
    "row", ["vfs,data,fat,0x200000", "a,data,0x40,0x9000,0x1000\nb,data,0x40,0x9800,0x1000", "a,b,c,d,e"]
)
def test_a_bad_partition_row_is_refused_with_its_place(tmp_path: Path, row: str) -> None:
    path = tmp_path / "partitions.csv"
    path.write_text(row)
    with pytest.raises(Problem, match="partitions.csv"):
        partitions.read_csv(path)


def test_a_sync_replaces_what_changed_removes_what_is_stale_and_keeps_what_is_not_ours(tmp_path: Path) -> None:
    state = BoardState(tmp_path / "board")
    state.close()
    tree = tmp_path / "tree"
    (tree / "lib").mkdir(parents=True)
    (tree / "main.py").write_text("1")
    (tree / "lib" / "a.mpy").write_text("a")
    with vfs_image.mounted(state.flash_path, format_blank=True) as fs:
        assert vfs_image.sync_tree(fs, tree) == (2, 0)
        vfs_image.write_file(fs, "/settings.json", b"{}")
        vfs_image.write_file(fs, "/lib/a.py", b"would hide a.mpy")
        assert vfs_image.sync_tree(fs, tree) == (0, 1)
        (tree / "main.py").write_text("2")
    with vfs_image.mounted(state.flash_path) as fs:
        assert vfs_image.sync_tree(fs, tree) == (1, 0)
        assert vfs_image.read_file(fs, "/settings.json") == b"{}"
        assert vfs_image.read_file(fs, "/lib/a.py") is None


def test_a_file_system_that_is_none_is_reported(tmp_path: Path) -> None:
    state = BoardState(tmp_path)
    state.close()
    flash = bytearray(state.flash_path.read_bytes())
    flash[0x200000:0x202000] = b"\x55" * 8192
    state.flash_path.write_bytes(flash)
    with pytest.raises(Problem, match="damaged"), vfs_image.mounted(state.flash_path, format_blank=True):
        pass


def test_provisioning_keeps_an_address_of_a_persons_own_choice() -> None:
    own = {"telemetry_url": "http://192.168.1.5/", "wifi_ssid": "mine"}
    assert sim.provision(own, 9000)["telemetry_url"] == "http://192.168.1.5/"
    assert sim.provision(own, 9000)["wifi_ssid"] == "mine"
    assert sim.provision({"telemetry_url": "http://127.0.0.1:8081/readings"}, 9000)["telemetry_url"].endswith(
        ":9000/readings"
    )


def test_a_port_in_use_is_a_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option, variable in (("--port", "SIM_PORT"), ("--collector-port", "COLLECTOR_PORT")):
            result = run_command("sim", option, port)
            assert result.returncode == EXIT_ENVIRONMENT
            assert f"port {port}" in result.stderr
            assert variable in result.stderr
            assert "Traceback" not in result.stderr


def test_a_broken_state_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "flash.bin").write_bytes(b"short")
    result = run_command("sim", "--state", str(tmp_path), "--port", "18099", "--collector-port", "18098")
    assert result.returncode == EXIT_USAGE
    assert "flash.bin is not 4 MB long" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [("--heap", "lots"), ("--heap", "1k"), ("--port", "0"), ("--no-such-fault",)])
def test_a_wrong_option_is_refused_with_usage(arguments: tuple[str, ...]) -> None:
    result = run_command("sim", *arguments)
    assert result.returncode == EXIT_USAGE
    assert "Traceback" not in result.stderr


def test_a_missing_vm_is_a_sentence_with_both_ways_out(tmp_path: Path) -> None:
    result = run_command("sim", MICROPYTHON=str(tmp_path / "nothing"))
    assert result.returncode == EXIT_ENVIRONMENT
    assert "MICROPYTHON" in result.stderr
    assert "Traceback" not in result.stderr


MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def test_make_help_lists_every_target_with_a_line() -> None:
    listed = {line.split()[1] for line in make_help.help_lines(MAKEFILE) if line.startswith("  make ")}
    assert listed == TARGETS


def test_readme_and_docs_name_only_targets_that_exist() -> None:
    coming = {"flash", "deploy", "log"}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```\n(.*?)```", path.read_text(), re.DOTALL):
            named = set(re.findall(r"^make ([a-z][a-z-]*)", block, re.MULTILINE))
            assert named <= TARGETS, path
        named = set(re.findall(r"`make ([a-z][a-z-]*)", path.read_text()))
        assert named <= TARGETS | coming, path


def test_readme_links_and_pictures_exist() -> None:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path}: {link}"


def test_every_fault_that_docs_show_is_an_option_of_the_simulator() -> None:
    options = {option for action in sim.parser()._actions for option in action.option_strings}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for arguments in re.findall(r'make sim[^\n`]*ARGS="([^"]*)"', path.read_text()):
            assert {a for a in arguments.split() if a.startswith("--")} <= options, path


def test_no_package_registry_and_no_path_of_this_machine_is_named() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    hosts = re.compile("|".join(name + r"\.(org|com)" for name in ("debian", "pypi", "pythonhosted", "npmjs")))
    for name in tracked:
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:
            assert not hosts.search(content.decode()), name
            assert f"{ROOT}/" not in content.decode(), name
