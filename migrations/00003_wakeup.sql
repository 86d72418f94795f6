-- +goose Up
-- +goose StatementBegin
create function modulo.notify_rows() returns trigger language plpgsql as $$
begin
  perform pg_catalog.pg_notify('modulo_rows', coalesce(tg_argv[0], tg_table_schema || '.' || tg_table_name));
  return null;
end
$$;
-- +goose StatementEnd

comment on function modulo.notify_rows() is
  'Statement-level trigger function: tells instances with "listen: true" that rows were inserted, once the transaction '
  'commits. An argument stands for the name of the table: on a partition, "schema.table" of the partitioned table.';

-- Writers queue behind us while we wait for a transaction that has the table: better to fail, and to be run again.
set local lock_timeout = '2s';

create trigger outbox_rows after insert on modulo.outbox
  for each statement execute function modulo.notify_rows();

-- Commits that notify wait for each other, so nobody pays for it who does not ask for it.
alter table modulo.outbox disable trigger outbox_rows;

comment on trigger outbox_rows on modulo.outbox is
  'Enabled by "modulo migrate up" and "modulo run" with "listen: true"; disabled by hand only.';

-- +goose Down
drop trigger outbox_rows on modulo.outbox;
-- Without "cascade": where a trigger on somebody's own table still uses it, that comes first.
drop function modulo.notify_rows();
