"""Every error a client can be answered with: one class per status, one `code` per cause.

A message says what is wrong and, where it is not plain, what to do about it. Paths, and the words
of an engine, are its *detail*: whoever reads our lines is told both, whoever asks over the network
the message alone.
"""

from typing import ClassVar


def sound(text: object) -> str:
    """Text that can be written down: half a surrogate pair, which JSON and a file's name may have,
    is in no encoding, and becomes its escape.
    """
    return str(text).encode("utf-8", "backslashreplace").decode()


class PenstockError(Exception):
    """Something failed inside; the client is told no more than that."""

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal"

    message: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """What its answer says beside it, whatever its body is."""
    field: str = ""
    """What of what was sent is wrong, as in `product_info.price`; empty where that is all of it."""

    def __init__(
        self, message: str = "", *, code: str = "", retry_after: int = 0, detail: str = ""
    ) -> None:
        self.message = sound(message) or (type(self).__doc__ or "").splitlines()[0]
        """For anybody."""
        super().__init__(f"{self.message}: {sound(detail)}" if detail else self.message)
        self.code = sound(code) or self.default_code
        self.retry_after = retry_after
        """Seconds after which trying again makes sense; 0 where it does not."""

    def __str__(self) -> str:
        return str(self.args[0])


class Rejected(PenstockError):
    """What was sent is not valid; sending it again will not help."""

    status = 400
    default_code = "bad_request"

    def __init__(
        self, message: str = "", *, code: str = "", detail: str = "", field: str = ""
    ) -> None:
        super().__init__(message, code=code, detail=detail)
        self.field = sound(field)


class BadField(Rejected):
    """A field, or a parameter, is not what it may be."""

    default_code = "bad_field"


class BadEncoding(Rejected):
    """The body is not what its Content-Encoding says."""

    default_code = "bad_encoding"


class Unauthorized(PenstockError):
    """Who asks is not known here; ask with a key or a token that is."""

    status = 401
    default_code = "unauthorized"
    headers = ((b"www-authenticate", b"Bearer"),)


class PaymentRequired(PenstockError):
    """What is paid for is used up."""

    status = 402
    default_code = "payment_required"


class Forbidden(PenstockError):
    """Who asks is known, and may not do this."""

    status = 403
    default_code = "forbidden"


class NotFound(PenstockError):
    """There is nothing at this path."""

    status = 404
    default_code = "not_found"


class MethodNotAllowed(PenstockError):
    """The path exists, the method does not."""

    status = 405
    default_code = "method_not_allowed"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(f"this path answers {', '.join(allowed)}")
        self.allowed = allowed
        self.headers = ((b"allow", ", ".join(allowed).encode()),)


class TimedOut(PenstockError):
    """The request did not arrive in full in time."""

    status = 408
    default_code = "timeout"


class Conflict(PenstockError):
    """It does not agree with what is there by now; look at that first."""

    status = 409
    default_code = "conflict"


class Taken(Conflict):
    """Another one has this value already, and no two may."""

    default_code = "taken"

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.field = sound(field)


class InUse(Conflict):
    """Others name it, so that it cannot be removed; archive it instead."""

    default_code = "in_use"


class Gone(PenstockError):
    """What was asked for was kept once, and no longer is."""

    status = 410
    default_code = "retention"


class TooLarge(PenstockError):
    """The body is larger than this path takes."""

    status = 413
    default_code = "too_large"


class UnsupportedType(PenstockError):
    """The body is of a type, or in an encoding, that this path does not take."""

    status = 415
    default_code = "unsupported_type"

    def __init__(self, message: str = "", *, accepts: str = "") -> None:
        """`accepts`: the encodings it does take, where the encoding is what is wrong."""
        super().__init__(message)
        if accepts:
            self.headers = ((b"accept-encoding", accepts.encode()),)


class Unprocessable(PenstockError):
    """It is well formed, and asks for what cannot be."""

    status = 422
    default_code = "unprocessable"


class KeyReused(Unprocessable):
    """The Idempotency-Key came with another request before; send this one under a key of its own.

    Another operation, path, query or body makes it another; nothing of this one was stored.
    """

    default_code = "key_reused"


class RateLimited(PenstockError):
    """More was asked than is allowed in a time; nothing was stored, try again later."""

    status = 429
    default_code = "rate_limited"

    def __init__(self, message: str = "", *, code: str = "", retry_after: int = 1) -> None:
        super().__init__(message, code=code, retry_after=retry_after)


class HeadersTooLarge(PenstockError):
    """The path, the query or the headers are larger than the server takes."""

    status = 431
    default_code = "too_large"


class ExpectationFailed(PenstockError):
    """The only thing that can be expected of this server is to go on: 100-continue."""

    status = 417
    default_code = "expectation_failed"


class Unimplemented(PenstockError):
    """Neither this nor any other path knows the method or the transfer coding."""

    status = 501
    default_code = "not_implemented"


class VersionNotSupported(PenstockError):
    """The server speaks HTTP/1.1 and HTTP/1.0."""

    status = 505
    default_code = "version_not_supported"


class Overloaded(PenstockError):
    """More is under way than the server takes on; nothing was stored, try again."""

    status = 503
    default_code = "overloaded"

    def __init__(self, message: str = "", *, retry_after: int = 1) -> None:
        super().__init__(message, retry_after=retry_after)


class NotReady(PenstockError):
    """Nothing can be made durable, or answered, just now; nothing was stored, try again."""

    status = 503
    default_code = "not_ready"

    def __init__(self, message: str = "", *, retry_after: int = 5, detail: str = "") -> None:
        super().__init__(message, retry_after=retry_after, detail=detail)


class OutOfSpace(PenstockError):
    """There is no room left for what was sent; nothing was stored."""

    status = 507
    default_code = "out_of_space"


class Disproved(NotReady):
    """A view was made from records that the log does not have; until it is rebuilt it is silent."""

    default_code = "disproved"

    def __init__(self, message: str = "") -> None:
        super().__init__(message, retry_after=0)


class Damaged(NotReady):
    """A view lacks something that its position claims; until it is rebuilt it is silent."""

    default_code = "damaged"

    def __init__(self, name: str = "", lacks: str = "") -> None:
        remedy = f"{name}: {lacks}; run `penstock rebuild {name} --from-scratch`"
        super().__init__(remedy if name else "", retry_after=0)
        self.lacks = lacks


class Misconfigured(PenstockError):
    """The start stops here: the message names the setting or the folder, and the remedy."""


class Moved(PenstockError):
    """The store is not at the position that its writer left there; resume from the store.

    Another process has taken the partition over, or the store has lost its newest part.
    """


def lacking(what: str, extra: str) -> Misconfigured:
    """A client that only some installations need is not there. There is a stranger's distribution
    of the name `penstock`, so none is named: ours is installed from its repository or its wheel.
    """
    return Misconfigured(
        f"{what} is not installed: in a clone of the repository, `pip install '.[{extra}]'`"
    )


def catalogue() -> list[type[PenstockError]]:
    """Those that a client can be answered with, by status and code."""
    kinds = [
        kind
        for kind in globals().values()
        if isinstance(kind, type) and issubclass(kind, PenstockError)
    ]
    inside = PenstockError.status
    told = [kind for kind in kinds if kind is PenstockError or kind.status != inside]
    return sorted(told, key=lambda kind: (kind.status, kind.default_code))


def meaning(kind: type[PenstockError]) -> str:
    """What the error means, in a paragraph."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def words_of(error: BaseException) -> str:
    """What was raised says; an error that cannot even tell itself has no words."""
    try:
        return sound(error)
    except Exception:  # noqa: BLE001 - its own way to tell itself may be what is wrong
        return "it has no words"


def told_of(error: BaseException, characters_max: int = 1_000) -> str:
    """Kind and words of whatever was raised, for those who read along; never raises."""
    return f"{type(error).__name__}: {words_of(error)}"[:characters_max]


def told(error: Exception) -> str:
    """What anybody may hear of a failure: of one that is none of ours no more than its kind."""
    return error.message if isinstance(error, PenstockError) else type(error).__name__
