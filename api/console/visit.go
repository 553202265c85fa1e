package console

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// nodeURL is what the client believes to talk to; the requests never leave
// the process.
const nodeURL = "http://node"

// visit is one request to a screen.
type visit struct {
	c       *Console
	w       http.ResponseWriter
	r       *http.Request
	screen  *screen
	session session
	// caller is zero on public screens.
	caller client.Caller
	// api makes calls as the caller.
	api    *client.Client
	direct *direct
	// outage says why writes cannot work; empty: they can.
	outage string
}

func (v *visit) ctx() context.Context { return v.r.Context() }

// param is a part of the path, decoded.
func (v *visit) param(name string) string { return v.r.PathValue(name) }

// query is a parameter of the address; "" when it is not there.
func (v *visit) query(name string) string { return v.r.URL.Query().Get(name) }

// can reports whether the caller has a scope.
func (v *visit) can(s model.Scope) bool { return s.Allows(v.caller.Scopes) }

// answer is what comes of a visit: a page, or a redirect.
type answer struct {
	status int
	title  string
	crumbs []crumb
	view   any
	to     string
	flash  string
	// file is another template than the screen's.
	file string
	// written: the screen has answered by itself.
	written bool
}

type crumb struct{ Label, Href string }

// show answers with the page of the screen.
func (v *visit) show(view any) *answer { return &answer{status: http.StatusOK, view: view} }

// titled gives the page another title than the screen's.
func (a *answer) titled(format string, args ...any) *answer {
	a.title = fmt.Sprintf(format, args...)
	return a
}

// under adds a page above this one; call it from the top down. href is made by
// at.
func (a *answer) under(label, href string) *answer {
	a.crumbs = append(a.crumbs, crumb{label, href})
	return a
}

func (a *answer) with(status int) *answer {
	a.status = status
	return a
}

// redirect answers with another page of the console.
func (v *visit) redirect(to string) *answer { return &answer{status: http.StatusSeeOther, to: to} }

// done is redirect with a message that the next page shows once.
func (v *visit) done(to, format string, args ...any) *answer {
	return &answer{status: http.StatusSeeOther, to: to, flash: fmt.Sprintf(format, args...)}
}

// at makes an address of the console: every {} of the pattern is replaced by
// the next value, percent-encoded.
func at(pattern string, values ...string) string {
	var b strings.Builder
	b.WriteString(Prefix)
	for _, value := range values {
		head, rest, ok := strings.Cut(pattern, "{}")
		if !ok {
			break
		}
		b.WriteString(head + url.PathEscape(value))
		pattern = rest
	}
	return b.String() + pattern
}

// handler runs one screen: who, may they, the form's token, the screen, the
// answer.
func (c *Console) handler(s *screen, handle func(*visit) (*answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{c: c, w: w, r: r, screen: s, session: sessionOf(r), direct: &direct{api: c.api, remote: r.RemoteAddr, agent: "belfry-console"}}
		a, err := v.run(handle)
		if err != nil {
			a = v.fail(err)
		}
		v.answer(a)
	}
}

// errSignIn sends the visitor to the sign-in page.
var errSignIn = errors.New("not signed in")

func (v *visit) run(handle func(*visit) (*answer, error)) (*answer, error) {
	var err error
	if v.api, err = client.New(client.Options{BaseURLs: []string{nodeURL}, Token: v.session.token, TokenScheme: v.session.scheme, Transport: v.direct}); err != nil {
		return nil, errSignIn
	}
	v.outage = v.c.noQuorum(v.ctx())
	v.direct.stale = v.outage != ""
	if !v.screen.public {
		if v.session.zero() {
			return nil, errSignIn
		}
		if v.caller, err = v.api.Session(v.ctx()); model.CodeOf(err) == model.CodeUnauthorized {
			return nil, errSignIn
		} else if err != nil {
			return nil, err
		}
		if err := v.mayVisit(); err != nil {
			return nil, err
		}
		v.renew()
	}
	if v.r.Method == http.MethodPost {
		if err := v.checkPost(); err != nil {
			return nil, err
		}
	}
	return handle(v)
}

func (v *visit) mayVisit() error {
	need := v.screen.scope
	if v.r.Method == http.MethodPost && v.screen.postScope != "" {
		need = v.screen.postScope
	}
	if need != "" && !v.can(need) {
		return model.Errorf(model.CodeForbidden, "this needs the scope %s", need)
	}
	return nil
}

// checkPost reads the form and refuses one that is not ours. One whose change
// cannot work now gets to its screen, which shows it again with what was typed:
// the change itself is refused on its way to the API.
func (v *visit) checkPost() error {
	err := v.r.ParseMultipartForm(maxForm)
	if errors.Is(err, http.ErrNotMultipart) {
		err = v.r.ParseForm()
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return model.Errorf(model.CodeTooLarge, "the form is larger than %d KiB", maxForm>>10)
	}
	if err != nil {
		return model.Errorf(model.CodeInvalid, "the form could not be read")
	}
	if !v.screen.public && !equal(v.r.PostFormValue(csrfField), v.session.csrf()) {
		return model.Errorf(model.CodeForbidden, "the form is not of this session: go back, reload the page and send it again")
	}
	if v.outage != "" && !v.screen.anytime {
		v.direct.refuse = "this node has no quorum: " + v.outage
	}
	return nil
}

// fail turns an error into a page. What is not a *model.Error is logged and
// not shown.
func (v *visit) fail(err error) *answer {
	if errors.Is(err, errSignIn) || model.CodeOf(err) == model.CodeUnauthorized && !v.screen.public {
		next := v.r.URL.RequestURI()
		if v.r.Method != http.MethodGet && v.screen.get == nil {
			next = Prefix + "/"
		}
		return v.redirect(Prefix + "/sign-in?next=" + url.QueryEscape(next))
	}
	e, ok := errors.AsType[*model.Error](err)
	if !ok || e.Code == model.CodeInternal {
		v.c.log.Error("a page could not be made", "path", v.r.URL.Path, "error", err)
		e = model.Errorf(model.CodeInternal, "Something went wrong on this node. Its log has the reason.")
	}
	p := problems[e.Code]
	if p.status == 0 {
		p = problems[model.CodeInvalid]
	}
	view := problemView{Title: p.title, Text: sentence(e.Message), Advice: p.advice, Retry: v.r.Method == http.MethodGet && p.retry}
	for _, f := range e.Violations() {
		view.Fields = append(view.Fields, f.Field+": "+f.Message)
	}
	return &answer{status: p.status, title: p.title, view: view, file: "problem.html"}
}

// problemView is the page of an error.
type problemView struct {
	Title, Text, Advice string
	Fields              []string
	Retry               bool
}

type problem struct {
	status        int
	title, advice string
	retry         bool
}

var problems = map[model.Code]problem{
	model.CodeInvalid:        {http.StatusUnprocessableEntity, "That did not work", "Go back and correct what is named above.", false},
	model.CodeNotFound:       {http.StatusNotFound, "Not found", "It may have been deleted, or belong to another account.", false},
	model.CodeForbidden:      {http.StatusForbidden, "Not allowed", "Ask who manages the keys and users of your account for more scopes.", false},
	model.CodeUnauthorized:   {http.StatusUnauthorized, "Not signed in", "", false},
	model.CodeExists:         {http.StatusConflict, "It exists already", "Choose another id.", false},
	model.CodeInUse:          {http.StatusConflict, "Still in use", "Remove what refers to it first.", false},
	model.CodeConflict:       {http.StatusConflict, "Conflict", "Reload, and look at what is there now.", false},
	model.CodeLimit:          {http.StatusTooManyRequests, "Too many requests", "Wait a moment.", true},
	model.CodeQuota:          {http.StatusUnprocessableEntity, "The quota is used up", "Delete what is not needed any more, or ask the operator.", false},
	model.CodeTooLarge:       {http.StatusRequestEntityTooLarge, "Too large", "Send less.", false},
	model.CodeUnavailable:    {http.StatusServiceUnavailable, "Not available now", "The cluster may be choosing a leader. Nothing was changed.", true},
	model.CodeUnknownOutcome: {http.StatusServiceUnavailable, "Outcome unknown", "The change may have been made or not: look before you try again.", false},
	model.CodeInternal:       {http.StatusInternalServerError, "Something went wrong", "", true},
}

func notFound(v *visit) (*answer, error) {
	if v.session.zero() {
		return nil, errSignIn
	}
	var err error
	if v.caller, err = v.api.Session(v.ctx()); err != nil {
		return nil, errSignIn
	}
	return nil, model.Errorf(model.CodeNotFound, "There is no page at this address.")
}

// answer writes what came of the visit.
func (v *visit) answer(a *answer) {
	if a.written {
		return
	}
	if a.to != "" {
		if a.flash != "" {
			v.cookie(cookieFlash, v.sealFlash(a.flash), time.Minute)
		}
		http.Redirect(v.w, v.r, a.to, a.status)
		return
	}
	p := v.page(a)
	file := a.file
	if file == "" {
		file = v.screen.file
	}
	b, err := v.c.pages.render(file, p)
	if err != nil {
		v.c.log.Error("a template failed", "template", file, "error", err)
		http.Error(v.w, "Something went wrong on this node. Its log has the reason.", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(a.status)
	_, _ = v.w.Write(b) // the browser is gone: there is nobody to tell
}

// sealFlash and flash carry a message over a redirect; a message that the
// session did not write is not shown.
func (v *visit) sealFlash(text string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(text)) + "." + v.session.mac("flash "+text)
}

func (v *visit) flash() string {
	c, err := v.r.Cookie(cookieFlash)
	if err != nil || v.session.zero() {
		return ""
	}
	v.cookie(cookieFlash, "", 0)
	body, mac, _ := strings.Cut(c.Value, ".")
	b, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || !equal(mac, v.session.mac("flash "+string(b))) {
		return ""
	}
	return string(b)
}
