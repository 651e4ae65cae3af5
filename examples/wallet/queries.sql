-- name: statements
-- What did each account that was in use have before an interval, and what came and went in it?
SELECT account,
  sumIf(cents, at_ms < {start:Int64}) AS opening,
  sumIf(cents, at_ms >= {start:Int64} AND cents > 0) AS credited,
  -sumIf(cents, at_ms >= {start:Int64} AND cents < 0) AS debited
FROM wallet_movements
WHERE project = {project:String} AND at_ms < {end:Int64}
GROUP BY account
HAVING countIf(at_ms >= {start:Int64}) > 0
ORDER BY account;

-- name: total
-- What do all accounts together have?
SELECT sum(balance) AS balance, sum(held) AS held
FROM wallet_balances FINAL
WHERE project = {project:String};
