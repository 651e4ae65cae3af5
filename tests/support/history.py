"""What clients sent and were told, and whether the answers of a server agree with it.

Every tag has a product number of its own, so that each can be found, and found twice. A cookie
holds fewer tags than a profile shows; an origin is counted by the aggregates.
"""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlencode

from support.process import Connection, Unsettled

_MINUTES = 5
_TAGS_OF_A_COOKIE = 50
_BATCH_TAGS = 20


class Sent(NamedTuple):
    """Tags of one request: stored all or, where the log is one file, not at all."""

    cookie: str
    origin: str
    products: Sequence[int]


class History:
    def __init__(self) -> None:
        self.acknowledged: list[Sent] = []
        self.unsettled: list[Sent] = []
        self._minute = int(time.time()) // 60 - _MINUTES
        self._products = itertools.count(1)
        self._cookies = itertools.count(1)
        self._lock = threading.Lock()

    @contextmanager
    def load(self, url: str, origin: str, *, queries: str | None = None) -> Iterator[None]:
        """Single tags, batches and queries from several clients at once, until the block ends.

        `queries` is where questions are asked: of `url` unless told otherwise, nowhere if empty.
        """
        over = threading.Event()
        clients = [
            threading.Thread(target=client, args=(url, origin, over))
            for client in (self._singles, self._singles, self._batches)
        ]
        if queries != "":
            asked = (queries or url, origin, over)
            clients.append(threading.Thread(target=self._queries, args=asked))
        for client in clients:
            client.start()
        try:
            yield
        finally:
            over.set()
            for client in clients:
                client.join()

    def send(self, url: str, origin: str, tags: int) -> None:
        """So many tags, all acknowledged."""
        connection = Connection(url)
        while tags > 0:
            cookie = f"c{next(self._cookies)}"
            assert self._post(connection, origin, cookie, min(tags, _BATCH_TAGS))
            tags -= _BATCH_TAGS
        connection.close()

    def _singles(self, url: str, origin: str, over: threading.Event) -> None:
        self._posts(url, origin, over, 1)

    def _batches(self, url: str, origin: str, over: threading.Event) -> None:
        self._posts(url, origin, over, _BATCH_TAGS)

    def _posts(self, url: str, origin: str, over: threading.Event, tags: int) -> None:
        connection = Connection(url)
        while not over.is_set():
            cookie = f"c{next(self._cookies)}"
            for _ in range(_TAGS_OF_A_COOKIE // tags):
                if over.is_set() or not self._post(connection, origin, cookie, tags):
                    return connection.close()
        return connection.close()

    def _post(self, connection: Connection, origin: str, cookie: str, tags: int) -> bool:
        """Whether to go on."""
        with self._lock:
            first = next(self._products)
            for _ in range(tags - 1):
                next(self._products)
        sent = Sent(cookie, origin, range(first, first + tags))
        path = "/user_tags" if tags == 1 else "/user_tags/batch"
        body = b"\n".join(self._tag(sent, product) for product in sent.products)
        try:
            status, answer = connection.ask("POST", path, body)
        except Unsettled:
            self.unsettled.append(sent)
            return False
        if status == 503:  # refused, and told so: nothing is stored
            return False
        assert status == (204 if tags == 1 else 200), answer
        self.acknowledged.append(sent)
        return True

    def _tag(self, sent: Sent, product: int) -> bytes:
        tag = {
            "time": _spelled(
                self._minute + product % _MINUTES, f"{product % 60:02d}.{product % 1000:03d}Z"
            ),
            "cookie": sent.cookie,
            "country": "PL",
            "device": "PC",
            "action": "VIEW",
            "origin": sent.origin,
            "product_info": {
                "product_id": product,
                "brand_id": f"Brand {product % 7}",
                "category_id": "Hats",
                "price": product % 1000,
            },
        }  # fmt: skip
        return json.dumps(tag).encode()

    def _queries(self, url: str, origin: str, over: threading.Event) -> None:
        connection = Connection(url)
        while not over.is_set():
            try:
                self.seen(connection, f"c{next(self._cookies) - 1}")
                self.counted(connection, origin)
            except Unsettled:
                break
        connection.close()

    # -- asking ---------------------------------------------------------------------------------

    def seen(self, connection: Connection, cookie: str) -> "Counter[int]":
        """How often each product is in the profile of a cookie."""
        start, end = self._range()
        answer = connection.json("POST", f"/user_profiles/{cookie}?time_range={start}_{end}")
        return Counter(tag["product_info"]["product_id"] for tag in answer["views"])

    def counted(self, connection: Connection, origin: str) -> tuple[int, int]:
        """Tags of an origin and the sum of their prices, by the aggregates."""
        start, end = self._range()
        query = [("time_range", f"{start}_{end}"), ("action", "VIEW"), ("origin", origin),
                 ("aggregates", "COUNT"), ("aggregates", "SUM_PRICE")]  # fmt: skip
        rows = connection.json("POST", f"/aggregates?{urlencode(query)}")["rows"]
        return sum(int(row[-2]) for row in rows), sum(int(row[-1]) for row in rows)

    def _range(self) -> tuple[str, str]:
        return _spelled(self._minute, "00"), _spelled(self._minute + _MINUTES, "00")

    # -- judging --------------------------------------------------------------------------------

    def check(self, url: str, origins: set[str], *, torn: bool = False) -> set[int]:
        """Every acknowledged tag of these origins is there exactly once, in both views; every
        other at most once, and a request's all or none unless `torn`. The products that are there.
        """
        connection = Connection(url)
        acknowledged = [sent for sent in self.acknowledged if sent.origin in origins]
        unsettled = [sent for sent in self.unsettled if sent.origin in origins]
        seen: Counter[int] = Counter()
        for cookie in {sent.cookie for sent in acknowledged + unsettled}:
            seen.update(self.seen(connection, cookie))
        twice = [product for product, times in seen.items() if times > 1]
        assert twice == []
        lost = [n for sent in acknowledged for n in sent.products if n not in seen]
        assert lost == []
        there = list(acknowledged)
        for sent in unsettled:
            found = [product in seen for product in sent.products]
            assert torn or all(found) or not any(found), sent
            kept = [n for n, is_there in zip(sent.products, found, strict=True) if is_there]
            there += [sent._replace(products=kept)] * any(found)
        stored = {product for sent in there for product in sent.products}
        assert stored == set(seen)
        for origin in origins:
            prices = [n % 1000 for sent in there if sent.origin == origin for n in sent.products]
            assert self.counted(connection, origin) == (len(prices), sum(prices)), origin
        connection.close()
        return stored


def _spelled(minute: int, rest: str) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:", time.gmtime(minute * 60)) + rest
