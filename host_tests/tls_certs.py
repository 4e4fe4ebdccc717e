"""Certificates for the tests of https: an authority, and what servers show that is right, wrong, too old or too new.

Owns the keys, made anew for each `Certificates`, and the server contexts, which speak TLS 1.2 only, as the board does.
"""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NAME = "collector.test"
ADDRESS = "127.0.0.1"
WRONG_NAME = "elsewhere.test"
_LONG = timedelta(days=20 * 365)  # both ways, as boards skip months and the machine's own clock has to agree
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Certificates:
    """`ca_pem` and `ca_der` are what a client trusts. `good` and the others are contexts for `FaultServer(tls=...)`."""

    def __init__(self, kind: Literal["ec", "rsa"] = "ec") -> None:
        """Keys on P-256, or of RSA with 2,048 bits."""
        self._kind = kind
        self._now = datetime.now(UTC).replace(microsecond=0)
        self._ca_key = self._key()
        self._ca = self._authority("Tally tests", self._ca_key)

    @property
    def ca_pem(self) -> bytes:
        return self._ca.public_bytes(Encoding.PEM)

    @property
    def ca_der(self) -> bytes:
        return self._ca.public_bytes(Encoding.DER)

    @cached_property
    def good(self) -> ssl.SSLContext:
        """For 127.0.0.1 and collector.test, for 20 years to come."""
        return self.server()

    @cached_property
    def wrong_name(self) -> ssl.SSLContext:
        return self.server(WRONG_NAME, None)

    @cached_property
    def no_address(self) -> ssl.SSLContext:
        """For collector.test only, not for the address that it is reached at."""
        return self.server(address=None)

    @cached_property
    def expired(self) -> ssl.SSLContext:
        return self.server(until=self._now - timedelta(days=1))

    @cached_property
    def not_yet_valid(self) -> ssl.SSLContext:
        return self.server(since=self._now + timedelta(days=1))

    @cached_property
    def unknown_ca(self) -> ssl.SSLContext:
        """All right but for the authority: it has the name of the right one and another key."""
        key = self._key()
        return self.server(authority=self._authority("Tally tests", key), authority_key=key)

    def server(
        self,
        name: str = NAME,
        address: str | None = ADDRESS,
        since: datetime | None = None,
        until: datetime | None = None,
        authority: x509.Certificate | None = None,
        authority_key: _Key | None = None,
    ) -> ssl.SSLContext:
        """A server's context with a certificate of its own."""
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if address:
            names.append(x509.IPAddress(IPv4Address(address)))
        key = self._key()
        issuer = (authority or self._ca).subject
        builder = self._builder(name, issuer, key, since or self._now - _LONG, until or self._now + _LONG)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _context(builder.sign(authority_key or self._ca_key, hashes.SHA256()), key)

    def _authority(self, name: str, key: _Key) -> x509.Certificate:
        builder = self._builder(name, _name(name), key, self._now - _LONG, self._now + _LONG)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return builder.sign(key, hashes.SHA256())

    def _key(self) -> _Key:
        if self._kind == "rsa":
            return rsa.generate_private_key(65537, 2048)
        return ec.generate_private_key(ec.SECP256R1())

    @staticmethod
    def _builder(name: str, issuer: x509.Name, key: _Key, since: datetime, until: datetime) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(since).not_valid_after(until)


def _context(certificate: x509.Certificate, key: _Key) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if isinstance(key, rsa.RSAPrivateKey):  # the VM offers RSA-PSS, for its TLS 1.3, and refuses it in TLS 1.2
        context.set_ciphers("AES256-GCM-SHA384:AES128-GCM-SHA256")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.TemporaryDirectory() as folder:  # the library takes files only
        chain = Path(folder, "chain.pem")
        chain.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(chain)
    return context
