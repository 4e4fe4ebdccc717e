"""app/secure under lib/http_client on the VM: servers that fail in TLS, and what a session costs."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_tests import faults
from host_tests.faults import Fault
from host_tests.http_lab import ANSWER, CONNECT, LIMITS_MS, RESET, REST, TIMED_OUT, TLS, Exchange
from host_tests.https_lab import SecureLab
from host_tests.tls_certs import NAME, Certificates
from scripts.vm import Vm

BLOCK_BYTES = 1024
AN_END, NO_TLS = -29312, -29184


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


@pytest.fixture
def make(tmp_path: Path, vm: Vm, certificates: Certificates) -> Iterator[Callable[..., SecureLab]]:
    """Factory of labs, by the certificate that the server shows."""
    with contextlib.ExitStack() as stack:
        yield lambda which="good": stack.enter_context(SecureLab(tmp_path, vm, certificates, which))


# --- a server that is not right -------------------------------------------------------------------


@pytest.mark.vm
@pytest.mark.parametrize(
    ("fault", "got", "phase", "why"),
    [
        pytest.param(faults.PLAIN_HTTP, NO_TLS, TLS, "the server does not speak TLS", id="plain http"),
        pytest.param(faults.CLOSE_IN_HANDSHAKE, AN_END, TLS, "the server broke off", id="close"),
        pytest.param(faults.STALL_HANDSHAKE, TIMED_OUT, TLS, "", id="stall"),
        pytest.param(faults.REFUSE, RESET, CONNECT, "", id="refuse"),
        pytest.param(faults.BLACK_HOLE, TIMED_OUT, CONNECT, "", id="black hole"),
        pytest.param(faults.SILENT, TIMED_OUT, ANSWER, "", id="silent"),
        pytest.param(faults.COMMIT_AND_RESET, -RESET, ANSWER, "", id="reset"),
    ],
)
def test_a_fault_ends_the_post_in_its_time_and_gives_the_memory_back(
    make: Callable[..., SecureLab], fault: Fault, got: int, phase: int, why: str
) -> None:
    lab = make()
    lab.server.fault = fault
    said = lab.sealed(
        """
        async def around():
            before = idf()
            found = await post(pieces=sealed)
            return before == idf(), before[1], words[r.SOCKETS_OPEN], found
        say("why", why(OSError(GOT)))
        say("found", asyncio.run(around()))
        """.replace("GOT", str(got))
    )
    is_back, sessions, sockets, found = said["found"]
    exchange = Exchange(*found)
    assert (exchange.got, exchange.phase) == (got, phase)
    assert is_back and sessions == 0 and sockets == 0
    assert exchange.ms <= LIMITS_MS[phase] + 600
    assert said["why"] == (f"the TLS handshake failed: {why}" if why else "")


# --- what it costs --------------------------------------------------------------------------------


@pytest.mark.vm
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"IDF_TAKEN": 72_000}, "https waits for memory: 41 KB free, 41 in one piece"),
        ({"IDF_LARGEST_CAP": 19_000}, "https waits for memory: 112 KB free, 18 in one piece"),
    ],
    ids=["free", "largest"],
)
def test_memory_that_would_not_do_is_said_before_anything_is_connected(
    make: Callable[..., SecureLab], words: dict[str, int], sentence: str
) -> None:
    lab = make()
    assert lab.post(**words).got == "ValueError: " + sentence
    assert lab.server.connections == 0


@pytest.mark.vm
def test_a_session_is_kept_for_several_posts_and_its_memory_comes_back(make: Callable[..., SecureLab]) -> None:
    lab = make()
    said = lab.sealed("""
        async def several():
            before = idf()
            found = []
            for _ in range(3):
                found.append((await post(pieces=sealed))[0])
            during = idf()
            client.close()
            return found, during[1], before == idf()
        say("found", asyncio.run(several()))
        """)
    assert said["found"] == ([200] * 3, 1, True)
    assert lab.server.connections == 1


@pytest.mark.vm
def test_there_is_never_more_than_one_session(make: Callable[..., SecureLab]) -> None:
    lab = make()
    other = f"https://{NAME}:{lab.server.port}/readings"
    said = lab.sealed(f"""
        before = []

        async def dial(client, url):
            secure = securing(CA, Clock)

            def counting(sock, host):
                before.append(words[r.TLS_OPEN])
                return secure(sock, host)

            await http_dial.dial(client, url, SERVERS, counting)

        client = http_client.Client(bytearray(512), dial)

        async def several():
            found = []
            for url in (URL, {other!r}, URL):
                found.append((await post(url=url, pieces=sealed))[0])
            client.close()
            return found
        say("found", asyncio.run(several()))
        say("before", before)
        """)
    assert said["found"] == [200] * 3
    assert said["before"] == [0] * 3, "the one before was over"
    assert lab.server.connections == 3 and len(lab.server.requests) == 3


@pytest.mark.vm
def test_fifty_sessions_leave_nothing_in_the_heap(make: Callable[..., SecureLab]) -> None:
    grown, outcomes = make().sealed("say('many', asyncio.run(many(50)))")["many"]
    assert {(found[0], found[1]) for found in outcomes} == {(200, REST)}
    assert grown < 16 * 50 // 2


@pytest.mark.vm
def test_all_else_goes_on_while_a_handshake_is_waited_for_and_a_cancel_ends_it(make: Callable[..., SecureLab]) -> None:
    lab = make()
    lab.server.fault = faults.STALL_HANDSHAKE
    said = lab.sealed("""
        async def cancelled():
            before = idf()
            task = asyncio.create_task(post(pieces=sealed))
            await asyncio.sleep_ms(2000)
            during = idf()
            task.cancel()
            await asyncio.sleep_ms(0)
            await asyncio.sleep_ms(0)
            return client.phase, during[1], before == idf()
        run(found=cancelled())
        """)
    assert said["found"] == (TLS, 1, True)


# --- blocks ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure() -> types.ModuleType:
    """app.secure on CPython, with stand-ins for what only the board has."""
    for name in ("tls", "app.board"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["app.board"].memory = None  # type: ignore[attr-defined]
    try:
        import app.secure

        return app.secure
    finally:
        for name in ("tls", "app.board", "app.secure"):
            del sys.modules[name]


@given(st.lists(st.binary(max_size=3000), max_size=20))
def test_pieces_become_blocks_of_one_size_and_an_end(secure: types.ModuleType, pieces: list[bytes]) -> None:
    blocks = [bytes(block) for block in secure.blocks(iter(pieces))]
    assert b"".join(blocks) == b"".join(pieces)
    assert all(len(block) == BLOCK_BYTES for block in blocks[:-1])
    assert all(0 < len(block) <= BLOCK_BYTES for block in blocks)
