select ((shard_key % $1 + $1) % $1)::int, count(*), min(id),
  extract(epoch from now() - min(created))::float8
from (
  select coalesce(hashtextextended(nullif(t."customer id"::text, ''), 0), t."Ord-er")::bigint as shard_key, t."Ord-er"::bigint as id, t.created_at::timestamptz as created
  from "Bil""ling"."select" as t
  where (
a = 1 or b -- either
  )
  and (t."Ord-er" > coalesce((select max(f.row_id) from modulo.failures as f where f.job = 'it''s'), '-9223372036854775808'::bigint)
    or not exists (select from modulo.failures as f where f.job = 'it''s' and f.row_id = t."Ord-er" offset 0))
  order by t."Ord-er"
  limit $2
) as pending (shard_key, id, created)
group by 1
