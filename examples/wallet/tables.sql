-- One row for each movement of money, those of an account in their order.
-- shard by: cityHash64(account)
CREATE TABLE IF NOT EXISTS wallet_movements (
  log_offset UInt64 CODEC(Delta, ZSTD),
  project    LowCardinality(String) DEFAULT 'default',
  at_ms      Int64 CODEC(Delta, ZSTD),
  account    String,
  payment    String,
  shop       LowCardinality(String),
  cents      Int64
) ENGINE = MergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(at_ms))
ORDER BY (account, log_offset)
SETTINGS non_replicated_deduplication_window = 10000;
