package console

import (
	"slices"

	"example.com/belfry/fsm/model"
)

// screen is one page: its address, who may see it, where the menu shows it,
// and what makes it. screens lists all of them.
type screen struct {
	// path below Prefix in the form of http.ServeMux: /profiles/{id}.
	path string
	// file is its template; empty for a screen that only redirects or answers
	// with something else than a page.
	file  string
	title string
	nav   *navItem // nil: not in the menu
	// scope that the API asks of who reads and of who changes; empty: nothing.
	// A screen that the caller may not see is neither in the menu nor answered.
	scope, postScope model.Scope
	// public screens answer without a session.
	public bool
	// anytime: the POST changes nothing that needs a quorum.
	anytime bool
	// form: the screen shows no list, so that it needs no fixtures of one.
	form bool
	// scripts are further modules of static/js, by name.
	scripts []string

	get, post func(*visit) (*answer, error)
}

// screens lists the screens of every area. A new area adds its line here.
func screens() []screen {
	return slices.Concat(
		sessionScreens(),
		overviewScreens(),
		destinationScreens(),
		eventScreens(),
		paletteScreens(), stateScreens(),
		subscriptionScreens(), profileScreens(), securityScreens(), certificateScreens(), hierarchyScreens(),
		clusterScreens(),
		accountScreens(), keyScreens(), userScreens(), auditScreens(), healthScreens(),
	)
}

// navItem places a screen in the menu.
type navItem struct {
	group navGroup
	label string
	icon  string // a symbol of static/img/icons.svg
	// key after g opens the screen; 0: none.
	key rune
	// order within the group.
	order int
}

// navGroup is a heading of the menu; the zero value stands above all of them.
type navGroup int

// The groups of the menu.
const (
	navTop navGroup = iota
	navSubscriptions
	navEvents
	navCluster
	navAccess
)

var navTitles = map[navGroup]string{
	navSubscriptions: "Subscription management", navEvents: "Events", navCluster: "Cluster", navAccess: "Access",
}

// menuGroup and menuItem are the menu as the layout shows it.
type (
	menuGroup struct {
		Title string
		Items []menuItem
	}
	menuItem struct {
		Href, Label, Icon, Key string
		Current                bool
	}
)

// menu has what the caller may see. at is the path of the page below Prefix.
func (c *Console) menu(scopes []model.Scope, at string) []menuGroup {
	type row struct {
		*navItem
		path string
	}
	var rows []row
	for i := range c.screens {
		if s := &c.screens[i]; s.nav != nil && s.allows(scopes) {
			rows = append(rows, row{s.nav, s.path})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		if a.group != b.group {
			return int(a.group - b.group)
		}
		return a.order - b.order
	})
	var out []menuGroup
	for i, r := range rows {
		if i == 0 || rows[i-1].group != r.group {
			out = append(out, menuGroup{Title: navTitles[r.group]})
		}
		item := menuItem{Href: Prefix + r.path, Label: r.label, Icon: r.icon, Current: within(at, r.path)}
		if r.key != 0 {
			item.Key = string(r.key)
		}
		g := &out[len(out)-1]
		g.Items = append(g.Items, item)
	}
	return out
}

// page reports whether the screen shows a page, or takes a form.
func (s *screen) page() bool { return s.file != "" || s.post != nil }

// allows reports whether a caller with these scopes may see the screen.
func (s *screen) allows(scopes []model.Scope) bool { return s.scope == "" || s.scope.Allows(scopes) }

// within reports whether the page at is the menu's path or below it.
func within(at, path string) bool {
	if path == "/" {
		return at == "/"
	}
	return at == path || len(at) > len(path) && at[:len(path)] == path && at[len(path)] == '/'
}
