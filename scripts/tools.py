"""Runs esptool and mpremote as subprocesses: the command line shown, a time-out, failures as sentences.

Owns the tools' environment: nothing secret gets into it, and their texts come unwrapped and without colours, so that
scripts/failures.py can know them. Must not know what the commands do with the board.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from scripts import failures, ports
from scripts.link import Link

COMMANDS = {"esptool": (sys.executable, "-m", "esptool"), "mpremote": (sys.executable, "-m", "mpremote")}
# make puts what was given on its command line (PASSWORD=...) into its children's environment, by name and in its flags.
_NOT_FOR_TOOLS = re.compile(
    r"MAKEFLAGS|MFLAGS|MAKEOVERRIDES|SSID|SET|FORCE_COLOR|TTY_COMPATIBLE|TTY_INTERACTIVE|.*(PASS|SECRET|TOKEN|CREDENTIAL).*"
    r"|(.*_)?(KEY|PSK)",
    re.IGNORECASE,
)
_TEXT_SETTINGS = {
    "COLUMNS": "1000",
    "NO_COLOR": "1",
    "TERM": "dumb",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONUNBUFFERED": "1",
}
# Rows that scripts/ports.py can say more about.
_PORT_FAILURES = ("no-such-port", "busy-port", "no-permission", "cannot-access")

# Native USB vanishes for a moment when the chip is reset, also by the tool before: a port that was there comes back.
BACK_TIMEOUT_S = 5.0
_BACK_POLL_S = 0.3
_reached: set[str] = set()

OnLine = Callable[[str], None]


def esptool(link: Link, *arguments: str, timeout_s: float | None, on_line: OnLine | None = None) -> str:
    """Run one esptool command (`esptool(link, "flash-id", timeout_s=30)`) and return what it said. `on_line` gets each
    line as it comes. ToolProblem when it fails or takes longer than `timeout_s` (None: as long as it takes)."""
    speed = ("--baud", link.baud) if link.baud else ()
    options = ("--chip", "esp32c3", "--port", link.port, *speed, *link.esptool_args)
    return _run("esptool", link, (*options, *arguments), timeout_s, on_line)


def mpremote(
    link: Link,
    *arguments: str,
    timeout_s: float | None,
    on_line: OnLine | None = None,
    echo: bool = True,
    pass_fds: Sequence[int] = (),
) -> str:
    """The same for mpremote commands (`mpremote(link, "run", path, timeout_s=60)`). Without `echo` the command line
    appears nowhere, not in a failure's sentence either. `pass_fds` are file descriptors that the tool inherits."""
    words = ("connect", link.port, *link.mpremote_args, *arguments)
    return _run("mpremote", link, words, timeout_s, on_line, echo, pass_fds)


def environment() -> dict[str, str]:
    """This process's environment without what the tools must not see, with what keeps their texts plain."""
    return {k: v for k, v in os.environ.items() if not _NOT_FOR_TOOLS.fullmatch(k)} | _TEXT_SETTINGS


def _run(
    tool: str,
    link: Link,
    words: Sequence[str],
    timeout_s: float | None,
    on_line: OnLine | None,
    echo: bool = True,
    pass_fds: Sequence[int] = (),
) -> str:
    shown = shlex.join([f".venv/bin/{tool}", *words])
    if echo:
        print(f"$ {shown}", flush=True)
    until_s = time.monotonic() + (BACK_TIMEOUT_S if link.port in _reached else 0)
    while True:
        try:
            output = _run_once(tool, link, words, timeout_s, on_line, pass_fds, shown if echo else tool)
            _reached.add(link.port)
            return output
        except failures.ToolProblem as problem:
            if problem.name not in _PORT_FAILURES or time.monotonic() > until_s:
                raise
        time.sleep(_BACK_POLL_S)


def _run_once(
    tool: str,
    link: Link,
    words: Sequence[str],
    timeout_s: float | None,
    on_line: OnLine | None,
    pass_fds: Sequence[int],
    shown: str,
) -> str:
    code, output = _stream([*COMMANDS[tool], *words], timeout_s, on_line, pass_fds)
    if code is None:
        raise failures.timed_out(output, link.port, timeout_s or 0)
    if code != 0:
        raise _failure(tool, link.port, output, code, shown)
    return output


def _failure(tool: str, port: str, output: str, code: int, shown: str) -> failures.ToolProblem:
    problem = failures.recognised(tool, output, port)
    if problem is None:
        words = failures.last_words(output) or f"exit status {code}, no reason given"
        return failures.ToolProblem(f"{tool} failed: {words}. The command was: {shown}", output=output)
    if problem.name in _PORT_FAILURES:
        ports.check(port)
    return problem


def _stream(
    argv: Sequence[str], timeout_s: float | None, on_line: OnLine | None, pass_fds: Sequence[int]
) -> tuple[int | None, str]:
    """Run to the end: exit status, None when it was killed at the time-out; and the output."""
    expired = threading.Event()
    lines = []
    with subprocess.Popen(
        argv,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        pass_fds=pass_fds,
    ) as process:

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(timeout_s, expire) if timeout_s is not None else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            for line in process.stdout or ():
                lines.append(line)
                if on_line:
                    on_line(line.rstrip("\n"))
            process.wait()
        finally:  # Ctrl-C, or an on_line that has seen enough
            if timer:
                timer.cancel()
            process.kill()
    return (None if expired.is_set() else process.returncode), "".join(lines)
