package sample

import (
	"encoding/json"
	"slices"
	"strings"
)

// family is the shape of the payloads of some events. {id}, {channel} and
// {event} stand for what they say.
type family struct {
	channels string // that it is for; "": any
	events   string // that it is for; "": any
	payload  string
}

// Parts that several shapes share.
const (
	outcome = `"status":{"groupId":3,"groupName":"DELIVERED","id":5,"name":"DELIVERED_TO_HANDSET","description":"Message delivered to handset"},` +
		`"error":{"groupId":0,"groupName":"OK","id":0,"name":"NO_ERROR","description":"No Error","permanent":false}`
	report = `"bulkId":"belfry-test","messageId":"{id}","to":"4915550100000","sentAt":"2026-01-05T10:00:00.000+0000","doneAt":"2026-01-05T10:00:02.500+0000",` + outcome
	engine = `{"type":"{event}","timestamp":"2026-01-05T10:00:00.000Z","payload":{"id":"{id}","shortId":"T1","status":"OPEN","channel":"SMS","direction":"INBOUND"}}`
)

// families are tried in order; the last one fits everything.
var families = []family{
	{
		"BELFRY", "delivery.dead",
		`{"deliveryId":"{id}","eventId":"{id}","channel":"SMS","event":"DELIVERY","profileId":"belfry-test","subscriptionIds":["belfry-test"],` +
			`"attempts":20,"outcome":"temporary","statusCode":503,"error":"","acceptedAt":"2026-01-05T10:00:00Z"}`,
	},
	{
		"BELFRY", "certificate.expiring",
		`{"certificateId":"{id}","validUntil":"2026-01-05T10:00:00Z"}`,
	},
	{
		"BELFRY", "profile.disabled",
		`{"profileId":"{id}","at":"2026-01-05T10:00:00Z","outcome":"gone","statusCode":410,"error":""}`,
	},
	{
		"BELFRY", "destination.recovered",
		`{"profileId":"{id}","at":"2026-01-05T10:00:00Z","outcome":"ok","statusCode":200,"error":""}`,
	},
	{
		"BELFRY", "",
		`{"profileId":"{id}","at":"2026-01-05T10:00:00Z","outcome":"temporary","statusCode":503,"error":""}`,
	},
	{
		"VOICE_VIDEO", "DELIVERY",
		`{` + report + `,"from":"4915550199000","voiceCall":{"feature":"Text-to-Speech","startTime":"2026-01-05T10:00:00.000+0000",` +
			`"answerTime":"2026-01-05T10:00:01.000+0000","endTime":"2026-01-05T10:00:02.500+0000","duration":2,"chargedDuration":0,"fileDuration":1.5,` +
			`"dtmfCodes":null,"answeredBy":"HUMAN","direction":"OUTBOUND"},"price":{"pricePerSecond":0.0,"currency":"EUR"}}`,
	},
	{
		"VOICE_VIDEO", "",
		`{"callId":"{id}","timestamp":"2026-01-05T10:00:00.000Z","callsConfigurationId":"belfry-test","platform":{},"type":"{event}",` +
			`"properties":{"messageId":"{id}"}}`,
	},
	{"AGENT_OS CUSTOMER_ENGAGEMENT", "", engine},
	{
		"EMAIL", "HIGH_BOUNCE_RATE_BLOCKED HIGH_BOUNCE_RATE_WARNING",
		`{"eventId":"{id}","createdAt":1767607200000,"eventDetails":{"type":"{event}","accountKey":"belfry-test","domain":"mail.example",` +
			`"warnThreshold":5.0,"bounceRate":6.5,"scope":"HOURLY"}}`,
	},
	{
		"EMAIL", "COMPLAINT",
		`{"notificationType":"COMPLAINED","eventId":"{id}","domain":"mail.example","recipient":"ana@example.com","sender":"news@mail.example",` +
			`"sendDateTime":1767607200000,"messageId":"{id}","bulkId":"belfry-test"}`,
	},
	{
		"EMAIL", "LATE_BOUNCE",
		`{"notificationType":"LATE_BOUNCE","eventId":"{id}","domain":"mail.example","recipient":"ana@example.com","sender":"news@mail.example",` +
			`"sendDateTime":1767607200000,"messageId":"{id}","bulkId":"belfry-test"}`,
	},
	{
		"EMAIL", "CLICK UNSUBSCRIBE",
		`{"notificationType":"{participle}","eventId":"{id}","domain":"mail.example","recipient":"ana@example.com","url":"https://example.com/offer",` +
			`"sendDateTime":1767607200000,"messageId":"{id}","bulkId":"belfry-test","recipientInfo":{"deviceType":"Phone","os":"Android","deviceName":"Test"},` +
			`"geoLocation":{"countryName":"Germany","city":"Kiel"}}`,
	},
	{
		"FACEBOOK", "CLICK",
		`{"notificationType":"MARKETING_CLICK","from":"belfry-test-user","to":"belfry-test-page","messageId":"{id}","campaignId":"belfry-test",` +
			`"clickedAt":"2026-01-05T10:00:00.000+0000"}`,
	},
	{
		"", "CLICK",
		`{"notificationType":"CLICKED","recipient":"4915550100000","url":"https://example.com/offer","sendDateTime":1767607200000,"messageId":"{id}",` +
			`"bulkId":"belfry-test","recipientInfo":{"deviceType":"Phone","os":"Android","deviceName":"Test"},"geoLocationInfo":{"countryName":"Germany","city":"Kiel"}}`,
	},
	{
		"", "DELIVERY SENT",
		`{` + report + `,"sender":"Belfry","messageCount":1,"price":{"pricePerMessage":0.0,"currency":"EUR"},"platform":{}}`,
	},
	{
		"", "SEEN",
		`{"messageId":"{id}","from":"4915550100000","to":"Belfry","sentAt":"2026-01-05T10:00:00.000+0000","seenAt":"2026-01-05T10:00:05.000+0000"}`,
	},
	{
		"", "INBOUND_MESSAGE BUSINESS_APP_MESSAGE_ECHO BUSINESS_APP_MESSAGE_HISTORY",
		`{"from":"4915550100000","to":"Belfry","integrationType":"{channel}","receivedAt":"2026-01-05T10:00:00.000+0000","messageId":"{id}",` +
			`"message":{"type":"TEXT","text":"A test of belfry"},"price":{"pricePerMessage":0.0,"currency":"EUR"}}`,
	},
	{
		"RCS", "SUGGESTION",
		`{"sender":"4915550100000","to":"Belfry","integrationType":"RCS","receivedAt":"2026-01-05T10:00:00.000+0000","interactionType":"EVENT",` +
			`"messageId":"{id}","message":{"type":"SUGGESTION","text":"A test of belfry","postbackData":"belfry-test"},"price":{"pricePerMessage":0.0,"currency":"EUR"}}`,
	},
	{
		"RCS", "CONVERSATION_STARTED",
		`{"messageId":"{id}","event":{"type":"{event}"},"conversation":{"type":"A2P","id":"{id}","startTime":"2026-01-05T10:00:00.000+0000",` +
			`"endTime":"2026-01-06T10:00:00.000+0000"},"platform":{}}`,
	},
	{
		"RCS", "SENDER_UPDATE SENDER_LAUNCH_UPDATE TEST_NUMBER_UPDATE",
		`{"messageId":"{id}","event":"RCS_{event}","senderName":"Belfry","senderStatus":"LAUNCHED","updatedAt":"2026-01-05T10:00:00.000+0000"}`,
	},
	{
		"WHATSAPP", "TEMPLATE_UPDATE",
		`{"messageId":"{id}","messageTemplateId":1,"messageTemplateName":"belfry_test","messageTemplateLanguage":"en","timestamp":"2026-01-05T10:00:00.000+0000",` +
			`"change":{"type":"TEMPLATE_STATUS_UPDATE","newStatus":"APPROVED"}}`,
	},
	{
		"", "TEMPLATE_UPDATE",
		`{"messageId":"{id}","name":"belfry_test","templateStatus":"APPROVED","comment":"A test of belfry","updatedAt":"2026-01-05T10:00:00.000+0000"}`,
	},
	{
		"", "CONSENT_UPDATE MARKETING_OPT_IN MARKETING_OPT_OUT",
		`{"messageId":"{id}","channel":"{channel}","event":"SUBSCRIBE","sender":"Belfry","from":"4915550100000","createdAt":"2026-01-05T10:00:00.000+0000","channelData":{}}`,
	},
	{
		"BLOCKLIST", "",
		`{"event":"{event}","receivedAt":"2026-01-05T10:00:00.000+0000","messageId":"{id}","content":{"destination":"4915550100000","channel":"SMS","sourceType":"MO"}}`,
	},
	{
		"REGISTRATION", "",
		`{"messageId":"{id}","event":"{event}","receivedAt":"2026-01-05T10:00:00.000+0000","content":{"brandId":"00000000-0000-4000-8000-000000000000"},"platform":{}}`,
	},
	{
		"NUMBER_LOOKUP", "",
		`{` + report + `,"mccMnc":"26202","imsi":"262020000000000","originalNetwork":{"networkName":"Test","networkPrefix":"155","countryName":"Germany","countryPrefix":"49"},` +
			`"ported":false,"roaming":false,"price":{"pricePerLookup":0.0,"currency":"EUR"}}`,
	},
	{
		"WHATSAPP", "",
		`{"messageId":"{id}","from":"4915550100000","content":{"type":"{event}","description":"A test of belfry"},"createdAt":"2026-01-05T10:00:00.000+0000"}`,
	},
	{
		"", "",
		`{"messageId":"{id}","event":"{event}","to":"4915550100000","createdAt":"2026-01-05T10:00:00.000+0000"}`,
	},
}

func (f *family) has(channel, name string) bool {
	return (f.channels == "" || slices.Contains(strings.Fields(f.channels), channel)) &&
		(f.events == "" || slices.Contains(strings.Fields(f.events), name))
}

// made is a payload of the event's family.
func made(channel, name, id string) json.RawMessage {
	i := slices.IndexFunc(families, func(f family) bool { return f.has(channel, name) })
	participle := strings.TrimSuffix(name, "E") + "ED" // CLICK, UNSUBSCRIBE
	return json.RawMessage(strings.NewReplacer(
		"{id}", id, "{channel}", inText(channel), "{event}", inText(name), "{participle}", inText(participle),
	).Replace(families[i].payload))
}

// inText makes a name fit for the inside of a JSON string. Names of the
// catalogue stay as they are.
func inText(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return string(b[1 : len(b)-1])
}
