package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"example.com/belfry/config"
	"example.com/belfry/fsm/seal"
)

// maxPEM is the size of the largest PEM file that is read, in bytes.
const maxPEM = 1 << 20

func configCommand(o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Look at the configuration",
		Args:  noCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(configPrintCommand(o), configCheckCommand(o), &cobra.Command{
		Use:   "docs",
		Short: "Print the reference of all settings, in Markdown",
		Args:  noCommand,
		RunE:  func(*cobra.Command, []string) error { return config.WriteDocs(o.Stdout) },
	})
	return cmd
}

func configPrintCommand(o *Options) *cobra.Command {
	var sources bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print what is in force, in the form of the configuration file",
		Long:  "Print what flags, environment and file make together. The output can be used as a file. Secrets are not printed.",
		Args:  noCommand,
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&sources, "sources", false, "say for each value where it comes from")
	l := config.Bind(cmd.Flags())
	cmd.RunE = func(*cobra.Command, []string) error {
		loaded, err := l.Load(o.Environ)
		if err != nil {
			return usageError{err}
		}
		return loaded.WriteYAML(o.Stdout, sources)
	}
	return cmd
}

func configCheckCommand(o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say whether the configuration can be used",
		Long:  "Check values and combinations, and open the key and certificate files they name. It starts nothing.",
		Args:  noCommand,
	}
	cmd.Flags().SortFlags = false
	l := config.Bind(cmd.Flags())
	cmd.RunE = func(*cobra.Command, []string) error {
		loaded, err := loadValid(o, l)
		if err != nil {
			return err
		}
		if err := checkFiles(o, loaded.Config); err != nil {
			return usageError{err}
		}
		for _, w := range loaded.Warnings {
			fmt.Fprintln(o.Stderr, "belfry: warning: "+w)
		}
		_, err = fmt.Fprintln(o.Stdout, "the configuration can be used")
		return err
	}
	return cmd
}

// checkFiles opens what a start would open. Errors never hold the content.
func checkFiles(o *Options, c config.Config) error {
	var errs []error
	if c.MasterKeyFile != "" {
		if _, err := seal.LoadRing(c.MasterKeyFile); err != nil {
			errs = append(errs, fmt.Errorf("--master-key-file: %w", err))
		}
	}
	for _, p := range []struct{ flag, cert, key string }{
		{"--peer-tls-cert", c.PeerTLSCert, c.PeerTLSKey},
		{"--api-tls-cert", c.APITLSCert, c.APITLSKey},
	} {
		if p.cert == "" {
			continue
		}
		if _, err := tls.LoadX509KeyPair(p.cert, p.key); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.flag, err))
		}
	}
	if c.PeerTLSCA != "" {
		b, err := readLimited(o, c.PeerTLSCA, maxPEM)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(b) {
			err = errors.New("holds no PEM certificate")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--peer-tls-ca: %w", err))
		}
	}
	return errors.Join(errs...)
}
