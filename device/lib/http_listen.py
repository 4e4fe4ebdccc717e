"""Opens the listening socket of the HTTP server. Imported once a start."""

import socket


def listen(host: str, port: int) -> "Any":
    """A non-blocking listening socket. OSError when the port can't be had."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(socket.getaddrinfo(host, port)[0][-1])
        listener.listen(6)  # lwIP's accept mailbox; SYNs beyond it come back after a second or more
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
