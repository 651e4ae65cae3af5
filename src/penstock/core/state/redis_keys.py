"""Keys of the state on a server; what holds what, `core.state.redis` says."""

TOKENS = "penstock:tokens"


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
