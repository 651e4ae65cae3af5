"""The tables of the embedded log. A topic has its own, `blocks_ID`, whose row is a block."""

import apsw

from penstock.core.log import extents

SCHEMA_VERSION = "1"
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS idempotency (
  topic INTEGER NOT NULL, key TEXT NOT NULL, at_ms INTEGER NOT NULL,
  fingerprint BLOB NOT NULL DEFAULT x'', answer BLOB NOT NULL DEFAULT x'', PRIMARY KEY (topic, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idempotency_at ON idempotency (at_ms);
CREATE TABLE IF NOT EXISTS ledger (
  minute INTEGER NOT NULL, topic INTEGER NOT NULL, received INTEGER NOT NULL,
  stored INTEGER NOT NULL, duplicate INTEGER NOT NULL, rejected INTEGER NOT NULL,
  PRIMARY KEY (minute, topic)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS openings (
  topic INTEGER NOT NULL, first INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY (topic, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origins (
  topic INTEGER NOT NULL, source TEXT NOT NULL, partition INTEGER NOT NULL, number INTEGER NOT NULL,
  PRIMARY KEY (topic, source, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS extents (
  topic INTEGER PRIMARY KEY, start INTEGER NOT NULL, until_ms INTEGER NOT NULL,
  trimmed_bytes INTEGER NOT NULL, counted INTEGER NOT NULL, bytes INTEGER NOT NULL
);
"""
KEY_COLUMNS_SINCE = dict.fromkeys(("fingerprint", "answer"), "BLOB NOT NULL DEFAULT x''")
"""What the table of keys of an older file lacks."""
ADD_UP = """ON CONFLICT DO UPDATE SET
  received = received + excluded.received, stored = stored + excluded.stored,
  duplicate = duplicate + excluded.duplicate, rejected = rejected + excluded.rejected"""
OPENING = """SELECT coalesce(
  (SELECT id FROM openings WHERE topic = ?1 AND first < ?2 ORDER BY first DESC LIMIT 1),
  (SELECT value FROM meta WHERE key = 'identity'))"""
"""The opening of the log in which the record before an offset was added; what was added before
openings were noted is known by the log's identity.
"""
BLOCK = (
    "first, coalesce(CAST(count AS INTEGER), 0), coalesce(CAST(at_ms AS INTEGER), 0), "
    "coalesce(CAST(checksum AS INTEGER), -1), coalesce(CAST(body AS BLOB), x'')"
)
"""What is read of a block, always of these types: one bit of a damaged page makes a text of a body,
which its checksum finds if it gets to see it.
"""


def newest_ms(connection: apsw.Connection) -> int:
    """When the newest of each topic's last blocks was taken; 0 where there is none."""
    newest = [0]
    for (topic,) in connection.execute("SELECT id FROM topics"):
        found = connection.execute(
            f"SELECT CAST(at_ms AS INTEGER) FROM blocks_{topic} ORDER BY first DESC LIMIT 1"
        ).get
        newest.append(int(str(found or 0)) or extents.of(connection, int(str(topic))).until_ms)
    return max(newest)


def of_topic(topic_id: int) -> tuple[str, ...]:
    """What makes a topic's table, and the trigger that accounts for each block."""
    table = (
        f"CREATE TABLE blocks_{topic_id} (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, "
        "at_ms INTEGER NOT NULL, received INTEGER NOT NULL, duplicate INTEGER NOT NULL, "
        "rejected INTEGER NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL)"
    )
    trigger = (
        f"CREATE TRIGGER account_{topic_id} AFTER INSERT ON blocks_{topic_id} BEGIN "
        f"INSERT INTO ledger VALUES (NEW.at_ms / 60000, {topic_id}, NEW.received, NEW.count, "
        f"NEW.duplicate, NEW.rejected) {ADD_UP}; END"
    )
    return table, trigger
