package sample

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// Every event of the catalogue has a payload that could be published, is the
// same each time and says that it is a test.
func TestPayload_catalogue(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, c := range model.Channels() {
		for _, name := range c.Events {
			p := Payload(c.Name, name)
			body := jsonOf(t, map[string]any{"channel": c.Name, "event": name, "payload": p})
			es, err := event.Decode(body, event.FormJSON, event.Options{
				Known: func(string, string) event.Knowledge { return event.KnownEvent },
				NewID: func() string { return "made" },
			})
			if err != nil {
				t.Errorf("%s %s: %v\n%s", c.Name, name, err, p)
				continue
			}
			if !bytes.Equal(es[0].Payload, p) {
				t.Errorf("%s %s is not compact:\n%s", c.Name, name, p)
			}
			if !bytes.Contains(p, []byte(`"`+IDPrefix)) {
				t.Errorf("%s %s does not say that it is a test: %s", c.Name, name, p)
			}
			if bytes.ContainsAny(p, "\n") || bytes.Contains(p, []byte("{id}")) || bytes.Contains(p, []byte("{event}")) || bytes.Contains(p, []byte("{channel}")) || bytes.Contains(p, []byte("{participle}")) {
				t.Errorf("%s %s is not filled in: %s", c.Name, name, p)
			}
			if !bytes.Equal(p, Payload(c.Name, name)) {
				t.Errorf("%s %s differs from call to call", c.Name, name)
			}
			if other, dup := seen[string(p)]; dup {
				t.Errorf("%s %s has the payload of %s", c.Name, name, other)
			}
			seen[string(p)] = c.Name + " " + name
		}
	}
}

// No event of the catalogue is left to the shape that fits everything: a receiver
// that is tested with it would learn nothing.
func TestPayload_everyEventHasAFamily(t *testing.T) {
	t.Parallel()
	all, err := Events()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range model.Channels() {
		if len(c.Events) == 0 {
			t.Errorf("%s has no events", c.Name)
		}
		for _, name := range c.Events {
			byHand := slices.ContainsFunc(all, func(e Event) bool { return e.Channel == c.Name && e.Event == name })
			made := slices.IndexFunc(families, func(f family) bool { return f.has(c.Name, name) })
			if !byHand && made == len(families)-1 {
				t.Errorf("%s %s has a payload of no family", c.Name, name)
			}
		}
	}
}

// What belfry tells of itself is in the catalogue under the names that the
// event plane tells it by.
func TestNotices_catalogue(t *testing.T) {
	t.Parallel()
	c, ok := model.ChannelByName(event.ChannelOperator)
	want := []string{event.NoticeCertificate, event.NoticeDead, event.NoticeFailing, event.NoticeRecovered, event.NoticeDisabled}
	if diff := cmp.Diff(want, c.Events); diff != "" || !ok || !c.Reserved {
		t.Errorf("reserved: %v (-want +got):\n%s", c.Reserved, diff)
	}
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPayload_examples(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"SMS/DELIVERY":                        {`"messageId":"belfry-test-sms-delivery"`, `"messageCount":`},
		"VIBER/DELIVERY":                      {`"messageId":"belfry-test-viber-delivery"`, `"groupName":"DELIVERED"`},
		"VOICE_VIDEO/DELIVERY":                {`"voiceCall":{`},
		"VOICE_VIDEO/CALL_FINISHED":           {`"callId":"belfry-test-voice-video-call-finished"`, `"callLog":{`},
		"VOICE_VIDEO/CALL_RECEIVED":           {`"type":"CALL_RECEIVED"`},
		"RCS/CAP_CHECK":                       {`"messageId":"belfry-test-rcs-cap-check"`, `"capabilityCheckResult":{`},
		"MOBILE_IDENTITY/SILENT_VERIFICATION": {`"token":"belfry-test-mobile-identity-silent-verification"`},
		"REGISTRATION/BRAND_STATUS_UPDATE":    {`{"messageId":"belfry-test-registration-brand-status-update",`},
		"EMAIL/UNSUBSCRIBE":                   {`"notificationType":"UNSUBSCRIBED"`},
		"EMAIL/CLICK":                         {`"notificationType":"CLICKED"`},
		"BELFRY/delivery.dead":                {`"deliveryId":"belfry-test-belfry-delivery-dead"`, `"outcome":"temporary"`},
		"NO_SUCH/\"QUOTED\"":                  {`"messageId":"belfry-test-no-such--quoted-"`, `"event":"\"QUOTED\""`},
	} {
		channel, event, _ := strings.Cut(name, "/")
		p := string(Payload(channel, event))
		if !json.Valid([]byte(p)) {
			t.Errorf("%s is not valid: %s", name, p)
		}
		for _, w := range want {
			if !strings.Contains(p, w) {
				t.Errorf("%s lacks %s: %s", name, w, p)
			}
		}
	}
}

// Every file is an event, whole and compact.
func TestEvents(t *testing.T) {
	t.Parallel()
	es, err := Events()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob("files/*")
	if err != nil || len(paths) != len(es) || len(es) == 0 {
		t.Fatalf("%d events of %d files, %v", len(es), len(paths), err)
	}
	for i, e := range es {
		if e.Name+".json" != filepath.Base(paths[i]) || e.Channel == "" || e.Event == "" || !bytes.Contains(e.Body, e.Payload) || bytes.ContainsAny(e.Body, "\n") {
			t.Errorf("%s: %+v", paths[i], e)
		}
	}
	for _, bad := range []string{"", "{", `{"channel":"SMS","event":"DELIVERY"}`} {
		if e, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %+v", bad, e)
		}
	}
}
