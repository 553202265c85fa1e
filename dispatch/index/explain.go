package index

import (
	"slices"
	"strconv"
	"strings"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// maxExplained is how many values a reason shows before it counts the rest.
const maxExplained = 5

// Explain says why e does not go to s: one sentence per part that does not
// fit, in the order of the members, with what the part wants and what the
// event has. Whether the profile is disabled is not looked at.
//
// It reads the subscription itself, not the packed record, so that the tests
// hold the one against the other.
//
// INV index-5: there are no reasons exactly when a table of s matches e.
func Explain(s *model.Subscription, e *event.Event) (reasons []string) {
	if s.Account != e.Account {
		return []string{"account: belongs to another account"} // and nothing of it may be shown
	}
	if s.Channel != e.Channel {
		reasons = append(reasons, "channel: wants "+s.Channel+"; this is "+e.Channel)
	}
	if r := explainEvents(s.Events, e.Name); r != "" {
		reasons = append(reasons, r)
	}
	if r := explainCriteria(s.Criteria, e); r != "" {
		reasons = append(reasons, r)
	}
	if r := explainList("resources", s.Resources, e.Resource); r != "" {
		reasons = append(reasons, r)
	}
	if r := explainList("users", s.Users, e.User); r != "" {
		reasons = append(reasons, r)
	}
	return reasons
}

func explainEvents(refs []model.EventRef, name string) string {
	var names []string
	for _, r := range refs {
		if !slices.Contains(names, r.Event) { // two formats of one event are one entry
			names = append(names, r.Event)
		}
	}
	if len(names) == 0 || slices.Contains(names, name) {
		return ""
	}
	return "events: wants " + several(names, ", ") + "; this is " + name
}

func explainCriteria(cs []model.Criterion, e *event.Event) string {
	if len(cs) == 0 {
		return ""
	}
	wants := make([]string, len(cs))
	for i, c := range cs {
		if (c.ApplicationID == "" || c.ApplicationID == e.ApplicationID) &&
			(c.EntityID == "" || c.EntityID == e.EntityID) &&
			(c.CallsConfigurationID == "" || c.CallsConfigurationID == e.CallsConfigurationID) {
			return ""
		}
		wants[i] = tuple(c)
	}
	has := tuple(model.Criterion{ApplicationID: e.ApplicationID, EntityID: e.EntityID, CallsConfigurationID: e.CallsConfigurationID})
	if has == "" {
		has = "none of them"
	}
	return "criteria: wants " + several(wants, " or ") + "; this has " + has
}

// tuple names the members of c that are set.
func tuple(c model.Criterion) string {
	var parts []string
	for _, m := range []struct{ name, value string }{
		{"applicationId", c.ApplicationID}, {"entityId", c.EntityID}, {"callsConfigurationId", c.CallsConfigurationID},
	} {
		if m.value != "" {
			parts = append(parts, m.name+" "+strconv.Quote(m.value))
		}
	}
	return strings.Join(parts, " with ")
}

func explainList(part string, wanted []string, value string) string {
	if len(wanted) == 0 || slices.Contains(wanted, value) {
		return ""
	}
	quoted := make([]string, len(wanted))
	for i, w := range wanted {
		quoted[i] = orNone(w)
	}
	return part + ": wants " + several(quoted, ", ") + "; this has " + orNone(value)
}

// orNone quotes a value; an empty one stands for an event without one.
func orNone(v string) string {
	if v == "" {
		return "none"
	}
	return strconv.Quote(v)
}

// several lists the first values and counts the rest.
func several(values []string, between string) string {
	if len(values) <= maxExplained {
		return strings.Join(values, between)
	}
	return strings.Join(values[:maxExplained], between) + " and " + strconv.Itoa(len(values)-maxExplained) + " more"
}
