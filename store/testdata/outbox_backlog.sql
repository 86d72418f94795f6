select ((shard_key % $1 + $1) % $1)::int, count(*), min(id),
  extract(epoch from now() - min(created))::float8
from (
  select t."id"::bigint as shard_key, t."id"::bigint as id, t.created_at::timestamptz as created
  from "modulo"."outbox" as t
  where (
done_at is null
  )
  and (t."id" > coalesce((select max(f.row_id) from modulo.failures as f where f.job = 'outbox'), '-9223372036854775808'::bigint)
    or not exists (select from modulo.failures as f where f.job = 'outbox' and f.row_id = t."id" offset 0))
  order by t."id"
  limit $2
) as pending (shard_key, id, created)
group by 1
