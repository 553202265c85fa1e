package console

import (
	"context"
	"slices"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// searchedMost is how many rows of one kind are read to search them or to find
// out what refers to something: the API filters what it filters, the rest is
// done here.
const searchedMost = 10_000

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

// every reads a list to its end, or to searchedMost rows; more says that there
// are further ones.
func every[T any](r *reading, list func(context.Context, client.Read) (client.Page[T], error)) (all []T, more bool, err error) {
	for page := 0; ; page++ {
		p, err := list(r.v.ctx(), r.part(page, model.MaxPageSize))
		if err != nil {
			return nil, false, err
		}
		all = append(all, p.Results...)
		if len(p.Results) == 0 || page+1 >= p.Paging.TotalPages {
			return all, false, nil
		}
		if len(all) >= searchedMost {
			return all, true, nil
		}
	}
}

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

// subscriptions reads those of some channels.
func (r *reading) subscriptions(channels []string, f client.Filter) (all []channelSubscription, more bool, err error) {
	all = []channelSubscription{}
	for _, ch := range channels {
		subs, rest, err := every(r, func(ctx context.Context, part client.Read) (client.Page[client.Subscription], error) {
			return r.v.api.Subscriptions(ctx, ch, f, part)
		})
		if err != nil {
			return nil, false, err
		}
		for _, s := range subs {
			all = append(all, channelSubscription{ch, s})
		}
		if more = more || rest; len(all) >= searchedMost {
			return all, true, nil
		}
	}
	return all, more, nil
}

// channelNames are all channels, in alphabetical order.
func channelNames() []string {
	var out []string
	for _, c := range model.Channels() {
		out = append(out, c.Name)
	}
	return out
}

// usersOf are the subscriptions that go through a profile.
func (r *reading) usersOf(profileID string) ([]channelSubscription, bool, error) {
	all, more, err := r.subscriptions(channelNames(), client.Filter{})
	if err != nil {
		return nil, false, err
	}
	return slices.DeleteFunc(all, func(s channelSubscription) bool { return s.Profile.ProfileID != profileID }), more, nil
}

// profilesWith are the profiles that keep says yes to.
func (r *reading) profilesWith(keep func(client.Profile) bool) ([]client.Profile, bool, error) {
	all, more, err := every(r, r.v.api.Profiles)
	if err != nil {
		return nil, false, err
	}
	return slices.DeleteFunc(all, func(p client.Profile) bool { return !keep(p) }), more, nil
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

// slice is one page of rows that are all there, with its pager.
func slice[T any](v *visit, all []T) ([]T, pager) {
	read := v.read()
	from := min(read.Page*read.Size, len(all))
	var p client.Page[T]
	p.Results = all[from:min(from+read.Size, len(all))]
	p.Paging.Page, p.Paging.Size, p.Paging.TotalResults, p.Paging.TotalPages = read.Page, read.Size, len(all), (len(all)+read.Size-1)/read.Size
	return p.Results, pagerOf(p)
}

// setupList is what the lists of this area have in common.
type setupList struct {
	Pager pager
	// More: only the first searchedMost rows were searched.
	More bool
	Most int
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
