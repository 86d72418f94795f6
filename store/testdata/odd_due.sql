select (select 0::bigint), f.row_id, f.attempts, f.mark_only, r.*
from (
  select f.row_id, f.attempts, f.delivered or f.discarded_at is not null as mark_only
  from (
    select f.job, f.row_id, f.key, f.attempts, f.delivered, f.discarded_at
    from modulo.failures as f
    where f.job = 'it''s' and f.failed_at is null and f.next_attempt_at <= now() offset 0
  ) as f
  where f.row_id >= $4::bigint and coalesce(hashtextextended(f.key, 0), f.row_id) % $1::bigint in ($2::bigint, $2::bigint - $1::bigint)
    and (f.delivered or f.discarded_at is not null or not exists (
      select from modulo.failures as e where e.job = f.job and e.key = f.key and e.row_id < f.row_id
      and not e.delivered))
  order by f.row_id
  limit $3
) as f
left join lateral (
  select true as pending, t."Ord-er"::bigint, nullif(t."customer id"::text, ''), (select row_to_json(c.*) from (select t."Ord-er", t."q""") as c)::text, null::float8
  from "Bil""ling"."select" as t
  where t."Ord-er" = f.row_id and (
a = 1 or b -- either
  ) offset 0
) as r on true
order by f.row_id
