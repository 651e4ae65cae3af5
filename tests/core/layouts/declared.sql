-- One table of every kind, and a view.
-- shard by: cityHash64(minute)
CREATE TABLE IF NOT EXISTS shop_sales (
  log_offset UInt64 CODEC(Delta, ZSTD),
  minute     Int64,
  word       LowCardinality(String),
  price      Int32
) ENGINE = MergeTree
PARTITION BY intDiv(minute, 60)
ORDER BY (minute, word)
SETTINGS
  non_replicated_deduplication_window = 1000,
  fsync_after_insert = 1;

-- shard by: cityHash64(id)
CREATE TABLE IF NOT EXISTS shop_prices (id String, version UInt64, price Int32)
ENGINE = ReplacingMergeTree(version) ORDER BY id SETTINGS non_replicated_deduplication_window = 100;

-- shard by: cityHash64(word, minute)
CREATE TABLE IF NOT EXISTS shop_sums (word String, minute Int64, sold UInt64, total Int64)
ENGINE = SummingMergeTree((sold, total)) ORDER BY (word, minute)
SETTINGS non_replicated_deduplication_window = 1000;

-- shard by: toUInt64(day)
CREATE TABLE shop_buyers (day Date, buyers AggregateFunction(uniq, String))
ENGINE = AggregatingMergeTree() ORDER BY day;

CREATE MATERIALIZED VIEW IF NOT EXISTS shop_sums_view TO shop_sums AS
SELECT word, minute, count() AS sold, sum(price) AS total FROM shop_sales GROUP BY word, minute;
