with fence as materialized (
  select from modulo.workers as w
  where w.job = 'it''s' and w.number = $8::int and w.epoch = $9::bigint and w.owner is not null
  for share
), parked as (
insert into modulo.failures as f
  (job, row_id, key, event_id, attempts, next_attempt_at, failed_at, error_class, last_error, delivered, updated_at)
select 'it''s', u.row_id, nullif(t."customer id"::text, ''), u.event_id, u.attempts, now() + make_interval(secs => u.retry_after),
  case when u.retry_after <= 0 or u.delivered then now() end, u.error_class, u.last_error, u.delivered, clock_timestamp()
from unnest($1::bigint[], $2::text[], $3::int[], $4::float8[], $5::text[], $6::text[], $7::boolean[])
  as u (row_id, event_id, attempts, retry_after, error_class, last_error, delivered)
join "Bil""ling"."select" as t on t."Ord-er" = u.row_id
where ($9::bigint = 0 or exists (select from fence)) and $10::bigint in (0, (select 0::bigint))
order by u.row_id
on conflict (job, row_id) do update set
  event_id = case when excluded.event_id = '' then f.event_id else excluded.event_id end,
  attempts = greatest(f.attempts, excluded.attempts),
  next_attempt_at = case when f.discarded_at is null then excluded.next_attempt_at else now() end,
  failed_at = case when f.discarded_at is null or excluded.delivered then excluded.failed_at end,
  error_class = excluded.error_class,
  last_error = excluded.last_error,
  delivered = f.delivered or (excluded.delivered and f.discarded_at is null),
  updated_at = clock_timestamp()
)
select ($9::bigint = 0 or exists (select from fence)) and $10::bigint in (0, (select 0::bigint))
