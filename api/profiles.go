package api

import (
	"net/http"

	"example.com/belfry/fsm/model"
)

func (s *Server) profileRoutes() []route {
	const list, one = contractPrefix + "/profiles", contractPrefix + "/profiles/{profileId}"
	const manage, read = model.ScopeSubscriptionsManage, model.ScopeSubscriptionsRead
	return []route{
		{method: http.MethodGet, path: list, scope: read, surface: surfaceContract, read: true, handle: s.listProfiles},
		{method: http.MethodPost, path: list, scope: manage, surface: surfaceContract, handle: s.createProfile},
		{method: http.MethodGet, path: one, scope: read, surface: surfaceContract, read: true, handle: s.getProfile},
		{method: http.MethodPut, path: one, scope: manage, surface: surfaceContract, handle: s.updateProfile},
		{method: http.MethodDelete, path: one, scope: manage, surface: surfaceContract, handle: s.deleteProfile},
	}
}

func (s *Server) listProfiles(r *request) error {
	page, size, err := r.page()
	if err != nil {
		return err
	}
	var v model.Violations
	f := model.ProfileFilter{Search: r.search(&v), SecurityID: r.idFilter("authId", &v), CertificateID: r.idFilter("clientCertificateId", &v)}
	if err := v.Err(); err != nil {
		return err
	}
	p, err := s.o.Reader.ListProfiles(r.caller.account, f, page, size)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, envelope(p, profileWire))
}

func (s *Server) getProfile(r *request) error {
	p, err := s.o.Reader.Profile(r.caller.account, r.param("profileId"))
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, profileWire(p))
}

func (s *Server) createProfile(r *request) error {
	var in profileIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	d := s.profileDraft(r, in, "", &v)
	if err := v.Err(); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	refs, err := s.o.Writer.CreateProfile(ctx, r.caller.actor, d)
	if err != nil {
		return err
	}
	r.header().Set("Location", contractPrefix+"/profiles/"+refs.ProfileID)
	return r.json(http.StatusCreated, profileRef(refs.ProfileID, refs.SecurityID))
}

func (s *Server) updateProfile(r *request) error {
	var in profileIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	patch := s.profilePatch(in, &v)
	if err := v.Err(); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	refs, err := s.o.Writer.UpdateProfile(ctx, r.caller.actor, r.caller.account, r.param("profileId"), patch)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, profileRef(refs.ProfileID, refs.SecurityID))
}

func (s *Server) deleteProfile(r *request) error {
	ctx, cancel := r.writeCtx()
	defer cancel()
	refs, err := s.o.Writer.DeleteProfile(ctx, r.caller.actor, r.caller.account, r.param("profileId"))
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, profileRef(refs.ProfileID, refs.SecurityID))
}

// reuse reports whether the profile of a subscription is its id alone.
func (p *profileIn) reuse() bool {
	return !given(p.Webhook) && !given(p.Security) && !given(p.ClientCertificateID) && !given(p.MaxBucketSize) &&
		!given(p.WindowSize) && !given(p.ConnectTimeout) && !given(p.ReadTimeout) && !given(p.EnabledSSLProtocols) &&
		!given(p.Headers) && !given(p.ResponseRegex) && !given(p.ResponseBodyRegex) && !given(p.RateLimit) &&
		!given(p.Retry) && !given(p.Ordering) && !given(p.Enabled)
}

// profileDraft turns a full definition into a draft and checks it. prefix is
// where in the body the profile stands.
func (s *Server) profileDraft(r *request, in profileIn, prefix string, v *model.Violations) model.ProfileDraft {
	d := model.ProfileDraft{Profile: model.Profile{Account: r.caller.account, ID: in.ProfileID}}
	if msg := model.CheckID(in.ProfileID); msg != "" {
		v.Add(prefix+"profileId", "%s", msg)
		d.ID = "checked" // so that the validation below does not complain again
	}
	applyPatch(&d.Profile, s.profileMembers(in, prefix, v))
	if !given(in.Webhook) || !given(in.Webhook.Value.NotifyURL) {
		v.Add(prefix+"webhook.notifyUrl", "must not be null or absent: a profile without it cannot deliver")
		d.URL = placeholderURL
	}
	if given(in.Security) {
		s.profileSecurity(r, &d, in.Security.Value, prefix+"security.", v)
	}
	model.ValidateProfile(d.Profile, prefix, v)
	return d
}

// placeholderURL stands for a URL that was complained about, or that is not in
// the body, while the other members are validated.
const placeholderURL = "https://belfry.invalid/"

// profileSecurity is the security member of a full definition: an id alone
// names an existing setting, anything more defines a new one.
func (s *Server) profileSecurity(r *request, d *model.ProfileDraft, in securityIn, prefix string, v *model.Violations) {
	if !given(in.Type) && !given(in.Credentials) {
		if in.AuthID == "" {
			v.Add(prefix+"authId", "must not be empty") // the profile's validation takes "" for none
		}
		d.SecurityID = in.AuthID
		return
	}
	sd := s.securityDraft(r, in, prefix, v)
	d.Security = &sd
}

// profilePatch turns the body of an update into a patch: absent members stay,
// null clears. What is given is checked by the rules of a whole profile.
func (s *Server) profilePatch(in profileIn, v *model.Violations) model.ProfilePatch {
	p := s.profileMembers(in, "", v)
	switch {
	case !in.Webhook.Set:
	case in.Webhook.Null || !given(in.Webhook.Value.NotifyURL):
		v.Add("webhook.notifyUrl", "must not be null or absent: a profile without it cannot deliver")
		p.URL = model.Opt[string]{}
	}
	switch {
	case !in.Security.Set:
	case in.Security.Null:
		p.SecurityID = model.Null[string]()
	default:
		checkNewID(v, "security.authId", in.Security.Value.AuthID)
		p.SecurityID = model.Some(in.Security.Value.AuthID)
	}
	probe := model.Profile{Account: model.DefaultAccount, ID: "probe", URL: placeholderURL}
	applyPatch(&probe, p)
	probe.SecurityID = ""
	model.ValidateProfile(probe, "", v)
	return p
}

// profileMembers maps the members that create and update share.
func (s *Server) profileMembers(in profileIn, prefix string, v *model.Violations) model.ProfilePatch {
	p := model.ProfilePatch{
		CertificateID: emptyIsNull(in.ClientCertificateID),
		MaxBucketSize: in.MaxBucketSize, WindowSize: in.WindowSize, ConnectTimeoutMs: in.ConnectTimeout, ReadTimeoutMs: in.ReadTimeout, RateLimit: in.RateLimit,
		EnabledSSLProtocols: in.EnabledSSLProtocols, Headers: in.Headers,
		ResponseRegex: in.ResponseRegex, ResponseBodyRegex: in.ResponseBodyRegex, Enabled: in.Enabled,
	}
	// The entity reads 0 as "not set", so a 0 that was given is caught here.
	for _, n := range []struct {
		name   string
		value  model.Opt[int]
		lo, hi int
	}{
		{"maxBucketSize", in.MaxBucketSize, model.MinMaxBucketSize, model.MaxMaxBucketSize},
		{"windowSize", in.WindowSize, model.MinWindowSize, model.MaxWindowSize},
		{"connectTimeout", in.ConnectTimeout, model.MinConnectTimeoutMs, model.MaxConnectTimeoutMs},
		{"readTimeout", in.ReadTimeout, model.MinReadTimeoutMs, model.MaxReadTimeoutMs},
		{"rateLimit", in.RateLimit, model.MinRateLimit, model.MaxRateLimit},
	} {
		if given(n.value) && n.value.Value == 0 {
			v.Add(prefix+n.name, "must be between %d and %d", n.lo, n.hi)
		}
	}
	if given(in.Webhook) {
		w := in.Webhook.Value
		p.URL, p.ContentType = w.NotifyURL, emptyIsNull(w.ContentType)
		if given(w.NotifyURL) && !s.checkURL(w.NotifyURL.Value, prefix+"webhook.notifyUrl", v) {
			p.URL = model.Some(placeholderURL)
		}
	}
	if in.Ordering.Set {
		p.Ordering = model.Null[model.Ordering]()
		if given(in.Ordering) {
			p.Ordering = model.Some(oneOf(v, prefix+"ordering", in.Ordering.Value, model.OrderingNone, model.OrderingKey, model.OrderingStrict))
		}
	}
	if in.Retry.Set {
		p.Retry = model.Null[model.Retry]()
		if given(in.Retry) {
			t := in.Retry.Value
			p.Retry = model.Some(model.Retry{
				Policy: model.RetryPolicy(t.Policy), Schedule: t.Schedule, MaxAttempts: t.MaxAttempts, MaxAgeSeconds: t.MaxAge,
			})
		}
	}
	return p
}

// checkURL asks the policy about a URL and reports whether it may be saved.
func (s *Server) checkURL(raw, at string, v *model.Violations) bool {
	if raw == "" {
		v.Add(at, "must not be empty")
		return false
	}
	if s.o.URLs == nil {
		return true
	}
	if err := s.o.URLs.CheckURL(raw); err != nil {
		e, _ := asError(err)
		v.Add(at, "%s", e.Message)
		return false
	}
	return true
}

// emptyIsNull reads "" as null: the contract gives these members no least
// length.
func emptyIsNull(o model.Opt[string]) model.Opt[string] {
	if given(o) && o.Value == "" {
		return model.Null[string]()
	}
	return o
}

// applyPatch gives p the members of patch that a profile holds itself.
func applyPatch(p *model.Profile, patch model.ProfilePatch) {
	patch.URL.ApplyTo(&p.URL)
	patch.ContentType.ApplyTo(&p.ContentType)
	patch.CertificateID.ApplyTo(&p.CertificateID)
	patch.MaxBucketSize.ApplyTo(&p.MaxBucketSize)
	patch.WindowSize.ApplyTo(&p.WindowSize)
	patch.ConnectTimeoutMs.ApplyTo(&p.ConnectTimeoutMs)
	patch.ReadTimeoutMs.ApplyTo(&p.ReadTimeoutMs)
	patch.RateLimit.ApplyTo(&p.RateLimit)
	patch.EnabledSSLProtocols.ApplyTo(&p.EnabledSSLProtocols)
	patch.Headers.ApplyTo(&p.Headers)
	patch.ResponseRegex.ApplyTo(&p.ResponseRegex)
	patch.ResponseBodyRegex.ApplyTo(&p.ResponseBodyRegex)
	patch.Ordering.ApplyTo(&p.Ordering)
	if given(patch.Retry) {
		retry := patch.Retry.Value
		p.Retry = &retry
	}
	p.Disabled = given(patch.Enabled) && !patch.Enabled.Value
}

// profileWire shows a profile with its defaults, and our additions only when
// they were set.
func profileWire(p model.Profile) profileOut {
	e := p.Effective()
	out := profileOut{
		ProfileID: p.ID, Webhook: webhookOut{NotifyURL: e.URL, ContentType: e.ContentType}, Security: profileRef(p.ID, p.SecurityID).Security,
		ClientCertificateID: p.CertificateID, MaxBucketSize: e.MaxBucketSize, WindowSize: e.WindowSize, ConnectTimeout: e.ConnectTimeoutMs, ReadTimeout: e.ReadTimeoutMs,
		EnabledSSLProtocols: p.EnabledSSLProtocols, Headers: p.Headers, ResponseRegex: p.ResponseRegex, ResponseBodyRegex: p.ResponseBodyRegex,
		RateLimit: p.RateLimit, Ordering: string(p.Ordering), DisabledReason: p.DisabledReason,
	}
	if p.Retry != nil {
		out.Retry = &retryWire{Policy: string(p.Retry.Policy), Schedule: p.Retry.Schedule, MaxAttempts: p.Retry.MaxAttempts, MaxAge: p.Retry.MaxAgeSeconds}
	}
	if p.Disabled {
		out.Enabled = new(bool)
	}
	return out
}
