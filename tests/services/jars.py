"""Kafka's jars, out of Maven Central."""

import shutil
import subprocess
from pathlib import Path

from services.packages import Missing, program

SERVICES = Path(__file__).parents[2] / ".services"
JARS = SERVICES / "jars"
_POM = Path(__file__).with_name("pom.xml")


def fetched() -> bool:
    """Whether the jars are those of today's `pom.xml`."""
    copy = JARS / _POM.name
    return copy.exists() and copy.read_bytes() == _POM.read_bytes()


def fetch() -> None:
    if fetched():
        return
    shutil.rmtree(JARS, ignore_errors=True)
    done = subprocess.run(
        [
            program("mvn"), "--batch-mode", "--quiet", f"--file={_POM}",
            "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={JARS}",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Missing(f"Maven could not fetch Kafka:\n{done.stdout}{done.stderr}")
    shutil.copy(_POM, JARS)


def classpath() -> str:
    return ":".join(str(jar) for jar in sorted(JARS.glob("*.jar")))
