package console

import (
	"slices"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func hierarchyScreens() []screen {
	return []screen{{
		path: "/hierarchy", file: "hierarchy.html", title: "Hierarchy", scope: model.ScopeSubscriptionsRead,
		nav: &navItem{group: navSubscriptions, label: "Hierarchy", icon: "graph", key: 'h', order: 5}, get: showHierarchy,
	}}
}

// hierarchyView is the picture of a page of the profiles with all that hangs
// together with them.
type hierarchyView struct {
	Pager   pager
	Tabs    []tab
	Filter  *form
	Picture *picture
	// More: subscriptions fit the search whose profiles may not be drawn. They
	// are listed at MoreHref.
	More     int
	MoreHref string
}

// showHierarchy draws drawnMost profiles a page: more of them make no picture
// that anybody could read. The first page of a search also has profiles of
// which only a subscription fits, as far as there is room, and the settings
// that nothing uses.
func showHierarchy(v *visit) (*answer, error) {
	f, r, page := v.filters("q"), v.reading(), v.read().Page
	q := f.Text("q")
	view := hierarchyView{Tabs: setupTabs("/hierarchy"), Filter: f}
	found, err := v.api.Profiles(v.ctx(), client.ProfileFilter{Search: q}, r.part(page, drawnMost))
	if err != nil {
		return v.badFilter(&view, f, moved(err, "search", "q"), "q")
	}
	view.Pager = pagerOf(found)
	s := scene{profiles: found.Results, users: map[string]beginning[channelSubscription]{}}
	if q != "" && page == 0 {
		if err := r.addProfiles(&s, &view, q); err != nil {
			return nil, err
		}
	}
	for _, p := range s.profiles {
		if s.users[p.ProfileID], err = r.usersOf(p.ProfileID, leavesMost); err != nil {
			return nil, err
		}
	}
	if page == 0 {
		if s.loose, err = r.looseSettings(q); err != nil {
			return nil, err
		}
	}
	view.Picture = draw(s)
	return v.show(&view), nil
}

// addProfiles adds the profiles of subscriptions that fit a search.
func (r *reading) addProfiles(s *scene, view *hierarchyView, q string) error {
	subs, err := r.subscriptions("", client.Filter{Search: q}, r.part(0, model.MaxPageSize))
	if err != nil {
		return err
	}
	rest, seen := subs.Paging.TotalResults-len(subs.Results), map[string]bool{}
	for _, x := range subs.Results {
		id := x.Profile.ProfileID
		if contains(q, id) || seen[id] { // it fits by itself, or is there
			continue
		}
		if len(s.profiles) >= drawnMost || len(seen) >= drawnMost { // no room, or read enough
			rest++
			continue
		}
		seen[id] = true
		p, err := r.v.api.Profile(r.v.ctx(), id, r.part(0, 0))
		switch {
		case model.CodeOf(err) == model.CodeNotFound: // deleted since
		case err != nil:
			return err
		case !contains(q, urlOf(p), authOf(p), p.ClientCertificateID):
			s.profiles = append(slices.Clip(s.profiles), p)
		}
	}
	if rest > 0 {
		view.More, view.MoreHref = subs.Paging.TotalResults, list("/subscriptions", "q", q)
	}
	return nil
}

// looseSettings are the first authentication settings that no profile uses.
func (r *reading) looseSettings(q string) ([]node, error) {
	p, err := r.v.api.SecuritySettings(r.v.ctx(), client.SecurityFilter{Search: q, Unused: true}, r.part(0, drawnMost))
	if err != nil {
		return nil, err
	}
	var out []node
	for _, s := range p.Results {
		out = append(out, node{Kind: kindAuthentication, ID: s.AuthID, Note: "used by no profile", Href: at("/authentication/{}", s.AuthID)})
	}
	return out, nil
}
