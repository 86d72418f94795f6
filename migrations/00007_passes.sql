-- +goose Up
create table modulo.passes (
  job      text not null,
  number   int not null,
  instance text not null,
  began_at timestamptz not null,
  ended_at timestamptz not null,
  passes   int not null,
  took_ms  bigint not null,
  sent     bigint not null,
  done     bigint not null,
  failed   bigint not null,
  repeated bigint not null,
  result   text not null,
  problem  text,
  primary key (job, began_at, number)
) with (
  -- Entries that go on are updated every few seconds, in place: no index on what changes.
  fillfactor = 80
);

comment on table modulo.passes is
  'What the passes of the last hours did, for people: nothing depends on it. Written by instances every few seconds, removed by them.';
comment on column modulo.passes.number is 'Of the worker; -1: of workers that had no owner.';
comment on column modulo.passes.instance is 'Host and process that tell.';
comment on column modulo.passes.began_at is 'When the first of the passes began, or should have, by the clock of the instance.';
comment on column modulo.passes.passes is 'Passes of the same result that share the entry: of a job at intervals those of a minute, else one.';
comment on column modulo.passes.took_ms is 'Of the longest of them.';
comment on column modulo.passes.result is 'complete, ended early or missed.';
comment on column modulo.passes.problem is 'Why; null: it is complete.';

-- +goose Down
drop table modulo.passes;
