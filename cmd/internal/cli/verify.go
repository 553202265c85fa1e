package cli

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/belfry/cmd/internal/signature"
)

var errSignature = errors.New("the request must not be trusted")

func verifyCommand(o *Options) *cobra.Command {
	var (
		secretFile, body, algorithm, hmacHeader, at string
		lines                                       []string
	)
	cmd := &cobra.Command{
		Use:   "verify-signature",
		Short: "Check the signature of a webhook request",
		Long: "Check the HMAC header and the Standard Webhooks headers of a request that a webhook received, over its exact body.\n" +
			"At least one of them must be there, and none may be wrong. The secret comes from " + envSecret + " or --secret-file.",
		Example: "  belfry verify-signature --secret-file secret --body body.json -H 'X-Ib-Hmac-Signature: SHA256=…'",
		Args:    noCommand,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&lines, "header", "H", nil, "`NAME: VALUE` of the request; may be given several times")
	f.StringVar(&body, "body", "-", "`FILE` with the exact body; - is the standard input")
	f.StringVar(&secretFile, "secret-file", "", "`FILE` with the secret key, in place of "+envSecret)
	f.StringVar(&algorithm, "algorithm", "HMAC_SHA_256", "algorithm of the security setting")
	f.StringVar(&hmacHeader, "hmac-header", signature.DefaultHeader, "header of the HMAC signature")
	f.StringVar(&at, "at", "", "`TIME` of arrival (RFC 3339), for requests of the past; default now")
	cmd.RunE = func(*cobra.Command, []string) error {
		h, err := parseHeaders(lines)
		if err != nil {
			return err
		}
		now := time.Now()
		if at != "" {
			if now, err = time.Parse(time.RFC3339, at); err != nil {
				return usage("--at must be a time such as 2026-01-31T12:00:00Z")
			}
		}
		secret, err := secretFrom(o, envSecret, "secret-file", secretFile)
		if err != nil {
			return err
		}
		b, err := readLimited(o, body, maxInput)
		if err != nil {
			return usage("--body: %w", err)
		}
		hmacErr, standardErr := errAbsent, errAbsent
		if h.Get(hmacHeader) != "" {
			hmacErr = signature.HMAC(h, hmacHeader, algorithm, secret, b)
		}
		if h.Get(signature.HeaderSignature) != "" {
			standardErr = signature.Standard(h, secret, b, now)
		}
		return printVerdicts(o, verdict{hmacHeader, hmacErr}, verdict{"Standard Webhooks", standardErr})
	}
	return cmd
}

var errAbsent = errors.New("not there")

type verdict struct {
	name string
	err  error
}

func printVerdicts(o *Options, vs ...verdict) error {
	good, bad := 0, 0
	for _, v := range vs {
		text := "ok"
		switch {
		case v.err == nil:
			good++
		case errors.Is(v.err, errAbsent):
			text = v.err.Error()
		default:
			text = "WRONG: " + v.err.Error()
			bad++
		}
		if _, err := fmt.Fprintf(o.Stdout, "%s: %s\n", v.name, text); err != nil {
			return err
		}
	}
	if bad > 0 {
		return errSignature
	}
	if good == 0 {
		return fmt.Errorf("the request has no signature: %w", errSignature)
	}
	return nil
}

func parseHeaders(lines []string) (http.Header, error) {
	h := http.Header{}
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, usage("--header must be \"NAME: VALUE\", got %q", l)
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h, nil
}
