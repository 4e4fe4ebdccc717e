"""The formats of telemetry's bodies, read back by other readers on CPython, and the compiled modules on the VM."""

from __future__ import annotations

import importlib
import re
import struct
import subprocess
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from app.store import REASONS
from hypothesis import example, given, settings
from hypothesis import strategies as st

from host_tests.bodies import APP, DEVICE, FORMATS, Reading, Sample, body, readings
from scripts.build import compile_mpy
from scripts.collector_store import parse_batch
from scripts.console import ROOT
from scripts.vm import Vm

FORMATS_DIR = ROOT / "device" / "app" / "formats"
MOST_MPY_BYTES = 700
TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "line": "text/plain; charset=utf-8",
    "form": "application/x-www-form-urlencoded",
}
# As on the page.
EXAMPLE: list[Sample] = [
    (
        41,
        1769860800,
        2,
        17,
        "temp_c,rh_pct,gas_pulse_total",
        (21.5, struct.unpack("<f", struct.pack("<f", 40.2))[0], 12),
    ),
    (42, None, 0, 17, "temp_c,rh_pct,gas_pulse_total", ("absent", 40.5, 4294967279)),
]
EXPECTED = {
    "json": '{"device":"tally-a1b2c3","app":"1.0.0","boot":17,'
    '"fields":["temp_c","rh_pct","gas_pulse_total"],"readings":['
    "[41,1769860800,2,21.5,40.2,12],[42,null,0,null,40.5,4294967279]]}",
    "ndjson": '{"device":"tally-a1b2c3","boot":17,"seq":41,"unix_s":1769860800,"quality":2,'
    '"temp_c":21.5,"rh_pct":40.2,"gas_pulse_total":12}\n'
    '{"device":"tally-a1b2c3","boot":17,"seq":42,"unix_s":null,"quality":0,'
    '"temp_c":null,"rh_pct":40.5,"gas_pulse_total":4294967279}\n',
    "line": "tally,device=tally-a1b2c3 temp_c=21.5,rh_pct=40.2,gas_pulse_total=12,boot=17i,seq=41i,quality=2i"
    " 1769860800000000000\n"
    "tally,device=tally-a1b2c3 rh_pct=40.5,gas_pulse_total=4294967279,boot=17i,seq=42i,quality=0i 42000000000\n",
    "form": "device=tally-a1b2c3&app=1.0.0&boot=17"
    "&seq=41&unix_s=1769860800&quality=2&temp_c=21.5&rh_pct=40.2&gas_pulse_total=12"
    "&seq=42&unix_s=&quality=0&temp_c=&rh_pct=40.5&gas_pulse_total=4294967279",
}


def float_32(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]


# Letters, digits and _ in any order: also what looks like a number, a type or a word of JSON.
FIELDS = ["temp_c", "room_hum_pct", "temp_1e7a12_c", "v", "e", "1e5", "0", "_", "17i", "nan", "null", "t", "x" * 24]
FIELDS += ["pulse_total", "_total", "1_total", "z" * 18 + "_total"]
names = st.lists(st.sampled_from(FIELDS), min_size=1, max_size=12, unique=True)
reasons = st.sampled_from(REASONS[1:])
totals = st.integers(0, 0xFFFFFFEF) | reasons
floats = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-60, 1200, width=32) | reasons
times = st.tuples(st.none(), st.just(0)) | st.tuples(st.integers(1, 2**32 - 1), st.sampled_from([1, 2]))


@st.composite
def batches(draw: st.DrawFn) -> list[Sample]:
    """Samples as Store.samples yields them, of one boot and one list of names, as app.telemetry sees to."""
    fields = draw(names)
    boot = draw(st.integers(1, 2**32 - 1))
    seqs = sorted(draw(st.sets(st.integers(1, 2**32 - 1), min_size=1, max_size=8)))
    values = st.tuples(*[totals if name.endswith("_total") else floats for name in fields])
    when = [draw(times) for _ in seqs]
    return [
        (seq, at, quality, boot, ",".join(fields), draw(values)) for seq, (at, quality) in zip(seqs, when, strict=True)
    ]


def assert_same(name: str, sample: Sample, got: Reading) -> None:
    seq, unix_s, quality, boot, fields, values = sample
    assert (got.device, got.boot, got.seq, got.unix_s, got.quality) == (DEVICE, boot, seq, unix_s, quality)
    expected = {k: None if isinstance(v, str) else v for k, v in zip(fields.split(","), values, strict=True)}
    if name == "line":
        expected = {k: v for k, v in expected.items() if v is not None}
    assert list(got.values) == list(expected)
    for k, value in expected.items():
        if value is None or k.endswith("_total"):
            assert got.values[k] == value
        else:
            assert abs(got.values[k] - value) <= abs(value) * 5e-7, f"{value} is not the same to 7 digits"


@settings(deadline=None, max_examples=60)
@given(batches())
@example([(1, None, 0, 1, "a", ("crc",))])
@example([(1, 1, 1, 1, "a,b", (1e10, -1e-10))])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_put_into_a_body_is_what_another_reader_finds_in_it(name: str, batch: list[Sample]) -> None:
    got = readings(name, body(name, batch))
    assert len(got) == len(batch)
    for sample, reading in zip(batch, got, strict=True):
        assert_same(name, sample, reading)


@settings(deadline=None, max_examples=60)
@given(batches())
def test_the_collector_takes_every_batch_in_json(batch: list[Sample]) -> None:
    assert len(parse_batch(body("json", batch).encode())["readings"]) == len(batch)


@settings(deadline=None, max_examples=60)
@given(batches())
@pytest.mark.parametrize("name", FORMATS)
def test_a_body_is_of_letters_that_need_no_escape(name: str, batch: list[Sample]) -> None:
    allowed = {"json": r'[\w"{}\[\]:,.+-]', "ndjson": r'[\w"{}:,.+\n-]', "line": r"[\w=,.+ \n-]", "form": r"[\w=&.-]"}
    assert re.fullmatch(allowed[name] + "+", body(name, batch), re.ASCII)


@pytest.mark.parametrize("name", FORMATS)
def test_the_example_is_written_byte_for_byte(name: str) -> None:
    assert body(name, EXAMPLE) == EXPECTED[name]
    assert importlib.import_module(f"app.formats.{name}").TYPE == TYPES[name]


@pytest.mark.parametrize("name", FORMATS)
def test_the_page_shows_what_the_board_writes(name: str) -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text()
    shown = re.search(rf"<!-- body: {name} -->\n```\w*\n(.*?)```", page, re.DOTALL)
    assert shown, f"no example of {name}"
    text = shown[1] if name in ("ndjson", "line") else shown[1].replace("\n", "")
    assert text == EXPECTED[name]


def test_a_sample_that_never_had_a_time_gets_its_number_as_the_time_of_its_line() -> None:
    lines = body("line", [(seq, None, 0, 17, "a", ("absent",)) for seq in (1, 2, 2**32 - 1)]).splitlines()
    assert [line.split(" ")[2] for line in lines] == ["1000000000", "2000000000", "4294967295000000000"]


def test_a_value_never_changes_its_type_in_line_protocol() -> None:
    batch: list[Sample] = [(i, i, 2, 1, "a,b_total", (float(i) / 2, i)) for i in range(1, 5)]
    assert {type(v) for reading in readings("line", body("line", batch)) for v in reading.values.values()} == {float}


def test_one_reading_is_a_plain_form() -> None:
    assert body("form", EXAMPLE[:1]).split("&") == [
        f"device={DEVICE}",
        f"app={APP}",
        "boot=17",
        "seq=41",
        "unix_s=1769860800",
        "quality=2",
        "temp_c=21.5",
        "rh_pct=40.2",
        "gas_pulse_total=12",
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_small_enough_to_be_loaded_for_a_post(name: str) -> None:
    assert len(compile_mpy(FORMATS_DIR / f"{name}.py", f"app/formats/{name}.py")) <= MOST_MPY_BYTES


# --- on the VM ----------------------------------------------------------------------------------


def is_tie(value: float) -> bool:
    """Half way between two numbers of 7 digits, where the VM rounds up and CPython to even."""
    digits = Decimal(value).as_tuple().digits
    return len(digits) == 8 and digits[-1] == 5


def measured(random: Random) -> int:
    """Bits of a value such as sensors give, now and then a very large or small one."""
    value = random.choice(
        (
            round(random.uniform(-60, 1200), random.randint(0, 3)),
            random.uniform(-60, 1200),
            float(random.randint(-1000, 1000)),
            10 ** random.uniform(-30, 38),
        )
    )
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return measured(random) if is_tie(float_32(bits)) else bits


def vm_batches(count: int) -> list[tuple[str, list[Sample]]]:
    """Pairs of Python source and what it means, for batches that are the same in every run."""
    random = Random(6)
    made = []
    for _ in range(count):
        fields = [f"n{i}{'_total' if random.random() < 0.3 else '_c'}" for i in range(random.randint(1, 12))]
        text, batch = "", []
        seq = random.randint(1, 2**31)
        for _ in range(random.randint(1, 6)):
            seq += random.randint(1, 3)
            when = (None, 0) if random.random() < 0.2 else (random.randint(946684800, 2**32 - 1), random.randint(1, 2))
            source = []
            for field in fields:
                if random.random() < 0.2:
                    source.append(repr(random.choice(REASONS[1:])))
                else:
                    total = random.randint(0, 0xFFFFFFEF)
                    source.append(str(total) if field.endswith("_total") else f"float_32({measured(random)})")
            row = f"({seq}, {when[0]}, {when[1]}, 17, {','.join(fields)!r}, ({', '.join(source)},))"
            text += row + ","
            batch.append(eval(row))
        made.append((f"({text})", batch))
    return made


SCRIPT = """
import sys
from struct import pack, unpack


def float_32(bits):
    return unpack("<f", pack("<I", bits))[0]


def write(batch):
    for name in ("json", "ndjson", "line", "form"):
        module = __import__("app.formats." + name, None, None, (name,))
        print(module.TYPE)
        for i, sample in enumerate(batch):
            print(module.text("tally-a1b2c3", "1.0.0", sample, i == 0), end="")
        print(module.TAIL)


import json
assert json.loads("[1]") == [1]
"""


@pytest.mark.vm
def test_the_compiled_modules_write_the_same_on_the_vm(vm: Vm, tmp_path: Path) -> None:
    device = ROOT / "device"
    sources = [device / "app" / "store.py", device / "lib" / "ring_log.py", *FORMATS_DIR.glob("*.py")]
    for source in sources:
        target = tmp_path / source.relative_to(device).with_suffix(".mpy")
        target = tmp_path / target.name if source.parent.name == "lib" else target
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(compile_mpy(source, source.name))
    made = vm_batches(60)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + "".join(f"write({text})\n" for text, _ in made))
    result = subprocess.run(
        [*vm.argv, "-X", "heapsize=2m", str(script)],
        env={"MICROPYPATH": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    expected = "".join(f"{TYPES[name]}\n{body(name, batch)}\n" for _, batch in made for name in FORMATS)
    assert result.stdout.decode() == expected, result.stderr.decode()
