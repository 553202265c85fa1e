package demo

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// family is the shape of one event family: the members that must be there,
// with their kinds, and those that may. Kinds: s text, n number, b boolean,
// o object, l list, t time with offset, z time in UTC, 0 null.
type family struct {
	must, may map[string]string
}

func kinds(list string) map[string]string {
	m := map[string]string{}
	for f := range strings.FieldsSeq(list) {
		name, kind, _ := strings.Cut(f, ":")
		m[name] = kind
	}
	return m
}

var (
	report   = "status:o error:o messageId:s to:s sentAt:t doneAt:t price:o bulkId:s "
	families = map[string]family{
		"SMS DELIVERY":                        {kinds(report + "sender:s messageCount:n platform:o"), kinds("mccMnc:s callbackData:s campaignReferenceId:s")},
		"MOBILE_PUSH DELIVERY":                {kinds(report + "sender:s messageCount:n platform:o"), kinds("mccMnc:s callbackData:s campaignReferenceId:s")},
		"SMS CLICK":                           {kinds("notificationType:s recipient:s url:s sendDateTime:n messageId:s bulkId:s recipientInfo:o geoLocationInfo:o"), kinds("callbackData:s applicationId:s entityId:s")},
		"SMS INBOUND_MESSAGE":                 {kinds("messageId:s from:s to:s text:s cleanText:s keyword:s receivedAt:t smsCount:n price:o callbackData:s"), kinds("applicationId:s entityId:s campaignReferenceId:s")},
		"MMS INBOUND_MESSAGE":                 {kinds("messageId:s from:s to:s message:l receivedAt:t userAgent:s price:o"), kinds("applicationId:s entityId:s group:l pairedMessageId:s")},
		"EMAIL DELIVERY":                      {kinds(report + "smsCount:n attemptCount:n timeToFirstAttempt:n browserLink:s sendingIp:s smtp:o"), kinds("callbackData:s entityId:s applicationId:s campaignReferenceId:s")},
		"EMAIL OPEN":                          {kinds("notificationType:s eventId:s domain:s recipient:s sendDateTime:n messageId:s bulkId:s recipientInfo:o geoLocation:o"), kinds("callbackData:s campaignReferenceId:s entityId:s applicationId:s")},
		"WHATSAPP DELIVERY":                   {kinds(report + "messageCount:n"), kinds("contact:o")},
		"WHATSAPP SEEN":                       {kinds("messageId:s from:s to:s sentAt:t seenAt:t"), kinds("applicationId:s entityId:s campaignReferenceId:s contact:o")},
		"VIBER SEEN":                          {kinds("messageId:s from:s to:s sentAt:t seenAt:t"), kinds("applicationId:s entityId:s campaignReferenceId:s")},
		"WHATSAPP INBOUND_MESSAGE":            {kinds("from:s to:s integrationType:s receivedAt:t messageId:s message:o price:o contact:o"), kinds("entityId:s applicationId:s keyword:s pairedMessageId:s callbackData:s identity:o")},
		"RCS TYPING_INDICATOR":                {kinds("sender:s to:s receivedAt:t event:o"), kinds("entityId:s applicationId:s")},
		"RCS CAP_CHECK":                       {kinds("capabilityCheckResult:o options:o"), nil},
		"VOICE_VIDEO CALL_FINISHED":           {kinds("callId:s timestamp:z type:s properties:o"), kinds("conferenceId:s callsConfigurationId:s platform:o bulkId:s dialogId:s")},
		"VOICE_VIDEO DTMF_CAPTURED":           {kinds("callId:s timestamp:z type:s properties:o"), kinds("conferenceId:s callsConfigurationId:s platform:o bulkId:s dialogId:s")},
		"BLOCKLIST BLOCK":                     {kinds("event:s receivedAt:t messageId:s content:o"), nil},
		"REGISTRATION BRAND_STATUS_UPDATE":    {kinds("event:s receivedAt:t content:o platform:o"), nil},
		"MOBILE_IDENTITY SILENT_VERIFICATION": {kinds("result:s token:s error:0"), nil},
	}
)

// nested are the shapes of members, wherever they occur in a payload.
var nested = map[string]family{
	"status":                {kinds("groupId:n groupName:s id:n name:s description:s"), kinds("action:s")},
	"error":                 {kinds("groupId:n groupName:s id:n name:s description:s permanent:b"), nil},
	"price":                 {kinds("pricePerMessage:n currency:s"), nil},
	"platform":              {nil, kinds("applicationId:s entityId:s")},
	"smtp":                  {kinds("response:s"), nil},
	"recipientInfo":         {kinds("deviceType:s os:s deviceName:s"), nil},
	"geoLocation":           {kinds("countryName:s city:s"), nil},
	"geoLocationInfo":       {kinds("countryName:s city:s"), nil},
	"capabilityCheckResult": {kinds("bulkId:s messageId:s phoneNumber:s code:s"), nil},
	"callLog": {
		kinds("callId:s endpoint:o from:s to:s direction:s state:s startTime:z endTime:z ringDuration:n callsConfigurationIds:l platform:o conferenceIds:l duration:n hasCameraVideo:b hasScreenshareVideo:b errorCode:o customData:o hangupSource:s"),
		kinds("answerTime:z dialogId:0 sender:s externalId:s"),
	},
	"playedContentProperties": {kinds("duration:n playedCompletely:b"), nil},
}

var (
	offsetTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}$`)
	groups     = map[float64]string{0: "OK ACCEPTED", 1: "PENDING HANDSET_ERRORS", 2: "UNDELIVERABLE USER_ERRORS", 3: "DELIVERED OPERATOR_ERRORS", 4: "EXPIRED", 5: "REJECTED"}
)

func kindOf(v any, want string) string {
	switch x := v.(type) {
	case nil:
		return "0"
	case string:
		switch {
		case want == "t" && offsetTime.MatchString(x):
			return "t"
		case want == "z":
			if _, err := time.Parse("2006-01-02T15:04:05.000Z", x); err == nil {
				return "z"
			}
		}
		return "s"
	case float64:
		return "n"
	case bool:
		return "b"
	case map[string]any:
		return "o"
	default:
		return "l"
	}
}

// check compares an object with its family and goes on into its members.
func (f family) check(o map[string]any, at string) (faults []string) {
	for name, kind := range f.must {
		if _, ok := o[name]; !ok {
			faults = append(faults, fmt.Sprintf("%s.%s (%s) is missing", at, name, kind))
		}
	}
	for name, v := range o {
		want, ok := f.must[name]
		if !ok {
			want, ok = f.may[name]
		}
		if !ok {
			faults = append(faults, fmt.Sprintf("%s.%s is not a member of this family", at, name))
			continue
		}
		if got := kindOf(v, want); got != want {
			faults = append(faults, fmt.Sprintf("%s.%s is %s, want %s", at, name, got, want))
		}
	}
	return append(faults, checkNested(o, at)...)
}

func checkNested(v any, at string) (faults []string) {
	switch x := v.(type) {
	case map[string]any:
		for name, m := range x {
			if o, ok := m.(map[string]any); ok {
				if f, ok := nested[name]; ok {
					faults = append(faults, f.check(o, at+"."+name)...)
					continue
				}
			}
			faults = append(faults, checkNested(m, at+"."+name)...)
		}
		if id, ok := x["groupId"].(float64); ok && !strings.Contains(groups[id], fmt.Sprint(x["groupName"])) {
			faults = append(faults, fmt.Sprintf("%s: group %v is not called %v", at, id, x["groupName"]))
		}
	case []any:
		for i, m := range x {
			faults = append(faults, checkNested(m, fmt.Sprintf("%s[%d]", at, i))...)
		}
	}
	return faults
}

// Every sample can be posted as it is and has the shape of its family.
func TestSamples_valid(t *testing.T) {
	t.Parallel()
	ss, err := Samples()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../../dispatch/event/sample/files/*")
	if err != nil || len(files) != len(ss) {
		t.Fatalf("%d samples of %d files, %v", len(ss), len(files), err)
	}
	seen := map[string]string{}
	for _, s := range ss {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			ch, ok := model.ChannelByName(s.Channel)
			if !ok || !ch.Has(s.Event) {
				t.Fatalf("%s %s is not in the catalogue", s.Channel, s.Event)
			}
			es, err := event.Decode(s.withID("demo-1"), event.FormJSON, event.Options{
				Known: func(string, string) event.Knowledge { return event.KnownEvent },
				NewID: func() string { return "" },
			})
			if err != nil {
				t.Fatal(err)
			}
			if es[0].ID != "demo-1" || es[0].Channel != s.Channel || es[0].Name != s.Event || string(es[0].Payload) != s.payload {
				t.Errorf("decoded as %s %s %s %s", es[0].ID, es[0].Channel, es[0].Name, es[0].Payload)
			}
			f, ok := families[s.Channel+" "+s.Event]
			if !ok {
				t.Fatal("the test knows no family for it")
			}
			var payload map[string]any
			if err := json.Unmarshal([]byte(s.payload), &payload); err != nil {
				t.Fatal(err)
			}
			for _, fault := range f.check(payload, "payload") {
				t.Error(fault)
			}
			if s.Channel == "VOICE_VIDEO" && payload["type"] != s.Event || payload["event"] != nil && s.Channel != "RCS" && payload["event"] != s.Event {
				t.Errorf("the payload calls itself %v %v", payload["type"], payload["event"])
			}
		})
		if other, dup := seen[s.Channel+s.payload]; dup {
			t.Errorf("%s and %s have the same payload: the receiver could not tell them apart", s.Name, other)
		}
		seen[s.Channel+s.payload] = s.Name
	}
	if n := len(channels(ss)); n < 8 {
		t.Errorf("%d channels, want at least 8", n)
	}
	batched := func(b bool) func(Sample) bool {
		return func(s Sample) bool { return model.Batches(s.Channel, s.Event) == b }
	}
	if !slices.ContainsFunc(ss, batched(true)) || !slices.ContainsFunc(ss, batched(false)) {
		t.Error("both batching and flat families should be shown")
	}
}

// The check above finds faults: each change of a good sample is noticed.
func TestFamily_findsFaults(t *testing.T) {
	t.Parallel()
	ss, err := Samples()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(ss, func(s Sample) bool { return s.Name == "sms-delivery" })
	changes := map[string]func(map[string]any){
		"missing":       func(p map[string]any) { delete(p, "messageId") },
		"wrapped":       func(p map[string]any) { p["results"] = []any{} },
		"wrong kind":    func(p map[string]any) { p["messageCount"] = "1" },
		"wrong time":    func(p map[string]any) { p["doneAt"] = "2026-03-14T08:15:03Z" },
		"nested":        func(p map[string]any) { delete(p["status"].(map[string]any), "groupName") },
		"group mix-up":  func(p map[string]any) { p["status"].(map[string]any)["groupName"] = "PENDING" },
		"nested member": func(p map[string]any) { p["platform"].(map[string]any)["x"] = 1.0 },
	}
	for name, change := range changes {
		var payload map[string]any
		if err := json.Unmarshal([]byte(ss[i].payload), &payload); err != nil {
			t.Fatal(err)
		}
		change(payload)
		if len(families["SMS DELIVERY"].check(payload, "payload")) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}
