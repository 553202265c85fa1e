package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
)

// tailPause is between two streams, when a node ended the first.
const tailPause = time.Second

func tailCommand(o *Options) *cobra.Command {
	var (
		url, keyFile string
		asJSON       bool
		f            event.TailFilter
		kind, status string
	)
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show what the cluster takes and delivers while it happens",
		Long: "Follow the events that the account's services post and the attempts to deliver them, on all nodes, from now on.\n" +
			"The API key comes from " + envAPIKey + " or --key-file. Ctrl-C ends it.",
		Example: "  belfry tail --channel SMS --status RETRYING",
		Args:    noCommand,
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&url, "url", "", "`URL` of a node (default "+defaultURL+") ["+envURL+"]")
	fs.StringVar(&keyFile, "key-file", "", "`FILE` with the API key, in place of "+envAPIKey)
	fs.StringVar(&kind, "kind", "", "accepted or attempt; both when not given")
	fs.StringVar(&f.Channel, "channel", "", "channel, such as SMS")
	fs.StringVar(&f.Name, "event", "", "event of the channel, such as DELIVERY")
	fs.StringVar(&f.Resource, "resource", "", "resource of the event")
	fs.StringVar(&f.ApplicationID, "application-id", "", "application of the event")
	fs.StringVar(&f.EntityID, "entity-id", "", "entity of the event")
	fs.StringVar(&f.User, "user", "", "user of the event")
	fs.StringVar(&f.OrderingKey, "ordering-key", "", "ordering key of the event")
	fs.StringVar(&f.ProfileID, "profile", "", "notification profile")
	fs.StringVar(&f.SubscriptionID, "subscription", "", "subscription")
	fs.StringVar(&status, "status", "", "status after the attempt: DELIVERED, RETRYING, DEAD or DROPPED")
	fs.BoolVar(&asJSON, "json", false, "one JSON object per line, as the API sends it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f.Kind, f.Status = event.TailKind(kind), event.Status(status)
		key, err := secretFrom(o, envAPIKey, "key-file", keyFile)
		if err != nil {
			return err
		}
		c, err := client.New(client.Options{BaseURLs: []string{cmp.Or(url, o.getenv(envURL), defaultURL)}, Key: key})
		if err != nil {
			return usage("--url: %w", err)
		}
		show := showEntry
		if asJSON {
			show = jsonEntry
		}
		return follow(cmd.Context(), c, f, func(b event.TailBatch) error { return printBatch(o, b, show) })
	}
	return cmd
}

// follow tails until ctx ends; a stream that a node ended is begun again.
func follow(ctx context.Context, c *client.Client, f event.TailFilter, take func(event.TailBatch) error) error {
	for {
		err := c.Tail(ctx, f, take)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // ended as asked
		}
		if err != nil {
			return err
		}
		select {
		case <-time.After(tailPause):
		case <-ctx.Done():
			return nil
		}
	}
}

func printBatch(o *Options, b event.TailBatch, show func(*event.TailEntry) (string, error)) error {
	if b.Dropped > 0 {
		if _, err := fmt.Fprintf(o.Stderr, "%d entries were left out: too many came at once\n", b.Dropped); err != nil {
			return err
		}
	}
	for i := range b.Entries {
		line, err := show(&b.Entries[i])
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(o.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}

func jsonEntry(e *event.TailEntry) (string, error) {
	b, err := json.Marshal(e)
	return string(b), err
}

// showEntry makes a line for people.
func showEntry(e *event.TailEntry) (string, error) {
	parts := []string{e.At.Local().Format("15:04:05.000"), e.NodeID, string(e.Kind), e.Channel, e.Name, e.EventID}
	if e.Deliveries != nil {
		parts = append(parts, fmt.Sprintf("deliveries=%d", *e.Deliveries))
	}
	if e.ProfileID != "" {
		parts = append(parts, "profile="+e.ProfileID)
	}
	if e.Status != "" {
		parts = append(parts, string(e.Status))
	}
	if a := e.Attempt; a != nil {
		parts = append(parts, fmt.Sprintf("attempt=%d", a.Attempt), fmt.Sprintf("%dms", a.DurationMs))
		if a.StatusCode != 0 {
			parts = append(parts, fmt.Sprintf("status=%d", a.StatusCode))
		}
		if a.Error != "" {
			parts = append(parts, fmt.Sprintf("error=%q", a.Error))
		}
	}
	return strings.Join(parts, " "), nil
}
