-- One row per tag inside the retention. An aggregate reads at most ten minutes of one action, which
-- lie together; an hour of logical time is a partition, so retention drops folders, not rows.
-- On a cluster the tags of a minute meet on one host: what an aggregate adds up is a minute, so each
-- host sends back one sum for each of its own, and a block goes to the one or two hosts of its
-- minutes, not in splinters to all.
-- shard by: cityHash64(minute)
CREATE TABLE IF NOT EXISTS audiences_tags (
  log_offset     UInt64 CODEC(Delta, ZSTD),
  project        LowCardinality(String) DEFAULT 'default',
  minute         Int64 CODEC(Delta, ZSTD),
  logical_minute Int64 CODEC(Delta, ZSTD),
  action         LowCardinality(String),
  origin         LowCardinality(String),
  brand_id       LowCardinality(String),
  category_id    LowCardinality(String),
  price          Int32 CODEC(ZSTD)
) ENGINE = MergeTree
-- Of what its partition key names a part knows the extremes, so that the largest logical minute,
-- which every aggregate asks for, is found without reading any row.
PARTITION BY intDiv(minute, 60) + 0 * logical_minute
ORDER BY (minute, action, category_id, brand_id, origin)
SETTINGS
  -- The last block of each partition of the log, among those of all others since.
  non_replicated_deduplication_window = 10000,
  fsync_after_insert = 1,
  fsync_part_directory = 1;
