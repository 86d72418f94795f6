package operations

import (
	"context"
	"time"

	"modulo/store"
)

// AuditEntry says who changed what, and why.
type AuditEntry struct {
	ID       int64        `json:"id"`
	At       time.Time    `json:"at"`
	Who      string       `json:"who"`
	Action   store.Action `json:"action"`
	Job      string       `json:"job"`
	Target   string       `json:"target"`
	Reason   string       `json:"reason"`
	Result   store.Result `json:"result"`
	Affected int64        `json:"affected"`
	EndedAt  *time.Time   `json:"ended_at"` // null: under way
}

// Audit is a page of entries, newest first.
type Audit struct {
	Entries []AuditEntry `json:"entries"`
	Next    *int64       `json:"next"` // Before of the next page; null: this is the last one
}

// Audit lists a page of entries: at most the filter's Limit, or MaxPage.
func (c *Console) Audit(ctx context.Context, f store.AuditFilter) (Audit, error) {
	limit := pageLimit(f.Limit)
	f.Limit = limit + 1
	list, err := c.DB.Audit(ctx, f)
	if err != nil {
		return Audit{}, err
	}
	page := Audit{Entries: []AuditEntry{}}
	list, page.Next = cutPage(list, limit, func(e store.AuditEntry) int64 { return e.ID })
	for _, e := range list {
		page.Entries = append(page.Entries, AuditEntry(e))
	}
	return page, nil
}

// AuditEntry returns one entry, which tells how far a repair is, too; store.ErrNoEntry where there is none.
func (c *Console) AuditEntry(ctx context.Context, id int64) (AuditEntry, error) {
	e, err := c.DB.AuditEntry(ctx, id)
	return AuditEntry(e), err
}
