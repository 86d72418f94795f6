select exists (select from (
  select t."id" from "modulo"."outbox" as t
  where (
done_at is null
  )
  and (t."id" > coalesce((select max(f.row_id) from modulo.failures as f where f.job = 'outbox'), '-9223372036854775808'::bigint)
    or not exists (select from modulo.failures as f where f.job = 'outbox' and f.row_id = t."id" offset 0))
  order by t."id"
  limit 1
) as r)
or exists (select from modulo.failures as f where f.job = 'outbox' and f.failed_at is null and f.next_attempt_at <= now())
