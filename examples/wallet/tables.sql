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

-- What each account has: a mirror of what the fold knows.
-- shard by: cityHash64(key)
CREATE TABLE IF NOT EXISTS wallet_balances (
  log_offset UInt64,
  project    LowCardinality(String) DEFAULT 'default',
  key        String,
  balance    Int64,
  held       Int64,
  version    UInt64,
  is_deleted UInt8
) ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (project, key);
