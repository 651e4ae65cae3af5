"""A Redis server: the way there, and why it cannot be used."""

from typing import Any
from urllib.parse import urlsplit

from penstock.core.errors import Misconfigured, lacking
from penstock.core.settings import redacted

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as missing:
    raise lacking("PENSTOCK_STATE names a Redis, and its client", "redis") from missing

RedisError: type[Exception] = redis.RedisError
WatchError: type[Exception] = redis.WatchError

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 5.0
_HEALTH_CHECK_SECONDS = 30


def connect(url: str) -> tuple[str, Any]:
    """Where the server is, fit to be printed, and its client."""
    try:
        place, client = redacted(url).partition("?")[0], _client(url)
        info = client.info()
    except (ValueError, TypeError):  # the latter for an option that there is not
        raise Misconfigured(
            "PENSTOCK_STATE is not the URL of a Redis; write redis://user:password@host:6379/0, "
            "and in the password %2F for /, %3F for ?, %23 for # and %40 for @"
        ) from None
    except redis.AuthenticationError as error:
        raise Misconfigured(
            f"PENSTOCK_STATE={place} does not let us in: {error}; "
            "write redis://user:password@host:6379/0, or redis://:password@host:6379/0"
        ) from error
    except redis.RedisError as error:
        raise Misconfigured(
            f"PENSTOCK_STATE={place} cannot be used: {error}; see that it runs and that the URL "
            "is right"
        ) from error
    if found := obstacle(info):
        client.close()
        raise Misconfigured(f"PENSTOCK_STATE={place} {found}")
    return place, client


def _client(url: str) -> Any:
    """Raise `ValueError`. Its types say that any answer may be text, hence `Any`."""
    parts = urlsplit(url)
    if "@" in parts.path + parts.query + parts.fragment:
        raise ValueError("the password has a character that ends it, and would be printed")
    return redis.Redis.from_url(
        url,
        # HGETALL is parsed by a fifth faster than as a map of RESP3 (hiredis 3.5).
        protocol=2,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        health_check_interval=_HEALTH_CHECK_SECONDS,
        # Nothing is sent twice: a swap whose answer was lost would swap back to nothing.
        retry=Retry(NoBackoff(), 0),
    )


def evicted_by(client: Any) -> int:
    """Keys since the server's start, whoever's they were."""
    return int(client.info("stats")["evicted_keys"])


def obstacle(info: dict[str, Any]) -> str:
    if info.get("cluster_enabled"):
        return "is a cluster, over which a space cannot change at once; name a single server"
    if info.get("role") != "master":
        return "is a replica, which takes no writes; name its primary"
    if (policy := info.get("maxmemory_policy")) != "noeviction":
        return (
            f"forgets when its memory is full (maxmemory-policy {policy}); "
            "set maxmemory-policy noeviction"
        )
    return ""
