package console

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// paletteMost is how many ids of each kind the palette knows.
const paletteMost = 100

func paletteScreens() []screen {
	return []screen{{path: "/palette.json", get: showPalette}}
}

// paletteEntry is a place that the palette can go to.
type paletteEntry struct {
	Kind  string `json:"kind"`
	Label string `json:"label"`
	Href  string `json:"href"`
	Key   string `json:"key,omitempty"`
}

// showPalette lists the screens and the ids that the caller may see, as JSON.
// An id that is not listed can still be searched for on its screen.
func showPalette(v *visit) (*answer, error) {
	entries := []paletteEntry{}
	for _, g := range v.c.menu(v.caller.Scopes, "") {
		for _, it := range g.Items {
			entries = append(entries, paletteEntry{Kind: "Screen", Label: it.Label, Href: it.Href, Key: it.Key})
		}
	}
	for _, s := range v.c.screens {
		if s.nav == nil && s.file != "" && !s.public && !strings.Contains(s.path, "{") && s.allows(v.caller.Scopes) {
			entries = append(entries, paletteEntry{Kind: "Screen", Label: s.title, Href: Prefix + s.path})
		}
	}
	if v.can(model.ScopeSubscriptionsRead) {
		entries = append(entries, v.paletteIDs()...)
	}
	b, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	return v.fragment("application/json", b), nil
}

// fragment answers with what a script of a page has asked for, which is no page.
func (v *visit) fragment(contentType string, b []byte) *answer {
	v.w.Header().Set("Content-Type", contentType)
	v.w.WriteHeader(http.StatusOK)
	_, _ = v.w.Write(b) // the browser is gone: there is nobody to tell
	return &answer{written: true}
}

// paletteIDs has the beginning of the lists; one that cannot be read now is
// left out.
func (v *visit) paletteIDs() []paletteEntry {
	var out []paletteEntry
	first := client.Read{Size: paletteMost}
	add := func(kind, pattern string, ids []string) {
		if !v.c.has(pattern) {
			return
		}
		for _, id := range ids {
			out = append(out, paletteEntry{Kind: kind, Label: id, Href: at(pattern, id)})
		}
	}
	profiles := func(ctx context.Context, r client.Read) (client.Page[client.Profile], error) {
		return v.api.Profiles(ctx, client.ProfileFilter{}, r)
	}
	add("Notification profile", "/profiles/{}", idsOf(v.ctx(), first, profiles, func(p client.Profile) string { return p.ProfileID }))
	settings := func(ctx context.Context, r client.Read) (client.Page[client.Security], error) {
		return v.api.SecuritySettings(ctx, client.SecurityFilter{}, r)
	}
	add("Authentication setting", "/authentication/{}", idsOf(v.ctx(), first, settings, func(s client.Security) string { return s.AuthID }))
	certificates := func(ctx context.Context, r client.Read) (client.Page[client.Certificate], error) {
		return v.api.Certificates(ctx, nil, r)
	}
	add("Certificate", "/certificates/{}", idsOf(v.ctx(), first, certificates, func(k client.Certificate) string { return k.CertificateID }))
	return out
}

func idsOf[T any](ctx context.Context, r client.Read, list func(context.Context, client.Read) (client.Page[T], error), id func(T) string) []string {
	p, err := list(ctx, r)
	if err != nil {
		return nil
	}
	out := make([]string, len(p.Results))
	for i, x := range p.Results {
		out[i] = id(x)
	}
	return out
}

// has reports whether there is a screen of a pattern of at.
func (c *Console) has(pattern string) bool {
	for _, s := range c.screens {
		if s.path == strings.ReplaceAll(pattern, "{}", "{id}") {
			return true
		}
	}
	return false
}
