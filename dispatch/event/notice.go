package event

// ChannelOperator is the channel of what belfry itself tells an account. Only
// belfry publishes to it.
const ChannelOperator = "BELFRY"

// The events of ChannelOperator.
const (
	NoticeDisabled    = "profile.disabled"      // a webhook answered 410
	NoticeFailing     = "destination.failing"   // its breaker opened
	NoticeRecovered   = "destination.recovered" // its breaker closed
	NoticeDead        = "delivery.dead"         // a delivery was given up
	NoticeCertificate = "certificate.expiring"  // a client certificate ends soon
)
