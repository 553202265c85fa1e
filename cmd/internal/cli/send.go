package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"example.com/belfry/cmd/internal/rest"
	"example.com/belfry/fsm/model"
)

const (
	// maxInput bounds what send and verify-signature read, in bytes.
	maxInput = 64 << 20
	// maxKeyFile bounds a file with one secret, in bytes.
	maxKeyFile = 4 << 10

	envURL    = "BELFRY_URL"
	envAPIKey = "BELFRY_API_KEY"        //nolint:gosec // the name of a variable
	envSecret = "BELFRY_WEBHOOK_SECRET" //nolint:gosec // the name of a variable
	// defaultURL is where a node listens when nothing else is said.
	defaultURL = "http://127.0.0.1:8600"
)

func sendCommand(o *Options) *cobra.Command {
	var (
		url, keyFile, file, payload string
		e                           sentEvent
		noNotify                    bool
	)
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Post events to a node",
		Long: "Post one event made of flags, or a file with one event, an array or lines of them (--file with the ending\n" +
			".ndjson or .jsonl). The API key comes from " + envAPIKey + " or --key-file. Prints the receipts.",
		Example: "  echo '{\"messageId\":\"m-1\"}' | belfry send --channel SMS --event DELIVERY --payload -\n" +
			"  belfry send --file events.ndjson",
		Args: noCommand,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&url, "url", "", "`URL` of a node (default "+defaultURL+") ["+envURL+"]")
	f.StringVar(&keyFile, "key-file", "", "`FILE` with the API key, in place of "+envAPIKey)
	f.StringVar(&file, "file", "", "`FILE` with whole events; - is the standard input")
	f.StringVar(&payload, "payload", "", "`FILE` with the payload of one event; - is the standard input")
	f.StringVar(&e.Channel, "channel", "", "channel of the event, such as SMS")
	f.StringVar(&e.Event, "event", "", "name of the event, such as DELIVERY")
	f.StringVar(&e.EventID, "event-id", "", "id of the event; sending it again does no harm")
	f.StringVar(&e.ApplicationID, "application-id", "", "application of the event")
	f.StringVar(&e.EntityID, "entity-id", "", "entity of the event")
	f.StringVar(&e.Resource, "resource", "", "resource of the event, such as a sender name")
	f.StringVar(&e.User, "user", "", "user of the event")
	f.StringVar(&e.OrderingKey, "ordering-key", "", "events with the same key can be kept in order")
	f.BoolVar(&noNotify, "no-notify", false, "deliver nothing (webhook.notify false)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if noNotify {
			e.Webhook = map[string]bool{"notify": false}
		}
		body, contentType, err := sendBody(o, file, payload, e)
		if err != nil {
			return err
		}
		key, err := secretFrom(o, envAPIKey, "key-file", keyFile)
		if err != nil {
			return err
		}
		c, err := rest.New(rest.Options{URL: cmp.Or(url, o.getenv(envURL), defaultURL), Key: key})
		if err != nil {
			return usage("--url: %w", err)
		}
		answer, err := c.Raw(cmd.Context(), http.MethodPost, "/events/1/events", contentType, body)
		if err != nil {
			return err
		}
		return printReceipts(o, answer)
	}
	return cmd
}

// sentEvent is the body that the flags make.
type sentEvent struct {
	EventID       string          `json:"eventId,omitempty"`
	Channel       string          `json:"channel"`
	Event         string          `json:"event"`
	ApplicationID string          `json:"applicationId,omitempty"`
	EntityID      string          `json:"entityId,omitempty"`
	Resource      string          `json:"resource,omitempty"`
	User          string          `json:"user,omitempty"`
	OrderingKey   string          `json:"orderingKey,omitempty"`
	Webhook       map[string]bool `json:"webhook,omitempty"`
	Payload       json.RawMessage `json:"payload"`
}

func sendBody(o *Options, file, payload string, e sentEvent) (body []byte, contentType string, err error) {
	const jsonType, linesType = "application/json", "application/x-ndjson"
	switch {
	case (file == "") == (payload == ""):
		return nil, "", usage("give either --file with whole events, or --channel, --event and --payload for one")
	case file != "":
		if body, err = readLimited(o, file, maxInput); err != nil {
			return nil, "", usage("--file: %w", err)
		}
		if strings.HasSuffix(file, ".ndjson") || strings.HasSuffix(file, ".jsonl") {
			return body, linesType, nil
		}
		return body, jsonType, nil
	case e.Channel == "" || e.Event == "":
		return nil, "", usage("--channel and --event are required beside --payload")
	}
	if e.Payload, err = readLimited(o, payload, maxInput); err != nil {
		return nil, "", usage("--payload: %w", err)
	}
	if !json.Valid(e.Payload) {
		return nil, "", usage("--payload: %s is not JSON", payload)
	}
	body, err = json.Marshal(e)
	return body, jsonType, err
}

// secretFrom reads a secret from a file or the environment.
func secretFrom(o *Options, env, flag, file string) (model.Secret, error) {
	if file == "" {
		if v := o.getenv(env); v != "" {
			return model.NewSecret(v), nil
		}
		return model.Secret{}, usage("set %s, or name a file with --%s", env, flag)
	}
	b, err := readLimited(o, file, maxKeyFile)
	if err != nil {
		return model.Secret{}, usage("--%s: %w", flag, err)
	}
	v := strings.TrimRight(string(b), "\r\n")
	if v == "" {
		return model.Secret{}, usage("--%s %s is empty", flag, file)
	}
	return model.NewSecret(v), nil
}

func printReceipts(o *Options, answer []byte) error {
	var out struct {
		Events []struct {
			EventID    string `json:"eventId"`
			Status     string `json:"status"`
			Deliveries int    `json:"deliveries"`
		} `json:"events"`
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return fmt.Errorf("the answer is not a list of receipts: %w", err)
	}
	for _, r := range out.Events {
		if _, err := fmt.Fprintf(o.Stdout, "%s %s deliveries=%d\n", r.EventID, r.Status, r.Deliveries); err != nil {
			return err
		}
	}
	return nil
}
