with settled as (
  delete from modulo.failures as f where f.job = 'outbox' and f.row_id = any($1::bigint[]) and $4::bigint in (0, (select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint))
)
update "modulo"."outbox" as t set
done_at = now()
where t."id" = any($1::bigint[]) and t."id" between $2::bigint and $3::bigint
  and $4::bigint in (0, (select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint))
