package main

import (
	"github.com/spf13/cobra"

	"modulo/broker"
)

func (a *app) configCommand() *cobra.Command {
	var flags serviceFlags
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration in force, without its secrets",
		Long: `Print the configuration in force as a file: defaults, the file, the environment and the flags of run together, with passwords
masked. It is checked as run would check it, but for the users file and the collector of traces; database and broker are
not asked.`,
		Example: `  modulo config --config modulo.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.loadFor(cmd, &flags)
			if err != nil {
				return err
			}
			if _, err := broker.New(c.BrokerConfig()); err != nil {
				return exit(exitUsage, err)
			}
			text, err := c.Masked()
			if err != nil {
				return err
			}
			_, err = a.out.Write(text)
			return err
		},
	}
	flags.addRun(cmd)
	return cmd
}
