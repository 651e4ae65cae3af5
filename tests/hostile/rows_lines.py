"""Request lines: versions, methods and targets (RFC 9112 sections 2 and 3, RFC 9110 section 9)."""

from collections.abc import Iterator

from hostile.table import AGGREGATES, PROFILE, Row, get, lenient, post, refused, served, torn

_PLAIN = b"POST /user_tags HTTP/1.1"


def _line(line: bytes) -> bytes:
    return post(line=line)


def _target(target: bytes) -> bytes:
    return _line(b"POST %b HTTP/1.1" % target)


def versions() -> Iterator[Row]:
    for minor in (b"1.2", b"1.9"):
        rule = f"9110-2.5: HTTP/{minor.decode()} is served as the highest minor version known"
        yield served(rule, _line(b"POST /user_tags HTTP/%b" % minor))
    for major in (b"0.9", b"2.0", b"3.0", b"9.9"):
        rule = f"9110-15.6.6: HTTP/{major.decode()} is of another major version"
        yield refused(rule, _line(b"POST /user_tags HTTP/%b" % major), 400, 505)
    for name in (
        b"http/1.1", b"Http/1.1", b"HTTPS/1.1", b"HTP/1.1", b"RTSP/1.0", b"ICE/1.0", b"XHTTP/1.1",
    ):  # fmt: skip
        rule = f"9112-2.3: {name.decode()} is no HTTP-name"
        yield torn(rule, _line(b"POST /user_tags " + name), 400, 505)
    for number in (
        b"1", b"1.", b".1", b"1.10", b"01.1", b"1.01", b"11.1", b"1,1", b"+1.1", b"1.+1", b"1.1.1",
        b"1.a", b"a.1", b"1.1x", b"-1.1", b"1 .1", b"", b"\xb9.\xb9",
    ):  # fmt: skip
        rule = f"9112-2.3: {number!r} is no version"
        yield torn(rule, _line(b"POST /user_tags HTTP/" + number), 400, 505)
    yield torn("9112-3: a line without a version", _line(b"POST /user_tags"))
    yield torn("9112-3: a line without a version but with a space", _line(b"POST /user_tags "))
    yield torn("9112-3: a line of HTTP/0.9", b"GET /healthz\r\n")
    yield torn(
        "9113-3.4: what HTTP/2 begins with", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505, 501
    )
    yield torn("9112-3: no request at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    yield torn("9112-3: an answer is no request", b"HTTP/1.1 200 OK\r\n\r\n", 400, 501, 505)


def spaces() -> Iterator[Row]:
    yield served("9112-2.2: an empty line before a request", b"\r\n" + post())
    yield lenient("9112-2.2: two empty lines before a request", b"\r\n\r\n" + post())
    yield lenient("9112-2.2: an empty line that is a line feed", b"\n" + post())
    yield lenient("9112-2.2: a bare carriage return before a request", b"\r" + post())
    yield lenient("9112-3: white space before the method", b" " + post())
    yield lenient("9112-3: two spaces before the target", _line(b"POST  /user_tags HTTP/1.1"))
    yield lenient("9112-3: two spaces behind the target", _line(b"POST /user_tags  HTTP/1.1"))
    yield lenient("9112-3: a tab before the target", _line(b"POST\t/user_tags HTTP/1.1"))
    yield lenient("9112-3: a tab behind the target", _line(b"POST /user_tags\tHTTP/1.1"))
    yield lenient("9112-3: a space behind the version", _line(_PLAIN + b" "))
    yield torn("9112-3: a space within the target", _line(b"POST /user tags HTTP/1.1"))
    yield torn("9112-3: a tab within the target", _line(b"POST /user\ttags HTTP/1.1"))
    yield torn("9112-3: a carriage return within the target", _line(b"POST /user\rtags HTTP/1.1"))
    yield torn("9112-3: a line feed within the target", _line(b"POST /user\ntags HTTP/1.1"))
    yield torn("9112-3: no target", _line(b"POST  HTTP/1.1"))
    yield torn("9112-3: neither target nor method", _line(b"HTTP/1.1"))
    yield torn("9112-3: no method", _line(b" /user_tags HTTP/1.1"))


def methods() -> Iterator[Row]:
    for name in (
        b"post", b"Post", b"XYZZY", b"POSTS", b"POS", b"P", b"get", b"!#$%&'*+-.^_`|~09",
        b"M" * 500,
    ):  # fmt: skip
        rule = f"9110-9.1: {name[:20].decode()} is no method known here"
        yield refused(rule, _line(name + b" /user_tags HTTP/1.1"), 501)
    yield refused("9110-9.1: an unknown method anywhere", _line(b"XYZZY /nowhere HTTP/1.1"), 501)
    yield refused(
        "9110-9.1: an endless method", _line(b"M" * 20_000 + b" / HTTP/1.1"), 400, 414, 431, 501
    )
    for name in (b"P(ST", b"P\0ST", b'"POST"', b"P\xc3\xb6ST", b"P:ST", b"POST,"):
        rule = f"9110-9.1: {name!r} is no token"
        yield torn(rule, _line(name + b" /user_tags HTTP/1.1"), 400, 501)
    for name in (b"GET", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"HEAD"):
        row = refused(
            f"9110-15.5.6: {name.decode()} is known, but not at /user_tags",
            get(name + b" /user_tags HTTP/1.1"),
            405,
        )
        yield row._replace(method=name, fields=((b"allow", b"POST"),))
    row = refused("9110-15.5.6: POST is not for /healthz", _line(b"POST /healthz HTTP/1.1"), 405)
    yield row._replace(fields=((b"allow", b"GET, HEAD"),))
    for target in (b"*", b"/user_tags"):
        row = served(
            f"9110-9.3.7: OPTIONS {target.decode()} tells what is allowed",
            get(b"OPTIONS %b HTTP/1.1" % target),
            *((200, 204) if target == b"*" else (200, 204, 405)),
        )
        yield row._replace(fields=((b"allow", b"POST"),), events=False, method=b"OPTIONS")
    for target in (b"x:80", b"/user_tags", b"http://x/user_tags"):
        rule = f"9110-9.3.6: there are no tunnels to {target.decode()}"
        row = refused(rule, get(b"CONNECT %b HTTP/1.1" % target), 400, 405, 501)
        yield row._replace(method=b"GET")  # as it is refused, it is an answer like any other


def targets() -> Iterator[Row]:
    for target in (
        b"http://x/user_tags", b"http://y:80/user_tags", b"HTTP://X/user_tags", b"/user_tags?a=b",
        b"http://x/user_tags?a=b", b"/user_tags?", b"/user_tags??",
    ):  # fmt: skip
        yield served(f"9112-3.2: {target.decode()}", _target(target))
    for target in (b"http://x", b"http://x?a=b", b"http://x:80", b"http://[::1]"):
        rule = f"9110-4.2.3: {target.decode()} has an empty path, which is /"
        yield refused(rule, _target(target), 405)
    yield refused("9112-3.2: / is a page, and takes nothing", _target(b"/"), 405)
    yield refused(
        "9112-3.2: absolute, and without a Host",
        post(line=b"POST http://x/user_tags HTTP/1.1", host=None),
    )
    yield lenient("9110-4.2.2: another scheme", _target(b"https://x/user_tags"), 400, 421)
    yield refused(
        "9110-7.4: a scheme of other servers", _target(b"ftp://x/user_tags"), 400, 404, 421
    )
    yield lenient("9110-4.2.4: a name before the host", _target(b"http://me@x/user_tags"))
    for target in (
        b"http:///user_tags", b"http://:80/user_tags", b"http:/user_tags", b"http://x y/",
        b"http://[::1/user_tags", b"http://x:a/user_tags",
    ):  # fmt: skip
        yield refused(f"9110-4.2.1: {target.decode()} has no host that is one", _target(target))
    for target in (
        b"/user_tags#a", b"/user_tags?a#b", b"/user_tags#", b"#", b"/#", b"http://x/user_tags#a",
        b"http://x#a",
    ):  # fmt: skip
        yield refused(f"9112-3.2: a target has no fragment: {target.decode()}", _target(target))
    for target in (b"user_tags", b"x:80", b"x", b"?a=b", b"user_tags/", b":", b"mailto:x"):
        yield refused(f"9112-3.2: {target.decode()} is no form of a target", _target(target))
    yield refused("9112-3.2.4: only OPTIONS asks for *", _target(b"*"), 400, 404)
    for target in (
        b"//user_tags", b"/user_tags/", b"/user_tags/.", b"/x/../user_tags", b"/User_Tags",
        b"/user_tags;a=b", b"/user_tags%2f", b"/user_tags%00", b"/user_tags%20",
    ):  # fmt: skip
        yield refused(f"3986-6: {target.decode()} is another path", _target(target), 400, 404)
    yield lenient("3986-6.2.2.2: the same path, coded", _target(b"/%75ser_tags"), 404)
    for part in (b"%", b"%f", b"%fg", b"%ff"):
        target = b"/user_profiles/%b?%b" % (part, PROFILE.partition(b"?")[2])
        rule = f"3986-2.1: {part.decode()} is no code of UTF-8"
        yield refused(rule, _target(target), *((400,) if part == b"%ff" else (200, 400)))
    yield refused("9112-3: a long target", _target(b"/" + b"a" * 17_000), 404, 414, 431)
    yield refused("9112-3: a target that is too long", _target(b"/" + b"a" * 70_000), 414, 431)


def queries() -> Iterator[Row]:
    many = b"".join(b"&x%d=%d" % (n, n) for n in range(150))
    for name, target in (("profiles", PROFILE), ("aggregates", AGGREGATES)):
        yield served(f"here: of {name}, 150 unknown parameters", _target(target + many), 200)
        yield served(
            f"here: of {name}, parameters without names", _target(target + b"&" * 150), 200
        )
        yield served(
            f"here: of {name}, an unknown one 150 times", _target(target + b"&y=1" * 150), 200
        )
        yield refused(
            f"here: of {name}, a known one twice", _target(target + b"&time_range=1"), 400
        )
        for coding in (b"gzip", b"br", b"deflate", b"zstd"):
            sent = post(
                b"Content-Encoding: " + coding, line=b"POST %b HTTP/1.1" % target, body=b"garbage"
            )
            yield served(f"here: of {name}, a body that nobody reads, {coding.decode()}", sent, 200)
        sent = post(b"Content-Encoding: other", line=b"POST %b HTTP/1.1" % target, body=b"garbage")
        yield served(f"here: of {name}, a body of an unknown coding", sent, 200, 415, then="either")
        yield served(f"here: of {name}, a body that is no JSON", _target(target), 200)


ROWS = [*versions(), *spaces(), *methods(), *targets(), *queries()]
