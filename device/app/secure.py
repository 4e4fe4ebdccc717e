"""TLS for a POST: whether there is memory for it, whom to trust, and larger pieces. Imported for a moment.

Owns the setting `telemetry_ca`. The chip has room for one session: 32 KB of the IDF's heap while it is agreed on.
"""

import tls
from app.board import memory
from micropython import const

_FREE_BYTES = const(45000)
_LARGEST_BYTES = const(20000)
_BLOCK_BYTES = const(1024)
# Parts of what Mbed TLS says of a certificate; several can be true of one.
_CERTIFICATE = (
    ("(CN)", "it is for another name"),
    ("expired", "it has expired by the board's time"),
    ("future", "it is not valid yet by the board's time"),
    ("trusted CA", "it is not signed by the one in telemetry_ca"),
)
# Its numbers for an end, a record that is none and an alert.
_HANDSHAKE = {-29312: "the server broke off", -29184: "the server does not speak TLS", -30592: "the server refuses it"}


def securing(ca: str, clock: "Any") -> "Any":
    """A function that puts TLS on a connected socket: `secure(socket, host)`. It is agreed on when the first bytes are
    written, step by step. `ca`: a file with a certificate in PEM or DER, or "insecure". Raises ValueError with a
    sentence while no TLS can be begun, as it is best said before anything is connected."""
    if not ca:
        raise ValueError('https needs telemetry_ca: a file with the certificate to trust, or "insecure"')
    if ca != "insecure" and not clock.quality:
        raise ValueError("https waits for the time: without it no certificate can be checked")
    _, _, free, largest = memory()
    if free < _FREE_BYTES or largest < _LARGEST_BYTES:
        raise ValueError("https waits for memory: %d KB free, %d in one piece" % (free // 1024, largest // 1024))
    context: "Any" = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    if ca == "insecure":
        context.verify_mode = tls.CERT_NONE
    else:
        try:
            with open(ca, "rb") as file:
                context.load_verify_locations(file.read())
        except OSError:
            raise ValueError("telemetry_ca: there is no file %s on the board" % ca)
        except ValueError:
            raise ValueError("telemetry_ca: %s has no certificate" % ca)

    def secure(sock: "Any", host: str) -> "Any":
        return context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)

    return secure


def why(error: Exception) -> str:
    """What is wrong with the server's certificate or with its TLS, in words; "" when `error` tells of neither."""
    said = ", ".join([words for part, words in _CERTIFICATE if part in str(error)])
    if said:
        return "the server's certificate is refused: " + said
    said = _HANDSHAKE.get(error.args[0] if error.args else 0)
    return "the TLS handshake failed: " + said if said else ""


def blocks(pieces: "Any") -> "Any":
    """Yield the text of `pieces` in blocks: TLS adds 29 bytes or more to whatever is written at once."""
    block = memoryview(bytearray(_BLOCK_BYTES))
    n = 0
    for piece in pieces:
        data = memoryview(piece)
        while data:
            part = data[: _BLOCK_BYTES - n]
            block[n : n + len(part)] = part
            n += len(part)
            data = data[len(part) :]
            if n == _BLOCK_BYTES:
                yield block
                n = 0
    if n:
        yield block[:n]
