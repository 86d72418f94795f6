package store

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"modulo/jobs"
)

// statements writes the SQL of one job. Names are quoted; where, doneSet and a payload expression are the operator's
// SQL, which checkFragment has seen: they stand on lines of their own, so that a comment ends with its line.
//
// The table is always t and the only one in scope of the operator's SQL, so that a column of ours is never meant by
// accident. K, w and the batch size are literals: parameters would hide them from the planner.
type statements struct {
	job     string
	table   string // quoted, with its schema
	id      string // quoted column
	key     string // quoted column; empty: the job shards by id
	where   string
	doneSet string
	payload string   // expression
	fields  []string // quoted columns
	ordered bool
	batch   int
	age     string // expression: seconds since the row was inserted; null where the table does not tell

	timeline string // expression
}

// here is the timeline of the server, found once per statement.
func (s *statements) here() string { return "(select " + s.timeline + ")" }

// fetch selects timeline, id, key, payload and fields of pending rows. $1 is the id to start from, $2 the most rows wanted.
func (s *statements) fetch(shard jobs.Shard) string {
	var b strings.Builder
	// The outer limit can change from call to call and stops the reading of wide rows; only the inner one, a literal,
	// tells the planner that few rows are wanted.
	fmt.Fprintf(&b, "select %s, r.* from (\n  select %s\n  from %s as t\n  where (\n%s\n  )\n",
		s.here(), s.columns(), s.table, s.where)
	if shard.Of > 1 {
		fmt.Fprintf(&b, "  and %s\n", s.owned(shard))
	}
	// A cursor that the planner can see as a constant makes it look up the ends of the index, a walk over all dead
	// entries, and changes plans with its value. Inside of a sub-select it is unknown until it runs.
	fmt.Fprintf(&b, "  and t.%s >= (select $1::bigint)\n", s.id)
	b.WriteString(s.notFailed())
	fmt.Fprintf(&b, "  order by t.%s\n  limit %d\n) as r\nlimit $2", s.id, s.batch)
	return b.String()
}

// columns are those of a Row, in the order in which rowReader reads them.
func (s *statements) columns() string {
	columns := make([]string, 0, 4+len(s.fields))
	columns = append(columns, "t."+s.id+"::bigint", s.keyText(), s.payload)
	for _, f := range s.fields {
		columns = append(columns, "t."+f+"::text")
	}
	columns = append(columns, s.age)
	return strings.Join(columns, ", ")
}

func (s *statements) keyText() string {
	if s.key == "" {
		return "null::text"
	}
	return fmt.Sprintf("nullif(t.%s::text, '')", s.key)
}

// shardKey is the number whose remainder picks the worker. A row whose key is null or empty is sharded by its id.
func (s *statements) shardKey() string {
	if s.key == "" {
		return "t." + s.id
	}
	return fmt.Sprintf("coalesce(hashtextextended(%s, 0), t.%s)", s.keyText(), s.id)
}

// owned is the condition that a row belongs to the shard; % takes the sign of the dividend. The planner believes
// that a remainder has one of 200 values and gives up the index for the few rows it expects; about coalesce it knows
// nothing and assumes half.
func (s *statements) owned(shard jobs.Shard) string {
	remainders := fmt.Sprint(shard.Number)
	if shard.Number > 0 {
		remainders = fmt.Sprintf("%d, %d", shard.Number, shard.Number-shard.Of)
	}
	return fmt.Sprintf("coalesce(%s %% %d in (%s), false)", s.shardKey(), shard.Of, remainders)
}

// front selects the lowest id of what any worker would fetch; where there is nothing, the highest id there is.
func (s *statements) front() string {
	return fmt.Sprintf("select coalesce((\n%s), (\n  select max(t.%s) from %s as t\n), '%d'::bigint)", s.first(), s.id, s.table, jobs.FirstID)
}

// waiting says whether a fetch of any worker, or due, would find something.
func (s *statements) waiting() string {
	return fmt.Sprintf("select exists (select from (\n%s) as r)\n"+
		"or exists (select from modulo.failures as f where f.job = %s and f.failed_at is null and f.next_attempt_at <= now())",
		s.first(), quoteText(s.job))
}

// first selects the lowest id of what any worker would fetch.
func (s *statements) first() string {
	return fmt.Sprintf("  select t.%[1]s from %[2]s as t\n  where (\n%[3]s\n  )\n%[4]s  order by t.%[1]s\n  limit 1\n", s.id, s.table, s.where, s.notFailed())
}

// notFailed leaves out rows with a record of a failure and, in an ordered job, those behind one of their key that was
// not delivered. A discarded one holds its key until its worker has settled it: only then the worker knows that it must
// look for the rows behind it, before it reads on.
func (s *statements) notFailed() string {
	if !s.ordered {
		return s.notParked()
	}
	return s.notParked() + fmt.Sprintf("  and not exists (select from modulo.failures as f where f.job = %s\n"+
		"    and f.key = %s and f.row_id < t.%s and not f.delivered offset 0)\n",
		quoteText(s.job), s.keyText(), s.id)
}

// notParked leaves out rows with a record of a failure. What is beyond the last such row, which is nearly everything,
// needs no look-up. "offset 0" keeps the look-up a probe of the index per row; as a join it can become a hash of all
// failures.
func (s *statements) notParked() string {
	return fmt.Sprintf("  and (t.%[1]s > coalesce((select max(f.row_id) from modulo.failures as f where f.job = %[2]s), '%[3]d'::bigint)\n"+
		"    or not exists (select from modulo.failures as f where f.job = %[2]s and f.row_id = t.%[1]s offset 0))\n",
		s.id, quoteText(s.job), int64(jobs.FirstID))
}

// due selects the failures whose next attempt has come: timeline, row_id, attempts, mark_only, pending (null: no longer), then
// the columns of a Row. $1 is K, $2 is w, $3 the most rows wanted, $4 the id to start from. "offset 0" keeps the order by
// row_id from choosing the primary key, which also has the rows that wait for a person, and makes the look-up of a row a
// probe of an index: as a join it can become a walk over all pending rows.
func (s *statements) due() string {
	shardKey := "f.row_id"
	if s.key != "" {
		shardKey = "coalesce(hashtextextended(f.key, 0), f.row_id)"
	}
	held := ""
	if s.ordered {
		held = "    and (f.delivered or f.discarded_at is not null or not exists (\n" +
			"      select from modulo.failures as e where e.job = f.job and e.key = f.key and e.row_id < f.row_id\n" +
			"      and not e.delivered))\n"
	}
	return fmt.Sprintf(`select %s, f.row_id, f.attempts, f.mark_only, r.*
from (
  select f.row_id, f.attempts, f.delivered or f.discarded_at is not null as mark_only
  from (
    select f.job, f.row_id, f.key, f.attempts, f.delivered, f.discarded_at
    from modulo.failures as f
    where f.job = %s and f.failed_at is null and f.next_attempt_at <= now() offset 0
  ) as f
  where f.row_id >= $4::bigint and %s %% $1::bigint in ($2::bigint, $2::bigint - $1::bigint)
%s  order by f.row_id
  limit $3
) as f
left join lateral (
  select true as pending, %s
  from %s as t
  where t.%s = f.row_id and (
%s
  ) offset 0
) as r on true
order by f.row_id`, s.here(), quoteText(s.job), shardKey, held, s.columns(), s.table, s.id, s.where)
}

// clear removes records of rows that are no longer pending. $1 are the row ids.
func (s *statements) clear() string {
	return fmt.Sprintf("delete from modulo.failures as f where f.job = %s and f.row_id = any($1::bigint[])", quoteText(s.job))
}

// mark is the done statement. $1 are the ids, $2 and $3 the lowest and highest: without them every partition is
// searched for every id. It does not ask for the pending condition: who holds a receipt tells the truth. But $4 is the
// timeline that the rows came from (0: any): a standby that was promoted gives ids that it has not seen to other rows.
func (s *statements) mark() string {
	return fmt.Sprintf("update %s as t set\n%s\nwhere t.%s = any($1::bigint[]) and t.%s between $2::bigint and $3::bigint\n"+
		"  and $4::bigint in (0, %s)", s.table, s.doneSet, s.id, s.id, s.here())
}

// pending selects what fetch does of the rows with the given ids, without those that are recorded as delivered. $1 are
// the ids, $2 and $3 the lowest and highest.
func (s *statements) pending() string {
	return fmt.Sprintf("select %[4]s, %[5]s\nfrom %[2]s as t\nwhere (\n%[3]s\n)\n"+
		"and t.%[1]s = any($1::bigint[]) and t.%[1]s between $2::bigint and $3::bigint\n"+
		"and not exists (select from modulo.failures as f where f.job = %[6]s and f.row_id = t.%[1]s and f.delivered offset 0)\n"+
		"order by t.%[1]s",
		s.id, s.table, s.where, s.here(), s.columns(), quoteText(s.job))
}

// settle is mark, and removes the records of the rows in the same statement.
func (s *statements) settle() string {
	return fmt.Sprintf("with settled as (\n  %s and $4::bigint in (0, %s)\n)\n%s", s.clear(), s.here(), s.mark())
}

// park writes or renews records. The parameters are arrays: row ids, event ids, attempts, seconds until the next
// attempt (0: none), classes, reasons, delivered. The key comes from the row itself; a row that is gone gets no
// record. $8 is the worker, $9 its epoch, $10 the timeline of the rows: where another owner has it now, or the server is
// another one, nothing is written. Returns whether the worker still is its owner's, which the lock makes true until
// the end.
func (s *statements) park() string {
	return fmt.Sprintf(`with fence as materialized (
  select from modulo.workers as w
  where w.job = %[1]s and w.number = $8::int and w.epoch = $9::bigint and w.owner is not null
  for share
), parked as (
insert into modulo.failures as f
  (job, row_id, key, event_id, attempts, next_attempt_at, failed_at, error_class, last_error, delivered, updated_at)
select %[1]s, u.row_id, %[2]s, u.event_id, u.attempts, now() + make_interval(secs => u.retry_after),
  case when u.retry_after <= 0 or u.delivered then now() end, u.error_class, u.last_error, u.delivered, clock_timestamp()
from unnest($1::bigint[], $2::text[], $3::int[], $4::float8[], $5::text[], $6::text[], $7::boolean[])
  as u (row_id, event_id, attempts, retry_after, error_class, last_error, delivered)
join %[3]s as t on t.%[4]s = u.row_id
where ($9::bigint = 0 or exists (select from fence)) and $10::bigint in (0, %[5]s)
order by u.row_id
on conflict (job, row_id) do update set
  event_id = case when excluded.event_id = '' then f.event_id else excluded.event_id end,
  attempts = greatest(f.attempts, excluded.attempts),
  next_attempt_at = case when f.discarded_at is null then excluded.next_attempt_at else now() end,
  failed_at = case when f.discarded_at is null or excluded.delivered then excluded.failed_at end,
  error_class = excluded.error_class,
  last_error = excluded.last_error,
  delivered = f.delivered or (excluded.delivered and f.discarded_at is null),
  updated_at = clock_timestamp()
)
select ($9::bigint = 0 or exists (select from fence)) and $10::bigint in (0, %[5]s)`, quoteText(s.job), s.keyText(), s.table, s.id, s.here())
}

// rowJSON is the payload of whole rows: an object of the columns in the given order, of all where none are given.
func rowJSON(columns []string) string {
	if len(columns) == 0 {
		return "row_to_json(t.*)::text"
	}
	selected := make([]string, len(columns))
	for i, c := range columns {
		selected[i] = "t." + quoteName(c)
	}
	// A sub-select and not json_build_object, which takes 50 columns at most.
	return "(select row_to_json(c.*) from (select " + strings.Join(selected, ", ") + ") as c)::text"
}

func quoteName(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

// quoteText writes a text literal; job names have no NUL.
func quoteText(text string) string {
	if strings.Contains(text, `\`) {
		return ` E'` + strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), `'`, `''`) + `'`
	}
	return `'` + strings.ReplaceAll(text, `'`, `''`) + `'`
}
