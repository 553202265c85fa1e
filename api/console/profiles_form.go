package console

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// Which authentication setting a profile gets, and which profile a
// subscription: the values of the radio buttons.
const (
	modeNone     = "none"
	modeExisting = "existing"
	modeNew      = "new"
)

// choice is what there is to choose from.
type choice struct {
	Options []option
	// Typed: there are more than Options, so that the id is typed.
	Typed bool
}

// profileFields are the fields of a profile: on a page of their own, or as a
// part of a subscription (Inline), where the names begin with "profile.".
type profileFields struct {
	Form   *form
	Prefix string
	Inline bool
	// Edit: the profile exists, its id stays.
	Edit         bool
	Settings     choice
	Certificates []option
}

// N is the name of a field.
func (p profileFields) N(name string) string { return p.Prefix + name }

// Security are the fields of a new authentication setting of the profile.
func (p profileFields) Security() securityFields {
	return securityFields{Form: p.Form, Prefix: p.Prefix + "security.", Inline: true}
}

// Modes are the ways to an authentication setting.
func (p profileFields) Modes() []option {
	modes := []option{{modeNone, "None: the webhook takes what anybody sends"}, {modeExisting, "One that exists"}}
	if !p.Edit {
		modes = append(modes, option{modeNew, "A new one"})
	}
	return modes
}

// ContentTypes, Policies, Orderings and Protocols are the choices of a profile.
func (p profileFields) ContentTypes() []option {
	types := options("application/json", "application/xml")
	if now := p.Form.Value(p.N("webhook.contentType")); now != "" && !has(types, now) {
		types = append(types, option{now, now})
	}
	return types
}

// Policies are the retry policies.
func (p profileFields) Policies() []option {
	return []option{{"", "The node's default (infobip)"}, {string(model.RetryInfobip), "infobip: the contract's schedule"}, {string(model.RetryStandard), "standard: exponential"}, {string(model.RetryCustom), "custom: the waits below"}}
}

// Orderings are what order deliveries keep.
func (p profileFields) Orderings() []option {
	ordered := []option{{"", "None"}, {string(model.OrderingKey), "By key"}, {string(model.OrderingStrict), "Strict"}}
	if p.Form.Value(p.N("ordering")) == string(model.OrderingNone) {
		ordered[0].Value = string(model.OrderingNone) // was said, so it is kept
	}
	return ordered
}

// Protocols are the versions of TLS.
func (p profileFields) Protocols() []option { return options("TLSv1.2", "TLSv1.3") }

// profileFieldNames are the fields for the API's errors.
func profileFieldNames(prefix string) []string {
	names := []string{
		"profileId", "webhook.notifyUrl", "webhook.contentType", "securityMode", "useSecurity", "clientCertificateId", "maxBucketSize", "windowSize", "connectTimeout", "readTimeout",
		"rateLimit", "enabledSSLProtocols", "headers", "responseRegex", "responseBodyRegex", "retry.policy", "retry.schedule", "retry.maxAttempts", "retry.maxAge", "ordering", "enabled",
	}
	for i, n := range names {
		names[i] = prefix + n
	}
	return append(names, securityFieldNames(prefix+"security.")...)
}

// offered reads what the fields of a profile let choose from.
func (r *reading) offered(p *profileFields) error {
	settings, err := r.v.api.SecuritySettings(r.v.ctx(), client.SecurityFilter{}, r.part(0, model.MaxPageSize))
	if err != nil {
		return err
	}
	p.Settings = choiceOf(settings, p.Form.Value(p.N("useSecurity")), func(s client.Security) option { return option{s.AuthID, s.AuthID + " · " + s.Type} })
	certs, err := r.v.api.Certificates(r.v.ctx(), nil, r.part(0, model.MaxPageSize))
	if model.CodeOf(err) == model.CodeLimit {
		err = nil // certificates have a small limit of their own; without their list the rest still works
	}
	if err != nil {
		return err
	}
	c := choiceOf(certs, p.Form.Value(p.N("clientCertificateId")), func(c client.Certificate) option { return option{c.CertificateID, c.CertificateID + " · " + c.Status} })
	p.Certificates = slices.Insert(c.Options, 0, option{"", "None"})
	return nil
}

// choiceOf offers the first page of a list, and what is chosen already.
func choiceOf[T any](p client.Page[T], chosen string, of func(T) option) choice {
	var c choice
	for _, it := range p.Results {
		c.Options = append(c.Options, of(it))
	}
	c.Typed = p.Paging.TotalResults > len(p.Results)
	if chosen != "" && !has(c.Options, chosen) {
		c.Options = append(c.Options, option{chosen, chosen})
	}
	return c
}

// fillProfile sets the fields to a profile.
func fillProfile(f *form, p client.Profile) {
	number := func(name string, n int) {
		if n != 0 {
			f.set(name, strconv.Itoa(n))
		}
	}
	f.set("profileId", p.ProfileID)
	if p.Webhook != nil {
		f.set("webhook.notifyUrl", p.Webhook.NotifyURL)
		f.set("webhook.contentType", p.Webhook.ContentType)
	}
	f.set("securityMode", modeNone)
	if id := authOf(p); id != "" {
		f.set("securityMode", modeExisting)
		f.set("useSecurity", id)
	}
	f.set("clientCertificateId", p.ClientCertificateID)
	number("maxBucketSize", p.MaxBucketSize)
	number("windowSize", p.WindowSize)
	number("connectTimeout", p.ConnectTimeout)
	number("readTimeout", p.ReadTimeout)
	number("rateLimit", p.RateLimit)
	f.set("enabledSSLProtocols", p.EnabledSSLProtocols...)
	f.set("headers", headerLines(p.Headers))
	f.set("responseRegex", p.ResponseRegex)
	f.set("responseBodyRegex", p.ResponseBodyRegex)
	f.set("ordering", p.Ordering)
	f.set("enabled", strconv.FormatBool(enabled(p)))
	if r := p.Retry; r != nil {
		f.set("retry.policy", r.Policy)
		var waits []string
		for _, s := range r.Schedule {
			waits = append(waits, waitText(s))
		}
		f.set("retry.schedule", strings.Join(waits, " "))
		number("retry.maxAttempts", r.MaxAttempts)
		if r.MaxAge > 0 {
			f.set("retry.maxAge", waitText(r.MaxAge))
		}
	}
}

// defaultProfile sets the fields of a new profile.
func defaultProfile(f *form, prefix string) {
	f.set(prefix+"enabled", "true")
	f.set(prefix+"securityMode", modeNone)
	f.set(prefix+"security.type", string(model.CredentialsBasic))
	f.set(prefix+"security.credentials.algorithm", string(model.HMACSHA256))
}

// profileOf is the profile that was typed, with the setting it brings. What
// cannot be read is noted at its field.
func profileOf(f *form, prefix string) client.Profile {
	on := f.Has(prefix+"enabled", "true")
	p := client.Profile{
		ProfileID: f.Text(prefix + "profileId"), Webhook: &client.Webhook{NotifyURL: f.Text(prefix + "webhook.notifyUrl"), ContentType: f.Text(prefix + "webhook.contentType")},
		ClientCertificateID: f.Text(prefix + "clientCertificateId"), MaxBucketSize: f.number(prefix + "maxBucketSize"), WindowSize: f.number(prefix + "windowSize"),
		ConnectTimeout: f.number(prefix + "connectTimeout"), ReadTimeout: f.number(prefix + "readTimeout"), RateLimit: f.number(prefix + "rateLimit"),
		EnabledSSLProtocols: f.Values(prefix + "enabledSSLProtocols"), Headers: f.headers(prefix + "headers"),
		ResponseRegex: f.Value(prefix + "responseRegex"), ResponseBodyRegex: f.Value(prefix + "responseBodyRegex"), Ordering: f.Text(prefix + "ordering"),
	}
	if !on {
		p.Enabled = &on
	}
	p.Retry = f.retry(prefix)
	switch f.Text(prefix + "securityMode") {
	case modeExisting:
		if id := f.Text(prefix + "useSecurity"); id != "" {
			p.Security = &client.Security{AuthID: id}
		} else {
			f.bad(prefix+"useSecurity", "Choose an authentication setting.")
		}
	case modeNew:
		s := securityOf(f, prefix+"security.")
		p.Security = &s
	}
	return p
}

// profileChange is an update that makes a profile what was typed: a field that
// is empty clears its member.
func profileChange(f *form) client.ProfileUpdate {
	p := profileOf(f, "")
	if p.Webhook.ContentType == "" {
		p.Webhook.ContentType = model.DefaultContentType
	}
	u := client.ProfileUpdate{
		Webhook: model.Some(*p.Webhook), Security: model.Null[client.Security](), ClientCertificateID: orNull(p.ClientCertificateID),
		MaxBucketSize: orNull(p.MaxBucketSize), WindowSize: orNull(p.WindowSize), ConnectTimeout: orNull(p.ConnectTimeout), ReadTimeout: orNull(p.ReadTimeout), RateLimit: orNull(p.RateLimit),
		EnabledSSLProtocols: model.Null[[]string](), Headers: model.Null[map[string]string](), Retry: model.Null[client.RetryPolicy](),
		ResponseRegex: orNull(p.ResponseRegex), ResponseBodyRegex: orNull(p.ResponseBodyRegex), Ordering: orNull(p.Ordering), Enabled: model.Some(enabled(p)),
	}
	if p.Security != nil {
		u.Security = model.Some(*p.Security)
	}
	if len(p.EnabledSSLProtocols) > 0 {
		u.EnabledSSLProtocols = model.Some(p.EnabledSSLProtocols)
	}
	if len(p.Headers) > 0 {
		u.Headers = model.Some(p.Headers)
	}
	if p.Retry != nil {
		u.Retry = model.Some(*p.Retry)
	}
	return u
}

// orNull clears a member that has no value.
func orNull[T comparable](v T) model.Opt[T] {
	var zero T
	if v == zero {
		return model.Null[T]()
	}
	return model.Some(v)
}

// number is a whole number; an empty field is 0.
func (f *form) number(name string) int {
	s := f.Text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	switch {
	case err != nil:
		f.bad(name, "Type a whole number.")
	case n == 0: // the API takes it for "not set" of a member that cannot be 0
		f.bad(name, "Type a number above 0, or leave it empty for the default.")
	}
	return n
}

// retry is the retry policy that was typed; nil is the node's default.
func (f *form) retry(prefix string) *client.RetryPolicy {
	r := client.RetryPolicy{Policy: f.Text(prefix + "retry.policy"), MaxAttempts: f.number(prefix + "retry.maxAttempts"), MaxAge: f.seconds(prefix+"retry.maxAge", f.Text(prefix+"retry.maxAge"))}
	if r.Policy == string(model.RetryCustom) {
		for _, s := range strings.FieldsFunc(f.Text(prefix+"retry.schedule"), func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\r' }) {
			r.Schedule = append(r.Schedule, f.seconds(prefix+"retry.schedule", s))
		}
	}
	if r.Policy == "" {
		if r.MaxAttempts == 0 && r.MaxAge == 0 {
			return nil
		}
		r.Policy = string(model.RetryInfobip)
	}
	return &r
}

// seconds reads 90, 90s, 5m or 24h.
func (f *form) seconds(name, s string) int64 {
	if s == "" {
		return 0
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	d, err := time.ParseDuration(s)
	if err != nil || d%time.Second != 0 {
		f.bad(name, fmt.Sprintf("%q is no length of time: type seconds, or 30s, 5m, 24h.", clip(s, nodeText)))
		return 0
	}
	return int64(d / time.Second)
}

// headers are the lines "Name: value" of a field.
func (f *form) headers(name string) map[string]string {
	var out map[string]string
	for _, line := range f.Lines(name) {
		key, value, ok := strings.Cut(line, ":")
		key = strings.TrimSpace(key)
		switch _, twice := out[key]; {
		case !ok || key == "":
			f.bad(name, "Type one header a line, as Name: value.")
			return out
		case twice:
			f.bad(name, "The header "+key+" is there twice.")
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = strings.TrimSpace(value)
	}
	return out
}

// headerLines is what headers reads.
func headerLines(h map[string]string) string {
	var b strings.Builder
	for _, name := range sortedKeys(h) {
		b.WriteString(name + ": " + h[name] + "\n")
	}
	return b.String()
}

// moved gives the violations of members, in the form of either API, the names of
// other fields; pairs are from, to.
func moved(err error, pairs ...string) error {
	e, ok := errors.AsType[*model.Error](err)
	if !ok {
		return err
	}
	moved := *e
	moved.Fields = slices.Clone(e.Fields)
	for i := 0; i+1 < len(pairs); i += 2 {
		if memberPath(moved.Field) == pairs[i] {
			moved.Field = pairs[i+1]
		}
		for k := range moved.Fields {
			if memberPath(moved.Fields[k].Field) == pairs[i] {
				moved.Fields[k].Field = pairs[i+1]
			}
		}
	}
	return &moved
}
