package model

import (
	"slices"
	"strings"
)

// Channel is one channel of the catalogue with the events it knows.
type Channel struct {
	Name string
	// FormatAware channels also take {event, format} objects in a
	// subscription's event list.
	FormatAware bool
	// Reserved channels carry what belfry itself tells. Anybody may subscribe to
	// them; nobody can publish to them.
	Reserved bool
	// Events holds the event names in alphabetical order.
	Events []string
}

// channelBelfry is the reserved channel. Its events have names of another
// form, so that they cannot be taken for events of the contract.
const channelBelfry = "BELFRY"

// catalogue is the superset of the public generations of the contract: the
// newest 22 channels, KAKAO_CHINGU and VKONTAKTE of the older ones, and
// FACEBOOK's two MARKETING_* names; and BELFRY, an addition of ours. Channels
// and events are in alphabetical order, which the tests check because lookups
// rely on it.
var catalogue = buildCatalogue([]struct {
	name        string
	formatAware bool
	events      string
}{
	{"AGENT_OS", false, `CONVERSATION_ASSIGNMENT_UPDATED CONVERSATION_CREATED CONVERSATION_MESSAGE_DELETED CONVERSATION_MESSAGE_RECEIVED CONVERSATION_MESSAGE_UPDATED CONVERSATION_STATUS_UPDATED`},
	{"APPLE_MESSAGES_FOR_BUSINESS", true, `DELIVERY INBOUND_MESSAGE`},
	{channelBelfry, false, `certificate.expiring delivery.dead destination.failing destination.recovered profile.disabled`},
	{"BLOCKLIST", true, `BLOCK UNBLOCK`},
	{"CUSTOMER_ENGAGEMENT", false, `CONVERSATION_ASSIGNMENT_UPDATED CONVERSATION_CREATED CONVERSATION_MESSAGE_DELETED CONVERSATION_MESSAGE_RECEIVED CONVERSATION_MESSAGE_UPDATED CONVERSATION_STATUS_UPDATED`},
	{"EMAIL", false, `CLICK COMPLAINT DELIVERY HIGH_BOUNCE_RATE_BLOCKED HIGH_BOUNCE_RATE_WARNING LATE_BOUNCE OPEN UNSUBSCRIBE`},
	{"FACEBOOK", true, `CLICK CONSENT_UPDATE DELIVERY INBOUND_MESSAGE MARKETING_OPT_IN MARKETING_OPT_OUT SEEN`},
	{"KAKAO_ALIM", false, `DELIVERY`},
	{"KAKAO_BRAND_MESSAGE", false, `CLICK DELIVERY`},
	{"KAKAO_CHINGU", false, `DELIVERY`},
	{"LINE", false, `DELIVERY INBOUND_MESSAGE`},
	{"MMS", true, `CLICK DELIVERY INBOUND_MESSAGE`},
	{"MOBILE_IDENTITY", true, `SILENT_VERIFICATION`},
	{"MOBILE_PUSH", false, `DELIVERY SEEN SENT`},
	{"NUMBER_LOOKUP", false, `NUMBER_LOOKUP`},
	{"OPEN_CHANNEL", true, `DELIVERY`},
	{"RCS", false, `CAP_CHECK CLICK CONVERSATION_STARTED DELIVERY INBOUND_MESSAGE SEEN SENDER_LAUNCH_UPDATE SENDER_UPDATE SUGGESTION TEMPLATE_UPDATE TEST_NUMBER_UPDATE TYPING_INDICATOR`},
	{"REGISTRATION", false, `AI_CAMPAIGN_BUILDER AI_CAMPAIGN_FEEDBACK BRAND_AUTH_UPDATE BRAND_STATUS_UPDATE BRAND_VET_UPDATE CAMPAIGN_NETWORK_STATUS_UPDATE CAMPAIGN_STATUS_UPDATE RESOURCE_REQUEST_FOC_DATE_CHANGE RESOURCE_REQUEST_REMINDER RESOURCE_REQUEST_STATUS_UPDATE`},
	{"SMS", true, `CLICK DELIVERY INBOUND_MESSAGE`},
	{"VIBER", false, `CLICK CONSENT_UPDATE DELIVERY INBOUND_MESSAGE SEEN TEMPLATE_UPDATE`},
	{"VKONTAKTE", false, `DELIVERY`},
	{"VOICE_VIDEO", false, `APPLICATION_TRANSFER_FAILED APPLICATION_TRANSFER_FINISHED APPLICATION_TRANSFER_REQUESTED BULK_CALL_STATUS CALL_DISCONNECTED CALL_ESTABLISHED CALL_FAILED CALL_FINISHED CALL_MEDIA_CHANGED CALL_PRE_ESTABLISHED CALL_RECEIVED CALL_RECONNECTED CALL_RECORDING_DELETED CALL_RECORDING_FAILED CALL_RECORDING_READY CALL_RECORDING_STARTED CALL_RECORDING_STOPPED CALL_RINGING CALL_STARTED CONFERENCE_COMPOSITION_FAILED CONFERENCE_COMPOSITION_FINISHED CONFERENCE_CREATED CONFERENCE_FINISHED CONFERENCE_RECORDING_DELETED CONFERENCE_RECORDING_FAILED CONFERENCE_RECORDING_READY CONFERENCE_RECORDING_STARTED CONFERENCE_RECORDING_STOPPED DELIVERY DIALOG_COMPOSITION_FAILED DIALOG_COMPOSITION_FINISHED DIALOG_CREATED DIALOG_ESTABLISHED DIALOG_FAILED DIALOG_FINISHED DIALOG_RECORDING_DELETED DIALOG_RECORDING_FAILED DIALOG_RECORDING_READY DIALOG_RECORDING_STARTED DIALOG_RECORDING_STOPPED DIALOG_TRANSFER_FAILED DIALOG_TRANSFER_FINISHED DIALOG_TRANSFER_REQUESTED DTMF_CAPTURED ERROR MACHINE_DETECTION_FAILED MACHINE_DETECTION_FINISHED MACHINE_MESSAGE_DETECTION_FAILED MACHINE_MESSAGE_DETECTION_FINISHED MEDIA_STREAM_FAILED MEDIA_STREAM_FINISHED MEDIA_STREAM_STARTED MISSED_CALL NUMBER_MASKING PARTICIPANT_JOINED PARTICIPANT_JOINING PARTICIPANT_JOIN_FAILED PARTICIPANT_MEDIA_CHANGED PARTICIPANT_RECORDING_FAILED PARTICIPANT_REMOVED PARTICIPANT_ROLE_CHANGED PARTICIPANT_ROLE_CHANGE_FAILED PARTICIPANT_STARTED_TALKING PARTICIPANT_STOPPED_TALKING PLAY_FINISHED SAY_FINISHED SILENT_VERIFICATION_DELIVERY SPEECH_CAPTURED TRANSCRIPTION`},
	{"WEB_PUSH", false, `DELIVERY`},
	{"WHATSAPP", false, `ACCOUNT_REGISTRATION ACCOUNT_UPDATE_NOTIFICATION BILLING BUSINESS_APP_CONTACT_SYNC BUSINESS_APP_MESSAGE_ECHO BUSINESS_APP_MESSAGE_HISTORY CLICK DELIVERY IDENTITY_CHANGE INBOUND_MESSAGE MARKETING_SUBSCRIPTION_UPDATE PAYMENT_STATUS SEEN TEMPLATE_UPDATE`},
	{"ZALO", false, `CLICK DELIVERY INBOUND_MESSAGE TEMPLATE_UPDATE`},
})

// flat lists the events whose payload goes out as it is, one per request. The
// payloads of all other events are elements of a "results" array and can
// share a request. "*" stands for every event of the channel but those in
// batching.
var flat = map[string]string{
	"AGENT_OS":            "*",
	channelBelfry:         "*",
	"CUSTOMER_ENGAGEMENT": "*",
	"EMAIL":               "*",
	"FACEBOOK":            "CLICK",
	"KAKAO_BRAND_MESSAGE": "CLICK",
	"MMS":                 "CLICK",
	"MOBILE_IDENTITY":     "*",
	"RCS":                 "CAP_CHECK CLICK TEMPLATE_UPDATE",
	"SMS":                 "CLICK",
	"VIBER":               "CLICK TEMPLATE_UPDATE",
	"VOICE_VIDEO":         "*",
	"WHATSAPP":            "*",
	"ZALO":                "CLICK TEMPLATE_UPDATE",
}

// batching lists the exceptions of the "*" rows of flat.
var batching = map[string]string{
	"EMAIL":       "DELIVERY",
	"VOICE_VIDEO": "DELIVERY",
	"WHATSAPP":    "DELIVERY INBOUND_MESSAGE SEEN",
}

func buildCatalogue(rows []struct {
	name        string
	formatAware bool
	events      string
},
) []Channel {
	cs := make([]Channel, len(rows))
	for i, r := range rows {
		cs[i] = Channel{Name: r.name, FormatAware: r.formatAware, Reserved: r.name == channelBelfry, Events: strings.Fields(r.events)}
	}
	return cs
}

// Channels returns the catalogue in alphabetical order. The caller must not
// change it.
func Channels() []Channel { return catalogue }

// ChannelByName finds a channel by its exact, case-sensitive name.
func ChannelByName(name string) (Channel, bool) {
	i, ok := slices.BinarySearchFunc(catalogue, name, func(c Channel, n string) int {
		return strings.Compare(c.Name, n)
	})
	if !ok {
		return Channel{}, false
	}
	return catalogue[i], true
}

// Has reports whether the channel knows the event.
func (c Channel) Has(event string) bool {
	_, ok := slices.BinarySearch(c.Events, event)
	return ok
}

// Batches reports whether payloads of this event are elements of a "results"
// array, so that up to maxBucketSize of them can share one request. Flat
// payloads go out one per request, as they are.
func Batches(channel, event string) bool {
	list, ok := flat[channel]
	if !ok {
		return true
	}
	if list == "*" {
		return slices.Contains(strings.Fields(batching[channel]), event)
	}
	return !slices.Contains(strings.Fields(list), event)
}
