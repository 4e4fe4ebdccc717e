"""The program in docs/httpd.md, as it stands there, on the plain VM with the library's sources."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tests.device import free_port
from scripts.console import ROOT
from scripts.vm import Vm

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def example() -> str:
    text = (ROOT / "docs" / "httpd.md").read_text()
    return text.split("```python\n")[1].split("```")[0]


@pytest.fixture
def port(vm: Vm, example: str, tmp_path: Path) -> Iterator[int]:
    number = free_port()
    program = tmp_path / "example.py"
    assert example.count('"0.0.0.0", 8080') == 1
    program.write_text(example.replace('"0.0.0.0", 8080', f'"127.0.0.1", {number}'))
    process = subprocess.Popen(
        [*vm.argv, str(program)],
        env={**os.environ, "MICROPYPATH": f"{ROOT / 'device' / 'lib'}:.frozen"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    until = time.monotonic() + 10
    while True:
        try:
            ask(number, "GET", "/")
            break
        except ConnectionRefusedError:
            assert process.poll() is None and time.monotonic() < until
    yield number
    process.kill()
    assert process.communicate()[0] == b"", "it printed something, which a traceback would be"


def ask(port: int, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_the_example_of_the_documentation_is_short() -> None:
    text = (ROOT / "docs" / "httpd.md").read_text()
    assert len([line for line in text.split("```python\n")[1].split("```")[0].splitlines() if line.strip()]) <= 30


def test_the_example_of_the_documentation_works(port: int) -> None:
    assert ask(port, "GET", "/")[2].startswith("<form")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, headers, _ = ask(port, "POST", "/name", "name=Ada", **form)
    assert (status, headers["Location"]) == (303, "/hello/Ada")
    assert ask(port, "GET", "/hello/Ada")[2] == "hello Ada, 0\nhello Ada, 1\nhello Ada, 2\n"
    assert ask(port, "GET", "/name")[0] == 405
    assert ask(port, "GET", "/nope")[0] == 404


def test_the_example_of_the_documentation_asks_who_is_there_and_streams(port: int) -> None:
    status, headers, _ = ask(port, "GET", "/live")
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="board"')
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/live", headers={"Authorization": "Basic YTpi"})
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    assert answer.readline().startswith(b"data: ")
    connection.close()
