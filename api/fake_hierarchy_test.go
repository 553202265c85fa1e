package api

import (
	"context"

	"example.com/belfry/fsm/model"
)

func taken(field string) error {
	return &model.Error{Code: model.CodeExists, Field: field, Message: "exists: to use it, give its id and nothing else"}
}

func (f *fakeConfig) refs(subID, account, profileID string) model.Refs {
	return model.Refs{SubscriptionID: subID, ProfileID: profileID, SecurityID: f.profiles[path(account, profileID)].SecurityID}
}

func (f *fakeConfig) CreateSubscription(_ context.Context, by model.Actor, d model.SubscriptionDraft) (refs model.Refs, err error) {
	err = f.change(by, d.Account, "subscription.create", d.ID, func(m model.Meta) error {
		var v model.Violations
		model.ValidateSubscription(d.Subscription, "", &v)
		if err := v.Err(); err != nil {
			return err
		}
		if _, ok := f.subs[path(d.Account, d.Channel, d.ID)]; ok {
			return taken("subscriptionId")
		}
		if d.Profile != nil {
			if err := f.putProfile(*d.Profile, m, "profile."); err != nil {
				return err
			}
			d.ProfileID = d.Profile.ID
		} else if _, ok := f.profiles[path(d.Account, d.ProfileID)]; !ok {
			return model.Invalid("profile.profileId", "there is no profile with this id")
		}
		d.Meta = m
		f.subs[path(d.Account, d.Channel, d.ID)] = d.Subscription
		refs = f.refs(d.ID, d.Account, d.ProfileID)
		return nil
	})
	return refs, err
}

func (f *fakeConfig) ReplaceSubscription(_ context.Context, by model.Actor, s model.Subscription) (refs model.Refs, err error) {
	err = f.change(by, s.Account, "subscription.update", s.ID, func(m model.Meta) error {
		old, ok := f.subs[path(s.Account, s.Channel, s.ID)]
		if !ok {
			return model.Errorf(model.CodeNotFound, "there is no subscription %s", s.ID)
		}
		if _, ok := f.profiles[path(s.Account, s.ProfileID)]; !ok {
			return model.Invalid("profile.profileId", "there is no profile with this id")
		}
		s.Meta = old.Meta
		s.UpdatedAt, s.UpdatedIndex = m.UpdatedAt, m.UpdatedIndex
		f.subs[path(s.Account, s.Channel, s.ID)] = s
		refs = f.refs(s.ID, s.Account, s.ProfileID)
		return nil
	})
	return refs, err
}

func (f *fakeConfig) DeleteSubscription(_ context.Context, by model.Actor, account, channel, id string) (refs model.Refs, err error) {
	err = f.change(by, account, "subscription.delete", id, func(model.Meta) error {
		s, ok := f.subs[path(account, channel, id)]
		if !ok {
			return model.Errorf(model.CodeNotFound, "there is no subscription %s", id)
		}
		delete(f.subs, path(account, channel, id))
		refs = f.refs(id, account, s.ProfileID)
		return nil
	})
	return refs, err
}

// referred checks what a profile names.
func (f *fakeConfig) referred(p model.Profile, prefix string) error {
	if _, ok := f.security[path(p.Account, p.SecurityID)]; p.SecurityID != "" && !ok {
		return model.Invalid(prefix+"security.authId", "there are no security settings with this id")
	}
	if _, ok := f.certs[path(p.Account, p.CertificateID)]; p.CertificateID != "" && !ok {
		return model.Invalid(prefix+"clientCertificateId", "there is no certificate with this id")
	}
	return nil
}

// putProfile checks a new profile with its setting and then writes both.
func (f *fakeConfig) putProfile(d model.ProfileDraft, m model.Meta, prefix string) error {
	var v model.Violations
	model.ValidateProfile(d.Profile, prefix, &v)
	if err := v.Err(); err != nil {
		return err
	}
	if _, ok := f.profiles[path(d.Account, d.ID)]; ok {
		return taken(prefix + "profileId")
	}
	if err := f.referred(d.Profile, prefix); err != nil {
		return err
	}
	if d.Security != nil {
		if err := f.putSecurity(*d.Security, m, prefix+"security."); err != nil {
			return err
		}
		d.SecurityID = d.Security.ID
	}
	d.Meta = m
	f.profiles[path(d.Account, d.ID)] = d.Profile
	return nil
}

func (f *fakeConfig) CreateProfile(_ context.Context, by model.Actor, d model.ProfileDraft) (refs model.Refs, err error) {
	err = f.change(by, d.Account, "profile.create", d.ID, func(m model.Meta) error {
		if err := f.putProfile(d, m, ""); err != nil {
			return err
		}
		refs = f.refs("", d.Account, d.ID)
		return nil
	})
	return refs, err
}

func (f *fakeConfig) UpdateProfile(_ context.Context, by model.Actor, account, id string, p model.ProfilePatch) (refs model.Refs, err error) {
	err = f.change(by, account, "profile.update", id, func(m model.Meta) error {
		o, ok := f.profiles[path(account, id)]
		if !ok {
			return model.Errorf(model.CodeNotFound, "there is no profile %s", id)
		}
		disabled, reason := o.Disabled, o.DisabledReason
		if p.Retry.Null {
			o.Retry = nil
		}
		applyPatch(&o, p)
		p.SecurityID.ApplyTo(&o.SecurityID)
		if o.DisabledReason = ""; !p.Enabled.Set {
			o.Disabled, o.DisabledReason = disabled, reason
		}
		var v model.Violations
		model.ValidateProfile(o, "", &v)
		if err := v.Err(); err != nil {
			return err
		}
		if err := f.referred(o, ""); err != nil {
			return err
		}
		o.UpdatedAt, o.UpdatedIndex = m.UpdatedAt, m.UpdatedIndex
		f.profiles[path(account, id)] = o
		refs = f.refs("", account, id)
		return nil
	})
	return refs, err
}

func (f *fakeConfig) DeleteProfile(_ context.Context, by model.Actor, account, id string) (refs model.Refs, err error) {
	err = f.change(by, account, "profile.delete", id, func(model.Meta) error {
		if _, ok := f.profiles[path(account, id)]; !ok {
			return model.Errorf(model.CodeNotFound, "there is no profile %s", id)
		}
		for _, s := range f.subs {
			if s.Account == account && s.ProfileID == id {
				return model.Errorf(model.CodeInUse, "the profile %s is used by the subscription %s/%s", id, s.Channel, s.ID)
			}
		}
		refs = f.refs("", account, id)
		delete(f.profiles, path(account, id))
		return nil
	})
	return refs, err
}
