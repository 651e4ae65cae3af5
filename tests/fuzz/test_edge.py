"""What is known to be hard, what chance makes of it, and any bytes: nothing breaks, and it makes no
difference whether heads are remembered.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.edge import CORPUS, Edges, unpacked
from support.messages import TORN, WHOLE, post

ROOT = Path(__file__).parents[2]
FUZZ_SECONDS = 5

Pieces = list[bytes]


@pytest.fixture(scope="module")
def edges() -> Iterator[Edges]:
    edges = Edges()
    yield edges
    edges.close()


@pytest.mark.parametrize("seed", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_remembered_heads_change_nothing_on_every_seed(edges: Edges, seed: Path) -> None:
    pieces = unpacked(seed.read_bytes())
    first, again = edges.try_out(pieces, pieces)
    assert first
    assert len(first) == len(again)


@pytest.mark.parametrize("message", WHOLE + TORN)
def test_remembered_heads_change_nothing_on_each_message_wherever_it_stands(
    edges: Edges, message: bytes
) -> None:
    edges.try_out([message], [message], [post(), message, post()], [post() + message + post()])


@pytest.mark.parametrize("message", [post(), *WHOLE[8:10], WHOLE[-1]])
def test_remembered_heads_change_nothing_on_a_request_cut_anywhere_once_its_head_is_known(
    edges: Edges, message: bytes
) -> None:
    for cut in range(1, len(message)):
        (*_, last) = edges.try_out([message], [message[:cut], message[cut:], message])
        assert [answer.status for answer in last] == [204, 204]


def test_remembered_heads_change_nothing_on_heads_that_differ_in_one_byte(edges: Edges) -> None:
    known = post()
    for at in range(len(known)):
        other = known[:at] + bytes([known[at] ^ 1]) + known[at + 1 :]
        edges.try_out([known, known, other, known], [other], [known])


@st.composite
def connections(draw: st.DrawFn) -> list[Pieces]:
    """What stands on some connections one after the other, whole, cut or cut off."""
    made = []
    for _ in range(draw(st.integers(1, 3))):
        messages = draw(st.lists(st.sampled_from(WHOLE + TORN), min_size=1, max_size=6))
        stream = b"".join(messages)
        if draw(st.booleans()):
            made.append(messages)
            continue
        end = draw(st.one_of(st.just(len(stream)), st.integers(1, len(stream))))
        cuts = draw(st.sets(st.integers(1, end), max_size=6)) | {0, end}
        made.append([stream[low:high] for low, high in pairwise(sorted(cuts))])
    return made


@pytest.mark.slow
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(connections())
def test_remembered_heads_change_nothing_on_whatever_follows_whatever(
    edges: Edges, connections: list[Pieces]
) -> None:
    edges.try_out(*connections)


def test_remembered_heads_change_nothing_on_what_a_fuzzer_finds(tmp_path: Path) -> None:
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed: `make fuzz` does, where there is one")
    fuzzed = subprocess.run(
        [
            *(sys.executable, ROOT / "tests/fuzz/edge.py", f"-max_total_time={FUZZ_SECONDS}"),
            *(f"-artifact_prefix={tmp_path}/", f"-dict={ROOT}/tests/fuzz/http.dict"),
            *(tmp_path, CORPUS),
        ],
        env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}/tests"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert fuzzed.returncode == 0, fuzzed.stderr[-5_000:]
