select (select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint), r.* from (
  select t."id"::bigint, null::text, (t."payload")::text, t."destination"::text, t."event_id"::text, t."headers"::text, (select date_part('epoch', clock_timestamp())) - date_part('epoch', t.created_at)
  from "modulo"."outbox" as t
  where (
done_at is null
  )
  and coalesce(t."id" % 5 in (0), false)
  and t."id" >= (select $1::bigint)
  and (t."id" > coalesce((select max(f.row_id) from modulo.failures as f where f.job = 'outbox'), '-9223372036854775808'::bigint)
    or not exists (select from modulo.failures as f where f.job = 'outbox' and f.row_id = t."id" offset 0))
  order by t."id"
  limit 1000
) as r
limit $2
