"""Static files of the admin pages, which ask for them with the version as query, so browsers may keep them."""

from http_files import send


async def get(http: "Any") -> None:
    """The file of that name in /www."""
    await send(http, "/www", http.parameter)
