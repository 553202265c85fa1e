package console

import (
	"net/url"
	"slices"
	"strings"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func hierarchyScreens() []screen {
	return []screen{{
		path: "/hierarchy", file: "hierarchy.html", title: "Hierarchy", scope: model.ScopeSubscriptionsRead,
		nav: &navItem{group: navSubscriptions, label: "Hierarchy", icon: "graph", key: 'h', order: 5}, get: showHierarchy,
	}}
}

// hierarchyView is the picture of everything, or of what is searched for.
type hierarchyView struct {
	Tabs    []tab
	Picture *picture
	More    bool
	Most    int
}

func showHierarchy(v *visit) (*answer, error) {
	r := v.reading()
	profiles, more, err := every(r, v.api.Profiles)
	if err != nil {
		return nil, err
	}
	subs, moreSubs, err := r.subscriptions(channelNames(), client.Filter{})
	if err != nil {
		return nil, err
	}
	loose, err := looseSettings(r, profiles)
	if err != nil {
		return nil, err
	}
	if q := strings.TrimSpace(v.query("q")); q != "" {
		found := map[string]bool{}
		for _, s := range subs {
			if contains(q, s.SubscriptionID, s.Name, s.Channel) {
				found[s.Profile.ProfileID] = true
			}
		}
		profiles = slices.DeleteFunc(profiles, func(p client.Profile) bool {
			return !found[p.ProfileID] && !contains(q, p.ProfileID, urlOf(p), authOf(p), p.ClientCertificateID)
		})
		loose = slices.DeleteFunc(loose, func(n node) bool { return !contains(q, n.ID) })
	}
	return v.show(hierarchyView{Tabs: setupTabs("/hierarchy"), Picture: draw(profiles, subs, loose, focus{}), More: more || moreSubs, Most: searchedMost}), nil
}

// looseSettings are some of the authentication settings that no profile uses.
func looseSettings(r *reading, profiles []client.Profile) ([]node, error) {
	used := map[string]bool{}
	for _, p := range profiles {
		used[authOf(p)] = true
	}
	p, err := r.v.api.SecuritySettings(r.v.ctx(), r.part(0, drawnMost))
	if err != nil {
		return nil, err
	}
	var out []node
	for _, s := range p.Results {
		if !used[s.AuthID] {
			out = append(out, node{Kind: kindAuthentication, ID: s.AuthID, Note: "used by no profile", Href: at("/authentication/{}", s.AuthID)})
		}
	}
	return out, nil
}

func queryEscape(s string) string { return url.QueryEscape(s) }
