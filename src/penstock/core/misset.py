"""What is wrong with settings, in words that name the remedy."""

import difflib
import re
from collections.abc import Collection

PREFIX = "PENSTOCK_"
CONFIG_VARIABLE = "PENSTOCK_CONFIG"

_PASSWORD = re.compile(r"(://[^:/@]*):.*@")
"""Up to the last `@`: a password that was not quoted may hold anything, and rather hides more."""
_SHOWN_MAX = 100


def redacted(url: str) -> str:
    """The URL with its password, if it has one, replaced."""
    return _PASSWORD.sub(r"\1:***@", url)


def unknown(name: str, known: Collection[str], prefix: str) -> str:
    """`name` may be of an application that nobody named; then only what is very near is meant."""
    owner = name.partition("_")[0]
    strange = prefix == PREFIX and "_" in name and all(of.split("_")[0] != owner for of in known)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.8 if strange else 0.5)
    told = f"unknown setting {prefix}{name.upper()}"
    if nearest:
        return f"{told}; did you mean {prefix}{nearest[0].upper()}?"
    return f"{told}; if it is of {owner}, {_unnamed()}" if strange else told


def unknown_table(name: str, applications: Collection[str]) -> str:
    nearest = difflib.get_close_matches(name, applications, n=1, cutoff=0.5)
    hint = f"did you mean [{nearest[0]}]?" if nearest else f"if it is of {name}, {_unnamed()}"
    return f"unknown table [{name}] in the file of {CONFIG_VARIABLE}; {hint}"


def _unnamed() -> str:
    return f"{PREFIX}APPLICATIONS does not name that: add its package"


def unfit(name: str, value: object, reason: str, prefix: str) -> str:
    """`reason` is msgspec's. Texts of applications may be secrets, and are not repeated."""
    told = f"setting {prefix}{name.upper()}: {reason}"
    if prefix != PREFIX and reason.startswith("Expected `str`"):
        return told
    given = repr(redacted(value) if isinstance(value, str) else value)
    return f"{told}; it is {given[:_SHOWN_MAX]}{'...' if len(given) > _SHOWN_MAX else ''}"


def no_package(path: str) -> str:
    """Empty where it may be the name of one."""
    if all(part.isidentifier() for part in path.split(".")):
        return ""
    if "/" in path or "\\" in path or path.startswith("."):
        return (
            f"{PREFIX}APPLICATIONS: {path}: a package name, not a path, is to be given, as in "
            "shop.wallet: start in the folder that it lies in, or name that in PYTHONPATH"
        )
    return f"{PREFIX}APPLICATIONS: {path} is no name of a package, as shop.wallet is one"
