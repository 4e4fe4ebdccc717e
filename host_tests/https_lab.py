"""A board on the VM that posts over https with the device's own modules, and the server it posts to.

Owns what is to be there for app.secure: its module, the time, a file to trust. Certificates are tls_certs.py's.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from textwrap import dedent
from typing import Any

from host_tests.http_lab import TLS, Exchange, HttpLab
from host_tests.tls_certs import ADDRESS, WRONG_NAME, Certificates
from host_tests.virtual_board.vm import registers as r
from scripts.build import compile_mpy
from scripts.console import ROOT
from scripts.vm import Vm

SCRIPT = """
import _board, _idf
_board.clock_set(r.RTC, {now})
from app.secure import blocks, securing, why


CA = {ca!r}


class Clock:
    quality = {quality}


async def dial(client, url):
    await http_dial.dial(client, url, SERVERS, securing(CA, Clock))


def sealed():
    return blocks(body())


async def said_of():
    "What a person is told of a handshake that fails."
    try:
        await client.post(URL, lines, len(BODY), sealed, True, beat)
    except (OSError, ValueError) as error:
        return why(error), client.phase


def idf():
    return _idf.free_bytes(), words[r.TLS_OPEN]


client = http_client.Client(bytearray(512), dial)
"""


def _shown(certificates: Certificates, which: str) -> ssl.SSLContext:
    if which == "all wrong":
        return Certificates().server(WRONG_NAME, None)
    return getattr(certificates, which)


class SecureLab(HttpLab):
    """`ca` is what the board trusts."""

    def __init__(self, folder: Path, vm: Vm, certificates: Certificates, which: str) -> None:
        super().__init__(folder, vm, _shown(certificates, which))
        (self.tree / "app").mkdir()
        for name in ("secure", "board"):
            (self.tree / "app" / f"{name}.mpy").write_bytes(
                compile_mpy(ROOT / "device" / "app" / f"{name}.py", f"app/{name}.py")
            )
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(certificates.ca_pem)

    def sealed(self, script: str, ca: object = None, quality: int = 2, host: str = ADDRESS, **words: int) -> dict:
        """What `script` said, on a board that has the right time and says with `quality` how sure it is."""
        ca = str(self.ca if ca is None else ca)
        head = SCRIPT.format(ca=ca, quality=quality, now=self.state[r.NTP])
        return self.script(head + dedent(script), f"https://{host}:{self.server.port}/readings", **words)

    def post(self, **options: Any) -> Exchange:
        """What came of one. The loop is not watched: the arithmetic of a handshake takes long."""
        return Exchange(*self.sealed('say("found", asyncio.run(all_of(post(pieces=sealed))))', **options)["found"][0])

    def why(self, **options: Any) -> str:
        """What a person is told of a post that fails in the handshake."""
        why, phase = self.sealed('say("found", asyncio.run(said_of()))', **options)["found"]
        assert phase == TLS
        return why
