package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"modulo/internal/config"
	"modulo/store"
)

//go:embed init.yaml.tmpl
var initTemplate string

func (a *app) initCommand() *cobra.Command {
	var from, out string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented example configuration",
		Example: `  modulo init > modulo.yaml
  modulo init --from-table billing.invoice --out modulo.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return a.writeInit(out, exampleTable())
			}
			return a.withDatabase(cmd.Context(), func(db *store.DB, _ *config.Config) error {
				table, guess, err := db.Describe(cmd.Context(), from)
				if _, wrong := errors.AsType[*store.Problem](err); wrong {
					return exit(exitUsage, fmt.Errorf("--from-table: %w", err))
				}
				if err != nil {
					return err
				}
				if table.Schema+"."+table.Name == store.OutboxTable {
					return exit(exitUsage, fmt.Errorf("--from-table: %s has a job of its own, outbox, that needs no settings: modulo init without --from-table writes it", store.OutboxTable))
				}
				return a.writeInit(out, fromTable(from, table, guess))
			})
		},
	}
	cmd.Flags().StringVar(&from, "from-table", "", "fill it in from this `table`, as in billing.invoice")
	cmd.Flags().StringVar(&out, "out", "", "write to this `file`, which must not exist yet (default: standard output)")
	return cmd
}

// initTable is what the template says about the user's own table. Fields that nothing suggests stay empty and are
// marked in the file as to be filled in.
type initTable struct {
	Job, Table         string
	ID, Where, DoneSet string
	Columns            []string
	Queue              string
	Example            bool // commented out: there is no such table
}

func exampleTable() initTable {
	return initTable{
		Job: "invoices", Table: "billing.invoice", ID: "invoice_id", Where: "status = 'APPROVED' and sent_at is null",
		DoneSet: "sent_at = now()", Columns: []string{"invoice_id", "customer_id", "total"}, Queue: "billing.invoice", Example: true,
	}
}

func fromTable(name string, table *store.Table, guess store.Guess) initTable {
	t := initTable{Table: name, ID: guess.ID, Where: guess.Where, DoneSet: guess.DoneSet}
	for _, column := range table.Columns {
		t.Columns = append(t.Columns, column.Name)
	}
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return -1
	}, strings.ToLower(table.Name))
	t.Job = "events"
	if plain = strings.TrimLeft(plain, "_-"); plain != "" {
		t.Job = plain[:min(len(plain), 63)]
	}
	t.Queue = t.Job
	return t
}

func (a *app) writeInit(path string, table initTable) (err error) {
	text, err := template.New("init").Funcs(template.FuncMap{"quote": quoteYAML, "join": strings.Join}).Parse(initTemplate)
	if err != nil {
		return err
	}
	var out io.Writer = a.out
	if path != "" {
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		switch {
		case errors.Is(err, fs.ErrExist):
			return exit(exitRefused, fmt.Errorf("write the configuration: %w", err))
		case err != nil:
			return fmt.Errorf("write the configuration: %w", err)
		}
		defer func() {
			if closeErr := file.Close(); err == nil {
				err = closeErr
			}
		}()
		out = file
	}
	return text.Execute(out, table)
}

// quoteYAML writes any text as one double-quoted YAML scalar.
func quoteYAML(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(text) + `"`
}
