-- name: audiences_tags
-- topic: audiences.tags
-- A row for each tag, for ClickHouse that consumes by itself: `penstock pull-sql`. The projection
-- leaves out tags that were outdated when they came; here they are kept. A minute is rounded down
-- also before 1970.
SELECT
  bitOr(bitShiftLeft(_partition, 48), _offset) AS log_offset,
  if(project = '', 'default', project) AS project,
  intDiv(time_ms - positiveModulo(time_ms, 60000), 60000) AS minute,
  least(minute, intDiv(toUnixTimestamp64Milli(assumeNotNull(_timestamp_ms)), 60000))
    AS logical_minute,
  action,
  origin,
  brand_id,
  category_id,
  toInt32(price) AS price
FROM audiences_tags_queue
WHERE _error = '' AND type = 'tag_recorded/1';
