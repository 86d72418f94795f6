-- +goose Up
create table modulo.outbox (
  id          bigint generated always as identity primary key,
  event_id    uuid not null default gen_random_uuid(),
  destination text not null default '/queue/modulo.events',
  type        text,
  key         text,
  payload     text not null,
  headers     jsonb,
  created_at  timestamptz not null default now(),
  done_at     timestamptz
) with (
  -- Pages stay full: a row is updated once, and done_at is in the predicate of an index, so the update is never HOT.
  fillfactor = 100,
  -- What costs is the dead front of the pending index, so vacuum comes early, by share as well as by number:
  -- on 100 million rows the default would wait for 20 million dead ones.
  autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_analyze_threshold = 10000,
  autovacuum_analyze_scale_factor = 0.02
);

create index outbox_pending on modulo.outbox (id) where done_at is null;

-- Without statistics the planner takes pending rows to be rare, always. With them it believes, after an analyze at the
-- wrong moment, that all rows are pending, and walks the primary key over everything ever sent.
alter table modulo.outbox alter column done_at set statistics 0;

comment on table modulo.outbox is
  'Events to be sent. Applications insert in their own transaction; Modulo sends and sets done_at.';
comment on column modulo.outbox.id is 'Order of sending. Worker w of K sends the rows with id % K = w.';
comment on column modulo.outbox.event_id is 'Header event_id: the same each time the event is sent.';
comment on column modulo.outbox.destination is 'Where to. The job decides which destinations are allowed.';
comment on column modulo.outbox.type is 'Header type (JMSType).';
comment on column modulo.outbox.key is 'Header JMSXGroupID. With shard_by: key all rows of a key are sent in id order.';
comment on column modulo.outbox.payload is 'Body of the message, a TextMessage.';
comment on column modulo.outbox.headers is 'More headers: a JSON object of strings.';
comment on column modulo.outbox.done_at is
  'Null: pending. Set once the broker has confirmed the message. Set to null by hand: sent again.';
comment on index modulo.outbox_pending is 'Serves the fetch. Without it each fetch walks all rows ever sent.';

create table modulo.failures (
  job             text not null,
  row_id          bigint not null,
  key             text,
  event_id        text not null,
  attempts        int not null,
  next_attempt_at timestamptz not null,
  failed_at       timestamptz,
  error_class     text not null,
  last_error      text not null,
  delivered       boolean not null default false,
  discarded_at    timestamptz,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  primary key (job, row_id)
) with (
  -- Every change moves a row in the index of due rows, so none is HOT; the table is small and cheap to vacuum.
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_scale_factor = 0.05
);

create index failures_due on modulo.failures (job, next_attempt_at) where failed_at is null;
create index failures_key on modulo.failures (job, key, row_id) where key is not null;

comment on table modulo.failures is
  'Rows that could not be sent, of every job. See "modulo rows list"; change it by "modulo rows retry" and "discard".';
comment on column modulo.failures.row_id is 'The row''s id in the table of the job.';
comment on column modulo.failures.key is 'The row''s value of shard_by; an ordered job holds back later rows of this key.';
comment on column modulo.failures.next_attempt_at is 'When it is tried again, unless failed_at is set.';
comment on column modulo.failures.failed_at is 'Attempts are used up: waits for a person. Never deleted by itself.';
comment on column modulo.failures.error_class is
  'invalid_message, too_large, not_allowed, refused (by the broker), unmarkable (sent, but the done mark was refused).';
comment on column modulo.failures.delivered is 'The broker has it; only the done mark is missing. Never sent again.';
comment on column modulo.failures.discarded_at is 'Given up by a person: the worker marks the row done without sending.';

create sequence modulo.epoch as bigint;
comment on sequence modulo.epoch is 'Grows with each change of a worker''s owner; sent as part of the header epoch.';

-- +goose Down
drop sequence modulo.epoch;
drop table modulo.failures;
drop table modulo.outbox;
