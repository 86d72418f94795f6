package fleet

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// keepLedger has the database itself write down who got which worker, and when it was given back, by itself or as its owner
// left, or taken away because the owner's lease was over.
const keepLedger = `
create table public.expired (instance uuid primary key);
create function public.write_expired() returns trigger language plpgsql as $$
begin
  insert into public.expired select old.instance where old.expires_at <= clock_timestamp();
  return old;
end $$;
create trigger write_expired before delete on modulo.instances for each row execute function public.write_expired();
create table public.ledger (
  at timestamptz not null default clock_timestamp(), of int not null, number int not null, epoch bigint not null, pid int,
  taken boolean not null
);
create function public.write_ledger() returns trigger language plpgsql as $$
begin
  insert into public.ledger (of, number, epoch, pid, taken)
  select workers, new.number, new.epoch, (select pid from modulo.instances where instance = new.owner),
    exists (select from public.expired where instance = old.owner)
  from modulo.jobs where job = new.job;
  return null;
end $$;
create trigger write_ledger after update on modulo.workers for each row
when (new.owner is distinct from old.owner) execute function public.write_ledger()`

// tenure is the time that a process owned a worker.
type tenure struct {
	of, number int
	epoch      int64
	pid        int
	from, to   time.Time // to is zero while it lasts
	taken      bool      // the lease was over; else given back
}

// overlaps says whether it was owned at some time from one moment to another.
func (t *tenure) overlaps(from, to time.Time) bool {
	return t.from.Before(to) && (t.to.IsZero() || t.to.After(from))
}

// ledger is all tenures, by the time they began.
type ledger []tenure

func (f *fleet) keepLedger() {
	f.t.Helper()
	if _, err := f.db.Exec(f.t.Context(), keepLedger); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) ledger(t *testing.T) ledger {
	t.Helper()
	rows, err := f.db.Query(t.Context(), "select at, of, number, epoch, coalesce(pid, 0), taken from public.ledger order by at")
	if err != nil {
		t.Fatal(err)
	}
	var all ledger
	current := map[[2]int]int{} // index in all, by worker
	var e tenure
	_, err = pgx.ForEachRow(rows, []any{&e.from, &e.of, &e.number, &e.epoch, &e.pid, &e.taken}, func() error {
		worker := [2]int{e.of, e.number}
		if last, known := current[worker]; known {
			all[last].to, all[last].taken = e.from, e.taken
			delete(current, worker)
		}
		if e.pid != 0 {
			current[worker] = len(all)
			all = append(all, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// next is the tenure of the same worker after one that has ended; nil if there is none.
func (l ledger) next(t *tenure) *tenure {
	for i := range l {
		if l[i].of == t.of && l[i].number == t.number && l[i].epoch > t.epoch {
			return &l[i]
		}
	}
	return nil
}

// byEpoch is the tenure with an epoch; nil if there is none.
func (l ledger) byEpoch(epoch int64) *tenure {
	if i := slices.IndexFunc(l, func(t tenure) bool { return t.epoch == epoch }); i >= 0 {
		return &l[i]
	}
	return nil
}
