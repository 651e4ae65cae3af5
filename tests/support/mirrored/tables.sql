-- shard by: cityHash64(project, key)
CREATE TABLE IF NOT EXISTS tests_kept (
  log_offset UInt64,
  project    LowCardinality(String),
  key        String,
  amount     UInt64,
  word       String,
  version    UInt64,
  is_deleted UInt8
) ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (project, key)
SETTINGS non_replicated_deduplication_window = 1000
