package fsm

import (
	"example.com/belfry/fsm/model"
)

// NewProfile is a profile to create, with the setting that is created with it
// or nil.
type NewProfile struct {
	Profile  model.Profile   `json:"profile"`
	Security *model.Security `json:"security,omitempty"`
}

// The commands of subscriptions.
type (
	// CreateSubscription creates a subscription and, when Profile is set, its
	// profile and security setting: all or nothing.
	CreateSubscription struct {
		Header
		Subscription model.Subscription `json:"subscription"`
		Profile      *NewProfile        `json:"profile,omitempty"`
	}
	// ReplaceSubscription replaces all but the identity of a subscription.
	ReplaceSubscription struct {
		Header
		Subscription model.Subscription `json:"subscription"`
	}
	// DeleteSubscription deletes a subscription and leaves its profile.
	DeleteSubscription struct {
		Header
		Account string `json:"account"`
		Channel string `json:"channel"`
		ID      string `json:"id"`
	}
)

// The commands of profiles.
type (
	// CreateProfile creates a profile, with its security setting when set.
	CreateProfile struct {
		Header
		NewProfile
	}
	// UpdateProfile changes a profile: absent members stay, null clears.
	UpdateProfile struct {
		Header
		Account string             `json:"account"`
		ID      string             `json:"id"`
		Patch   model.ProfilePatch `json:"patch"`
	}
	// DeleteProfile deletes a profile that no subscription uses.
	DeleteProfile struct {
		Header
		Account string `json:"account"`
		ID      string `json:"id"`
	}
)

func (CreateSubscription) tag() tag  { return tagCreateSubscription }
func (ReplaceSubscription) tag() tag { return tagReplaceSubscription }
func (DeleteSubscription) tag() tag  { return tagDeleteSubscription }
func (CreateProfile) tag() tag       { return tagCreateProfile }
func (UpdateProfile) tag() tag       { return tagUpdateProfile }
func (DeleteProfile) tag() tag       { return tagDeleteProfile }

func (c CreateSubscription) record() (account, action, object string) {
	return c.Subscription.Account, "subscription.create", c.Subscription.Channel + "/" + c.Subscription.ID
}

func (c ReplaceSubscription) record() (account, action, object string) {
	return c.Subscription.Account, "subscription.update", c.Subscription.Channel + "/" + c.Subscription.ID
}

func (c DeleteSubscription) record() (account, action, object string) {
	return c.Account, "subscription.delete", c.Channel + "/" + c.ID
}

func (c CreateProfile) record() (account, action, object string) {
	return c.Profile.Account, "profile.create", c.Profile.ID
}

func (c UpdateProfile) record() (account, action, object string) {
	return c.Account, "profile.update", c.ID
}

func (c DeleteProfile) record() (account, action, object string) {
	return c.Account, "profile.delete", c.ID
}

func (c CreateSubscription) apply(t *txn) (any, error) {
	s := c.Subscription
	if err := t.account(s.Account); err != nil {
		return nil, err
	}
	var v model.Violations
	model.ValidateSubscription(s, "", &v)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if subscriptions.has(t.tx, subscriptions.key(&s)) {
		return nil, &model.Error{Code: model.CodeExists, Field: "subscriptionId", Message: "a subscription with this id exists on this channel"}
	}
	if err := room(t, subscriptions, prefix(s.Account), t.limits.subscriptions, "subscriptionId", "subscriptions"); err != nil {
		return nil, err
	}
	refs := model.Refs{SubscriptionID: s.ID, ProfileID: s.ProfileID}
	if c.Profile == nil {
		p, err := t.referredProfile(s)
		if err != nil {
			return nil, err
		}
		refs.SecurityID = p.SecurityID
	} else {
		np := *c.Profile
		if np.Profile.Account != s.Account || s.ProfileID != "" && s.ProfileID != np.Profile.ID {
			return nil, model.Invalid("profile.profileId", "must be the id of the profile that is created")
		}
		if err := t.checkNewProfile(np, "profile"); err != nil {
			return nil, err
		}
		s.ProfileID = np.Profile.ID
		refs.ProfileID, refs.SecurityID = np.Profile.ID, t.insertProfile(np)
	}
	insert(t, subscriptions, &s)
	t.link(refProfile, s.Account, s.ProfileID, s.Channel+"\x00"+s.ID)
	t.changed(model.EntitySubscription, s.Account, s.Channel, s.ID, false)
	return refs, nil
}

func (t *txn) referredProfile(s model.Subscription) (model.Profile, error) {
	p, ok := profiles.get(t.tx, key(s.Account, s.ProfileID))
	if !ok {
		return p, model.Invalid("profile.profileId", "there is no profile with this id")
	}
	return p, nil
}

func (c ReplaceSubscription) apply(t *txn) (any, error) {
	s := c.Subscription
	old, ok := subscriptions.get(t.tx, subscriptions.key(&s))
	if !ok {
		return nil, notFound("subscription", s.ID)
	}
	var v model.Violations
	model.ValidateSubscription(s, "", &v)
	if err := v.Err(); err != nil {
		return nil, err
	}
	p, err := t.referredProfile(s)
	if err != nil {
		return nil, err
	}
	if s.ProfileID != old.ProfileID {
		t.unlink(refProfile, s.Account, old.ProfileID, s.Channel+"\x00"+s.ID)
		t.link(refProfile, s.Account, s.ProfileID, s.Channel+"\x00"+s.ID)
	}
	update(t, subscriptions, &s, old.Meta)
	t.changed(model.EntitySubscription, s.Account, s.Channel, s.ID, false)
	return model.Refs{SubscriptionID: s.ID, ProfileID: p.ID, SecurityID: p.SecurityID}, nil
}

func (c DeleteSubscription) apply(t *txn) (any, error) {
	s, ok := subscriptions.get(t.tx, key(c.Account, c.Channel, c.ID))
	if !ok {
		return nil, notFound("subscription", c.ID)
	}
	p, _ := profiles.get(t.tx, key(s.Account, s.ProfileID))
	remove(t, subscriptions, &s)
	t.unlink(refProfile, s.Account, s.ProfileID, s.Channel+"\x00"+s.ID)
	t.changed(model.EntitySubscription, s.Account, s.Channel, s.ID, true)
	return model.Refs{SubscriptionID: s.ID, ProfileID: s.ProfileID, SecurityID: p.SecurityID}, nil
}

func (c CreateProfile) apply(t *txn) (any, error) {
	if err := t.account(c.Profile.Account); err != nil {
		return nil, err
	}
	if err := t.checkNewProfile(c.NewProfile, ""); err != nil {
		return nil, err
	}
	return model.Refs{ProfileID: c.Profile.ID, SecurityID: t.insertProfile(c.NewProfile)}, nil
}

// at puts a member's name behind the path of its object.
func at(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// checkNewProfile holds the rules of creating a profile and the setting that
// comes with it; path is where the profile is in the request.
func (t *txn) checkNewProfile(np NewProfile, path string) error {
	p := np.Profile
	var v model.Violations
	model.ValidateProfile(p, path, &v)
	if np.Security != nil {
		model.ValidateSecurity(*np.Security, nil, at(path, "security"), &v)
	}
	if err := v.Err(); err != nil {
		return err
	}
	if profiles.has(t.tx, profiles.key(&p)) {
		return &model.Error{Code: model.CodeExists, Field: at(path, "profileId"), Message: "a profile with this id exists: to use it, give its id and nothing else"}
	}
	if err := room(t, profiles, prefix(p.Account), t.limits.profiles, at(path, "profileId"), "profiles"); err != nil {
		return err
	}
	if np.Security != nil {
		if np.Security.Account != p.Account || p.SecurityID != "" && p.SecurityID != np.Security.ID {
			return model.Invalid(at(path, "security.authId"), "must be the id of the setting that is created")
		}
		if err := t.checkNewSecurity(*np.Security, at(path, "security")); err != nil {
			return err
		}
		p.SecurityID = ""
	}
	return t.referred(p, path)
}

// referred checks that what a profile names exists.
func (t *txn) referred(p model.Profile, path string) error {
	if p.SecurityID != "" && !securities.has(t.tx, key(p.Account, p.SecurityID)) {
		return model.Invalid(at(path, "security.authId"), "there are no security settings with this id")
	}
	if p.CertificateID != "" && !certificates.has(t.tx, key(p.Account, p.CertificateID)) {
		return model.Invalid(at(path, "clientCertificateId"), "there is no certificate with this id")
	}
	return nil
}

// insertProfile writes what checkNewProfile allowed and returns the id of the
// profile's setting.
func (t *txn) insertProfile(np NewProfile) string {
	p := np.Profile
	if np.Security != nil {
		p.SecurityID = np.Security.ID
		t.insertSecurity(*np.Security)
	}
	insert(t, profiles, &p)
	t.link(refSecurity, p.Account, p.SecurityID, p.ID)
	t.link(refCertificate, p.Account, p.CertificateID, p.ID)
	t.changed(model.EntityProfile, p.Account, "", p.ID, false)
	return p.SecurityID
}

func (c UpdateProfile) apply(t *txn) (any, error) {
	old, ok := profiles.get(t.tx, key(c.Account, c.ID))
	if !ok {
		return nil, notFound("profile", c.ID)
	}
	p := patchProfile(old, c.Patch)
	var v model.Violations
	model.ValidateProfile(p, "", &v)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := t.referred(p, ""); err != nil {
		return nil, err
	}
	if p.SecurityID != old.SecurityID {
		t.unlink(refSecurity, p.Account, old.SecurityID, p.ID)
		t.link(refSecurity, p.Account, p.SecurityID, p.ID)
	}
	if p.CertificateID != old.CertificateID {
		t.unlink(refCertificate, p.Account, old.CertificateID, p.ID)
		t.link(refCertificate, p.Account, p.CertificateID, p.ID)
	}
	update(t, profiles, &p, old.Meta)
	t.changed(model.EntityProfile, p.Account, "", p.ID, false)
	return model.Refs{ProfileID: p.ID, SecurityID: p.SecurityID}, nil
}

func patchProfile(p model.Profile, c model.ProfilePatch) model.Profile {
	c.URL.ApplyTo(&p.URL)
	c.ContentType.ApplyTo(&p.ContentType)
	c.SecurityID.ApplyTo(&p.SecurityID)
	c.CertificateID.ApplyTo(&p.CertificateID)
	c.MaxBucketSize.ApplyTo(&p.MaxBucketSize)
	c.WindowSize.ApplyTo(&p.WindowSize)
	c.ConnectTimeoutMs.ApplyTo(&p.ConnectTimeoutMs)
	c.ReadTimeoutMs.ApplyTo(&p.ReadTimeoutMs)
	c.RateLimit.ApplyTo(&p.RateLimit)
	c.EnabledSSLProtocols.ApplyTo(&p.EnabledSSLProtocols)
	c.Headers.ApplyTo(&p.Headers)
	c.ResponseRegex.ApplyTo(&p.ResponseRegex)
	c.ResponseBodyRegex.ApplyTo(&p.ResponseBodyRegex)
	c.Ordering.ApplyTo(&p.Ordering)
	if c.Retry.Set {
		p.Retry = nil
		if !c.Retry.Null {
			p.Retry = &c.Retry.Value
		}
	}
	if c.Enabled.Set {
		p.Disabled = !c.Enabled.Null && !c.Enabled.Value
		p.DisabledReason = "" // whoever sets the switch gives the reason with it
	}
	c.DisabledReason.ApplyTo(&p.DisabledReason)
	return p
}

func (c DeleteProfile) apply(t *txn) (any, error) {
	p, ok := profiles.get(t.tx, key(c.Account, c.ID))
	if !ok {
		return nil, notFound("profile", c.ID)
	}
	if err := t.unused(refProfile, p.Account, p.ID, "subscription"); err != nil {
		return nil, err
	}
	remove(t, profiles, &p)
	t.unlink(refSecurity, p.Account, p.SecurityID, p.ID)
	t.unlink(refCertificate, p.Account, p.CertificateID, p.ID)
	t.changed(model.EntityProfile, p.Account, "", p.ID, true)
	return model.Refs{ProfileID: p.ID, SecurityID: p.SecurityID}, nil
}
