"""What the reference collector stores and by which rules: telemetry body version 1 (docs/telemetry.md) and SQLite.

Owns validation, the tables and the dropping of repeats. Must not know HTTP beyond the status that a refusal has.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sqlite3
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

INT_MAX = 2**63 - 1
NAMES = {"device", "app", "boot", "fields", "readings"}
DEVICE = "[a-z0-9-]{1,32}"
SCHEMA = """CREATE TABLE IF NOT EXISTS readings (device, boot, seq, unix_s, quality, "values",
received_s, PRIMARY KEY (device, seq)); CREATE TABLE IF NOT EXISTS answers (key PRIMARY KEY,
body_sha256, answer)"""
INSERT = "INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device, seq) DO NOTHING"
SELECT = """SELECT * FROM readings WHERE seq > ? AND device = COALESCE(?, device)
ORDER BY device, seq LIMIT COALESCE(?, -1)"""
SUMMARY = """SELECT device, COUNT(*) AS readings, MIN(seq) AS first_seq, MAX(seq) AS last_seq,
(SELECT SUM(gap) FROM (SELECT MAX(seq) - MIN(seq) + 1 - COUNT(*) AS gap FROM readings AS part
WHERE part.device = readings.device GROUP BY boot)) AS missing, JSON_GROUP_ARRAY(DISTINCT boot) AS boots,
(SELECT unix_s FROM readings AS newest WHERE newest.device = readings.device ORDER BY seq DESC
LIMIT 1) AS last_unix_s, MAX(received_s) AS last_received_s FROM readings GROUP BY device"""


class Answer(NamedTuple):
    """One HTTP answer; a text body is sent as it is, any other as JSON."""

    status: int
    body: Any
    headers: Mapping[str, str] = {}


class Refusal(Exception):
    """A request that is not taken; its arguments: status, sentence, and headers if any."""


def parse_batch(body: bytes) -> dict[str, Any]:
    """Validate one telemetry body and return it; a Refusal (400) names the first broken rule."""
    try:
        batch = json.loads(body.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"Nothing was stored: the body is not JSON ({error}).") from error
    need(isinstance(batch, dict) and batch.keys() == NAMES, f"its names must be {sorted(NAMES)}")
    need(_is_text(batch["device"], DEVICE), "'device' must be 1 to 32 of a-z, 0-9 and '-'")
    need(_is_text(batch["app"], "(?s).{1,64}"), "'app' must be a text of 1 to 64 characters")
    need(_is_int(batch["boot"], 0), "'boot' must be an integer of 0 or more")
    fields, rows = batch["fields"], batch["readings"]
    need(isinstance(fields, list) and 1 <= len(fields) <= 32, "'fields' must list 1 to 32 names")
    need(all(_is_text(name, "(?s).+") for name in fields), "'fields' must hold non-empty texts")
    need(len(set(fields)) == len(fields), "'fields' must hold each name once")
    need(isinstance(rows, list) and 1 <= len(rows) <= 1000, "'readings' must list 1 to 1000")
    for index, row in enumerate(rows):
        _check_reading(f"readings[{index}]", row, len(fields))
        good_order = index == 0 or row[0] > rows[index - 1][0]
        need(good_order, f"readings[{index}] must have a seq above that of the reading before")
    return batch


def _check_reading(where: str, row: Any, fields: int) -> None:
    good_width = isinstance(row, list) and len(cast(list[Any], row)) == 3 + fields
    need(good_width, f"{where} must be [seq, unix_s, quality] and {fields} values in one list")
    seq, unix_s, quality, *values = row
    need(_is_int(seq, 1), f"{where} must have an integer above 0 as seq")
    need(_is_int(quality, 0, 2), f"{where} must have 0, 1 or 2 as quality")
    good_time = _is_int(unix_s, -INT_MAX) or (unix_s is None and quality == 0)
    need(good_time, f"{where} must have an integer as unix_s, or null with quality 0")
    need(all(map(_is_value, values)), f"{where} must have finite numbers or null as values")


def need(condition: object, sentence: str) -> None:
    if not condition:
        raise Refusal(400, f"Nothing of this batch was stored: {sentence}.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    need(len(dict(pairs)) == len(pairs), "an object must have each name once")
    return dict(pairs)


def _is_text(value: object, pattern: str) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(pattern, value))


def _is_int(value: object, lowest: int, highest: int = INT_MAX) -> bool:
    return type(value) is int and lowest <= value <= highest


def _is_value(value: object) -> bool:
    return value is None or type(value) is int or (type(value) is float and math.isfinite(value))


class Store:
    """The readings, and the first answer to each Idempotency-Key, in SQLite."""

    def __init__(self, path: str) -> None:
        # The handler threads share one connection; the lock makes that safe.
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._db.executescript(SCHEMA)
        except sqlite3.Error:
            self.close()
            raise

    def close(self) -> None:
        """Close the database; what is in memory is gone with it."""
        self._db.close()

    def add(self, batch: dict[str, Any], key: str | None, body: bytes) -> tuple[Any, bool]:
        """Commit a batch; returns the answer's body, and True if it is an earlier answer."""
        digest = hashlib.sha256(body).hexdigest()
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            earlier = self._db.execute("SELECT * FROM answers WHERE key = ?", (key,)).fetchone()
            if earlier and earlier[1] != digest:
                why = f"Idempotency-Key {key} came before with a different body"
                raise Refusal(422, f"Nothing was stored: {why}. Send it again without the key.")
            if earlier:
                return json.loads(earlier[2]), True
            answer = self._insert(batch)
            if key:
                row = (key, digest, json.dumps(answer))
                self._db.execute("INSERT INTO answers VALUES (?, ?, ?)", row)
            return answer, False

    def _insert(self, batch: dict[str, Any]) -> dict[str, int]:
        received_s, before = int(time.time()), self._db.total_changes
        for seq, unix_s, quality, *values in batch["readings"]:
            named = json.dumps(dict(zip(batch["fields"], values, strict=True)))
            row = (batch["device"], batch["boot"], seq, unix_s, quality, named, received_s)
            self._db.execute(INSERT, row)
        stored = self._db.total_changes - before
        return {"stored": stored, "repeated": len(batch["readings"]) - stored}

    def select(self, query: str, json_column: str, *parameters: object) -> list[dict[str, Any]]:
        """The rows of a query as objects, with the JSON text of one column decoded."""
        with self._lock:
            cursor = self._db.execute(query, parameters)
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        return [row | {json_column: json.loads(row[json_column])} for row in rows]
