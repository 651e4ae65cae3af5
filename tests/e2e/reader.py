"""A reader of the documentation: does in a real shell what the pages say, in their order."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from services.jars import JARS
from services.ports import free_ports
from support.process import clean

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
"""Until a page's answer is what the page shows."""
_STEP_SECONDS_MAX = 240.0
_STEP = re.compile(
    r"^ *```(?P<kind>\w*)\n(?P<text>.*?)^ *```"
    r"|^(?:\d+\. )?(?P<stop>Stop )|^#+ (?P<heading>[^\n]*)$",
    re.DOTALL | re.MULTILINE,
)
"""A block, a sentence that begins with `Stop`, or a heading."""
_HOUR = re.compile(r"\d{4}-\d\d-\d\dT\d\d(?=:)")
_PORT = re.compile(r"\b80[89]\d\b")
_FOLDER = re.compile(r"(?<![\w.])(?=/(?:opt|var/lib|backup|etc)/)")


class Block(NamedTuple):
    kind: str
    text: str
    shown: list[str]
    """The lines that the page shows as its output."""
    heading: str

    @property
    def name(self) -> str:
        """Its first line."""
        return self.text.strip().partition("\n")[0].rstrip(" \\")


def steps(page: Path) -> Iterator[Block]:
    """Blocks of the shell, and where the reader is told to stop what serves (kind `stop`)."""
    heading = ""
    found = list(_STEP.finditer(page.read_text()))
    for at, step in enumerate(found):
        heading = step["heading"] or heading
        if step["stop"]:
            yield Block("stop", "", [], heading)
        if step["kind"] == "bash":
            following = found[at + 1] if at + 1 < len(found) else None
            shows = following is not None and following["kind"] in ("json", "text")
            shown = following["text"].splitlines() if following and shows else []
            yield Block("bash", step["text"], shown, heading)


def kinds(page: Path) -> set[str]:
    """Of all its blocks."""
    return {step["kind"] for step in _STEP.finditer(page.read_text()) if step["kind"] is not None}


class Reader:
    """One shell in a folder that is like a clone. Ports and folders of the pages become its own."""

    def __init__(self, folder: Path, replaced: Mapping[str, str] = {}) -> None:
        self.root = folder
        self._replaced = replaced
        self._clone = folder / "clone"
        self._terminals = folder / "terminals"
        self._failed = folder / "failed"
        self._ports: dict[str, str] = {}
        self._blocks = 0
        for made in (self._clone / ".make", self._clone / ".services", self._terminals):
            made.mkdir(parents=True, exist_ok=True)
        for name in (
            "Makefile", "pyproject.toml", "uv.lock", "src", "tests", "deploy", "docs", "examples"
        ):  # fmt: skip
            (self._clone / name).symlink_to(ROOT / name)
        (self._clone / ".venv").symlink_to(sys.prefix)
        (self._clone / ".services" / "jars").symlink_to(JARS)
        (self._clone / ".make" / "synced").touch()
        self._shell = self._open()

    def _open(self) -> "subprocess.Popen[str]":
        venv = Path(sys.executable).parent
        environment = clean() | {
            "PATH": f"{venv}{os.pathsep}{os.environ['PATH']}",
            "TERMINALS": str(self._terminals),
            "FAILED": str(self._failed),
            "PENSTOCK_PORT": self._port("8080"),
            "URL": f"http://127.0.0.1:{self._port('8080')}",
        }
        shell = subprocess.Popen(
            ["bash"], cwd=self._clone, env=environment, stdin=subprocess.PIPE, text=True
        )
        assert shell.stdin is not None
        shell.stdin.write(f". {Path(__file__).with_name('terminal.sh')}\n")
        return shell

    def follow(self, block: Block, *, may_fail: frozenset[str] = frozenset()) -> None:
        """Do what it says, and see what it shows; an answer may take a moment to get there.

        Only commands in `may_fail`, with their status before them, may end with a failure.
        """
        asks = "curl" in block.text and "/user_tags" not in block.text.rpartition("curl")[2]
        deadline = time.monotonic() + (PATIENCE_SECONDS if asks else 0.0)
        while True:
            printed = self._run(block.text)
            failed = set(self._failed.read_text().splitlines()) if self._failed.exists() else set()
            assert failed <= may_fail, f"{block.text}\nfailed with {failed}\n{printed}"
            missing = [line for line in block.shown if _any_hour(line) not in _any_hour(printed)]
            if not missing:
                return
            assert time.monotonic() < deadline, f"{block.text}\nsaid\n{printed}\nand not\n{missing}"
            time.sleep(0.2)

    def refused(self, text: str) -> str:
        """What it says when it ends with a failure, as it has to."""
        printed = self._run(text)
        assert self._failed.exists(), f"{text}\nended well\n{printed}"
        return printed

    def _run(self, text: str) -> str:
        self._blocks += 1
        self._failed.unlink(missing_ok=True)
        block, printed, done = (
            self.root / f"{self._blocks}.{end}" for end in ("sh", "out", "done")
        )
        block.write_text(self.translated(text))
        assert self._shell.stdin is not None
        # In this shell, for what it exports and where it goes; who is asked, says yes.
        self._shell.stdin.write(f". {block} >{printed} 2>&1 < <(yes); touch {done}\n")
        self._shell.stdin.flush()
        deadline = time.monotonic() + _STEP_SECONDS_MAX
        while not done.exists():
            assert self._shell.poll() is None, f"{text}\nended the shell"
            assert time.monotonic() < deadline, f"{text}\ndoes not end\n{printed.read_text()}"
            time.sleep(0.02)
        return printed.read_text().replace("\r", "")

    def translated(self, text: str) -> str:
        for written, meant in self._replaced.items():
            text = text.replace(written, meant)
        text = _PORT.sub(lambda found: self._port(found[0]), text)
        return _FOLDER.sub(str(self.root), text).replace(".venv/bin/penstock", "penstock")

    def _port(self, written: str) -> str:
        if written not in self._ports:
            self._ports[written] = str(free_ports(1)[0])
        return self._ports[written]

    def stop(self, number: int = signal.SIGINT) -> None:
        """Whatever serves, and wait for it; what they said is left."""
        serving = [process for process in self._processes() if "serve" in process.cmdline()]
        for process in serving:
            process.send_signal(number)
        _, left = psutil.wait_procs(serving, PATIENCE_SECONDS)
        assert not left, f"does not stop: {left}"

    def said(self) -> str:
        """On all other terminals."""
        return "".join(path.read_text() for path in sorted(self._terminals.glob("*.log")))

    def close(self) -> None:
        """Whatever state it is in."""
        for process in self._processes():
            if process.is_running():
                process.kill()
        if (self._clone / ".services" / "running.json").exists():
            command = ["make", "services-stop"]
            subprocess.run(command, cwd=self._clone, timeout=_STEP_SECONDS_MAX, check=True)
        self._shell.kill()
        self._shell.communicate()

    def _processes(self) -> list[psutil.Process]:
        """Those of all other terminals that are alive, and what these started."""
        found = []
        for path in self._terminals.glob("*.pid"):
            try:
                process = psutil.Process(int(path.read_text()))
                if process.ppid() == self._shell.pid:
                    family = [process, *process.children(recursive=True)]
                    found += [one for one in family if one.status() != psutil.STATUS_ZOMBIE]
            except psutil.NoSuchProcess:
                continue
        return found


def _any_hour(text: str) -> str:
    return _HOUR.sub("", text)
