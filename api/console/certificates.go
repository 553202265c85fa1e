package console

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func certificateScreens() []screen {
	const read, manage = model.ScopeSubscriptionsRead, model.ScopeSubscriptionsManage
	return []screen{
		{
			path: "/certificates", file: "certificates.html", title: "Certificates", scope: read,
			nav: &navItem{group: navSubscriptions, label: "Certificates", icon: "cert", key: 'c', order: 4}, get: listCertificates,
		},
		{path: "/new-certificate", file: "certificate_form.html", title: "Upload a certificate", scope: manage, get: newCertificate, post: uploadCertificate},
		{path: "/certificates/{id}", file: "certificate.html", title: "Certificate", scope: read, get: showCertificate, post: testCertificate, postScope: manage, anytime: true},
		{path: "/certificates/{id}/delete", file: "setup_delete.html", title: "Delete", scope: manage, get: askDeleteCertificate, post: deleteCertificate},
	}
}

// lifetime is how much of a certificate's life is over.
type lifetime struct {
	// Percent of the time that has passed, 0 to 100.
	Percent int
	// Text says what is left; Tone goes with it.
	Text, Tone string
}

// certificateRow is a certificate with its life.
type certificateRow struct {
	client.Certificate
	Life lifetime
}

func (v *visit) lifeOf(c client.Certificate) lifetime {
	now, from, until := v.c.now(), time.UnixMilli(c.ValidFrom), time.UnixMilli(c.ValidUntil)
	left, whole := until.Sub(now), until.Sub(from)
	l := lifetime{Text: "expires in " + days(left), Tone: "ok"}
	switch {
	case left <= 0:
		l.Text, l.Tone, l.Percent = "expired "+days(-left)+" ago", "bad", 100
		return l
	case now.Before(from):
		l.Text, l.Tone = "valid in "+days(from.Sub(now)), "warn"
		return l
	case left <= expiringWithin:
		l.Tone = "warn"
	}
	if whole > 0 {
		l.Percent = int(100 * float64(now.Sub(from)) / float64(whole))
	}
	return l
}

// days is duration without the hours of what takes days.
func days(d time.Duration) string {
	if n := int(d / (24 * time.Hour)); n > 2 {
		return strconv.Itoa(n) + " days"
	}
	return duration(d)
}

// StatusTone says how a status looks.
func (r certificateRow) StatusTone() string {
	switch model.CertificateStatus(r.Status) {
	case model.CertificateReady:
		return "ok"
	case model.CertificateExpired:
		return "bad"
	case model.CertificateProcessing:
	}
	return "warn"
}

type certificatesView struct {
	Pager  pager
	Tabs   []tab
	Filter *form
	Rows   []certificateRow
}

func listCertificates(v *visit) (*answer, error) {
	f, q := v.filters("q"), url.Values{}
	view := certificatesView{Tabs: setupTabs("/certificates"), Filter: f}
	if s := f.Text("q"); s != "" {
		q.Set("search", s)
	}
	p, err := v.api.Certificates(v.ctx(), q, v.read())
	if err != nil {
		return v.badFilter(&view, f, moved(err, "search", "q"), "q")
	}
	view.Pager = pagerOf(p)
	for _, c := range p.Results {
		view.Rows = append(view.Rows, certificateRow{c, v.lifeOf(c)})
	}
	return v.show(&view), nil
}

// certificateView is the page of a certificate.
type certificateView struct {
	certificateRow
	Form       *form
	Users      []client.Profile
	UsersTotal int
	UsersHref  string
	Picture    *picture
	Test       *client.ConnectionTest
	OK         bool
}

func (v *visit) certificatePage(f *form) (certificateView, error) {
	r := v.reading()
	c, err := v.api.Certificate(v.ctx(), v.param("id"), r.part(0, 0))
	if err != nil {
		return certificateView{}, err
	}
	users, err := r.profilesWith(client.ProfileFilter{ClientCertificateID: c.CertificateID})
	if err != nil {
		return certificateView{}, err
	}
	view := certificateView{certificateRow: certificateRow{c, v.lifeOf(c)}, Form: f, Users: users.first(usersShown), UsersTotal: users.Total, UsersHref: list("/profiles", "clientCertificateId", c.CertificateID), Picture: certificatePicture(c.CertificateID, users)}
	if f.Text("webhookUrl") == "" && users.Total > 0 && v.r.Method == http.MethodGet {
		f.set("webhookUrl", urlOf(users.Rows[0]))
	}
	return view, nil
}

func certificatePicture(id string, users beginning[client.Profile]) *picture {
	return pictureOfUsed(node{Kind: kindCertificate, ID: id, Href: at("/certificates/{}", id)}, users, list("/profiles", "clientCertificateId", id))
}

func (v *visit) certificateAnswer(a *answer) *answer {
	return a.titled("%s", v.param("id")).under("Certificates", at("/certificates"))
}

func showCertificate(v *visit) (*answer, error) {
	view, err := v.certificatePage(v.blank())
	if err != nil {
		return nil, err
	}
	return v.certificateAnswer(v.show(view)), nil
}

// testCertificate makes the handshake with a webhook and shows what came of it.
func testCertificate(v *visit) (*answer, error) {
	f := v.form()
	view, err := v.certificatePage(f)
	if err != nil {
		return nil, err
	}
	res, err := v.api.TestConnection(v.ctx(), view.CertificateID, f.Text("webhookUrl"))
	if err != nil {
		a, err := v.invalid(view, f, err, "webhookUrl")
		if err != nil {
			return nil, err
		}
		return v.certificateAnswer(a), nil
	}
	view.Test, view.OK = &res, res.Result == "SUCCESS"
	return v.certificateAnswer(v.show(view)), nil
}

type certificateFormView struct{ Form *form }

func newCertificate(v *visit) (*answer, error) {
	return v.show(certificateFormView{v.blank()}).under("Certificates", at("/certificates")), nil
}

func uploadCertificate(v *visit) (*answer, error) {
	f := v.form()
	content, err := v.upload("file")
	if err != nil {
		return nil, err
	}
	if len(content) == 0 {
		content = []byte(f.Value("certificateContent"))
	}
	n := client.NewCertificate{CertificateID: f.Text("certificateId"), Content: base64.StdEncoding.EncodeToString(content)}
	if p := f.Value("passphrase"); p != "" {
		n.Passphrase = base64.StdEncoding.EncodeToString([]byte(p))
	}
	// The file has the private key.
	f.forget("certificateContent", "passphrase")
	view := certificateFormView{f}
	if len(content) == 0 {
		f.bad("certificateContent", "Choose a file, or paste its text.")
		return v.show(view).with(http.StatusUnprocessableEntity).under("Certificates", at("/certificates")), nil
	}
	c, err := v.api.CreateCertificate(v.ctx(), n)
	if err != nil {
		a, err := v.invalid(view, f, err, "certificateId", "certificateContent", "passphrase")
		if err != nil {
			return nil, err
		}
		return a.under("Certificates", at("/certificates")), nil
	}
	return v.done(at("/certificates/{}", c.CertificateID), "The certificate %s was uploaded. Profiles can use it as soon as it is READY.", c.CertificateID), nil
}

// upload is the content of a file that came with the form; nil without one.
func (v *visit) upload(name string) ([]byte, error) {
	file, _, err := v.r.FormFile(name)
	if errors.Is(err, http.ErrMissingFile) || errors.Is(err, http.ErrNotMultipart) {
		return nil, nil
	}
	if err != nil {
		return nil, model.Errorf(model.CodeInvalid, "the file could not be read")
	}
	defer func() { _ = file.Close() }()
	b, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("read the uploaded file: %w", err)
	}
	return b, nil
}

func certificateQuestion(id string) confirmation {
	return confirmation{Question: "Delete the certificate " + id + "?", Name: id, Verb: "Delete the certificate", Cancel: at("/certificates/{}", id)}
}

func askDeleteCertificate(v *visit) (*answer, error) {
	r := v.reading()
	c, err := v.api.Certificate(v.ctx(), v.param("id"), r.part(0, 0))
	if err != nil {
		return nil, err
	}
	users, err := r.profilesWith(client.ProfileFilter{ClientCertificateID: c.CertificateID})
	if err != nil {
		return nil, err
	}
	k := certificateQuestion(c.CertificateID)
	k.Effects = []string{"Its private key is gone from every node: to bring it back, upload it again.", "No profile uses it, so nothing that is delivered changes."}
	refuse(&k, users, list("/profiles", "clientCertificateId", c.CertificateID), "shows this certificate to its webhook", "show this certificate to their webhooks")
	return v.ask(k, certificatePicture(c.CertificateID, users)), nil
}

func deleteCertificate(v *visit) (*answer, error) {
	id := v.param("id")
	return v.erase(certificateQuestion(id), at("/certificates"), "The certificate "+id+" was deleted.", func() error { return v.api.DeleteCertificate(v.ctx(), id) })
}

// sortedKeys are the names of a map in order.
func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
