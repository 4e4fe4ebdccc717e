"""The tips page: what the form just did, and back to the dashboard by itself after 3 seconds."""

from app import site
from app.web.page import bottom, escape, top

_REFRESH = '<meta http-equiv="refresh" content="3;url=/index">\n'


async def get(http: "Any") -> None:
    title, lines = site.message
    await top(http, "Tips", _REFRESH)
    await http.write("<h1>%s</h1>\n<ul>" % escape(title or "Nothing happened lately"))
    for line in lines:
        await http.write("<li>%s</li>\n" % escape(line))
    await http.write('</ul><p>Back in 3 seconds, or <a href="/index">now</a>.</p>')
    await bottom(http)
