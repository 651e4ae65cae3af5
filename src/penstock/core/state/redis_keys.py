"""Keys of the state on a server; what holds what, `core.state.redis` says."""

TOKENS = "penstock:tokens"
ORDER = b"#"
"""The name of the key that has the sort keys of `OURS_NAME` in order."""
OURS_NAME = b"="
"""That of the group without a name, which may be large, and is read from somewhere on."""


def registry_of(generation: bytes) -> bytes:
    return b"penstock:" + generation


def keys_of(generation: bytes) -> bytes:
    """How the generation's keys begin."""
    return registry_of(generation) + b":"


def group_name(group: bytes) -> bytes:
    return b"=" + group


def position_name(partition: int) -> bytes:
    return b"@%d" % partition


def lease(name: str) -> list[str]:
    return [f"penstock:lease:{name}", TOKENS]
