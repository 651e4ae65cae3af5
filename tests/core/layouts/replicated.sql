CREATE TABLE IF NOT EXISTS shop_sales (
  log_offset UInt64 CODEC(Delta, ZSTD),
  minute     Int64,
  word       LowCardinality(String),
  price      Int32
) ENGINE = ReplicatedMergeTree
PARTITION BY intDiv(minute, 60)
ORDER BY (minute, word)
SETTINGS
  replicated_deduplication_window = 1000,
  replicated_deduplication_window_seconds = 31536000,
  fsync_after_insert = 1;

CREATE TABLE IF NOT EXISTS shop_prices (id String, version UInt64, price Int32)
ENGINE = ReplicatedReplacingMergeTree(version) ORDER BY id SETTINGS replicated_deduplication_window = 100,
  replicated_deduplication_window_seconds = 31536000;

CREATE TABLE IF NOT EXISTS shop_sums (word String, minute Int64, sold UInt64, total Int64)
ENGINE = ReplicatedSummingMergeTree((sold, total)) ORDER BY (word, minute)
SETTINGS replicated_deduplication_window = 1000,
  replicated_deduplication_window_seconds = 31536000;

CREATE TABLE shop_buyers (day Date, buyers AggregateFunction(uniq, String))
ENGINE = ReplicatedAggregatingMergeTree ORDER BY day;

CREATE MATERIALIZED VIEW IF NOT EXISTS shop_sums_view TO shop_sums AS
SELECT word, minute, count() AS sold, sum(price) AS total FROM shop_sales GROUP BY word, minute;

CREATE TABLE IF NOT EXISTS penstock_blocks (
  contents String, partition UInt32, log String, first UInt64, next UInt64, carry String,
  planned_at DateTime64(6) DEFAULT now64(6), proof String, before String
) ENGINE = ReplicatedReplacingMergeTree(next) ORDER BY (contents, partition)
SETTINGS replicated_deduplication_window = 10000,
  replicated_deduplication_window_seconds = 31536000, fsync_after_insert = 1, fsync_part_directory = 1;

EXCHANGE TABLES shop_sales__shadow AND shop_sales;

DROP TABLE IF EXISTS shop_sales__shadow SYNC;

ALTER TABLE shop_sales DROP PARTITION -7;

SELECT DISTINCT partition FROM system.parts;
