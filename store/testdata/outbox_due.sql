select (select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint), f.row_id, f.attempts, f.mark_only, r.*
from (
  select f.row_id, f.attempts, f.delivered or f.discarded_at is not null as mark_only
  from (
    select f.job, f.row_id, f.key, f.attempts, f.delivered, f.discarded_at
    from modulo.failures as f
    where f.job = 'outbox' and f.failed_at is null and f.next_attempt_at <= now() offset 0
  ) as f
  where f.row_id >= $4::bigint and f.row_id % $1::bigint in ($2::bigint, $2::bigint - $1::bigint)
  order by f.row_id
  limit $3
) as f
left join lateral (
  select true as pending, t."id"::bigint, null::text, (t."payload")::text, t."destination"::text, t."event_id"::text, t."headers"::text, (select date_part('epoch', clock_timestamp())) - date_part('epoch', t.created_at)
  from "modulo"."outbox" as t
  where t."id" = f.row_id and (
done_at is null
  ) offset 0
) as r on true
order by f.row_id
