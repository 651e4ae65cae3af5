-- One row per tag inside the retention. An aggregate reads at most ten minutes of one action, which
-- lie together; an hour of logical time is a partition, so retention drops folders, not rows.
CREATE TABLE IF NOT EXISTS audiences_tags (
  log_offset  UInt64 CODEC(Delta, ZSTD),
  minute      Int64 CODEC(Delta, ZSTD),
  action      LowCardinality(String),
  origin      LowCardinality(String),
  brand_id    LowCardinality(String),
  category_id LowCardinality(String),
  price       Int32 CODEC(ZSTD)
) ENGINE = MergeTree
PARTITION BY intDiv(minute, 60)
ORDER BY (minute, action, category_id, brand_id, origin)
SETTINGS
  non_replicated_deduplication_window = 1000,
  fsync_after_insert = 1,
  fsync_part_directory = 1;
