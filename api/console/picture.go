package console

import (
	"fmt"
	"slices"
	"strings"

	"example.com/belfry/api/client"
)

// The measures of the picture, in units of its viewBox.
const (
	nodeWidth  = 264
	nodeHeight = 44
	rowHeight  = 56
	columnGap  = 84
	pictureTop = 34 // the names of the columns
	// nodeText is how many characters of a name fit; the title has all of it.
	nodeText = 30
	// leavesMost is how many subscriptions of one profile are drawn.
	leavesMost = 8
	// drawnMost is how many profiles one picture has.
	drawnMost = 40
)

// picture shows what refers to what: authentication settings and certificates
// at the left, the profiles that use them, and their subscriptions at the
// right. It is an SVG made here; Groups are the same as a list.
type picture struct {
	Width, Height int
	Columns       []pictureText
	Nodes         []node
	Edges         []edge
	Groups        []pictureGroup
	// Leaves: the subscriptions were read, so that none means none.
	Leaves bool
	// Hidden is how many profiles are not drawn; All is the list of them all.
	Hidden int
	All    string
}

// BoxWidth leaves room for the strokes at both sides.
func (p *picture) BoxWidth() int { return p.Width + 4 }

// node is a box of the picture, and a link.
type node struct {
	Kind, ID, Note, Href string
	X, Y                 int
	// Focus: the picture is about this one. Off: it does not deliver.
	Focus, Off bool
}

// Label and Sub are the lines in the box, cut to what fits.
func (n node) Label() string { return clip(n.ID, nodeText) }

// Sub is the second line.
func (n node) Sub() string { return clip(n.Note, nodeText+6) }

// Spoken is the name of the link: what can be read in it, with its kind.
func (n node) Spoken() string { return strings.TrimSpace(n.Kind + " " + n.Label() + " " + n.Sub()) }

// Whole is all of it, for the pointer.
func (n node) Whole() string { return strings.TrimSpace(n.Kind + " " + n.ID + " " + n.Note) }

// TextX, LabelY and SubY place the texts.
func (n node) TextX() int { return n.X + 20 }

// BandX and BandY place the mark of the kind.
func (n node) BandX() int { return n.X + 8 }

// BandY is its upper end.
func (n node) BandY() int { return n.Y + 9 }

// LabelY is the base line of the first line.
func (n node) LabelY() int {
	if n.Note == "" {
		return n.Y + 27
	}
	return n.Y + 19
}

// SubY is the base line of the second line.
func (n node) SubY() int { return n.Y + 35 }

// W and H are the size of the box.
func (n node) W() int { return nodeWidth }

// H is its height.
func (n node) H() int { return nodeHeight }

type edge struct{ Path string }

type pictureText struct {
	X, Y int
	Text string
}

// pictureGroup is one profile in the list beside the picture.
type pictureGroup struct {
	Profile node
	Uses    []node
	Users   []node
	Rest    int // users that are not listed
}

func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func columnX(i int) int { return i * (nodeWidth + columnGap) }

// focus is what a picture is about.
type focus struct{ kind, id string }

const (
	kindSubscription   = "Subscription"
	kindProfile        = "Profile"
	kindAuthentication = "Authentication"
	kindCertificate    = "Certificate"
)

// scene is what a picture shows.
type scene struct {
	profiles []client.Profile
	// users are the subscriptions of the profiles; nil: they are not shown.
	users map[string]beginning[channelSubscription]
	// loose are settings that nothing uses.
	loose []node
	about focus
}

// pictureOf shows one profile with its subscriptions.
func pictureOf(p client.Profile, users beginning[channelSubscription], about focus) *picture {
	return draw(scene{profiles: []client.Profile{p}, users: map[string]beginning[channelSubscription]{p.ProfileID: users}, about: about})
}

// pictureOfUsed shows what profiles use with the first of them; all is the list
// of the others.
func pictureOfUsed(n node, users beginning[client.Profile], all string) *picture {
	s := scene{profiles: users.Rows, about: focus{n.Kind, n.ID}}
	if users.Total == 0 {
		n.Note = "used by no profile"
		s.loose = []node{n}
	}
	p := draw(s)
	p.Hidden, p.All = users.Total-len(users.Rows), all
	return p
}

// draw makes the picture of a scene. It gives nil when there is nothing to
// draw.
func draw(s scene) *picture {
	p := &picture{Width: 3*nodeWidth + 2*columnGap, Columns: []pictureText{{columnX(0), 16, "Authentication and certificates"}, {columnX(1), 16, "Profiles"}, {columnX(2), 16, "Subscriptions"}}}
	if p.Leaves = s.users != nil; !p.Leaves {
		p.Width, p.Columns = 2*nodeWidth+columnGap, p.Columns[:2]
	}
	// Profiles with the same setting stand together, so that lines cross less.
	profiles := slices.Clone(s.profiles)
	slices.SortStableFunc(profiles, func(a, b client.Profile) int {
		return compareTexts(authOf(a), authOf(b), a.ClientCertificateID, b.ClientCertificateID)
	})
	y := pictureTop
	var at []int // the middle of each profile
	for _, pr := range profiles {
		g, bottom := drawProfile(pr, s.users[pr.ProfileID], y, s.about)
		at = append(at, g.Profile.Y+nodeHeight/2)
		p.Groups = append(p.Groups, g)
		y = bottom
	}
	left := p.drawUsed(at, s.loose, s.about)
	p.Height = max(y, left, pictureTop+rowHeight)
	if len(p.Groups) == 0 && len(s.loose) == 0 {
		return nil
	}
	p.join()
	return p
}

func compareTexts(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		switch a, b := pairs[i], pairs[i+1]; {
		case a < b:
			return -1
		case a > b:
			return 1
		}
	}
	return 0
}

// drawProfile places one profile and its subscriptions from y down.
func drawProfile(pr client.Profile, subs beginning[channelSubscription], y int, about focus) (pictureGroup, int) {
	g := pictureGroup{Profile: node{
		Kind: kindProfile, ID: pr.ProfileID, Note: urlOf(pr), Href: at("/profiles/{}", pr.ProfileID), X: columnX(1), Off: !enabled(pr), Focus: about == focus{kindProfile, pr.ProfileID},
	}}
	if g.Profile.Off {
		g.Profile.Note = "disabled · " + g.Profile.Note
	}
	shown := subs.first(leavesMost)
	for i, s := range shown {
		g.Users = append(g.Users, node{
			Kind: kindSubscription, ID: s.SubscriptionID, Note: s.Channel + " · " + eventsText(s.Events), Href: s.Href(), X: columnX(2), Y: y + i*rowHeight, Focus: about == focus{kindSubscription, s.Channel + "/" + s.SubscriptionID},
		})
	}
	if g.Rest = subs.Total - len(shown); g.Rest > 0 {
		g.Users = append(g.Users, node{
			Kind: "List", ID: fmt.Sprintf("%d more", g.Rest), Note: "all that use " + pr.ProfileID, Href: list("/subscriptions", "profileId", pr.ProfileID), X: columnX(2), Y: y + len(shown)*rowHeight,
		})
	}
	rows := max(1, len(g.Users))
	g.Profile.Y = y + (rows-1)*rowHeight/2
	for _, u := range []node{
		{Kind: kindAuthentication, ID: authOf(pr), Href: at("/authentication/{}", authOf(pr))},
		{Kind: kindCertificate, ID: pr.ClientCertificateID, Note: "client certificate", Href: at("/certificates/{}", pr.ClientCertificateID)},
	} {
		if u.ID != "" {
			u.Focus = about == focus{u.Kind, u.ID}
			g.Uses = append(g.Uses, u)
		}
	}
	return g, y + rows*rowHeight
}

// drawUsed places the settings and certificates beside the middle of the
// profiles that use them, from the top down without overlaps, then the loose
// ones. It gives back where the column ends.
func (p *picture) drawUsed(at []int, loose []node, about focus) int {
	type place struct {
		node
		sum, n int
	}
	var used []*place
	for i, g := range p.Groups {
		for _, u := range g.Uses {
			k := slices.IndexFunc(used, func(x *place) bool { return x.Kind == u.Kind && x.ID == u.ID })
			if k < 0 {
				used = append(used, &place{node: u})
				k = len(used) - 1
			}
			used[k].sum, used[k].n = used[k].sum+at[i], used[k].n+1
		}
	}
	slices.SortStableFunc(used, func(a, b *place) int { return a.sum/a.n - b.sum/b.n })
	y := pictureTop
	for _, u := range used {
		u.Y = max(y, u.sum/u.n-nodeHeight/2)
		y = u.Y + rowHeight
		p.Nodes = append(p.Nodes, u.node)
	}
	for _, u := range loose {
		u.X, u.Y, u.Focus = 0, y, about == focus{u.Kind, u.ID}
		y += rowHeight
		p.Nodes = append(p.Nodes, u)
	}
	return y
}

// join draws the lines and puts the profiles and subscriptions into Nodes.
func (p *picture) join() {
	line := func(from, to node) {
		x1, y1, x2, y2 := from.X+nodeWidth, from.Y+nodeHeight/2, to.X, to.Y+nodeHeight/2
		mid := (x1 + x2) / 2
		p.Edges = append(p.Edges, edge{fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, mid, y1, mid, y2, x2, y2)})
	}
	left := slices.Clone(p.Nodes)
	for i, g := range p.Groups {
		for k, u := range g.Uses {
			at := slices.IndexFunc(left, func(n node) bool { return n.Kind == u.Kind && n.ID == u.ID })
			p.Groups[i].Uses[k] = left[at]
			line(left[at], g.Profile)
		}
		p.Nodes = append(p.Nodes, g.Profile)
		for _, u := range g.Users {
			line(g.Profile, u)
			p.Nodes = append(p.Nodes, u)
		}
	}
}
