"""Reach: whatever others say, what comes back is bounded in bytes and in time. Reliability 25."""

import asyncio
import gzip

import pytest

from penstock.core.reach import Unanswered
from support.elsewhere import drip, elsewhere
from support.reaching import NO_CONTENT, client, finished, pass_time, post

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("say", "why"),
    [
        pytest.param(OK + b"\r\n" + b"x" * 70_000, "too large", id="until it ends"),
        pytest.param(OK + b"Content-Length: 70000\r\n\r\n" + b"x" * 70_000, "too large", id="told"),
        pytest.param(CHUNKED + b"11170\r\n" + b"x" * 70_000, "too large", id="chunked"),
        pytest.param(CHUNKED + b"1\r\nx\r\n" * 1_100, "too large", id="in crumbs"),
        pytest.param(OK + b"X-A: b\r\n" * 20_000 + b"\r\n", "head|RemoteProtocol", id="long head"),
        pytest.param(OK + b"X-A: " + b"b" * 99_000, "head|RemoteProtocol", id="long line"),
        pytest.param(b"HTTP/1.1 100 Go on\r\n\r\n" * 9_000, "does not end", id="going on for ever"),
        pytest.param(CHUNKED + b"zz\r\nx\r\n0\r\n\r\n", "RemoteProtocol", id="no chunk"),
        pytest.param(CHUNKED + b"2\r\nxyz\r\n0\r\n\r\n", "RemoteProtocol", id="longer chunk"),
        pytest.param(CHUNKED + b"5\r\nx", "RemoteProtocol", id="chunk cut off"),
        pytest.param(OK + b"Content-Length: 9\r\n\r\nx", "RemoteProtocol", id="body cut off"),
        pytest.param(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy", "RemoteProtocol",
                     id="two lengths"),
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", "RemoteProtocol", id="another protocol"),
        pytest.param(b"\x00" * 4_096, "RemoteProtocol|ended", id="nothing"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "RemoteProtocol|ended",
                     id="switching"),
    ],
)  # fmt: skip
def test_an_answer_that_is_too_much_or_none_is_given_up(say: bytes, why: str) -> None:
    async def work() -> None:
        async with elsewhere(say) as there:
            out = client(there, reach_answer_bytes_max=65_536)
            with pytest.raises(Unanswered, match=why) as gave_up:
                await post(out, there)

            assert gave_up.value.sent
            await there.left.wait()

    finished(work())


@pytest.mark.parametrize("piece", [b"x", b"X-A: b\r\n"], ids=["body", "head"])
def test_an_answer_that_drips_ends_with_its_time(piece: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(OK + (b"\r\n" if piece == b"x" else b""))
        for _ in range(3):
            writer.write(piece)
            await writer.drain()
        pass_time()
        await drip(writer, piece)

    async def work() -> None:
        async with elsewhere(say) as there:
            with pytest.raises(Unanswered, match="no answer within 600 seconds"):
                await post(client(there, reach_answer_bytes_max=1 << 40), there)
            await there.left.wait()

    finished(work())


def test_an_answer_without_end_is_left_at_its_bound() -> None:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        await drip(writer, b"x" * 8_192)

    async def work() -> None:
        async with elsewhere(say) as there:
            with pytest.raises(Unanswered, match="too large"):
                await post(client(there), there, bytes_max=100_000)
            await there.left.wait()

    finished(work())


def test_one_that_answers_after_its_time_speaks_to_nobody() -> None:
    async def work() -> None:
        late = asyncio.Event()
        heard: list[bytes] = []

        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readexactly(2))
            pass_time()
            await late.wait()
            writer.write(NO_CONTENT)
            heard.append(await reader.read())

        async with elsewhere(say) as there:
            with pytest.raises(Unanswered, match="no answer within") as gave_up:
                await post(client(there), there)
            late.set()
            await there.left.wait()

        assert gave_up.value.sent
        assert heard in ([b"{}"], [b"{}", b""])  # the end, or a reset

    finished(work())


def test_what_comes_compressed_is_inflated_under_the_same_bound() -> None:
    def zipped(size: int) -> bytes:
        body = gzip.compress(b"x" * size)
        head = f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        return OK + head + body

    async def work() -> None:
        async with elsewhere(zipped(5_000)) as there:
            assert (await post(client(there), there)).body == b"x" * 5_000
        async with elsewhere(zipped(50_000_000)) as there:
            with pytest.raises(Unanswered, match="at most 1048576 bytes"):
                await post(client(there), there)
        odd = OK + b"Content-Encoding: lzma\r\nContent-Length: 1\r\n\r\nx"
        async with elsewhere(odd) as there:
            with pytest.raises(Unanswered, match="coded once"):
                await post(client(there), there)

    finished(work())
