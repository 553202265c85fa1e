package api

import (
	"net/http"
	"slices"
	"strings"

	"example.com/belfry/fsm/model"
)

const (
	headerIgnored    = "Belfry-Ignored-Events"
	maxIgnoredNames  = 20 // names in the header
	maxCallsConfigID = 128
)

func (s *Server) subscriptionRoutes() []route {
	const all = contractPrefix + "/subscription"
	const list, one = all + "/{channel}", all + "/{channel}/{subscriptionId}"
	row := func(method, path string, handle func(*request) error) route {
		r := route{method: method, path: path, scope: model.ScopeSubscriptionsManage, surface: surfaceContract, handle: handle}
		if method == http.MethodGet {
			r.scope, r.read = model.ScopeSubscriptionsRead, true
		}
		return r
	}
	return []route{
		row(http.MethodGet, all, s.listAllSubscriptions), // an addition of ours
		row(http.MethodGet, list, s.listSubscriptions),
		row(http.MethodPost, list, s.createSubscription),
		row(http.MethodGet, one, s.getSubscription),
		row(http.MethodPut, one, s.updateSubscription),
		row(http.MethodDelete, one, s.deleteSubscription),
	}
}

// channel is the channel of the path. One that is not in the catalogue is a
// malformed request: the contract publishes the list as an enum.
func (r *request) channel() (model.Channel, error) {
	c, ok := model.ChannelByName(r.param("channel"))
	if !ok {
		return c, model.Invalid("channel", "is not a known channel")
	}
	return c, nil
}

func (s *Server) listSubscriptions(r *request) error {
	c, err := r.channel()
	if err != nil {
		return err
	}
	page, size, err := r.page()
	if err != nil {
		return err
	}
	var v model.Violations
	f := r.subscriptionFilter(c.Name, &v)
	if err := v.Err(); err != nil {
		return err
	}
	p, err := s.o.Reader.ListSubscriptions(r.caller.account, c.Name, f, page, size)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, envelope(p, s.subscriptionWire))
}

// listAllSubscriptions lists those of all channels. Unlike the published lists
// it knows all of its parameters: one with a typo must not select everything.
func (s *Server) listAllSubscriptions(r *request) error {
	page, size, err := r.page()
	if err != nil {
		return err
	}
	q := r.strictQuery()
	q.knows("page", "size", "consistency", "search", "profileId", "event", "applicationId", "entityId", "callsConfigurationId", "resource", "user")
	f := r.subscriptionFilter("", &q.v)
	if err := q.err(); err != nil {
		return err
	}
	p, err := s.o.Reader.ListSubscriptions(r.caller.account, "", f, page, size)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, envelope(p, func(sub model.Subscription) channelSubscriptionOut {
		return channelSubscriptionOut{Channel: sub.Channel, subscriptionOut: s.subscriptionWire(sub)}
	}))
}

// subscriptionFilter reads the filters of a list of one channel, or of all
// when channel is empty.
func (r *request) subscriptionFilter(channel string, v *model.Violations) model.SubscriptionFilter {
	f := model.SubscriptionFilter{
		Search: r.search(v), ProfileID: r.idFilter("profileId", v),
		Event:                 r.filter("event", func(s string) string { return model.CheckText(s, 1, model.MaxIDLength) }, v),
		ApplicationIDs:        r.textParams("applicationId", model.MaxIDLength, v),
		EntityIDs:             r.textParams("entityId", model.MaxIDLength, v),
		CallsConfigurationIDs: r.textParams("callsConfigurationId", maxCallsConfigID, v),
		Resources:             r.textParams("resource", model.MaxIDLength, v),
		Users:                 r.textParams("user", model.MaxIDLength, v),
	}
	if f.Event != "" {
		checkCatalogue(channel, f.Event, "", v)
	}
	return f
}

func (s *Server) getSubscription(r *request) error {
	c, err := r.channel()
	if err != nil {
		return err
	}
	sub, err := s.o.Reader.Subscription(r.caller.account, c.Name, r.param("subscriptionId"))
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, s.subscriptionWire(sub))
}

func (s *Server) subscriptionWire(sub model.Subscription) subscriptionOut {
	out := subscriptionOut{
		SubscriptionID: sub.ID, Name: sub.Name, Profile: profileRef(sub.ProfileID, s.authOf(sub.Account, sub.ProfileID)),
		Events: make([]eventWire, len(sub.Events)), Criteria: make([]criterionWire, len(sub.Criteria)),
		Resources: listOf(sub.Resources), Users: listOf(sub.Users),
	}
	for i, e := range sub.Events {
		out.Events[i] = eventWire{event: e.Event, format: e.Format}
	}
	for i, c := range sub.Criteria {
		out.Criteria[i] = criterionWire(c)
	}
	return out
}

// authOf is the security setting of a profile, or empty.
func (s *Server) authOf(account, profileID string) string {
	p, err := s.o.Reader.Profile(account, profileID)
	if err != nil {
		return "" // deleted since the subscription was read
	}
	return p.SecurityID
}

func (s *Server) createSubscription(r *request) error {
	c, err := r.channel()
	if err != nil {
		return err
	}
	var in subscriptionIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	d := model.SubscriptionDraft{Subscription: r.subscription(c, in.subscriptionMembers, in.SubscriptionID, &v)}
	if in.Profile.reuse() {
		checkNewID(&v, "profile.profileId", in.Profile.ProfileID)
		d.ProfileID = in.Profile.ProfileID
	} else {
		p := s.profileDraft(r, in.Profile, "profile.", &v)
		d.Profile = &p
	}
	if err := v.Err(); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	refs, err := s.o.Writer.CreateSubscription(ctx, r.caller.actor, d)
	if err != nil {
		return err
	}
	r.header().Set("Location", contractPrefix+"/subscription/"+c.Name+"/"+refs.SubscriptionID)
	return r.json(http.StatusCreated, subscriptionRefs(refs))
}

func (s *Server) updateSubscription(r *request) error {
	c, err := r.channel()
	if err != nil {
		return err
	}
	var in subscriptionUpdateIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	sub := r.subscription(c, in.subscriptionMembers, r.param("subscriptionId"), &v)
	checkNewID(&v, "profile.profileId", in.Profile.ProfileID)
	sub.ProfileID = in.Profile.ProfileID
	if err := v.Err(); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	refs, err := s.o.Writer.ReplaceSubscription(ctx, r.caller.actor, sub)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, subscriptionRefs(refs))
}

func (s *Server) deleteSubscription(r *request) error {
	c, err := r.channel()
	if err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	refs, err := s.o.Writer.DeleteSubscription(ctx, r.caller.actor, r.caller.account, c.Name, r.param("subscriptionId"))
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, subscriptionRefs(refs))
}

func subscriptionRefs(refs model.Refs) idOnlySubscription {
	return idOnlySubscription{SubscriptionID: refs.SubscriptionID, Profile: profileRef(refs.ProfileID, refs.SecurityID)}
}

// subscription turns the body of a create or update into an entity, without
// its profile, and checks it.
func (r *request) subscription(c model.Channel, in subscriptionMembers, id string, v *model.Violations) model.Subscription {
	sub := model.Subscription{
		Account: r.caller.account, Channel: c.Name, ID: id, Name: in.Name.Value,
		Resources: in.Resources, Users: in.Users,
	}
	if given(in.Name) && in.Name.Value == "" {
		v.Add("name", "must not be empty")
	}
	for _, t := range in.Criteria {
		sub.Criteria = append(sub.Criteria, model.Criterion(t))
	}
	sub.Events = r.events(c, in.Events, v)
	model.ValidateSubscription(sub, "", v)
	return sub
}

// events keeps what the channel knows, names the rest in a header, and refuses
// a list of which nothing would be left: empty means all events.
func (r *request) events(c model.Channel, in []eventWire, v *model.Violations) []model.EventRef {
	if len(in) > maxListItems {
		v.Add("events", "must not have more than %d items", maxListItems)
		return nil
	}
	var out []model.EventRef
	var ignored []string
	for i, e := range in {
		ref := model.EventRef{Event: e.event, Format: e.format}
		switch {
		case e.object && !c.FormatAware:
			v.Add(index("events", i), "must be an event name: channel %s takes no formats", c.Name)
		case !c.Has(e.event):
			ignored = append(ignored, headerName(e.event))
		case !slices.Contains(out, ref):
			out = append(out, ref)
		}
	}
	if len(ignored) == 0 {
		return out
	}
	if len(ignored) == len(in) {
		v.Add("events", "names no event of channel %s; it knows %s; an empty list means all of them", c.Name, shortList(c.Events))
		return nil
	}
	if len(ignored) > maxIgnoredNames {
		ignored = append(ignored[:maxIgnoredNames:maxIgnoredNames], "...")
	}
	r.header().Set(headerIgnored, strings.Join(ignored, ", "))
	return out
}

// maxListItems is the contract's limit of every list of a subscription.
const maxListItems = 255

// headerName makes a name that a client sent fit for a response header.
func headerName(s string) string {
	if len(s) > maxShownName {
		s = s[:maxShownName]
	}
	return strings.NewReplacer(",", "?", " ", "?").Replace(safeName(s))
}

func shortList(names []string) string {
	if len(names) > maxIgnoredNames {
		return strings.Join(names[:maxIgnoredNames], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

// checkNewID checks an id that the body must carry.
func checkNewID(v *model.Violations, at, id string) {
	if msg := model.CheckID(id); msg != "" {
		v.Add(at, "%s", msg)
	}
}
