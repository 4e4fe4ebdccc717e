"""Cookies that came with a request (RFC 6265). Apart from forms, which few requests need."""


def cookie(http: "Any", name: str) -> str:
    """The value of a cookie that came with the request (RFC 6265 4.2), "" without it."""
    for pair in http.headers.get(b"Cookie", "").split(";"):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            return value.strip()
    return ""
