"""The shape of what `/api/pipeline` answers: how far every stage is."""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

WORST_FIRST = ("stopped", "retrying", "running", "elsewhere")
"""States of a partition; `elsewhere` it is another process's."""
LastError = Annotated[str, Meta(description="What is wrong just now; empty where nothing is.")]
Remembered = Annotated[
    str, Meta(description="Why offsets are those that were known last; empty where they are not.")
]


class LogStage(TypedDict):
    last_error: LastError
    spooled: Annotated[int, Meta(description="Records that wait on disk for the brokers.")]


class MinuteStage(TypedDict):
    """The account of a minute."""

    minute: Annotated[int, Meta(description="Minutes since 1970, by the server's clock.")]
    received: int
    stored: int
    duplicate: int
    rejected: int
    balanced: Annotated[bool, Meta(description="received = stored + duplicate + rejected")]


class TopicStage(TypedDict):
    topic: str
    start: Annotated[int | None, Meta(description="Oldest offset, of all partitions added up.")]
    end: Annotated[int | None, Meta(description="Next offset, of all partitions added up.")]
    remembered: Remembered
    last_error: LastError
    balanced: Annotated[bool, Meta(description="Whether each of the minutes is.")]
    minutes: Annotated[list[MinuteStage], Meta(description="Of the last 60, those with requests.")]
    partitions: NotRequired[int]


class ProjectionStage(TypedDict):
    """One partition of a projection. What cannot be had just now is missing."""

    projection: str
    partition: int
    state: Annotated[
        str,
        Meta(extra_json_schema={"enum": list(WORST_FIRST)}),
    ]
    position: Annotated[int, Meta(description="Offset up to which it has come.")]
    quarantined: Annotated[int | None, Meta(description="Dead letters.")]
    remembered: Remembered
    topic: NotRequired[str]
    end: NotRequired[
        Annotated[int | None, Meta(description="Offset that the next record will get.")]
    ]
    lag_records: NotRequired[int]
    lag_seconds: NotRequired[float]
    projected: NotRequired[Annotated[int, Meta(description="Records, since the process started.")]]
    skipped: NotRequired[
        Annotated[int, Meta(description="Records that it has no use for, repeats among them.")]
    ]
    dead_lettered: NotRequired[
        Annotated[int, Meta(description="Records that became dead letters.")]
    ]
    retries: NotRequired[int]
    last_error: NotRequired[LastError]


class MirrorStage(TypedDict):
    """One partition of the mirror of a fold, which may lag behind the fold."""

    mirror: Annotated[str, Meta(description="Its table.")]
    projection: str
    partition: int
    whole: Annotated[
        bool, Meta(description="Whether it has all that the fold knew at some time; else a 503.")
    ]
    lag_seconds: NotRequired[
        Annotated[float, Meta(description="Age of the oldest change that it has not.")]
    ]
    rows: NotRequired[Annotated[int, Meta(description="Went in, since the process started.")]]
    last_error: LastError


class Pipeline(TypedDict):
    log: LogStage
    topics: list[TopicStage]
    projections: list[ProjectionStage]
    mirrors: list[MirrorStage]
