package console

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func keyScreens() []screen {
	const manage = model.ScopeAccountsManage
	return []screen{
		{
			path: "/keys", file: "keys.html", title: "API keys", scope: manage, get: listKeys,
			nav: &navItem{group: navAccess, label: "API keys", icon: "key", key: 'k', order: 2},
		},
		{path: "/new-key", file: "key_form.html", title: "New API key", scope: manage, get: newKey, post: createKey},
		{path: "/keys/{key}", file: "key.html", title: "API key", scope: manage, get: showKey},
		{path: "/keys/{key}/edit", file: "key_form.html", title: "Edit API key", scope: manage, get: editKey, post: updateKey},
		{path: "/keys/{key}/delete", file: "confirm.html", title: "Delete API key", scope: manage, get: askDeleteKey, post: deleteKey},
	}
}

// scopeMeanings says what each scope allows.
var scopeMeanings = map[model.Scope]string{
	model.ScopeSubscriptionsManage: "change subscriptions, profiles, authentication and certificates",
	model.ScopeSubscriptionsRead:   "see them, secrets masked",
	model.ScopeSecurityReveal:      "see the secrets of authentication settings",
	model.ScopeEventsWrite:         "publish events",
	model.ScopeEventsRead:          "see events, deliveries and figures",
	model.ScopeAccountsManage:      "change keys and users of the account",
	model.ScopeAuditRead:           "see the audit log of the account",
	model.ScopeAdminAccounts:       "everything about every account",
	model.ScopeAdminCluster:        "see and change the cluster",
}

// grantable are the scopes that the caller may give to others: those they
// hold.
func (v *visit) grantable() []option {
	var out []option
	for _, s := range model.AllScopes() {
		if v.can(s) {
			out = append(out, option{string(s), string(s) + ": " + scopeMeanings[s]})
		}
	}
	return out
}

// stronger reports whether credentials hold scopes that the caller lacks: such
// credentials can only be disabled and deleted.
func (v *visit) stronger(scopes []model.Scope) bool {
	return slices.ContainsFunc(scopes, func(s model.Scope) bool { return !v.can(s) })
}

func scopesOf(f *form) []model.Scope {
	out := []model.Scope{}
	for _, s := range f.Values("scopes") {
		out = append(out, model.Scope(s))
	}
	return out
}

func setScopes(f *form, scopes []model.Scope) {
	var names []string
	for _, s := range scopes {
		names = append(names, string(s))
	}
	f.set("scopes", names...)
}

// keyRow is a key and whether it works now.
type keyRow struct {
	client.Key
	State, Tone string
}

// soon is how long before its end a key is shown as about to expire.
const soon = 14 * 24 * time.Hour

func (v *visit) keyRow(k client.Key) keyRow {
	left := k.ExpiresAt.Sub(v.c.now())
	switch {
	case k.Disabled:
		return keyRow{k, "disabled", "warn"}
	case k.ExpiresAt.IsZero():
		return keyRow{k, "active", "ok"}
	case left <= 0:
		return keyRow{k, "expired", "bad"}
	case left < soon:
		return keyRow{k, "expires in " + duration(left), "warn"}
	}
	return keyRow{k, "active", "ok"}
}

type keysView struct {
	owned
	Keys  []keyRow
	Pager pager
}

func listKeys(v *visit) (*answer, error) {
	o := v.owned()
	p, err := v.api.Keys(v.ctx(), o.Account, v.read())
	if err != nil {
		return nil, err
	}
	view := keysView{owned: o, Pager: pagerOf(p)}
	for _, k := range p.Results {
		view.Keys = append(view.Keys, v.keyRow(k))
	}
	return o.above(v.show(view), "", ""), nil
}

// keyForm is the form of a new key, or of the one with ID.
type keyForm struct {
	owned
	Form   *form
	ID     string
	Scopes []option
	// Stronger: it holds scopes that the caller lacks.
	Stronger bool
}

// Cancel is the way back.
func (k keyForm) Cancel() string {
	if k.ID == "" {
		return k.At("/keys")
	}
	return k.At("/keys/{}", k.ID)
}

var keyFields = []string{"name", "scopes", "expiresAt", "cidrs", "disabled"}

func newKey(v *visit) (*answer, error) {
	o := v.owned()
	return o.above(v.show(keyForm{owned: o, Form: v.blank(), Scopes: v.grantable()}), "API keys", "/keys"), nil
}

// formTime is how a field of the type datetime-local writes an instant; the
// console means UTC by it.
const formTime = "2006-01-02T15:04"

// instant reads such a field; empty is zero.
func instant(f *form, name string) (t time.Time, ok bool) {
	s := f.Text(name)
	if s == "" {
		return time.Time{}, true
	}
	for _, layout := range []string{formTime, formTime + ":05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	f.bad(name, "Write it as 2027-01-31T12:00, in UTC.")
	return time.Time{}, false
}

// keyCreated is the one page that shows a key.
type keyCreated struct {
	client.Key
	owned
	Clear string
}

// createKey answers with the key itself: it is shown once, so that it is in no
// address, no cookie and no second page.
func createKey(v *visit) (*answer, error) {
	o, f := v.owned(), v.form()
	view := keyForm{owned: o, Form: f, Scopes: v.grantable()}
	at, ok := instant(f, "expiresAt")
	if !ok {
		return v.show(view).with(http.StatusUnprocessableEntity), nil
	}
	k, err := v.api.CreateKey(v.ctx(), o.Account, client.NewKey{Name: f.Text("name"), Scopes: scopesOf(f), ExpiresAt: at, CIDRs: f.Lines("cidrs")})
	if err != nil {
		return v.invalid(view, f, err, keyFields...)
	}
	a := v.show(keyCreated{k, o, k.Secret.Reveal()}).titled("Your new key").with(http.StatusCreated)
	a.file = "key_created.html"
	return o.above(a, "API keys", "/keys"), nil
}

type keyView struct {
	owned
	keyRow
	// Current: the caller is signed in with it.
	Current, Stronger bool
}

func showKey(v *visit) (*answer, error) {
	o := v.owned()
	k, err := v.api.Key(v.ctx(), o.Account, v.param("key"), client.Read{})
	if err != nil {
		return nil, err
	}
	view := keyView{owned: o, keyRow: v.keyRow(k), Current: k.KeyID == v.caller.KeyID, Stronger: v.stronger(k.Scopes)}
	return o.above(v.show(view).titled("%s", titleOf(k.Name, k.KeyID)), "API keys", "/keys"), nil
}

// titleOf is a name, or the id of what has none.
func titleOf(name, id string) string {
	if name == "" {
		return id
	}
	return name
}

func editKey(v *visit) (*answer, error) {
	o := v.owned()
	k, err := v.api.Key(v.ctx(), o.Account, v.param("key"), client.Read{})
	if err != nil {
		return nil, err
	}
	f := v.blank()
	f.set("name", k.Name)
	setScopes(f, k.Scopes)
	if !k.ExpiresAt.IsZero() {
		f.set("expiresAt", k.ExpiresAt.UTC().Format(formTime))
	}
	f.set("cidrs", strings.Join(k.CIDRs, "\n"))
	f.set("disabled", fmt.Sprint(k.Disabled))
	view := keyForm{owned: o, Form: f, ID: k.KeyID, Scopes: v.grantable(), Stronger: v.stronger(k.Scopes)}
	return o.above(v.show(view).titled("Edit"), "API keys", "/keys").under(titleOf(k.Name, k.KeyID), o.At("/keys/{}", k.KeyID)), nil
}

func updateKey(v *visit) (*answer, error) {
	o, f := v.owned(), v.form()
	k, err := v.api.Key(v.ctx(), o.Account, v.param("key"), client.Read{})
	if err != nil {
		return nil, err
	}
	view := keyForm{owned: o, Form: f, ID: k.KeyID, Scopes: v.grantable(), Stronger: v.stronger(k.Scopes)}
	u := client.KeyUpdate{Disabled: model.Some(f.Has("disabled", "true"))}
	if !view.Stronger {
		at, ok := instant(f, "expiresAt")
		if !ok {
			return v.show(view).with(http.StatusUnprocessableEntity), nil
		}
		u = changedKey(k, u, f, at)
	}
	if _, err := v.api.UpdateKey(v.ctx(), o.Account, k.KeyID, u); err != nil {
		return v.invalid(view, f, err, keyFields...)
	}
	return v.done(o.At("/keys/{}", k.KeyID), "The key %s was saved.", titleOf(f.Text("name"), k.KeyID)), nil
}

// changedKey names what the form changes of k: a field of minutes leaves the
// seconds of an expiry alone, and an expiry that has passed can stay.
func changedKey(k client.Key, u client.KeyUpdate, f *form, at time.Time) client.KeyUpdate {
	if name := f.Text("name"); name != k.Name {
		u.Name = optional(name)
	}
	if scopes := scopesOf(f); !slices.Equal(scopes, k.Scopes) {
		u.Scopes = model.Some(scopes)
	}
	if cidrs := f.Lines("cidrs"); !slices.Equal(cidrs, k.CIDRs) {
		u.CIDRs = model.Some(append([]string{}, cidrs...))
	}
	switch {
	case at.IsZero() && !k.ExpiresAt.IsZero():
		u.ExpiresAt = model.Null[time.Time]()
	case !at.IsZero() && !at.Truncate(time.Minute).Equal(k.ExpiresAt.Truncate(time.Minute)):
		u.ExpiresAt = model.Some(at)
	}
	return u
}

func keyRemoval(v *visit) (confirmation, error) {
	o := v.owned()
	k, err := v.api.Key(v.ctx(), o.Account, v.param("key"), client.Read{})
	if err != nil {
		return confirmation{}, err
	}
	name := titleOf(k.Name, k.KeyID)
	c := confirmation{
		Question: "Delete the key " + name + "?", Name: name, Verb: "Delete the key", Cancel: o.At("/keys/{}", k.KeyID),
		Effects: []string{"Requests with it, and with tokens made by it, are refused at once, on every node.", "It cannot be brought back. To stop it for a while, disable it instead."},
	}
	if k.KeyID == v.caller.KeyID {
		c.Effects = append(c.Effects, "You are signed in with this key: you will be signed out.")
	}
	return c, nil
}

func askDeleteKey(v *visit) (*answer, error) {
	k, err := keyRemoval(v)
	if err != nil {
		return nil, err
	}
	return v.owned().above(v.confirm(k), "API keys", "/keys"), nil
}

func deleteKey(v *visit) (*answer, error) {
	k, err := keyRemoval(v)
	if err != nil {
		return nil, err
	}
	if again, yes := v.confirmed(k); !yes {
		return again, nil
	}
	o := v.owned()
	if err := v.api.DeleteKey(v.ctx(), o.Account, v.param("key")); err != nil {
		return v.refused(k, err)
	}
	return v.done(o.At("/keys"), "The key %s was deleted.", k.Name), nil
}
