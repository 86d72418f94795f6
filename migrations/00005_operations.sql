-- +goose Up
create table modulo.audit (
  id       bigint generated always as identity primary key,
  at       timestamptz not null default clock_timestamp(),
  who      text not null,
  action   text not null,
  job      text not null,
  target   text not null default '',
  reason   text not null default '',
  result   text not null,
  affected bigint not null default 0,
  ended_at timestamptz,
  progress_at timestamptz not null default clock_timestamp()
);

create index audit_job on modulo.audit (job, id);
create index audit_under_way on modulo.audit (job) where ended_at is null;

comment on table modulo.audit is
  'Who changed what, and why: written in the transaction of the change. See "modulo audit".';
comment on column modulo.audit.who is 'As the command line or the login names the person; an instance, for what it does by itself.';
comment on column modulo.audit.target is 'What of the job was meant: rows, workers, a number of workers.';
comment on column modulo.audit.reason is 'As the person gave it.';
comment on column modulo.audit.result is 'done, refused: ..., under way, or how it ended early.';
comment on column modulo.audit.affected is 'Rows, tokens or workers changed so far; committed together with each part of the change.';
comment on column modulo.audit.ended_at is 'Null: under way, or the process that did it is gone.';
comment on column modulo.audit.progress_at is 'When a part of the change was last committed: a repair without any for a minute counts as ended.';

create table modulo.progress (
  job         text not null,
  number      int not null,
  done        bigint not null default 0,
  rate        float8 not null default 0,
  progress_at timestamptz,
  pass_at     timestamptz,
  pass_ms     bigint not null default 0,
  pass_done   bigint not null default 0,
  pass_failed bigint not null default 0,
  problem     text,
  noted_at    timestamptz not null default clock_timestamp(),
  primary key (job, number)
) with (
  -- Updated every few seconds per worker, in place: no index on what changes.
  fillfactor = 25,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000
);

comment on table modulo.progress is
  'How far each worker number has come, for people: nothing depends on it. Written by the owner every few seconds.';
comment on column modulo.progress.done is 'Rows marked done under this number, ever, by any owner.';
comment on column modulo.progress.rate is 'Rows marked done per second, since the note before.';
comment on column modulo.progress.progress_at is 'When it last got a receipt, marked rows or ended a pass well.';
comment on column modulo.progress.pass_at is 'End of the last pass; pass_ms, pass_done and pass_failed are about it.';
comment on column modulo.progress.problem is 'Why the last pass ended early; null: it did not.';

-- +goose Down
drop table modulo.progress;
drop table modulo.audit;
