"""scripts/ca_file: what a person names as CA= and what of it reaches the board."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from freezegun import freeze_time

from host_tests.serial_device import SerialDevice
from host_tests.test_provision import begun, quickly
from host_tests.tls_certs import Certificates
from scripts import ca_file, vfs_image
from scripts.console import EXIT_OK, EXIT_USAGE, Problem

CERTIFICATES = Certificates()


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A file with the CA in PEM."""
    path = tmp_path / "ca.pem"
    path.write_bytes(CERTIFICATES.ca_pem)
    return path


def refused(path: Path, tmp_path: Path) -> str:
    with pytest.raises(Problem) as raised:
        ca_file.prepared(path, tmp_path)
    assert raised.value.exit_code == EXIT_USAGE
    return str(raised.value)


def test_one_certificate_goes_out_in_der_however_it_came(named: Path, tmp_path: Path) -> None:
    assert ca_file.prepared(named, tmp_path).read_bytes() == CERTIFICATES.ca_der
    named.write_bytes(b"Issued for you:\n" + CERTIFICATES.ca_pem)
    assert ca_file.prepared(named, tmp_path).read_bytes() == CERTIFICATES.ca_der
    named.write_bytes(CERTIFICATES.ca_der)
    assert ca_file.prepared(named, tmp_path).read_bytes() == CERTIFICATES.ca_der


def test_several_certificates_go_out_in_pem_without_what_is_between(named: Path, tmp_path: Path) -> None:
    other = Certificates().ca_pem
    named.write_bytes(CERTIFICATES.ca_pem + b"and\n" + other)
    sent = ca_file.prepared(named, tmp_path).read_bytes()
    assert sent == CERTIFICATES.ca_pem + other
    assert len(x509.load_pem_x509_certificates(sent)) == 2


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(named: Path, tmp_path: Path, content: bytes) -> None:
    named.write_bytes(content)
    assert "is no certificate" in refused(named, tmp_path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.pem", tmp_path)


def test_a_private_key_does_not_leave(named: Path, tmp_path: Path) -> None:
    named.write_bytes(CERTIFICATES.ca_pem + b"-----BEGIN PRIVATE KEY-----\n")
    assert "private key" in refused(named, tmp_path)


def test_an_expired_certificate_is_refused_with_its_date(named: Path, tmp_path: Path) -> None:
    until = x509.load_pem_x509_certificate(CERTIFICATES.ca_pem).not_valid_after_utc
    with freeze_time(until + timedelta(days=1)):
        assert f"expired on {until:%Y-%m-%d}" in refused(named, tmp_path)
    assert until > datetime.now(UTC)


def test_a_whole_collection_is_too_much_for_a_board(named: Path, tmp_path: Path) -> None:
    named.write_bytes(CERTIFICATES.ca_pem * 20)
    assert "20 certificates, too many" in refused(named, tmp_path)


@pytest.mark.vm
def test_the_board_gets_the_file_and_the_setting(make_serial, named: Path) -> None:
    device: SerialDevice = begun(make_serial())
    done = quickly(device, CA=str(named))
    assert done.returncode == EXIT_OK, done.stderr
    assert "stored: telemetry_ca\n" in done.stdout
    assert device.read_settings()["telemetry_ca"] == ca_file.ON_BOARD
    with vfs_image.mounted(device.state.flash_path) as fs:
        assert vfs_image.read_file(fs, ca_file.ON_BOARD) == CERTIFICATES.ca_der


def test_nothing_is_asked_of_the_board_with_a_file_that_is_none(make_serial, tmp_path: Path) -> None:
    device: SerialDevice = make_serial()
    done = quickly(device, CA=str(tmp_path / "none.pem"))
    assert done.returncode == EXIT_USAGE
    assert done.stderr.startswith("error: CA: ")
