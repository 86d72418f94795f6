select exists (select from (
  select t."Ord-er" from "Bil""ling"."select" as t
  where (
a = 1 or b -- either
  )
  and (t."Ord-er" > coalesce((select max(f.row_id) from modulo.failures as f where f.job = 'it''s'), '-9223372036854775808'::bigint)
    or not exists (select from modulo.failures as f where f.job = 'it''s' and f.row_id = t."Ord-er" offset 0))
  and not exists (select from modulo.failures as f where f.job = 'it''s'
    and f.key = nullif(t."customer id"::text, '') and f.row_id < t."Ord-er" and not f.delivered offset 0)
  order by t."Ord-er"
  limit 1
) as r)
or exists (select from modulo.failures as f where f.job = 'it''s' and f.failed_at is null and f.next_attempt_at <= now())
