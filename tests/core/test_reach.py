"""Reach: what goes out goes where it was checked, once, and in its turn.

Reliability 25. The names are the tests' own, the sockets are real: `OUTSIDE` plays a public
address, `INSIDE` the one that nobody may have us ask.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trustme
import uvloop

from penstock.core.clock import SystemClock
from penstock.core.reach import Answer, OutOfBounds, Unanswered
from penstock.core.reach.http import Client
from penstock.core.settings import Settings
from support.clock import MovedClock
from support.elsewhere import BOTH, INSIDE, OUTSIDE, Elsewhere, elsewhere
from support.reaching import NO_CONTENT, Loop, Names, client, finished, post

# -- going there ---------------------------------------------------------------------------------


def test_a_request_goes_to_the_address_and_is_for_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with (
            elsewhere(
                b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\nok"
            ) as there,
            elsewhere(NO_CONTENT, host=INSIDE) as proxy,
        ):
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://{INSIDE}:{proxy.port}")
            answer = await post(client(there), there, headers=[("X-Sign", "abc")])

            assert answer == Answer(200, {"x-a": "1, 2", "content-length": "2"}, b"ok")
            [head] = there.requests
            assert head.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
            assert f"host: hooks.example:{there.port}\r\n".encode() in head.lower()
            assert b"x-sign: abc\r\n" in head.lower()
            assert proxy.requests == []

    finished(work())


@pytest.mark.parametrize("factory", [Loop, uvloop.new_event_loop])
def test_tls_is_asked_for_the_name_and_believes_no_other(
    factory: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def asked(certificate: trustme.LeafCert, trusted: str) -> list[str | None]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        async with elsewhere(NO_CONTENT, tls=context) as there:
            out = client(there, reach_certificates=trusted)
            await out.request("GET", f"https://hooks.example:{there.port}/", seconds=600)
            return there.names

    async def work() -> None:
        trusted = str(tmp_path / "ca.pem")
        right = authority.issue_cert("hooks.example")
        assert await asked(right, trusted) == ["hooks.example"]
        with pytest.raises(Unanswered, match="CERTIFICATE_VERIFY_FAILED"):
            await asked(authority.issue_cert("other.example"), trusted)
        with pytest.raises(Unanswered, match="CERTIFICATE_VERIFY_FAILED"):
            await asked(right, "")

    finished(work(), factory)


def test_a_name_is_looked_up_once_so_that_it_cannot_mean_another_address_meanwhile() -> None:
    async def work() -> None:
        async with elsewhere(NO_CONTENT, host=BOTH) as there:
            names = Names(hooks_example=[[OUTSIDE], [INSIDE]])
            out = client(there, names)

            assert (await post(out, there)).status == 204
            assert names.asked == ["hooks.example"]
            with pytest.raises(OutOfBounds):
                await post(out, there)
            assert there.at == [OUTSIDE]

    finished(work())


@pytest.mark.parametrize("mixed", [(OUTSIDE, INSIDE), (INSIDE, OUTSIDE), (OUTSIDE, "::1")])
def test_a_name_with_one_address_inside_is_not_asked_at_all(mixed: tuple[str, str]) -> None:
    async def work() -> None:
        async with elsewhere(NO_CONTENT, host=BOTH) as there:
            out = client(there, Names(hooks_example=[mixed]))
            with pytest.raises(OutOfBounds, match="not public") as refused:
                await post(out, there)
            with pytest.raises(OutOfBounds):
                await out.check(f"http://hooks.example:{there.port}/")

            assert INSIDE not in refused.value.message
            assert there.at == []

    finished(work())


def test_of_several_addresses_the_first_that_answers_is_taken() -> None:
    async def work() -> None:
        async with elsewhere(NO_CONTENT) as there:
            out = client(
                there, Names(hooks_example=[["127.0.0.3", OUTSIDE]]), reach_networks="127.0.0.2/31"
            )
            assert (await post(out, there)).status == 204

    finished(work())


def test_a_redirect_is_an_answer_and_leads_nowhere() -> None:
    async def work() -> None:
        async with elsewhere(NO_CONTENT, host=INSIDE) as inside:
            to = f"http://{INSIDE}:{inside.port}/"
            said = f"HTTP/1.1 307 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()
            async with elsewhere(said) as there:
                answer = await post(client(there), there)

            assert (answer.status, answer.headers["location"]) == (307, to)
            assert inside.requests == []

    finished(work())


def test_what_does_not_answer_is_told_apart_by_whether_it_may_have_heard() -> None:
    async def work() -> None:
        async with elsewhere(b"") as there:
            with pytest.raises(Unanswered) as silent:
                await post(client(there), there)
        assert silent.value.sent
        with closing(socket.socket()) as bound:
            bound.bind((OUTSIDE, 0))
            nobody = Elsewhere(bound.getsockname()[1])
            with pytest.raises(Unanswered) as refused:
                await post(client(nobody), nobody)
        assert not refused.value.sent

        def unknown(host: str, port: int) -> list[str]:
            raise OSError(f"{host}:{port} is not known")

        out = Client(Settings(), SystemClock(), resolver=unknown)
        with pytest.raises(Unanswered, match="has no address") as nowhere:
            await out.request("GET", "http://hooks.example/")
        assert not nowhere.value.sent

    finished(work())


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", [("X-A", "b\r\nX-Evil: c")]),
        ("POST", [("X-A\r\nX-Evil", "c")]),
        ("POST", [("Host", "inside.example")]),
        ("POST", [("Transfer-Encoding", "chunked")]),
        ("POST", [("Content-Length", "0")]),
        ("CONNECT", []),
        ("GET / HTTP/1.1\r\nX-Evil: c\r\n\r\nGET", []),
    ],
)
def test_what_would_be_another_request_is_not_sent(
    method: str, headers: list[tuple[str, str]]
) -> None:
    async def work() -> None:
        async with elsewhere(NO_CONTENT) as there:
            with pytest.raises(OutOfBounds):
                await client(there).request(
                    method, f"http://hooks.example:{there.port}/", headers=headers
                )
            assert there.requests == []

    finished(work())


# -- hosts ---------------------------------------------------------------------------------------


def test_a_host_that_is_dead_is_left_alone_and_then_asked_once() -> None:
    async def work() -> None:
        clock, answers = MovedClock(), [b""]

        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answers[0])

        async def fails(why: str) -> None:
            with pytest.raises(Unanswered, match=why):
                await post(out, there)

        async with elsewhere(say) as there:
            out = client(there, clock=clock)
            for _ in range(5):
                await fails("RemoteProtocol")
            await fails("5 times in a row")
            assert len(there.requests) == 5
            clock.seconds += 3.0
            await fails("RemoteProtocol")
            await fails("6 times in a row")
            clock.seconds += 5.0
            answers[0] = NO_CONTENT
            assert [(await post(out, there)).status for _ in range(2)] == [204, 204]

    finished(work())


def test_one_host_has_so_many_at_once_and_the_others_wait_for_their_turn() -> None:
    async def work() -> None:
        go_on, asked = asyncio.Event(), asyncio.Semaphore(0)

        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.release()
            await go_on.wait()
            writer.write(NO_CONTENT)

        names = Names(hooks_example=[[OUTSIDE]], other_example=[[OUTSIDE]])
        async with elsewhere(say) as there:
            out = client(there, names, reach_host_at_once_max=2)
            posts = [asyncio.create_task(post(out, there)) for _ in range(5)]
            other = asyncio.create_task(
                out.request("GET", f"http://other.example:{there.port}/", seconds=600)
            )
            for _ in range(3):
                await asked.acquire()
            with pytest.raises(Unanswered, match="others are being asked"):
                await post(out, there, seconds=0.05)
            assert len(there.requests) == 3
            posts.pop().cancel()  # one that waits takes nobody's turn with it
            go_on.set()
            assert [(await task).status for task in [*posts, other]] == [204] * 5

    finished(work())
