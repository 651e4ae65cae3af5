"""A Redis that forgets nothing, as the state store needs it."""

from pathlib import Path

from services.packages import program
from services.ports import free_ports
from services.process import Server


class RedisServer(Server):
    """Its data and its log are in the folder, and survive a restart."""

    def __init__(self, folder: Path, *, lasting: bool = False) -> None:
        """Raise `Missing` when Redis is not installed."""
        (port,) = free_ports(1)
        data = folder / "redis"
        data.mkdir(parents=True, exist_ok=True)
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": str(data),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "set-proc-title": "no",  # a process is recognized by the command that started it
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        super().__init__(
            [program("redis-server"), *options],
            folder / "log" / "redis.log",
            ready="Ready to accept connections",
            lasting=lasting,
        )
        self.url = f"redis://127.0.0.1:{port}/0"
