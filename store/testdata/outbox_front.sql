select coalesce((
  select t."id" from "modulo"."outbox" as t
  where (
done_at is null
  )
  and (t."id" > coalesce((select max(f.row_id) from modulo.failures as f where f.job = 'outbox'), '-9223372036854775808'::bigint)
    or not exists (select from modulo.failures as f where f.job = 'outbox' and f.row_id = t."id" offset 0))
  order by t."id"
  limit 1
), (
  select max(t."id") from "modulo"."outbox" as t
), '-9223372036854775808'::bigint)
