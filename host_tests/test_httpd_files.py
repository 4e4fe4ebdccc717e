"""Files from the board's flash: types, the gzipped form, names that lead elsewhere, and tags.

After each of them an honest client is served in 0.5 s and no socket or slot stays taken (`leaves_nothing`).
docs/httpd-cases.md lists all cases.
"""

from __future__ import annotations

import gzip
import random

import pytest

from host_tests.device import Answer
from host_tests.httpd_board import Client, HttpdBoard, get, leaves_nothing, line

pytestmark = pytest.mark.vm

SIZES = 0, 1, *range(504, 515), 3_000, 40_000
NOISE = random.Random(1).randbytes(max(SIZES))
HTML = b"<!DOCTYPE html><title>Page</title>\n" * 20
CSS = b"p{margin:0}\n" * 20
SECRET = b"not for the web\n"
GZIP = "Accept-Encoding: gzip, deflate, br\r\n"
TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "json": "text/plain",
    "svg": "image/svg+xml",
    "txt": "text/plain",
}
WHOLE = "3000.bin"
DATA = NOISE[:3_000]


def gzipped(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)


FILES = {
    **{f"/www/{size}.bin": NOISE[:size] for size in SIZES},
    **{f"/www/type.{suffix}": b"x" for suffix in TYPES},
    "/www/both.html": HTML,
    "/www/both.html.gz": gzipped(HTML),
    "/www/only.css.gz": gzipped(CSS),
    "/www/changes.js": b"'0'\n",
    "/www/changes-too.js.gz": gzipped(b"'0'\n"),
    "/www/changes-inside.js": b"'0' // and so on\n",
    "/www/.secret": SECRET,
    "/www/folder/file": SECRET,
    "/top": SECRET,
}


def ask_file(board: HttpdBoard, name: str, extra: str = "") -> Answer:
    return board.ask(get(f"/files/{name}", extra))


def ask_unchanged(client: Client, name: str, tags: str) -> Answer:
    """A request to which 304 is the answer, which has a length but no body."""
    client.send(get(f"/files/{name}", f"If-None-Match: {tags}\r\n"))
    return client.read(bodyless=True)


def tag_of(board: HttpdBoard, name: str) -> str:
    return ask_file(board, name, GZIP).headers["etag"]


# --- whole files --------------------------------------------------------------------------------


@leaves_nothing
@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_file_arrives_byte_for_byte(board: HttpdBoard, size_bytes: int) -> None:
    """asks for a file of 0 to 40,000 bytes, around the size of the buffer too -> its length and every byte of it"""
    answer = ask_file(board, f"{size_bytes}.bin")
    assert (answer.status, answer.headers["content-length"]) == (200, str(size_bytes))
    assert answer.headers["accept-ranges"] == "bytes"
    assert "transfer-encoding" not in answer.headers
    assert answer.body == NOISE[:size_bytes]


@leaves_nothing
@pytest.mark.parametrize("suffix", TYPES)
def test_the_type_follows_from_the_suffix(board: HttpdBoard, suffix: str) -> None:
    """asks for a file with one of the suffixes of the web, or with another -> its type, or text/plain"""
    assert ask_file(board, f"type.{suffix}").headers["content-type"] == TYPES[suffix]


@leaves_nothing
def test_the_type_of_a_gzipped_file_is_that_of_what_is_in_it(board: HttpdBoard) -> None:
    """takes gzip and asks for name.css, of which there is name.css.gz -> the type of css"""
    assert ask_file(board, "only.css", GZIP).headers["content-type"] == "text/css"


@leaves_nothing
@pytest.mark.parametrize("name", ["both.html", "only.css"])
def test_the_gzipped_form_is_for_those_that_take_it(board: HttpdBoard, name: str) -> None:
    """takes gzip and asks for a file with a gzipped form -> that, with Content-Encoding, Vary and a tag of its own"""
    answer = ask_file(board, name, GZIP)
    assert (answer.status, answer.headers["content-encoding"]) == (200, "gzip")
    assert answer.headers["vary"] == "Accept-Encoding"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert answer.body == FILES[f"/www/{name}.gz"]
    assert answer.headers["etag"] == tag_of(board, name)


@leaves_nothing
@pytest.mark.parametrize("extra", ["", "Accept-Encoding: identity\r\n", "Accept-Encoding: br\r\n"])
def test_others_get_the_plain_form(board: HttpdBoard, extra: str) -> None:
    """does not take gzip -> the plain form if there is one, with Vary and another tag; 406 if there is none"""
    answer = ask_file(board, "both.html", extra)
    assert (answer.status, answer.body, answer.headers["vary"]) == (200, HTML, "Accept-Encoding")
    assert "content-encoding" not in answer.headers
    assert answer.headers["etag"] != tag_of(board, "both.html")
    assert ask_file(board, "only.css", extra).status == 406


@leaves_nothing
def test_who_refuses_gzip_gets_the_plain_form(board: HttpdBoard) -> None:
    """says `gzip;q=0` (RFC 9110 12.5.3) -> the plain form"""
    answer = ask_file(board, "both.html", "Accept-Encoding: gzip;q=0, identity\r\n")
    assert "content-encoding" not in answer.headers
    assert answer.body == HTML


@leaves_nothing
@pytest.mark.parametrize("name", [WHOLE, "40000.bin", "0.bin", "both.html", "missing"])
@pytest.mark.parametrize("extra", ["", GZIP])
def test_head_of_a_file_is_the_head_of_get(board: HttpdBoard, name: str, extra: str) -> None:
    """HEAD of a file -> the head that GET has, no byte of a body, and the connection goes on"""
    with board.client() as client:
        head = client.ask(line(f"HEAD /files/{name} HTTP/1.1", *extra.split("\r\n")[:-1]))
        if head.headers["connection"] == "keep-alive":
            assert client.ask(get("/tips")).body == b"tips\n"
    whole = ask_file(board, name, extra)
    assert (head.status, head.headers) == (whole.status, whole.headers)


@leaves_nothing
def test_a_range_of_a_head_is_ignored(board: HttpdBoard) -> None:
    """HEAD with Range, which is for GET alone (RFC 9110 14.2) -> 200 with the length of the whole"""
    answer = board.ask(line(f"HEAD /files/{WHOLE} HTTP/1.1", "Range: bytes=0-9"))
    assert (answer.status, answer.headers["content-length"]) == (200, "3000")


# --- names that lead elsewhere ------------------------------------------------------------------

ELSEWHERE = [
    pytest.param("missing", id="a missing file"),
    pytest.param("", id="no name"),
    pytest.param("folder", id="a folder"),
    pytest.param(".", id="a dot"),
    pytest.param("..", id="two dots"),
    pytest.param(".secret", id="a hidden file"),
    pytest.param("%2e%2e", id="two escaped dots"),
    pytest.param("%2e%2e%2fmain.py", id="an escaped way up"),
    pytest.param("..%2fmain.py", id="dots and an escaped slash"),
    pytest.param("../main.py", id="a way up"),
    pytest.param("../../main.py", id="a way further up"),
    pytest.param("/main.py", id="two slashes"),
    pytest.param("./3000.bin", id="a dot and a slash"),
    pytest.param("folder/file", id="a way down"),
    pytest.param("folder%2ffile", id="an escaped way down"),
    pytest.param("..\\main.py", id="a backslash"),
    pytest.param("main.py", id="a file beside the folder"),
    pytest.param("x" * 300, id="a name too long"),
]


@leaves_nothing
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_name_that_leads_elsewhere_is_not_found(board: HttpdBoard, name: str) -> None:
    """asks for what is no file of the folder -> 404, for a gzip client too, and never what is elsewhere"""
    failed = board.figures()["failed"]
    for raw in (get(f"/files/{name}"), get(f"/files/{name}", GZIP), line(f"GET http://x/files/{name} HTTP/1.1")):
        answer = board.ask(raw)
        assert answer.status == 404, answer
        assert SECRET not in answer.body
        assert b"ballast" not in answer.body
    assert board.figures()["failed"] == failed


# --- validators ---------------------------------------------------------------------------------


@leaves_nothing
def test_a_tag_lives_as_long_as_the_content(board: HttpdBoard) -> None:
    """asks again after a restart, and after the content changed, its size the same -> the same tag; another one"""
    names = "changes.js", "changes-too.js", "both.html", "0.bin", WHOLE
    before = [tag_of(board, name) for name in names]
    assert [tag_of(board, name) for name in names] == before
    assert len(set(before)) == len(names)
    changed = {"/www/changes.js": b"'1'\n", "/www/changes-too.js.gz": gzipped(b"'1'\n")}
    assert [len(changed[path]) for path in changed] == [len(FILES[path]) for path in changed]
    board.restart(changed)
    after = [tag_of(board, name) for name in names]
    assert after[2:] == before[2:]
    assert after[0] != before[0]
    assert after[1] != before[1]


@leaves_nothing
def test_a_tag_changes_when_the_end_of_a_file_does_not(board: HttpdBoard) -> None:
    """asks again after a plain file changed, though not in its last 8 bytes nor its time -> another tag"""
    before = tag_of(board, "changes-inside.js")
    board.restart({"/www/changes-inside.js": b"'10' // and so on\n"})
    assert tag_of(board, "changes-inside.js") != before


@leaves_nothing
@pytest.mark.parametrize("name", [WHOLE, "40000.bin", "0.bin", "both.html"])
@pytest.mark.parametrize("form", ["%s", 'W/"0", %s', '%s, "x-y"', "W/%s"])
def test_who_has_the_file_is_told_so(board: HttpdBoard, name: str, form: str) -> None:
    """sends its tag in If-None-Match, alone, weak or in a list -> 304 with the tag, no body; the connection goes on"""
    with board.client() as client:
        whole = client.ask(get(f"/files/{name}"))
        tag = whole.headers["etag"]
        for _ in range(2):
            answer = ask_unchanged(client, name, form % tag)
            assert (answer.status, answer.headers["etag"]) == (304, tag)
            for header in ("vary", "cache-control"):  # RFC 9110 15.4.5: what the 200 would have
                assert answer.headers[header] == whole.headers[header]
            assert client.ask(get("/tips")).body == b"tips\n"


@leaves_nothing
@pytest.mark.parametrize("form", ['"x-y"', "%s-", "nonsense", "", "9" * 300])
def test_who_has_another_file_gets_this_one(board: HttpdBoard, form: str) -> None:
    """sends another tag in If-None-Match, or none that is one -> 200 with the file"""
    wrong = form.replace("%s", tag_of(board, WHOLE).strip('"'))
    answer = ask_file(board, WHOLE, f"If-None-Match: {wrong}\r\n")
    assert (answer.status, answer.body) == (200, DATA)
