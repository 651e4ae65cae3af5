"""`docs/write-an-application.md` shows the example as it is; `e2e/test_documents.py` follows it."""

import re
from pathlib import Path

import wallet

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "write-an-application.md"
FOLDER = Path(wallet.__file__).parent
SHOWN = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_all_code_of_the_page_is_the_example_s_to_the_letter() -> None:
    modules = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.py"))}
    blocks = SHOWN.findall(PAGE.read_text())
    seen = {name for name, text in modules.items() for block in blocks if f"\n{block}" in text}

    assert [block for block in blocks if not any(f"\n{block}" in t for t in modules.values())] == []
    assert seen == {*modules} - {"__init__", "interface"}, "it shows all that decides"
    assert "`interface.py`" in PAGE.read_text()
