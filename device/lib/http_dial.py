"""Making the connection that http_client posts over: the host's address, the socket, TLS. Imported on demand."""

import socket
from errno import EINPROGRESS
from time import time

from http_connection import wait
from micropython import const

_NAME, _CONNECT, _TLS = const(0), const(1), const(2)  # phases of http_client
_LEAST_TTL_S = const(60)
_MOST_TTL_S = const(3600)


def split_url(url: str) -> tuple:
    """(whether it is https, host, port, the URL up to its path) of a URL. Raises ValueError with a sentence for what is
    none."""
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    host, colon, port = authority.partition(":")
    secure = scheme == "https"
    if not colon:
        port = "443" if secure else "80"
    if scheme not in ("http", "https") or not host or "@" in host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("the address is not http://host:port/path or https://host:port/path")
    return secure, host, int(port), "%s://%s/" % (scheme, authority)


async def dial(client: "Any", url: str, servers: tuple, secure: "Any") -> None:
    """Connect `client` to the host of `url`. `servers`, IPv4 literals, are asked for the address of a name, which is
    kept for its time to live of a minute to an hour; `secure(socket, host)` puts TLS on a connected socket. Raises as
    Client.post says; the socket is closed by the client, whatever happens."""
    is_secure, host, port, client.origin = split_url(url)
    if not client.ips or host != client.host or time() >= client.known_s:
        client.enter(_NAME)
        from dns import resolve

        client.ips, ttl_s = await resolve(host, servers)
        client.host = host
        client.known_s = time() + max(_LEAST_TTL_S, min(ttl_s, _MOST_TTL_S))
        client.enter(_CONNECT)
    client.sock = client.raw = sock = socket.socket()
    sock.setblocking(False)
    try:
        sock.connect((client.ips[0], port))
    except OSError as error:
        if error.errno != EINPROGRESS:
            raise
    await wait(sock, True)
    if is_secure:
        sock.read(1)  # raises what came of the connection, which would look like an error of TLS
        client.enter(_TLS)
        client.sock = secure(sock, host)
