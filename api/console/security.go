package console

import (
	"net/http"
	"slices"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func securityScreens() []screen {
	const read, manage = model.ScopeSubscriptionsRead, model.ScopeSubscriptionsManage
	return []screen{
		{
			path: "/authentication", file: "securities.html", title: "Authentication settings", scope: read,
			nav: &navItem{group: navSubscriptions, label: "Authentication", icon: "key", key: 'a', order: 3}, get: listSecurity,
		},
		{path: "/new-authentication", file: "security_form.html", title: "New authentication setting", scope: manage, get: newSecurity, post: createSecurity},
		{path: "/authentication/{id}", file: "security.html", title: "Authentication setting", scope: read, get: showSecurity},
		{path: "/authentication/{id}/edit", file: "security_form.html", title: "Edit authentication", scope: manage, get: editSecurity, post: changeSecurity},
		{path: "/authentication/{id}/rotate", file: "security_rotate.html", title: "Replace the secret key", scope: manage, get: askRotate, post: rotateSecurity},
		{path: "/authentication/{id}/reveal", file: "security.html", title: "Authentication setting", scope: model.ScopeSecurityReveal, post: revealSecurity},
		{path: "/authentication/{id}/delete", file: "setup_delete.html", title: "Delete", scope: manage, get: askDeleteSecurity, post: deleteSecurity},
	}
}

type securitiesView struct {
	Pager  pager
	Tabs   []tab
	Filter *form
	Rows   []client.Security
}

func listSecurity(v *visit) (*answer, error) {
	f := v.filters("q")
	view := securitiesView{Tabs: setupTabs("/authentication"), Filter: f}
	p, err := v.api.SecuritySettings(v.ctx(), client.SecurityFilter{Search: f.Text("q")}, v.read())
	if err != nil {
		return v.badFilter(&view, f, moved(err, "search", "q"), "q")
	}
	view.Rows, view.Pager = p.Results, pagerOf(p)
	return v.show(&view), nil
}

// securityView is the page of a setting.
type securityView struct {
	client.Security
	Credentials []credential
	Users       []client.Profile
	UsersTotal  int
	UsersHref   string
	Picture     *picture
	// Revealed: the secrets are shown, once.
	Revealed, CanReveal, HMAC bool
	// Overlap is until when the previous key signs too; nil: it does not.
	Overlap *time.Time
}

// credential is one member of a setting.
type credential struct {
	Label, Value string
	Secret       bool
}

// credentialRows are the members that a setting has.
func credentialRows(s client.Security) []credential {
	c := credentialsOf(s)
	rows := []credential{
		{"User name", c.Username, false},
		{"Password", c.Password, true},
		{"Secret key", c.SecretKey, true},
		{"Algorithm", c.Algorithm, false},
		{"Header of the signature", c.HeaderName, false},
		{"Encoding", c.Encoding, false},
		{"Previous secret key", c.PreviousSecretKey, true},
		{"Token URL", c.TokenURL, false},
		{"Grant", c.GrantType, false},
		{"Client id", c.ClientID, false},
		{"Client secret", c.ClientSecret, true},
		{"Scope", c.Scope, false},
		{"Resource", c.Resource, false},
		{"Refresh token", c.RefreshToken, true},
	}
	rows = slices.DeleteFunc(rows, func(r credential) bool { return r.Value == "" })
	for _, name := range sortedKeys(c.Headers) {
		rows = append(rows, credential{"Header " + name, c.Headers[name], true})
	}
	return rows
}

// securityPage makes the page of a setting that was read.
func (v *visit) securityPage(r *reading, s client.Security) (*answer, error) {
	users, err := r.profilesWith(client.ProfileFilter{AuthID: s.AuthID})
	if err != nil {
		return nil, err
	}
	view := securityView{
		Security: s, Credentials: credentialRows(s), Users: users.first(usersShown), UsersTotal: users.Total, UsersHref: list("/profiles", "authId", s.AuthID), HMAC: s.Type == string(model.CredentialsHMAC),
		CanReveal: v.can(model.ScopeSecurityReveal), Picture: securityPicture(s.AuthID, users),
	}
	if until := credentialsOf(s).PreviousSecretKeyValidUntil; until != nil && until.After(v.c.now()) {
		view.Overlap = until
	}
	return v.show(view).titled("%s", s.AuthID).under("Authentication settings", at("/authentication")), nil
}

// securityPicture has a setting and the profiles that use it.
func securityPicture(id string, users beginning[client.Profile]) *picture {
	return pictureOfUsed(node{Kind: kindAuthentication, ID: id, Href: at("/authentication/{}", id)}, users, list("/profiles", "authId", id))
}

func showSecurity(v *visit) (*answer, error) {
	r := v.reading()
	s, err := v.api.Security(v.ctx(), v.param("id"), r.part(0, 0))
	if err != nil {
		return nil, err
	}
	return v.securityPage(r, s)
}

// revealSecurity shows the secrets on the page that answers, and nowhere else.
// The API writes the record into the audit log before it tells them.
func revealSecurity(v *visit) (*answer, error) {
	s, err := v.api.RevealSecurity(v.ctx(), v.param("id"))
	if err != nil {
		return nil, err
	}
	a, err := v.securityPage(v.reading(), s)
	if err != nil {
		return nil, err
	}
	view, _ := a.view.(securityView)
	view.Revealed = true
	a.view = view
	return a, nil
}

// securityFormView is the page to make or change a setting.
type securityFormView struct {
	Form   *form
	Fields securityFields
	Cancel string
}

func (v *visit) securityForm(f *form, edit bool) securityFormView {
	view := securityFormView{Form: f, Fields: securityFields{Form: f, Edit: edit}, Cancel: at("/authentication")}
	if edit {
		view.Cancel = at("/authentication/{}", v.param("id"))
	}
	return view
}

func newSecurity(v *visit) (*answer, error) {
	f := v.blank()
	f.set("type", string(model.CredentialsBasic))
	f.set("credentials.algorithm", string(model.HMACSHA256))
	return v.show(v.securityForm(f, false)).under("Authentication settings", at("/authentication")), nil
}

// securityAgain shows the form again with what is wrong.
func (v *visit) securityAgain(f *form, edit bool, err error) (*answer, error) {
	forgetSecrets(f, "", edit)
	view := v.securityForm(f, edit)
	a := v.show(view).with(http.StatusUnprocessableEntity)
	if err != nil {
		if a, err = v.invalid(view, f, err, securityFieldNames("")...); err != nil {
			return nil, err
		}
	}
	return a.under("Authentication settings", at("/authentication")), nil
}

func createSecurity(v *visit) (*answer, error) {
	f := v.form()
	s := securityOf(f, "")
	var err error
	if !f.Failed() {
		if s, err = v.api.CreateSecurity(v.ctx(), s); err == nil {
			return v.done(at("/authentication/{}", s.AuthID), "The authentication setting %s was made.", s.AuthID), nil
		}
	}
	return v.securityAgain(f, false, err)
}

func editSecurity(v *visit) (*answer, error) {
	s, err := v.api.Security(v.ctx(), v.param("id"), client.Read{})
	if err != nil {
		return nil, err
	}
	f := v.blank()
	fillSecurity(f, s)
	view := v.securityForm(f, true)
	return v.show(view).titled("Edit %s", s.AuthID).under("Authentication settings", at("/authentication")).under(s.AuthID, view.Cancel), nil
}

func changeSecurity(v *visit) (*answer, error) {
	f, id := v.form(), v.param("id")
	u := changeOf(f)
	var err error
	if !f.Failed() {
		if err = v.putSecurity(id, u); err == nil {
			return v.done(at("/authentication/{}", id), "The authentication setting %s was saved.", id), nil
		}
	}
	a, err := v.securityAgain(f, true, err)
	if err != nil {
		return nil, err
	}
	return a.titled("Edit %s", id), nil
}

// rotateView is the page that replaces the key of an HMAC setting.
type rotateView struct {
	Form     *form
	ID       string
	Overlaps []option
	// Secret is the key that was made for the caller; shown once.
	Secret string
	Until  *time.Time
	Done   bool
}

// overlapDefault is how long the key before signs too, unless another time is
// chosen.
const overlapDefault = "24h"

func (v *visit) rotatePage(f *form) rotateView {
	return rotateView{Form: f, ID: v.param("id"), Overlaps: []option{
		{"", "Not at all: receivers must know the new key now"}, {"1h", "One hour"}, {overlapDefault, "One day"}, {"168h", "One week"}, {"720h", "30 days"},
	}}
}

func (v *visit) rotateAnswer(a *answer) *answer {
	id := v.param("id")
	return a.titled("Replace the key of %s", id).under("Authentication settings", at("/authentication")).under(id, at("/authentication/{}", id))
}

func askRotate(v *visit) (*answer, error) {
	s, err := v.api.Security(v.ctx(), v.param("id"), client.Read{})
	if err != nil {
		return nil, err
	}
	if s.Type != string(model.CredentialsHMAC) {
		return nil, model.Errorf(model.CodeInvalid, "only the key of an HMAC setting can be replaced with an overlap; edit the setting instead")
	}
	f := v.blank()
	f.set("overlap", overlapDefault)
	return v.rotateAnswer(v.show(v.rotatePage(f))), nil
}

// rotateSecurity replaces the key. The API makes the key it replaces the
// previous one when the change says until when that signs too.
func rotateSecurity(v *visit) (*answer, error) {
	f := v.form()
	view := v.rotatePage(f)
	u := securityChange{Type: string(model.CredentialsHMAC), Credentials: credentialsChange{SecretKey: f.Value("credentials.secretKey"), PreviousUntil: model.Null[time.Time]()}}
	if u.Credentials.SecretKey == "" {
		view.Secret = generateSecret()
		u.Credentials.SecretKey = view.Secret
	}
	if s := f.Text("overlap"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || !has(view.Overlaps, s) {
			return nil, model.Errorf(model.CodeInvalid, "there is no such overlap")
		}
		until := v.c.now().Add(d).UTC().Truncate(time.Second)
		u.Credentials.PreviousUntil, view.Until = model.Some(until), &until
	}
	f.forget("credentials.secretKey")
	if err := v.putSecurity(view.ID, u); err != nil {
		view.Secret = ""
		a, err := v.invalid(view, f, err, "credentials.secretKey")
		if err != nil {
			return nil, err
		}
		return v.rotateAnswer(a), nil
	}
	if view.Secret == "" {
		return v.done(at("/authentication/{}", view.ID), "The secret key of %s was replaced.", view.ID), nil
	}
	view.Done = true
	return v.rotateAnswer(v.show(view)), nil
}

func askDeleteSecurity(v *visit) (*answer, error) {
	r := v.reading()
	s, err := v.api.Security(v.ctx(), v.param("id"), r.part(0, 0))
	if err != nil {
		return nil, err
	}
	users, err := r.profilesWith(client.ProfileFilter{AuthID: s.AuthID})
	if err != nil {
		return nil, err
	}
	k := securityQuestion(s.AuthID)
	k.Effects = []string{"Its secrets are gone: the setting cannot be brought back.", "No profile uses it, so nothing that is delivered changes."}
	refuse(&k, users, list("/profiles", "authId", s.AuthID), "authenticates its requests with this setting", "authenticate their requests with this setting")
	return v.ask(k, securityPicture(s.AuthID, users)), nil
}

// refuse says that profiles are in the way; all is the list of them.
func refuse(k *confirmation, users beginning[client.Profile], all, one, many string) {
	if users.Total == 0 {
		return
	}
	what := "One profile " + one
	if users.Total > 1 {
		what = number(users.Total) + " profiles " + many
	}
	k.Effects, k.Refused = nil, what+". Give them another, or none, first:"
	for _, p := range users.first(usersShown) {
		k.Referrers = append(k.Referrers, link{p.ProfileID, at("/profiles/{}", p.ProfileID)})
	}
	if n := users.Total - usersShown; n > 0 {
		k.Referrers = append(k.Referrers, link{number(n) + " more", all})
	}
}

func securityQuestion(id string) confirmation {
	return confirmation{Question: "Delete the authentication setting " + id + "?", Name: id, Verb: "Delete the setting", Cancel: at("/authentication/{}", id)}
}

func deleteSecurity(v *visit) (*answer, error) {
	id := v.param("id")
	return v.erase(securityQuestion(id), at("/authentication"), "The authentication setting "+id+" was deleted.", func() error { return v.api.DeleteSecurity(v.ctx(), id) })
}
