package main

import (
	"github.com/spf13/cobra"

	"modulo/internal/config"
)

func (a *app) configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print the configuration in force, without its secrets",
		Long: `Print the configuration in force as a file: defaults, the file, the environment and the flags together, with passwords
masked. It is checked as run would check it; database and broker are not asked.`,
		Example: `  modulo config --config modulo.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.load(config.Overrides{})
			if err != nil {
				return err
			}
			text, err := c.Masked()
			if err != nil {
				return err
			}
			_, err = a.out.Write(text)
			return err
		},
	}
}
