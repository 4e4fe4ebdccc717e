"""Static files from flash, stored gzipped and sent as they are, piece by piece."""

from http_request import Reject

_PIECE_BYTES = 256
_TYPES = {"css": "text/css", "svg": "image/svg+xml"}
_HEADERS = "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\nCache-Control: max-age=86400\r\n"


async def get(http: "Any") -> None:
    """The paths are those of the route table, so none can leave /www. Pages ask with the version as query."""
    if "gzip" not in http.headers.get(b"accept-encoding", ""):
        raise Reject(406, "this file is kept gzipped: ask with Accept-Encoding: gzip")
    http.head(200, _TYPES[http.path[-3:]], _HEADERS)
    piece = memoryview(bytearray(_PIECE_BYTES))
    with open("/www%s.gz" % http.path, "rb") as file:
        while True:
            n = file.readinto(piece)
            if not n:
                break
            await http.write(piece[:n])
