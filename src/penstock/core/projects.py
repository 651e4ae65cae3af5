"""Projects: whose something is. The platform writes it down, in records, in rows, before keys.

What is kept under a name or a key of the default project has that name alone, for it is older than
projects; what is another project's, and what would look like it, has the project's name in front.
"""

DEFAULT_PROJECT = "default"
NOT_OF_TEXT = b"\xff"
"""In no key that is made of text: before and behind a project's name."""
_SEPARATOR = "\x1f"


def name_of(project: str, name: str) -> str:
    """A name that no other project can have."""
    if project == DEFAULT_PROJECT and not name.startswith(_SEPARATOR):
        return name
    return f"{_SEPARATOR}{project}{_SEPARATOR}{name}"


def key_of(project: str, key: bytes) -> bytes:
    """A key that no other project can have."""
    if project == DEFAULT_PROJECT and not key.startswith(NOT_OF_TEXT):
        return key
    return b"%b%b%b%b" % (NOT_OF_TEXT, project.encode(), NOT_OF_TEXT, key)


def order_of(project: str, key: bytes) -> bytes:
    """The same of a key that orders records; those that have none, and no order, stay without."""
    return key and key_of(project, key)


def own_key(project: str, key: bytes) -> bytes:
    """What `key_of` was given."""
    front = b"%b%b%b" % (NOT_OF_TEXT, project.encode(), NOT_OF_TEXT)
    return key.removeprefix(front)


def project_of(key: bytes) -> str:
    """Whose a key is that `key_of` made."""
    if not key.startswith(NOT_OF_TEXT):
        return DEFAULT_PROJECT
    return key[1:].partition(NOT_OF_TEXT)[0].decode()
