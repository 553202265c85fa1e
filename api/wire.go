package api

import (
	"strconv"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

// The wire types of the config API. Requests are decoded by decode.go; a
// member that can be null or absent with different meanings is an Opt.
type (
	subscriptionIn struct {
		SubscriptionID string `json:"subscriptionId"`
		subscriptionMembers
		Profile profileIn `json:"profile" api:"required"`
	}

	// subscriptionUpdateIn takes the id of a profile and nothing else of it.
	subscriptionUpdateIn struct {
		subscriptionMembers
		Profile struct {
			ProfileID string `json:"profileId"`
		} `json:"profile" api:"required"`
	}

	subscriptionMembers struct {
		Name      model.Opt[string] `json:"name"`
		Events    []eventWire       `json:"events" api:"required"`
		Criteria  []criterionWire   `json:"criteria"`
		Resources []string          `json:"resources"`
		Users     []string          `json:"users"`
	}

	criterionWire struct {
		ApplicationID        string `json:"applicationId,omitempty"`
		EntityID             string `json:"entityId,omitempty"`
		CallsConfigurationID string `json:"callsConfigurationId,omitempty"`
	}

	profileIn struct {
		ProfileID           string                       `json:"profileId"`
		Webhook             model.Opt[webhookIn]         `json:"webhook"`
		Security            model.Opt[securityIn]        `json:"security"`
		ClientCertificateID model.Opt[string]            `json:"clientCertificateId"`
		MaxBucketSize       model.Opt[int]               `json:"maxBucketSize"`
		WindowSize          model.Opt[int]               `json:"windowSize"`
		ConnectTimeout      model.Opt[int]               `json:"connectTimeout"`
		ReadTimeout         model.Opt[int]               `json:"readTimeout"`
		EnabledSSLProtocols model.Opt[[]string]          `json:"enabledSSLProtocols"`
		Headers             model.Opt[map[string]string] `json:"headers"`
		ResponseRegex       model.Opt[string]            `json:"responseRegex"`
		ResponseBodyRegex   model.Opt[string]            `json:"responseBodyRegex"`
		RateLimit           model.Opt[int]               `json:"rateLimit"`

		// Additions of ours.
		Retry    model.Opt[retryWire] `json:"retry"`
		Ordering model.Opt[string]    `json:"ordering"`
		Enabled  model.Opt[bool]      `json:"enabled"`
	}

	webhookIn struct {
		NotifyURL   model.Opt[string] `json:"notifyUrl"`
		ContentType model.Opt[string] `json:"contentType"`
	}

	retryWire struct {
		Policy      string  `json:"policy"`
		Schedule    []int64 `json:"schedule,omitempty"`
		MaxAttempts int     `json:"maxAttempts,omitempty"`
		MaxAge      int64   `json:"maxAge,omitempty"` // seconds
	}

	securityIn struct {
		AuthID      string                   `json:"authId"`
		Type        model.Opt[string]        `json:"type"`
		Credentials model.Opt[credentialsIn] `json:"credentials"`
	}

	credentialsIn struct {
		Username          model.Opt[string]       `json:"username"`
		Password          model.Opt[model.Secret] `json:"password"`
		SecretKey         model.Opt[model.Secret] `json:"secretKey"`
		Algorithm         model.Opt[string]       `json:"algorithm"`
		HeaderName        model.Opt[string]       `json:"headerName"`
		Encoding          model.Opt[string]       `json:"encoding"`
		PreviousSecretKey model.Opt[model.Secret] `json:"previousSecretKey"`
		PreviousUntil     model.Opt[time.Time]    `json:"previousSecretKeyValidUntil"`
		TokenURL          model.Opt[string]       `json:"tokenUrl"`
		GrantType         model.Opt[string]       `json:"grantType"`
		ClientID          model.Opt[string]       `json:"clientId"`
		ClientSecret      model.Opt[model.Secret] `json:"clientSecret"`
		Scope             model.Opt[string]       `json:"scope"`
		Resource          model.Opt[string]       `json:"resource"`
		RefreshToken      model.Opt[model.Secret] `json:"refreshToken"`

		Headers model.Opt[map[string]model.Secret] `json:"headers"`
	}
)

// The answers of the config API.
type (
	idOnlySecurity struct {
		AuthID string `json:"authId"`
	}

	idOnlyProfile struct {
		ProfileID string          `json:"profileId"`
		Security  *idOnlySecurity `json:"security,omitempty"`
	}

	idOnlySubscription struct {
		SubscriptionID string        `json:"subscriptionId"`
		Profile        idOnlyProfile `json:"profile"`
	}

	subscriptionOut struct {
		SubscriptionID string          `json:"subscriptionId"`
		Name           string          `json:"name,omitempty"`
		Profile        idOnlyProfile   `json:"profile"`
		Events         []eventWire     `json:"events"`
		Criteria       []criterionWire `json:"criteria"`
		Resources      []string        `json:"resources"`
		Users          []string        `json:"users"`
	}

	// channelSubscriptionOut is a subscription in a list over all channels.
	channelSubscriptionOut struct {
		Channel string `json:"channel"`
		subscriptionOut
	}

	profileOut struct {
		ProfileID           string            `json:"profileId"`
		Webhook             webhookOut        `json:"webhook"`
		Security            *idOnlySecurity   `json:"security,omitempty"`
		ClientCertificateID string            `json:"clientCertificateId,omitempty"`
		MaxBucketSize       int               `json:"maxBucketSize"`
		WindowSize          int               `json:"windowSize"`
		ConnectTimeout      int               `json:"connectTimeout"`
		ReadTimeout         int               `json:"readTimeout"`
		EnabledSSLProtocols []string          `json:"enabledSSLProtocols,omitempty"`
		Headers             map[string]string `json:"headers,omitempty"`
		ResponseRegex       string            `json:"responseRegex,omitempty"`
		ResponseBodyRegex   string            `json:"responseBodyRegex,omitempty"`
		RateLimit           int               `json:"rateLimit,omitempty"`

		// Additions of ours, shown only when they were set.
		Retry          *retryWire `json:"retry,omitempty"`
		Ordering       string     `json:"ordering,omitempty"`
		Enabled        *bool      `json:"enabled,omitempty"`
		DisabledReason string     `json:"disabledReason,omitempty"`
	}

	webhookOut struct {
		NotifyURL   string `json:"notifyUrl"`
		ContentType string `json:"contentType"`
	}

	securityOut struct {
		AuthID      string         `json:"authId"`
		Type        string         `json:"type"`
		Credentials credentialsOut `json:"credentials"`
	}

	credentialsOut struct {
		Username          string            `json:"username,omitempty"`
		Password          string            `json:"password,omitempty"`
		SecretKey         string            `json:"secretKey,omitempty"`
		Algorithm         string            `json:"algorithm,omitempty"`
		HeaderName        string            `json:"headerName,omitempty"`
		Encoding          string            `json:"encoding,omitempty"`
		PreviousSecretKey string            `json:"previousSecretKey,omitempty"`
		PreviousUntil     *time.Time        `json:"previousSecretKeyValidUntil,omitempty"`
		TokenURL          string            `json:"tokenUrl,omitempty"`
		GrantType         string            `json:"grantType,omitempty"`
		ClientID          string            `json:"clientId,omitempty"`
		ClientSecret      string            `json:"clientSecret,omitempty"`
		Scope             string            `json:"scope,omitempty"`
		Resource          string            `json:"resource,omitempty"`
		RefreshToken      string            `json:"refreshToken,omitempty"`
		Headers           map[string]string `json:"headers,omitempty"`
	}
)

// eventWire is one entry of an event list: a name, or {event, format}.
type eventWire struct {
	event, format string
	object        bool
}

// decodeNode takes both forms.
func (e *eventWire) decodeNode(node any, at string, v *model.Violations) {
	switch n := node.(type) {
	case string:
		if n == "" {
			v.Add(at, "must not be empty")
		}
		*e = eventWire{event: n}
	case *object:
		e.object = true
		for name, dst := range map[string]*string{"event": &e.event, "format": &e.format} {
			s, ok := n.values[name].(string)
			if !ok || s == "" {
				v.Add(join(at, name), "must be a string that is not empty")
			}
			*dst = s
		}
	default:
		v.Add(at, "must be an event name or an object with event and format")
	}
}

// MarshalJSON writes the form that was given.
func (e *eventWire) MarshalJSON() ([]byte, error) {
	if e.format == "" {
		return encodeNode(e.event), nil
	}
	return encodeNode(&object{names: []string{"event", "format"}, values: map[string]any{"event": e.event, "format": e.format}}), nil
}

func profileRef(profileID, authID string) idOnlyProfile {
	p := idOnlyProfile{ProfileID: profileID}
	if authID != "" {
		p.Security = &idOnlySecurity{AuthID: authID}
	}
	return p
}

func given[T any](o model.Opt[T]) bool { return o.Set && !o.Null }

// oneOf records a violation unless s is one of the allowed names.
func oneOf[T ~string](v *model.Violations, at, s string, allowed ...T) T {
	for _, a := range allowed {
		if string(a) == s {
			return a
		}
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	v.Add(at, "must be one of %s", strings.Join(names, ", "))
	return ""
}

func index(at string, i int) string { return at + "[" + strconv.Itoa(i) + "]" }
