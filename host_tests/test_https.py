"""app/secure under lib/http_client on the VM: which certificates are trusted, and how a refusal reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host_tests.http_lab import BODY, CONNECT
from host_tests.https_lab import SecureLab
from host_tests.tls_certs import ADDRESS, NAME, Certificates
from scripts.vm import Vm

pytestmark = pytest.mark.vm

REFUSED = "the server's certificate is refused: "


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


@pytest.fixture
def make(tmp_path: Path, vm: Vm, certificates: Certificates) -> Iterator[Callable[..., SecureLab]]:
    """Factory of labs, by the certificate that the server shows."""
    with contextlib.ExitStack() as stack:
        yield lambda which="good": stack.enter_context(SecureLab(tmp_path, vm, certificates, which))


# --- whom to trust --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [ADDRESS, NAME])
@pytest.mark.parametrize("form", ["pem", "der"])
def test_a_server_whose_certificate_is_right_gets_the_post(
    make: Callable[..., SecureLab], certificates: Certificates, form: str, host: str
) -> None:
    lab = make()
    lab.ca.write_bytes(getattr(certificates, f"ca_{form}"))
    assert lab.post(host=host).got == 200
    (request,) = lab.server.requests
    assert request.body.decode() == BODY
    assert request.headers["host"] == f"{host}:{lab.server.port}"


@pytest.mark.parametrize(
    ("which", "host", "why"),
    [
        ("wrong_name", NAME, "it is for another name"),
        ("no_address", ADDRESS, "it is for another name"),
        ("unknown_ca", ADDRESS, "it is not signed by the one in telemetry_ca"),
        ("expired", ADDRESS, "it has expired by the board's time"),
        ("not_yet_valid", ADDRESS, "it is not valid yet by the board's time"),
    ],
)
def test_a_certificate_that_is_wrong_is_refused_with_what_is_wrong(
    make: Callable[..., SecureLab], which: str, host: str, why: str
) -> None:
    lab = make(which)
    assert lab.why(host=host) == REFUSED + why
    assert lab.server.requests == [] and lab.server.bad == []


def test_all_that_is_wrong_is_said(make: Callable[..., SecureLab]) -> None:
    assert make("all wrong").why(host=NAME) == (
        REFUSED + "it is for another name, it is not signed by the one in telemetry_ca"
    )


@pytest.mark.parametrize("which", ["wrong_name", "unknown_ca", "expired", "good"])
def test_insecure_takes_any_certificate_and_needs_no_time(make: Callable[..., SecureLab], which: str) -> None:
    lab = make(which)
    assert lab.post(ca="insecure", quality=0).got == 200
    assert len(lab.server.requests) == 1


def test_without_the_time_nobody_is_trusted_and_nothing_is_connected(make: Callable[..., SecureLab]) -> None:
    lab = make()
    assert lab.post(quality=0).got == "ValueError: https waits for the time: without it no certificate can be checked"
    assert lab.server.connections == 0


@pytest.mark.parametrize(
    ("ca", "content", "sentence"),
    [
        ("", None, 'https needs telemetry_ca: a file with the certificate to trust, or "insecure"'),
        ("{}", None, "telemetry_ca: there is no file {} on the board"),
        ("{}", b"", "telemetry_ca: {} has no certificate"),
        (
            "{}",
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            "telemetry_ca: {} has no certificate",
        ),
        ("{}", bytes(300), "telemetry_ca: {} has no certificate"),
    ],
    ids=["none", "no file", "empty", "broken", "zeros"],
)
def test_a_setting_that_trusts_nobody_is_a_sentence(
    make: Callable[..., SecureLab], tmp_path: Path, ca: str, content: bytes | None, sentence: str
) -> None:
    lab = make()
    path = tmp_path / "other.pem"
    if content is not None:
        path.write_bytes(content)
    exchange = lab.post(ca=ca.format(path))
    assert (exchange.got, exchange.phase) == ("ValueError: " + sentence.format(path), CONNECT)
    assert lab.server.connections == 0
