-- +goose Up
create table modulo.jobs (
  job            text primary key,
  generation     bigint not null default 1,
  workers        int not null check (workers between 1 and 1024),
  next_workers   int check (next_workers between 1 and 1024),
  stated_workers int,
  paused         boolean not null default false,
  triggered      bigint not null default 0,
  timeline       bigint,
  hold_until     timestamptz
) with (fillfactor = 50);

comment on table modulo.jobs is
  'One row per job that was ever run: what all instances agree on. Change it by "modulo workers set", "pause", "resume".';
comment on column modulo.jobs.generation is 'Grows with each change of workers. Each generation has its own rows in modulo.workers.';
comment on column modulo.jobs.workers is 'K: the number of workers in force.';
comment on column modulo.jobs.next_workers is
  'The K that is being changed to; null: not changing. In force once no worker of this generation has an owner.';
comment on column modulo.jobs.stated_workers is
  'The K that an instance stated last, by flag or file. Only another value than this changes K at a start.';
comment on column modulo.jobs.paused is 'No worker begins a batch. Owners keep their workers.';
comment on column modulo.jobs.triggered is 'Grows with each "modulo trigger": every worker begins a pass.';
comment on column modulo.jobs.timeline is 'Timeline of the server that was seen last. A new one means a fail-over.';
comment on column modulo.jobs.hold_until is
  'No worker gets an owner before: after a fail-over leases that were granted before it may be missing here.';

create table modulo.instances (
  instance    uuid primary key,
  host        text not null,
  pid         int not null,
  version     text not null,
  jobs        text[] not null,
  max_workers int check (max_workers >= 0),
  beat        bigint not null default 0,
  started_at  timestamptz not null default clock_timestamp(),
  expires_at  timestamptz not null
) with (
  -- The only rows that change all the time. Every update has room beside the old version, so it is HOT and cleans up
  -- after itself. There must be no index on beat or expires_at.
  fillfactor = 10,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 500
);

comment on table modulo.instances is
  'One row per running instance, renewed every few seconds. Deleting a row takes the instance''s workers from it.';
comment on column modulo.instances.instance is 'Drawn anew by each process, and after a lost lease.';
comment on column modulo.instances.jobs is 'The jobs it runs.';
comment on column modulo.instances.max_workers is 'How many workers it takes at most, of all its jobs; null: no limit; 0: it is stopping.';
comment on column modulo.instances.beat is 'Number of renewals.';
comment on column modulo.instances.expires_at is
  'End of the lease, by the clock of this server. It cannot be renewed afterwards, and anybody may delete the row.';

create table modulo.workers (
  job        text not null references modulo.jobs on delete cascade,
  generation bigint not null,
  number     int not null,
  owner      uuid references modulo.instances on delete set null,
  epoch      bigint not null default 0,
  unfinished boolean not null default false,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (job, generation, number)
) with (fillfactor = 50);

comment on table modulo.workers is
  'One row per worker of a job''s current generation. Worker number w of K owns the rows with id % K = w.';
comment on column modulo.workers.owner is 'The instance that runs it; null: free.';
comment on column modulo.workers.epoch is 'Drawn from modulo.epoch for each new owner. Fences what an earlier owner still writes.';
comment on column modulo.workers.unfinished is
  'The owner has not said that it finished its pass: the next one begins with a pass, whatever the schedule.';
comment on column modulo.workers.changed_at is 'When it got, or lost, its owner.';

-- +goose Down
drop table modulo.workers;
drop table modulo.instances;
drop table modulo.jobs;
