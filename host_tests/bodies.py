"""Bodies as the board's formats write them, and a reader of each that knows only docs/telemetry.md and what is public.

Owns what tests of formats and of receivers share. The readers are strict: what is not of the format raises ValueError.
"""

from __future__ import annotations

import importlib
import json
import re
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FORMATS = ("json", "ndjson", "line", "form")
DEVICE = "tally-a1b2c3"
APP = "1.0.0"
Sample = tuple[int, int | None, int, int, str, tuple[Any, ...]]


@dataclass
class Reading:
    """One sample as a body tells it; a value that could not be had is None."""

    seq: int
    unix_s: int | None
    quality: int
    boot: int
    values: dict[str, Any] = field(default_factory=dict)
    device: str = DEVICE


def body(name: str, samples: Iterable[Sample], device: str = DEVICE) -> str:
    """What app.telemetry makes of samples of one boot and one list of names with the format `name`."""
    module = importlib.import_module(f"app.formats.{name}")
    texts = [module.text(device, APP, sample, i == 0) for i, sample in enumerate(samples)]
    return "".join(texts) + module.TAIL


def readings(name: str, text: str) -> list[Reading]:
    """What a body of the format `name` says."""
    return {"json": _read_json, "ndjson": _read_ndjson, "line": _read_line, "form": _read_form}[name](text)


def _only_json(text: str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError(f"a name comes twice: {pairs}")
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=once)


def _read_json(text: str) -> list[Reading]:
    batch = _only_json(text)
    if list(batch) != ["device", "app", "boot", "fields", "readings"] or batch["app"] != APP:
        raise ValueError(f"not the names of a batch: {batch}")
    found = []
    for seq, unix_s, quality, *values in batch["readings"]:
        named = dict(zip(batch["fields"], values, strict=True))
        found.append(Reading(seq, unix_s, quality, batch["boot"], named, batch["device"]))
    return found


def _read_ndjson(text: str) -> list[Reading]:
    *lines, end = text.split("\n")
    if end:
        raise ValueError("the last line has no end")
    rows = [_only_json(line) for line in lines]
    known = ("seq", "unix_s", "quality", "boot", "device")
    return [
        Reading(values={k: v for k, v in row.items() if k not in known}, **{k: row[k] for k in known}) for row in rows
    ]


def _read_form(text: str) -> list[Reading]:
    parts = urllib.parse.parse_qs(text, keep_blank_values=True, strict_parsing=True)
    head = [parts.pop(name) for name in ("device", "app", "boot")]
    if [len(values) for values in head] != [1, 1, 1] or head[1] != [APP]:
        raise ValueError(f"the batch is not said once: {head}")
    rows = [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]
    return [
        Reading(
            int(row.pop("seq")),
            _number(row.pop("unix_s")),
            int(row.pop("quality")),
            int(head[2][0]),
            {name: _number(value) for name, value in row.items()},
            head[0][0],
        )
        for row in rows
    ]


def _number(text: str) -> Any:
    return (int(text) if re.fullmatch(r"-?\d+", text) else float(text)) if text else None


_KEY = r"[^,= \n\\\"]+"  # nothing that would need an escape
_FLOAT = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_LINE = re.compile(rf"({_KEY})((?:,{_KEY}={_KEY})*) ({_KEY}={_KEY}(?:,{_KEY}={_KEY})*) (-?\d+)")


def _read_line(text: str) -> list[Reading]:
    """Line protocol by InfluxData's reference: measurement, tags, fields with their types, time stamp in 64 bits."""
    *lines, end = text.split("\n")
    if end:
        raise ValueError("the last line has no end")
    return [_point(line) for line in lines]


def _point(line: str) -> Reading:
    parts = _LINE.fullmatch(line)
    if not parts or parts[1] != "tally":
        raise ValueError(f"no line of ours: {line!r}")
    tags = dict(pair.split("=") for pair in parts[2].split(",")[1:])
    pairs = [pair.split("=") for pair in parts[3].split(",")]
    fields = {name: _field(value) for name, value in pairs}
    time_ns = int(parts[4])
    if len(fields) != len(pairs) or list(tags) != ["device"] or not -(2**63) <= time_ns < 2**63:
        raise ValueError(f"a field twice, other tags, or no time: {line!r}")
    seq, quality, boot = (fields.pop(name) for name in ("seq", "quality", "boot"))
    if not all(isinstance(n, int) for n in (seq, quality, boot)) or any(isinstance(v, int) for v in fields.values()):
        raise ValueError(f"a field of another type: {line!r}")
    unix_s, rest = divmod(time_ns, 10**9)
    if rest:
        raise ValueError(f"no whole second: {line!r}")
    is_set = quality > 0 or unix_s != seq
    return Reading(seq, unix_s if is_set else None, quality, boot, fields, tags["device"])


def _field(text: str) -> Any:
    if re.fullmatch(r"-?\d+i", text):
        return int(text[:-1])
    if re.fullmatch(_FLOAT, text):
        return float(text)
    raise ValueError(f"no number: {text!r}")
