"""The image: small, not root, checked, and complete for what it runs."""

import json
import re
import subprocess
import sys
import tomllib

from deploy.stack import PINNED, ROOT, operator_paths, read, settings, version
from penstock.core.settings import Settings

INSTRUCTION = re.compile(r"^([A-Z]+) ((?:.*\\\n)*.*)$", re.MULTILINE)
STAGES = [
    [(name, re.sub(r"\\\n\s*", "", words)) for name, words in INSTRUCTION.findall(stage)]
    for stage in re.split(r"(?m)^(?=FROM )", read("Dockerfile"))[1:]
]
BUILD, IMAGE = STAGES


def words(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [words for instruction, words in stage if instruction == name]


def environment() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(words(IMAGE, "ENV"))))


def left_out() -> list[str]:
    [found] = re.findall(r'WITHOUT="(.*)"', read("Dockerfile"))
    return str(found).split()


def test_both_stages_stand_on_the_same_pinned_python() -> None:
    [built_on], [runs_on] = words(BUILD, "FROM"), words(IMAGE, "FROM")

    assert built_on == f"{runs_on} AS build"
    assert PINNED.match(runs_on)
    assert runs_on.startswith("python:3.13.")


def test_it_does_not_run_as_root() -> None:
    [user] = words(IMAGE, "USER")

    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert f"--uid {user.partition(':')[0]} " in words(IMAGE, "RUN")[0]


def test_its_settings_are_known_and_fit_what_it_declares() -> None:
    variables = {k: v for k, v in environment().items() if k.startswith("PENSTOCK_")}
    given = settings(variables)

    assert words(IMAGE, "VOLUME") == [given.data]
    assert words(IMAGE, "EXPOSE") == [str(given.port)]
    assert given.host == "0.0.0.0"


def test_it_is_asked_whether_it_lives() -> None:
    [check] = words(IMAGE, "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])

    assert command[:2] == ["python", "-c"]
    compile(command[2], "check", "exec")
    assert "/healthz" in command[2]
    assert "/healthz" in operator_paths()


def test_it_is_stopped_by_the_signal_that_drains() -> None:
    assert words(IMAGE, "STOPSIGNAL") == ["SIGTERM"]
    assert words(IMAGE, "ENTRYPOINT") == ['["penstock"]'], "a shell would keep the signal"


def test_its_extras_and_what_it_leaves_out_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    extras = set(re.findall(r"--extra (\w+)", read("Dockerfile")))

    assert extras == {"kafka", "postgresql", "redis"} <= set(project["optional-dependencies"])
    assert set(left_out()) <= {package["name"] for package in locked}


def test_what_it_leaves_out_is_not_needed_beside_servers() -> None:
    blocked = [*left_out(), "rocksdict"]
    program = f"""
import sys
sys.modules.update(dict.fromkeys({[name.replace("-", "_") for name in blocked]!r}))
import clickhouse_connect, confluent_kafka, redis
from penstock.cli import cli
from penstock.core import server
from penstock.core.state.redis import RedisState
from penstock.core.warehouse.clickhouse import ClickHouse
from penstock.main import build
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_what_it_copies_is_let_into_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = [part for line in words(BUILD, "COPY") for part in line.split()[:-1]]

    assert "*" in ignored
    assert set(copied) == let_in
    assert all((ROOT / name).exists() for name in copied)


def test_its_name_in_the_comment_is_of_this_version() -> None:
    assert f"-t penstock:{version()} ." in read("Dockerfile")
    assert Settings().drain_seconds_max < 10, "Docker's own patience, where nobody gives it more"
