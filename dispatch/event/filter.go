package event

import (
	"slices"
	"time"
)

// MatchesEvent reports whether the filter's members that speak of the event
// hold; those of a delivery are MatchesDelivery's.
func (f *Filter) MatchesEvent(e *Event, acceptedAt time.Time) bool {
	return fits(f.Channel, e.Channel) && fits(f.Name, e.Name) && fits(f.Resource, e.Resource) &&
		fits(f.ApplicationID, e.ApplicationID) && fits(f.EntityID, e.EntityID) && fits(f.User, e.User) && fits(f.OrderingKey, e.OrderingKey) &&
		(f.From.IsZero() || !acceptedAt.Before(f.From)) && (f.To.IsZero() || acceptedAt.Before(f.To))
}

// MatchesDelivery reports whether a delivery fits the filter's members that
// speak of one.
func (f *Filter) MatchesDelivery(status Status, profileID string, subscriptionIDs []string) bool {
	return fits(f.Status, status) && fits(f.ProfileID, profileID) &&
		(f.SubscriptionID == "" || slices.Contains(subscriptionIDs, f.SubscriptionID))
}

func fits[T ~string](want, have T) bool { return want == "" || want == have }

// Matches reports whether a dead letter fits the filter.
func (f *DeadFilter) Matches(d *DeadLetter) bool {
	return fits(f.ProfileID, d.ProfileID) && fits(f.Channel, d.Event.Channel) && fits(f.Name, d.Event.Name) &&
		fits(f.EventID, d.Event.ID) &&
		(f.From.IsZero() || !d.DeadAt.Before(f.From)) && (f.To.IsZero() || d.DeadAt.Before(f.To))
}
