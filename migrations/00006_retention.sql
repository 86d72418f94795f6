-- +goose Up
create table modulo.retention (
  subject    text primary key,
  holder     uuid not null,
  host       text not null,
  expires_at timestamptz not null,
  removed    bigint not null default 0,
  swept_at   timestamptz
) with (fillfactor = 10);

comment on table modulo.retention is
  'One row per kind of old rows that instances remove: done, failed, audit. Empty unless "retention" is configured.';
comment on column modulo.retention.holder is 'The process that removes them: one at a time.';
comment on column modulo.retention.expires_at is 'Afterwards another one may. Renewed by each batch.';
comment on column modulo.retention.removed is 'Rows removed so far.';
comment on column modulo.retention.swept_at is 'When all rows of the table had been looked at the last time.';

-- +goose Down
drop table modulo.retention;
