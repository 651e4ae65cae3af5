-- name: aggregates
-- How many tags of an action were there in each minute of a range, and what did they sum to?
-- The first row is the logical minute, if any, for judging the range against the retention: that of
-- the log, whosesoever tags moved it.
SELECT max(logical_minute) AS minute, toUInt64(0) AS count, toInt64(0) AS sum_price, 0 AS kind
FROM audiences_tags
HAVING count() > 0
UNION ALL
SELECT minute, count() AS count, sum(toInt64(price)) AS sum_price, 1 AS kind
FROM audiences_tags
WHERE minute >= {start:Int64} AND minute < {end:Int64} AND action = {action:String}
  AND project = {project:String}
  AND ({origin:String} = '' OR origin = {origin:String})
  AND ({brand_id:String} = '' OR brand_id = {brand_id:String})
  AND ({category_id:String} = '' OR category_id = {category_id:String})
GROUP BY minute
ORDER BY kind, minute;
