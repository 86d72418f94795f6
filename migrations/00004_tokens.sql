-- +goose Up
create table modulo.tokens (
  job      text not null references modulo.jobs on delete cascade,
  number   int not null,
  lineage  text not null,
  made     boolean not null default false,
  problem  text,
  noted_at timestamptz not null default clock_timestamp(),
  primary key (job, number)
);

comment on table modulo.tokens is
  'One row per worker number that ever had a token: a message on the broker that says what the worker has sent.';
comment on column modulo.tokens.lineage is
  'Ends the name of the token''s queue. A new one is drawn where a token has to be made from nothing.';
comment on column modulo.tokens.made is 'The queue holds the token of this lineage. False: it still has to be made.';
comment on column modulo.tokens.problem is 'Why the worker waits for a person; null: nothing is wrong.';

alter table modulo.workers add column unsettled boolean not null default false;

comment on column modulo.workers.unsettled is
  'The owner has not said that every row the broker holds has its mark: the next one asks the broker first.';

-- +goose Down
alter table modulo.workers drop column unsettled;
drop table modulo.tokens;
