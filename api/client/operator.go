package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"example.com/belfry/fsm/model"
)

const accountsPath = "/accounts/1/accounts"

// OpenSession exchanges name and password for a token of the scheme IBSSO.
func (c *Client) OpenSession(ctx context.Context, username, password string) (model.Secret, error) {
	var out struct {
		Token string `json:"token"`
	}
	in := map[string]string{"username": username, "password": password}
	err := c.do(ctx, call{method: http.MethodPost, path: "/auth/1/session", in: in, out: &out, repeatable: true})
	return model.NewSecret(out.Token), err
}

// Session says who the credentials of the client are.
func (c *Client) Session(ctx context.Context) (Caller, error) {
	return get[Caller](ctx, c, "/auth/1/session", nil)
}

// RenewSession gives a token that lasts from now on for that of the client,
// which goes on until it expires.
func (c *Client) RenewSession(ctx context.Context) (RenewedToken, error) {
	var out struct {
		Token          string    `json:"token"`
		TokenExpiresAt time.Time `json:"tokenExpiresAt"`
		SessionEndsAt  time.Time `json:"sessionEndsAt"`
	}
	err := c.do(ctx, call{method: http.MethodPost, path: "/auth/1/session/renewal", out: &out, repeatable: true})
	return RenewedToken{model.NewSecret(out.Token), out.TokenExpiresAt, out.SessionEndsAt}, err
}

// EndSession ends a token and those that it was renewed by: scheme is IBSSO or Bearer.
func (c *Client) EndSession(ctx context.Context, scheme string, token model.Secret) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/auth/1/session", auth: scheme + " " + token.Reveal()})
}

// IssueToken gets a Bearer token for an API key.
func (c *Client) IssueToken(ctx context.Context, keyID string, key model.Secret) (Token, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {keyID}, "client_secret": {key.Reveal()}}
	var out struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
		Scope       string `json:"scope"`
	}
	// The token endpoint takes the credentials from one place only.
	bare := c.bare()
	err := bare.do(ctx, call{
		method: http.MethodPost, path: "/auth/1/oauth2/token", raw: []byte(form.Encode()), contentType: "application/x-www-form-urlencoded", out: &out, repeatable: true,
	})
	return Token{AccessToken: model.NewSecret(out.AccessToken), ExpiresIn: time.Duration(out.ExpiresIn) * time.Second, Scope: out.Scope}, err
}

// bare is the same client without credentials.
func (c *Client) bare() *Client {
	return &Client{bases: c.bases, http: c.http, retry: c.retry}
}

// Accounts lists all accounts.
func (c *Client) Accounts(ctx context.Context, r Read) (Page[Account], error) {
	return get[Page[Account]](ctx, c, accountsPath, r.query())
}

// Account shows one account.
func (c *Client) Account(ctx context.Context, id string, r Read) (Account, error) {
	return get[Account](ctx, c, path(accountsPath, id), r.query())
}

// CreateAccount makes an account.
func (c *Client) CreateAccount(ctx context.Context, id, name string) (Account, error) {
	return post[Account](ctx, c, accountsPath, Account{AccountID: id, Name: name})
}

// UpdateAccount changes what u names.
func (c *Client) UpdateAccount(ctx context.Context, id string, u AccountUpdate) (Account, error) {
	return put[Account](ctx, c, path(accountsPath, id), u)
}

// DeleteAccount deletes an account that owns nothing.
func (c *Client) DeleteAccount(ctx context.Context, id string) error {
	return c.del(ctx, path(accountsPath, id))
}

// Keys lists the API keys of an account.
func (c *Client) Keys(ctx context.Context, account string, r Read) (Page[Key], error) {
	return get[Page[Key]](ctx, c, path(accountsPath, account, "keys"), r.query())
}

// Key shows one API key without its secret.
func (c *Client) Key(ctx context.Context, account, id string, r Read) (Key, error) {
	return get[Key](ctx, c, path(accountsPath, account, "keys", id), r.query())
}

// CreateKey makes an API key. Its Secret is shown here and never again.
func (c *Client) CreateKey(ctx context.Context, account string, n NewKey) (Key, error) {
	out, err := post[struct {
		Key
		Clear string `json:"key"`
	}](ctx, c, path(accountsPath, account, "keys"), n)
	out.Secret = model.NewSecret(out.Clear)
	return out.Key, err
}

// UpdateKey changes what u names.
func (c *Client) UpdateKey(ctx context.Context, account, id string, u KeyUpdate) (Key, error) {
	return put[Key](ctx, c, path(accountsPath, account, "keys", id), u)
}

// DeleteKey ends an API key and its tokens.
func (c *Client) DeleteKey(ctx context.Context, account, id string) error {
	return c.del(ctx, path(accountsPath, account, "keys", id))
}

// Users lists the users of an account.
func (c *Client) Users(ctx context.Context, account string, r Read) (Page[User], error) {
	return get[Page[User]](ctx, c, path(accountsPath, account, "users"), r.query())
}

// User shows one user.
func (c *Client) User(ctx context.Context, account, username string, r Read) (User, error) {
	return get[User](ctx, c, path(accountsPath, account, "users", username), r.query())
}

// CreateUser makes a user.
func (c *Client) CreateUser(ctx context.Context, account string, n NewUser) (User, error) {
	return post[User](ctx, c, path(accountsPath, account, "users"), n)
}

// UpdateUser changes what u names.
func (c *Client) UpdateUser(ctx context.Context, account, username string, u UserUpdate) (User, error) {
	return put[User](ctx, c, path(accountsPath, account, "users", username), u)
}

// DeleteUser ends a user and its tokens.
func (c *Client) DeleteUser(ctx context.Context, account, username string) error {
	return c.del(ctx, path(accountsPath, account, "users", username))
}

// Audit lists who changed what in an account, newest first.
func (c *Client) Audit(ctx context.Context, account string, r Read) (Page[AuditRecord], error) {
	return get[Page[AuditRecord]](ctx, c, path(accountsPath, account, "audit"), r.query())
}

// Live returns nil when a node answers at all.
func (c *Client) Live(ctx context.Context) error {
	return c.do(ctx, call{method: http.MethodGet, path: "/livez"})
}

// Ready tells whether a node can serve, and why not. The error is that of the
// connection only.
func (c *Client) Ready(ctx context.Context) (Readiness, error) {
	var out Readiness
	var status int
	err := c.do(ctx, call{method: http.MethodGet, path: "/readyz", out: &out, anyStatus: &status})
	return out, err
}

// Metrics returns the metrics of a node in the Prometheus text format.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	var out []byte
	return out, c.do(ctx, call{method: http.MethodGet, path: "/metrics", out: &out, accept: "text/plain"})
}

// OpenAPI returns the OpenAPI document of a node.
func (c *Client) OpenAPI(ctx context.Context) ([]byte, error) {
	var out []byte
	return out, c.do(ctx, call{method: http.MethodGet, path: "/openapi.yaml", out: &out, accept: "application/yaml"})
}
