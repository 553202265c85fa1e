package console

import (
	"cmp"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// attemptView is one attempt: what was sent and what came back.
type attemptView struct {
	EventID  string
	Delivery event.Delivery
	Name     string
	Report   attemptReport
	Request  wireRequest
	// Prev and Next are the attempts beside it; empty: none.
	Prev, Next string
	// Replay is where the dead letter of the delivery is sent again; empty: it
	// is none.
	Replay string
	Check  signatureView
}

// attemptReport is how an attempt went, as the parts of templates show it.
type attemptReport struct {
	event.Attempt
	Words, Tone string
	// Meaning explains the error class.
	Meaning string
	Phases  []phase
	// StatusText is the name of the status; empty: it has none.
	StatusText string
}

// phase is a part of an attempt's time. X and W are its place and width in
// thousandths of the whole.
type phase struct {
	Name, Class string
	Ms          float64
	X, W        float64
}

// Answer is the body of the answer, as far as it was kept.
func (r attemptReport) Answer() shownBody {
	return showBody(headerOf(r.ResponseHeaders, "Content-Type"), r.Response)
}

func reportOf(a event.Attempt) attemptReport {
	r := attemptReport{Attempt: a, Meaning: errorMeanings[a.ErrorClass], Phases: phasesOf(&a), StatusText: http.StatusText(a.StatusCode)}
	r.Words, r.Tone = outcome(a.Outcome)
	r.Error = sentence(a.Error)
	return r
}

// phasesOf splits the time of an attempt in the order in which it passed; nil
// when nothing was sent.
func phasesOf(a *event.Attempt) []phase {
	if a.Timing == nil {
		return nil
	}
	t := a.Timing
	known := t.DNSMs + t.ConnectMs + t.TLSMs + t.FirstByteMs
	total := max(float64(a.DurationMs), known, 0.001)
	out := []phase{
		{Name: "Name (DNS)", Class: "dns", Ms: t.DNSMs},
		{Name: "Connection (TCP)", Class: "tcp", Ms: t.ConnectMs},
		{Name: "Handshake (TLS)", Class: "tls", Ms: t.TLSMs},
		{Name: "First byte", Class: "first", Ms: t.FirstByteMs},
		{Name: "Everything else", Class: "rest", Ms: max(0, total-known)},
	}
	if t.Reused {
		out = out[3:]
	}
	x := 0.0
	for i := range out {
		out[i].X, out[i].W = x, out[i].Ms/total*1000
		x += out[i].W
	}
	return out
}

func showAttempt(v *visit) (*answer, error) {
	id, delivery := v.param("id"), v.param("delivery")
	rec, err := v.api.Event(v.ctx(), id)
	if err != nil {
		return nil, err
	}
	d, i, err := findAttempt(&rec, delivery, v.param("attempt"))
	if err != nil {
		return nil, err
	}
	a := d.Attempts[i]
	view := attemptView{EventID: id, Delivery: *d, Name: destinationOf(d.ProfileID), Report: reportOf(a)}
	if i > 0 {
		view.Prev = attemptAddress(id, delivery, d.Attempts[i-1].Attempt)
	}
	if i+1 < len(d.Attempts) {
		view.Next = attemptAddress(id, delivery, d.Attempts[i+1].Attempt)
	}
	if d.Status == event.StatusDead {
		view.Replay = at("/dead-letters/{}/replay", delivery)
	}
	view.Request = v.rebuild(&rec.Event, d, &a)
	view.Check = signatureView{
		Body: view.Request.Body, ID: a.WebhookID,
		Timestamp: cmp.Or(headerOf(a.RequestHeaders, "Webhook-Timestamp"), strconv.FormatInt(a.At.Unix(), 10)),
	}
	if !view.Request.Partial {
		view.Check.Header = signatureOf(a.RequestHeaders)
	}
	return v.show(view).titled("Attempt %d", a.Attempt).under("Events", at("/events")).under(id, at("/events/{}", id)), nil
}

// wireRequest is a request as it was sent, without its secrets, as far as that
// can be said: nodes keep the headers, and put the body together again.
type wireRequest struct {
	URL     string
	Headers []headerLine
	// Body is what was sent, to the byte; Shown is the same for the page.
	Body  string
	Shown shownBody
	// Notes say what may differ from what was sent.
	Notes []string
	Curl  string
	// Partial: the body is not all that was sent, or not in its form, so that a
	// signature of it does not fit.
	Partial bool

	contentType string
}

// headerLine is one header. Shell stands for a masked value in a line for the
// shell; empty: Value is no secret.
type headerLine struct{ Name, Value, Shell string }

const (
	// masked stands for a secret, maskedByAPI in what the API gives.
	masked      = "••••••••"
	maskedByAPI = "***"
)

// Credentials in a line for the shell.
const (
	shellBasic  = `Basic $(printf %s "$WEBHOOK_USER:$WEBHOOK_PASSWORD" | base64)`
	shellBearer = "Bearer $WEBHOOK_TOKEN" //nolint:gosec // a variable's name, not a secret
)

// batchPrefix begins the webhook-id of a request with several deliveries.
const batchPrefix = "bat_"

// rebuild says what an attempt sent: with the headers that were kept or, where
// nothing was sent, with those of the profile as it is now.
func (v *visit) rebuild(e *event.Event, d *event.Delivery, a *event.Attempt) wireRequest {
	w := wireRequest{URL: d.URL, Body: string(e.Payload), contentType: event.ContentTypeJSON}
	if model.Batches(e.Channel, e.Name) {
		w.Body = `{"results":[` + w.Body + `]}`
	}
	if len(a.RequestHeaders) > 0 {
		w.addSent(e, a)
	} else {
		v.guess(&w, e, d, a)
	}
	if strings.HasPrefix(a.WebhookID, batchPrefix) {
		w.Partial = true
		w.Notes = append(w.Notes, "This request carried several events. Only this one is shown, so a signature over the body does not fit it.")
	}
	w.Curl, w.Shown = w.curl(), showBody(w.contentType, w.Body)
	return w
}

// addSent adds the headers that were kept of an attempt.
func (w *wireRequest) addSent(e *event.Event, a *event.Attempt) {
	secrets := false
	for _, f := range a.RequestHeaders {
		if !strings.Contains(f.Value, maskedByAPI) {
			w.add(f.Name, f.Value)
			continue
		}
		secrets = true
		w.secret(f.Name, strings.ReplaceAll(f.Value, maskedByAPI, masked), shellValue(f))
	}
	w.Notes = append(w.Notes, "The headers are those that were sent. The body is put together from the event.")
	if secrets {
		w.Notes = append(w.Notes, "Secrets are masked: the node does not keep them.")
	}
	if a.HeadersCut {
		w.Notes = append(w.Notes, "Some headers of the request or of the answer are missing: there were more, or longer ones, than are kept.")
	}
	if t := headerOf(a.RequestHeaders, "Content-Type"); t != "" {
		w.contentType = t
	}
	if strings.HasPrefix(w.contentType, event.ContentTypeXML) && !w.toXML(e) {
		w.Partial, w.contentType = true, event.ContentTypeJSON
		w.Notes = append(w.Notes, "It was sent as XML and is shown as JSON, since it has no XML form now; signatures are over the bytes that were sent.")
	}
}

// toXML puts the XML form of an event in place of the JSON; false: it has none.
func (w *wireRequest) toXML(e *event.Event) bool {
	body, ok := asXML(e)
	if ok {
		w.Body = body
	}
	return ok
}

// shellValue is what stands for a masked value in a line for the shell.
func shellValue(f event.HeaderField) string {
	switch f.Value {
	case "Basic " + maskedByAPI:
		return shellBasic
	case "Bearer " + maskedByAPI:
		return shellBearer
	}
	return shellName(f.Name)
}

// headerOf is the value of a header; empty: it is not there.
func headerOf(fs []event.HeaderField, name string) string {
	for _, f := range fs {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// bodySignature matches the value of a header that signs the body alone.
var bodySignature = regexp.MustCompile(`^(MD5|SHA(1|224|256|384|512))=[0-9A-Za-z+/]+=*$`)

// signatureOf is the signature that a request carried; empty: none.
func signatureOf(fs []event.HeaderField) string {
	for _, f := range fs {
		if bodySignature.MatchString(f.Value) {
			return f.Value
		}
	}
	return headerOf(fs, "Webhook-Signature")
}

// guess adds what the profile as it is now would send.
func (v *visit) guess(w *wireRequest, e *event.Event, d *event.Delivery, a *event.Attempt) {
	if a.Timing == nil {
		w.Notes = append(w.Notes, "Nothing was sent. This is what would have been, by the event and the profile as it is now.")
	} else {
		w.Notes = append(w.Notes, "No headers of this attempt are kept. These are put together from the event and the profile as it is now.")
	}
	p := v.profileOf(d.ProfileID)
	contentType := event.ContentTypeJSON
	if p != nil && p.Webhook != nil && p.Webhook.ContentType != "" {
		contentType = p.Webhook.ContentType
	}
	if d.ProfileID == "" && e.Webhook != nil && e.Webhook.ContentType != "" {
		contentType = e.Webhook.ContentType
	}
	if strings.HasPrefix(contentType, event.ContentTypeXML) && !w.toXML(e) {
		contentType = event.ContentTypeJSON // as a node sends it then
	}
	w.contentType = contentType
	w.add("Content-Type", contentType)
	w.add("Webhook-Id", cmp.Or(a.WebhookID, d.DeliveryID))
	w.add("Webhook-Timestamp", strconv.FormatInt(a.At.Unix(), 10))
	w.add("Belfry-Channel", e.Channel)
	w.add("Belfry-Event", e.Name)
	if !strings.HasPrefix(a.WebhookID, batchPrefix) {
		w.add("Belfry-Event-Id", e.ID)
	}
	w.add("Belfry-Attempt", strconv.Itoa(a.Attempt))
	if e.Format != "" {
		w.add("Belfry-Format", e.Format)
	}
	switch {
	case p != nil:
		w.addProfile(p)
	case d.ProfileID != "":
		w.Notes = append(w.Notes, "The profile cannot be read any more, so its headers and its authentication are not shown.")
	}
}

// profileOf is the profile of a delivery with its setting; nil if it cannot be
// had.
func (v *visit) profileOf(id string) *client.Profile {
	if id == "" || !v.can(model.ScopeSubscriptionsRead) {
		return nil
	}
	p, err := v.api.Profile(v.ctx(), id, client.Read{})
	if err != nil {
		return nil
	}
	if s := p.Security; s != nil && s.Type == "" && s.AuthID != "" {
		if full, err := v.api.Security(v.ctx(), s.AuthID, client.Read{}); err == nil {
			p.Security = &full
		}
	}
	return &p
}

func (w *wireRequest) add(name, value string) {
	w.Headers = append(w.Headers, headerLine{Name: name, Value: value})
}

func (w *wireRequest) secret(name, shown, shell string) {
	w.Headers = append(w.Headers, headerLine{Name: name, Value: shown, Shell: shell})
}

// secretName matches headers whose values are not shown.
var secretName = regexp.MustCompile(`(?i)auth|key|token|secret|cookie|password|signature`)

// addProfile adds what the profile and its security setting send.
func (w *wireRequest) addProfile(p *client.Profile) {
	for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
		if secretName.MatchString(name) {
			w.secret(name, masked, shellName(name))
		} else {
			w.add(name, p.Headers[name])
		}
	}
	if p.Security == nil {
		return
	}
	c := p.Security.Credentials
	if c == nil {
		c = &client.Credentials{}
	}
	switch p.Security.Type {
	case "BASIC":
		w.secret("Authorization", "Basic "+masked, shellBasic)
	case "OAUTH":
		w.secret("Authorization", "Bearer "+masked, shellBearer)
	case "CUSTOM":
		for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
			w.secret(name, masked, shellName(name))
		}
	case "HMAC":
		w.addHMAC(c)
	}
	w.Notes = append(w.Notes, "Secrets are masked. The authentication is that of the setting as it is now.")
}

// hmacNames are the names of the HMAC algorithms in the header and in openssl.
var hmacNames = map[string]string{
	"HMAC_MD5": "MD5", "HMAC_SHA_1": "SHA1", "HMAC_SHA_224": "SHA224", "HMAC_SHA_256": "SHA256", "HMAC_SHA_384": "SHA384", "HMAC_SHA_512": "SHA512",
}

func (w *wireRequest) addHMAC(c *client.Credentials) {
	name := cmp.Or(hmacNames[c.Algorithm], "SHA256")
	sign := `openssl dgst -` + strings.ToLower(name) + ` -hmac "$WEBHOOK_SECRET"`
	if c.Encoding == "base64" {
		sign += " -binary | base64 -w0"
	} else {
		sign += " -r | cut -d' ' -f1"
	}
	w.secret(cmp.Or(c.HeaderName, "X-Ib-Hmac-Signature"), name+"="+masked, name+`=$(printf %s "$BODY" | `+sign+`)`)
	w.Headers = append(w.Headers, headerLine{Name: "Webhook-Signature", Value: "v1," + masked, Shell: "-"})
}

var notShell = regexp.MustCompile(`[^A-Z0-9]+`)

// shellName is the variable that stands for a header's secret.
func shellName(header string) string {
	return "$WEBHOOK_" + strings.Trim(notShell.ReplaceAllString(strings.ToUpper(header), "_"), "_")
}

// curl is the request as a command. Secrets come from variables of the shell.
func (w *wireRequest) curl() string {
	var b strings.Builder
	b.WriteString("BODY=" + quoted(w.Body) + "\ncurl -i " + quoted(w.URL))
	for _, h := range w.Headers {
		switch h.Shell {
		case "":
			b.WriteString(" \\\n  -H " + quoted(h.Name+": "+h.Value))
		case "-": // has no place in a command: it is over the time of sending
		default:
			b.WriteString(" \\\n  -H " + quoted(h.Name+": ") + `"` + h.Shell + `"`)
		}
	}
	b.WriteString(" \\\n  --data-binary \"$BODY\"")
	return b.String()
}

// quoted is a word of the shell that is taken as it is.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// signatureScripts verify signatures in the browser.
var signatureScripts = []string{"js/signature.js"}

// signatureView is the form that checks a signature. It is never sent: a
// script does the work, so that the secret stays in the browser.
type signatureView struct{ Body, ID, Timestamp, Header string }

func showSignature(v *visit) (*answer, error) { return v.show(signatureView{}), nil }
