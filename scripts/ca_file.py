"""The certificate that telemetry over https trusts, on its way to the board: read, checked, made small.

Owns where it lies on the board. Must not know how it gets there (scripts/provision.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from scripts.console import EXIT_USAGE, Problem

ON_BOARD = "/telemetry-ca"
_MOST_BYTES = 8192  # the board reads it into its heap in one piece


def prepared(path: Path, folder: Path) -> Path:
    """A copy in `folder` as the board takes it: one certificate in DER, which is the smallest, several in PEM. Problem
    for what is none, has expired or is too large."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Problem(
            f"CA: {path} can't be read ({error.strerror}). Name a file with a certificate.", EXIT_USAGE
        ) from None
    if b"PRIVATE KEY" in content:
        fix = "Give the board the certificate alone."
        raise Problem(f"CA: {path} has a private key in it, which must not leave its server. {fix}", EXIT_USAGE)
    try:
        found = (
            x509.load_pem_x509_certificates(content)
            if b"-----BEGIN" in content
            else [x509.load_der_x509_certificate(content)]
        )
    except ValueError:
        raise Problem(f"CA: {path} is no certificate. Name a file with one in PEM or DER.", EXIT_USAGE) from None
    now = datetime.now(UTC)
    if late := [one for one in found if one.not_valid_after_utc < now]:
        until = late[0].not_valid_after_utc
        raise Problem(f"CA: the certificate in {path} expired on {until:%Y-%m-%d}. Get its successor.", EXIT_USAGE)
    small = found[0].public_bytes(Encoding.DER)
    if len(found) > 1:
        small = b"".join(one.public_bytes(Encoding.PEM) for one in found)
    if len(small) > _MOST_BYTES:
        fix = "Name a file with the one that signed the server's."
        raise Problem(f"CA: {path} has {len(found)} certificates, too many for a board. {fix}", EXIT_USAGE)
    target = folder / "ca"
    target.write_bytes(small)
    return target
