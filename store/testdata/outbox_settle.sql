with settled as (
  delete from modulo.failures as f where f.job = 'outbox' and f.row_id = any($1::bigint[])
)
update "modulo"."outbox" as t set
done_at = now()
where t."id" = any($1::bigint[]) and t."id" between $2::bigint and $3::bigint
