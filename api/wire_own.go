package api

import (
	"net/netip"
	"strconv"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// The wire types of /auth/1, /accounts/1, /cluster/1 and /events/1. A PUT
// changes what it names: an absent member stays, null clears.
type (
	sessionIn struct {
		Username string       `json:"username" api:"required"`
		Password model.Secret `json:"password" api:"required"`
	}
	sessionOut struct {
		Token string `json:"token"`
	}
	callerOut struct {
		AccountID      string        `json:"accountId"`
		KeyID          string        `json:"keyId,omitempty"`
		Username       string        `json:"username,omitempty"`
		Scopes         []model.Scope `json:"scopes"`
		TokenExpiresAt *time.Time    `json:"tokenExpiresAt,omitempty"`
		SessionEndsAt  *time.Time    `json:"sessionEndsAt,omitempty"`
	}
	renewedOut struct {
		Token          string    `json:"token"`
		TokenExpiresAt time.Time `json:"tokenExpiresAt"`
		SessionEndsAt  time.Time `json:"sessionEndsAt"`
	}

	tokenOut struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"` // seconds
		Scope       string `json:"scope"`
	}
	oauthError struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}

	accountIn struct {
		AccountID string `json:"accountId" api:"required"`
		Name      string `json:"name"`
		Disabled  bool   `json:"disabled"`
	}
	accountPatchIn struct {
		Name     model.Opt[string] `json:"name"`
		Disabled model.Opt[bool]   `json:"disabled"`
	}
	accountOut struct {
		AccountID string    `json:"accountId"`
		Name      string    `json:"name,omitempty"`
		Disabled  bool      `json:"disabled"`
		CreatedAt time.Time `json:"createdAt"`
		UpdatedAt time.Time `json:"updatedAt"`
	}

	keyIn struct {
		Name      string     `json:"name"`
		Scopes    []string   `json:"scopes" api:"required"`
		ExpiresAt *time.Time `json:"expiresAt"`
		CIDRs     []string   `json:"cidrs"`
		Disabled  bool       `json:"disabled"`
	}
	keyPatchIn struct {
		Name      model.Opt[string]    `json:"name"`
		Scopes    model.Opt[[]string]  `json:"scopes"`
		ExpiresAt model.Opt[time.Time] `json:"expiresAt"`
		CIDRs     model.Opt[[]string]  `json:"cidrs"`
		Disabled  model.Opt[bool]      `json:"disabled"`
	}
	keyOut struct {
		KeyID     string        `json:"keyId"`
		AccountID string        `json:"accountId"`
		Name      string        `json:"name,omitempty"`
		Scopes    []model.Scope `json:"scopes"`
		ExpiresAt *time.Time    `json:"expiresAt,omitempty"`
		CIDRs     []string      `json:"cidrs"`
		Disabled  bool          `json:"disabled"`
		CreatedAt time.Time     `json:"createdAt"`
		UpdatedAt time.Time     `json:"updatedAt"`
	}
	// keyCreatedOut is the only answer that shows a key's secret.
	keyCreatedOut struct {
		keyOut
		Key string `json:"key"`
	}

	userIn struct {
		Username string       `json:"username" api:"required"`
		Password model.Secret `json:"password" api:"required"`
		Scopes   []string     `json:"scopes" api:"required"`
		Disabled bool         `json:"disabled"`
	}
	userPatchIn struct {
		Password model.Opt[model.Secret] `json:"password"`
		Scopes   model.Opt[[]string]     `json:"scopes"`
		Disabled model.Opt[bool]         `json:"disabled"`
	}
	userOut struct {
		Username  string        `json:"username"`
		AccountID string        `json:"accountId"`
		Scopes    []model.Scope `json:"scopes"`
		Disabled  bool          `json:"disabled"`
		CreatedAt time.Time     `json:"createdAt"`
		UpdatedAt time.Time     `json:"updatedAt"`
	}

	auditOut struct {
		Index     uint64           `json:"index"`
		At        time.Time        `json:"at"`
		Actor     string           `json:"actor"`
		ActorFrom string           `json:"actorFrom,omitempty"`
		RequestID string           `json:"requestId,omitempty"`
		Action    string           `json:"action"`
		Object    string           `json:"object"`
		Changes   []auditChangeOut `json:"changes,omitempty"`
		More      bool             `json:"moreChanges,omitempty"`
	}

	auditChangeOut struct {
		Object string `json:"object"`
		Member string `json:"member"`
		Before string `json:"before,omitempty"`
		After  string `json:"after,omitempty"`
	}

	nodesOut struct {
		Nodes []NodeStatus `json:"nodes"`
	}
	partitionsOut struct {
		Partitions []PartitionStatus `json:"partitions"`
	}

	receiptsOut struct {
		Events []event.Receipt `json:"events"`
	}
)

func accountWire(a model.Account) accountOut {
	return accountOut{AccountID: a.ID, Name: a.Name, Disabled: a.Disabled, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt}
}

func keyWire(k model.Key) keyOut {
	out := keyOut{
		KeyID: k.ID, AccountID: k.Account, Name: k.Name, Scopes: scopesWire(k.Scopes), CIDRs: make([]string, 0, len(k.CIDRs)),
		Disabled: k.Disabled, CreatedAt: k.CreatedAt, UpdatedAt: k.UpdatedAt,
	}
	if !k.ExpiresAt.IsZero() {
		at := k.ExpiresAt.UTC()
		out.ExpiresAt = &at
	}
	for _, p := range k.CIDRs {
		out.CIDRs = append(out.CIDRs, p.String())
	}
	return out
}

func userWire(u model.User) userOut {
	return userOut{
		Username: u.Username, AccountID: u.Account, Scopes: scopesWire(u.Scopes), Disabled: u.Disabled, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt,
	}
}

func auditWire(a model.AuditRecord) auditOut {
	out := auditOut{Index: a.Index, At: a.At, Actor: a.Actor, ActorFrom: a.ActorFrom, RequestID: a.RequestID, Action: a.Action, Object: a.Object, More: a.ChangesCut}
	for _, c := range a.Changes {
		if name, ok := auditMembers[c.Member]; ok {
			c.Member = name
		}
		out.Changes = append(out.Changes, auditChangeOut(c))
	}
	return out
}

// auditMembers are the names of this API of members that are kept under other
// names.
var auditMembers = map[string]string{
	"url": "webhook.notifyUrl", "contentType": "webhook.contentType", "securityId": "security.authId", "certificateId": "clientCertificateId",
	"connectTimeoutMs": "connectTimeout", "readTimeoutMs": "readTimeout", "enabledSslProtocols": "enabledSSLProtocols",
	"passwordHash": "password", "hash": "key",
}

// scopesWire never gives null.
func scopesWire(s []model.Scope) []model.Scope {
	if s == nil {
		return []model.Scope{}
	}
	return s
}

// maxCIDRs bounds the address ranges of one key.
const maxCIDRs = 64

// parseCIDRs reads address ranges; a bare address is the range of itself.
// IPv4 in IPv6 form is refused, because peers are compared in IPv4 form.
func parseCIDRs(in []string, v *model.Violations) []netip.Prefix {
	if len(in) > maxCIDRs {
		v.Add("cidrs", "must hold at most %d items", maxCIDRs)
		return nil
	}
	var out []netip.Prefix
	for i, s := range in {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil && a.Zone() == "" {
				p = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if err != nil || !p.IsValid() || p.Addr().Is4In6() {
			v.Add(element("cidrs", i), "must be an address or a range such as 192.0.2.0/24 or 2001:db8::/32")
			continue
		}
		out = append(out, p.Masked())
	}
	return out
}

// element is the path of one item of a list.
func element(at string, i int) string { return at + "[" + strconv.Itoa(i) + "]" }
