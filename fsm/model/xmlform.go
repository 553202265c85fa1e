package model

import "slices"

// xmlReports are the channels whose delivery reports have the XML form of
// messages. The contract offers it for SMS, MMS, RCS, Viber, push, Zalo, Kakao,
// LINE, Messenger and Apple. It names neither EMAIL and WHATSAPP, whose reports
// look the same, nor any event but DELIVERY: nothing was published about them
// that a receiver could have been written for, so they have no XML form.
var xmlReports = []string{
	"APPLE_MESSAGES_FOR_BUSINESS", "FACEBOOK", "KAKAO_ALIM", "KAKAO_BRAND_MESSAGE", "KAKAO_CHINGU", "LINE", "MMS", "MOBILE_PUSH",
	"RCS", "SMS", "VIBER", "WEB_PUSH", "ZALO",
}

// XMLForm gives the names of the elements around payloads of this event in
// XML: <root><results><item>…</item>…</results></root>. The form of voice
// reports is another one than that of messages. ok is false for the events
// that have JSON only.
func XMLForm(channel, event string) (root, item string, ok bool) {
	switch {
	case event != "DELIVERY":
		return "", "", false
	case channel == "VOICE_VIDEO":
		return "reportResponse", "results", true
	case slices.Contains(xmlReports, channel):
		return "DeliveryReports", "result", true
	}
	return "", "", false
}
