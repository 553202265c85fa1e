package console

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// reading reads several lists of one page with one question to the leader: the
// first read is linearizable, and what the same node answers after it is at
// least as new.
type reading struct {
	v     *visit
	asked bool
}

func (v *visit) reading() *reading { return &reading{v: v} }

// part is one page of a list.
func (r *reading) part(page, size int) client.Read {
	part := client.Read{Page: page, Size: size, Stale: r.asked}
	r.asked = true
	return part
}

// beginning is the first rows of a list, and how many it has.
type beginning[T any] struct {
	Rows  []T
	Total int
}

// first are the rows up to n.
func (b beginning[T]) first(n int) []T { return b.Rows[:min(len(b.Rows), n)] }

// channelSubscription is a subscription with its channel, which the API has in
// the path.
type channelSubscription struct {
	Channel string
	client.Subscription
}

// Href is the page of the subscription.
func (s channelSubscription) Href() string {
	return at("/subscriptions/{}/{}", s.Channel, s.SubscriptionID)
}

// subscriptions is one page of those of a channel, or of all when channel is
// empty.
func (r *reading) subscriptions(channel string, f client.Filter, part client.Read) (client.Page[channelSubscription], error) {
	var out client.Page[channelSubscription]
	if channel == "" {
		p, err := r.v.api.AllSubscriptions(r.v.ctx(), f, part)
		for _, s := range p.Results {
			out.Results = append(out.Results, channelSubscription(s))
		}
		out.Paging = p.Paging
		return out, err
	}
	p, err := r.v.api.Subscriptions(r.v.ctx(), channel, f, part)
	for _, s := range p.Results {
		out.Results = append(out.Results, channelSubscription{channel, s})
	}
	out.Paging = p.Paging
	return out, err
}

// channelNames are all channels, in alphabetical order.
func channelNames() []string {
	var out []string
	for _, c := range model.Channels() {
		out = append(out, c.Name)
	}
	return out
}

// usersOf are the first n subscriptions that go through a profile.
func (r *reading) usersOf(profileID string, n int) (beginning[channelSubscription], error) {
	p, err := r.subscriptions("", client.Filter{ProfileID: profileID}, r.part(0, n))
	return beginning[channelSubscription]{p.Results, p.Paging.TotalResults}, err
}

// profilesWith are the first profiles that fit, as many as a picture shows.
func (r *reading) profilesWith(f client.ProfileFilter) (beginning[client.Profile], error) {
	p, err := r.v.api.Profiles(r.v.ctx(), f, r.part(0, drawnMost))
	return beginning[client.Profile]{p.Results, p.Paging.TotalResults}, err
}

// list is the address of a list with one filter.
func list(path, filter, value string) string {
	return address(at(path), url.Values{filter: {value}})
}

// authOf is the id of a profile's authentication setting, or empty.
func authOf(p client.Profile) string {
	if p.Security == nil {
		return ""
	}
	return p.Security.AuthID
}

// urlOf is where a profile delivers to.
func urlOf(p client.Profile) string {
	if p.Webhook == nil {
		return ""
	}
	return p.Webhook.NotifyURL
}

// enabled reports whether a profile delivers.
func enabled(p client.Profile) bool { return p.Enabled == nil || *p.Enabled }

// contains reports whether one of the texts has q in it; case does not count.
func contains(q string, texts ...string) bool {
	q = strings.ToLower(q)
	return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(strings.ToLower(s), q) })
}

// tab is one of the tabs above the lists.
type tab struct {
	Label, Href string
	Current     bool
}

// setupTabs are those of the product page, with certificates and the picture.
func setupTabs(current string) []tab {
	tabs := []tab{
		{Label: "Subscriptions", Href: at("/subscriptions")},
		{Label: "Notification profiles", Href: at("/profiles")},
		{Label: "Authentication settings", Href: at("/authentication")},
		{Label: "Certificates", Href: at("/certificates")},
		{Label: "Hierarchy", Href: at("/hierarchy")},
	}
	for i := range tabs {
		tabs[i].Current = tabs[i].Href == at(current)
	}
	return tabs
}

// askView is the question before something of this area is deleted, with a
// picture of what it hangs together with.
type askView struct {
	confirmation
	Picture *picture
}

// ask is confirm with a picture.
func (v *visit) ask(k confirmation, p *picture) *answer {
	a := v.confirm(k)
	c, _ := a.view.(confirmation)
	a.view, a.file = askView{c, p}, "setup_delete.html"
	return a
}

// erase is the answer to a question of ask: it deletes what k names.
func (v *visit) erase(k confirmation, to, done string, del func() error) (*answer, error) {
	if again, yes := v.confirmed(k); !yes {
		return again, nil
	}
	if err := del(); err != nil {
		return v.refused(k, err)
	}
	return v.done(to, "%s", done), nil
}

// channelTitles are the names of channels that are not made of words.
var channelTitles = map[string]string{
	"AGENT_OS": "Agent OS", "APPLE_MESSAGES_FOR_BUSINESS": "Apple Messages for Business", "BELFRY": "belfry", "KAKAO_ALIM": "Kakao Alim", "KAKAO_BRAND_MESSAGE": "Kakao Brand Message",
	"KAKAO_CHINGU": "Kakao Chingu", "LINE": "LINE", "MMS": "MMS", "RCS": "RCS", "SMS": "SMS", "VKONTAKTE": "Vkontakte", "VOICE_VIDEO": "Voice and Video", "WHATSAPP": "WhatsApp",
}

// channelTitle is a channel as people call it.
func channelTitle(name string) string {
	if s, ok := channelTitles[name]; ok {
		return s
	}
	return human(name)
}

// waitText is a length of whole seconds as form.seconds reads it: 5m, 1h30m.
func waitText(seconds int64) string {
	s := (time.Duration(seconds) * time.Second).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}
