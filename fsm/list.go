package fsm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"slices"

	"go.etcd.io/bbolt"

	"example.com/belfry/fsm/model"
)

// found is a row that fits a filter, and the log index that created it.
type found struct {
	created uint64
	row     []byte
}

// filtered lists the rows that fit from the newest to the oldest and counts
// them all. It decodes the rows of the page only; of the others it keeps where
// they are (32 bytes each, until it returns). INV fsm-9: fits says of a row what
// it would say of the decoded one.
func filtered[T any](tb table[T], rows iter.Seq[[]byte], fits func(row []byte) (created uint64, ok bool), page, size int) model.Page[T] {
	var all []found
	for row := range rows {
		if created, ok := fits(row); ok {
			all = append(all, found{created, row})
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(b.created, a.created) })
	p := newPager[T](page, size, len(all))
	for _, x := range all[min(p.skip, len(all)):] {
		if p.full() {
			break
		}
		p.page.Items = append(p.page.Items, decodeRow[T](tb.rows, x.row))
	}
	return p.page
}

// below are the rows of a table whose keys begin with pre.
func (t table[T]) below(tx *bbolt.Tx, pre []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, row := range scan(tx, t.rows, pre) {
			if !yield(row) {
				return
			}
		}
	}
}

// referring are the rows of a table that refer to a target; rest are the first
// parts of their keys behind the account, if only some are wanted.
func (t table[T]) referring(tx *bbolt.Tx, kind, account, target string, rest ...string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		bare := len(prefix(kind, account, target))
		rows, k := tx.Bucket(t.rows), prefix(account)
		own := len(k)
		for ref := range scan(tx, bRef, prefix(append([]string{kind, account, target}, rest...)...)) {
			k = append(k[:own], ref[bare:]...)
			row := rows.Get(k)
			if row == nil {
				damaged() // INV fsm-6
			}
			if !yield(row) {
				return
			}
		}
	}
}

// ListSubscriptions lists a channel, or all of them when channel is empty, from
// the newest to the oldest.
func (s *Store) ListSubscriptions(account, channel string, f model.SubscriptionFilter, page, size int) (out model.Page[model.Subscription], err error) {
	if channel != "" && f.IsZero() {
		return newest(s, subscriptions, prefix(account, channel), page, size)
	}
	if err := checkPage(page, size); err != nil {
		return out, err
	}
	var within []string
	if channel != "" {
		within = []string{channel}
	}
	err = s.view(func(tx *bbolt.Tx) error {
		switch {
		case f.IsZero():
			out = newestOfAll(tx, account, page, size)
		case f.ProfileID != "":
			out = filtered(subscriptions, subscriptions.referring(tx, refProfile, account, f.ProfileID, within...), fitsSubscription(f, channel), page, size)
		default:
			out = filtered(subscriptions, subscriptions.below(tx, prefix(append([]string{account}, within...)...)), fitsSubscription(f, channel), page, size)
		}
		return nil
	})
	return out, err
}

// newestOfAll merges the sequences of an account's channels.
func newestOfAll(tx *bbolt.Tx, account string, page, size int) model.Page[model.Subscription] {
	type head struct {
		created uint64
		key     []byte
		next    func() ([]byte, []byte, bool)
	}
	advance := func(h *head) bool {
		k, v, ok := h.next()
		if ok {
			h.created, h.key = binary.BigEndian.Uint64(k[len(k)-8:]), v
		}
		return ok
	}
	own := prefix(account)
	p := newPager[model.Subscription](page, size, subscriptions.count(tx, own))
	if p.skip >= p.page.Total {
		return p.page
	}
	var heads []*head
	c := tx.Bucket(bSubscriptionSeq).Cursor()
	for k, _ := c.Seek(own); k != nil && bytes.HasPrefix(k, own); {
		scope := bytes.Clone(k[:len(k)-8]) // a channel and 0
		next, stop := iter.Pull2(scanBack(tx, bSubscriptionSeq, scope))
		defer stop()
		if h := (&head{next: next}); advance(h) {
			heads = append(heads, h)
		}
		after := bytes.Clone(scope)
		after[len(after)-1]++
		k, _ = c.Seek(after)
	}
	for len(heads) > 0 && !p.full() {
		i := 0
		for k, h := range heads {
			if h.created > heads[i].created {
				i = k
			}
		}
		if p.wants() {
			v, _ := subscriptions.get(tx, heads[i].key)
			p.page.Items = append(p.page.Items, v)
		}
		if !advance(heads[i]) {
			heads = slices.Delete(heads, i, i+1)
		}
	}
	return p.page
}

// fitsSubscription reports of a row whether it names every value of the filter.
func fitsSubscription(f model.SubscriptionFilter, channel string) func([]byte) (uint64, bool) {
	search := needleOf(f.Search)
	return func(row []byte) (created uint64, ok bool) {
		hit := search.any()
		var in, events, criteria, resources, users []byte
		for name, value := range members(row) {
			switch string(name) {
			case "channel":
				in = text(value)
				hit = hit || channel == "" && search.in(in)
			case "id", "name":
				hit = hit || search.in(text(value))
			case "profileId": // behind all others that a search looks at
				profile := text(value)
				if hit = hit || search.in(profile); !hit || f.ProfileID != "" && string(profile) != f.ProfileID {
					return 0, false
				}
			case "events":
				events = value
			case "criteria":
				criteria = value
			case "resources":
				resources = value
			case "users":
				users = value
			case "createdIndex":
				created = number(value)
			}
		}
		fits := hit && takes(f.Event, in, events) &&
			namesAll(criteria, "applicationId", f.ApplicationIDs) && namesAll(criteria, "entityId", f.EntityIDs) &&
			namesAll(criteria, "callsConfigurationId", f.CallsConfigurationIDs) && holdsAll(resources, f.Resources) && holdsAll(users, f.Users)
		return created, fits
	}
}

// takes reports whether a subscription of the channel takes an event: it names
// it, or it names none and the channel has it. An empty event always fits.
func takes(event string, channel, events []byte) bool {
	switch {
	case event == "":
		return true
	case events == nil:
		c, _ := model.ChannelByName(string(channel))
		return c.Has(event)
	}
	return names(events, "event", event)
}

func namesAll(criteria []byte, member string, wants []string) bool {
	return !slices.ContainsFunc(wants, func(want string) bool { return !names(criteria, member, want) })
}

func holdsAll(list []byte, wants []string) bool {
	return !slices.ContainsFunc(wants, func(want string) bool { return !holds(list, want) })
}

// ListProfiles lists from the newest to the oldest.
func (s *Store) ListProfiles(account string, f model.ProfileFilter, page, size int) (out model.Page[model.Profile], err error) {
	if f == (model.ProfileFilter{}) {
		return newest(s, profiles, prefix(account), page, size)
	}
	if err := checkPage(page, size); err != nil {
		return out, err
	}
	err = s.view(func(tx *bbolt.Tx) error {
		rows := profiles.below(tx, prefix(account))
		switch {
		case f.SecurityID != "":
			rows = profiles.referring(tx, refSecurity, account, f.SecurityID)
		case f.CertificateID != "":
			rows = profiles.referring(tx, refCertificate, account, f.CertificateID)
		}
		out = filtered(profiles, rows, fitsProfile(f), page, size)
		return nil
	})
	return out, err
}

func fitsProfile(f model.ProfileFilter) func([]byte) (uint64, bool) {
	search := needleOf(f.Search)
	return func(row []byte) (created uint64, ok bool) {
		hit := search.any()
		var security, certificate []byte
		for name, value := range members(row) {
			switch string(name) {
			case "id", "url":
				hit = hit || search.in(text(value))
			case "securityId":
				security = text(value)
				hit = hit || search.in(security)
			case "certificateId":
				certificate = text(value)
				hit = hit || search.in(certificate)
			case "createdIndex":
				created = number(value)
			}
		}
		return created, hit && (f.SecurityID == "" || string(security) == f.SecurityID) && (f.CertificateID == "" || string(certificate) == f.CertificateID)
	}
}

// ListSecurity lists from the newest to the oldest.
func (s *Store) ListSecurity(account string, f model.SecurityFilter, page, size int) (out model.Page[model.Security], err error) {
	if f == (model.SecurityFilter{}) {
		return newest(s, securities, prefix(account), page, size)
	}
	if err := checkPage(page, size); err != nil {
		return out, err
	}
	err = s.view(func(tx *bbolt.Tx) error {
		out = filtered(securities, securities.below(tx, prefix(account)), fitsSecurity(tx, account, f), page, size)
		return nil
	})
	return out, err
}

func fitsSecurity(tx *bbolt.Tx, account string, f model.SecurityFilter) func([]byte) (uint64, bool) {
	search, refs := needleOf(f.Search), tx.Bucket(bRef).Cursor()
	return func(row []byte) (created uint64, ok bool) {
		hit := search.any()
		for name, value := range members(row) {
			switch string(name) {
			case "id":
				id := text(value)
				hit = hit || search.in(id)
				if f.Unused {
					pre := prefix(refSecurity, account, string(id))
					if k, _ := refs.Seek(pre); bytes.HasPrefix(k, pre) {
						return 0, false
					}
				}
			case "type":
				hit = hit || search.in(text(value))
			case "createdIndex":
				created = number(value)
			}
		}
		return created, hit
	}
}

// ListCertificates lists from the newest to the oldest, or by id.
func (s *Store) ListCertificates(account string, f model.CertificateFilter, page, size int) (out model.Page[model.Certificate], err error) {
	pre := prefix(account)
	if f.Search == "" && !f.SortByID && f.ExpiresBefore.IsZero() {
		return newest(s, certificates, pre, page, size)
	}
	err = s.view(func(tx *bbolt.Tx) error {
		walk, bucket := scanBack, bCertificateSeq
		if f.SortByID {
			bucket = bCertificate
			if !f.Descending {
				walk = scan
			}
		}
		search := needleOf(f.Search)
		ids, err := chosen(page, size, func(yield func(string) bool) {
			for k, v := range walk(tx, bucket, pre) {
				if !f.SortByID {
					k = v
				}
				id := bytes.TrimPrefix(k, pre)
				if !search.in(id) {
					continue
				}
				if !f.ExpiresBefore.IsZero() {
					if c, _ := certificates.get(tx, key(account, string(id))); !c.ValidUntil.Before(f.ExpiresBefore) {
						continue
					}
				}
				if !yield(string(id)) {
					return
				}
			}
		})
		if err != nil {
			return err
		}
		out = model.Page[model.Certificate]{Items: []model.Certificate{}, Page: ids.Page, Size: ids.Size, Total: ids.Total}
		for _, id := range ids.Items {
			c, _ := certificates.get(tx, key(account, id))
			out.Items = append(out.Items, c)
		}
		return nil
	})
	return out, err
}
