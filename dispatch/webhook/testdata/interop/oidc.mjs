// An authorization server (oidc-provider) and a webhook that asks it about
// every token. Arguments: the module of oidc-provider, and the file to write
// the addresses to once both listen.
import { rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const [module, ready] = process.argv.slice(2);
const { Provider, errors } = await import(pathToFileURL(module));

const resource = 'https://events.example/in';
const scope = 'events.write';
const account = 'acme';
const password = 'pass word+ö';

const listen = async (server) => {
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return `http://127.0.0.1:${server.address().port}`;
};

const client = (id, grant, method = 'client_secret_post') => ({
  client_id: id, client_secret: `secret of ${id}`, token_endpoint_auth_method: method,
  grant_types: [grant], response_types: [], redirect_uris: [], scope: `openid offline_access ${scope}`,
});

const authServer = createServer();
const issuer = await listen(authServer);
const provider = new Provider(issuer, {
  clients: [
    ...['plain', 'cached', 'revoked', 'wrong', 'resource', 'ungranted'].map((id) => client(id, 'client_credentials')),
    { ...client('scope', 'client_credentials'), scope: 'openid' },
    client('basic', 'client_credentials', 'client_secret_basic'),
    client('rotated', 'refresh_token'),
    client('unrefreshed', 'refresh_token'),
    client('password', 'password'),
    // Only to ask about tokens.
    { ...client('webhook', 'client_credentials'), grant_types: [] },
  ],
  scopes: ['openid', 'offline_access', scope],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, indicator) {
        if (indicator !== resource) throw new errors.InvalidTarget();
        return { scope, audience: resource, accessTokenFormat: 'opaque', accessTokenTTL: 600 };
      },
    },
  },
  rotateRefreshToken: true,
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});

// newGrant records that the account lets the client write events.
const newGrant = async (clientId) => {
  const grant = new provider.Grant({ accountId: account, clientId });
  grant.addOIDCScope('openid offline_access');
  grant.addResourceScope(resource, scope);
  return grant.save();
};

// The grant of RFC 6749, section 4.3, which oidc-provider does not have.
provider.registerGrantType('password', async (ctx) => {
  const { params, client: owner } = ctx.oidc;
  if (params.username !== account || params.password !== password) {
    throw new errors.InvalidGrant('wrong user name or password');
  }
  const token = new provider.AccessToken({
    accountId: account, client: owner, grantId: await newGrant(owner.clientId), gty: 'password', scope: params.scope,
  });
  token.resourceServer = new provider.ResourceServer(resource, {
    scope, audience: resource, accessTokenFormat: 'opaque', accessTokenTTL: 600,
  });
  ctx.body = { access_token: await token.save(), expires_in: token.expiration, token_type: token.tokenType, scope: token.scope };
}, ['username', 'password', 'scope', 'resource']);

const seen = { tokens: [], deliveries: [] };
provider.use(async (ctx, next) => {
  await next();
  if (ctx.path === '/token') {
    const p = ctx.oidc?.params ?? {};
    seen.tokens.push({
      client: ctx.oidc?.client?.clientId ?? p.client_id, grant: p.grant_type, status: ctx.status, error: ctx.body?.error,
    });
  }
});
authServer.on('request', provider.callback());

// ask introspects a token, as a webhook of somebody else would do it.
const ask = async (token) => {
  const res = await fetch(`${issuer}/token/introspection`, {
    method: 'POST',
    body: new URLSearchParams({ token, client_id: 'webhook', client_secret: 'secret of webhook' }),
  });
  return res.json();
};

const hook = createServer(async (req, res) => {
  for await (const _ of req); // the body does not matter, but is taken
  const url = new URL(req.url, issuer);
  if (url.pathname === '/seen') {
    res.end(JSON.stringify(seen));
    return;
  }
  const last = seen.deliveries.findLast((d) => d.client === url.searchParams.get('client'));
  if (url.pathname === '/revoke') { // the token that this client used last
    const found = await provider.ClientCredentials.find(last.token) ?? await provider.AccessToken.find(last.token);
    await found.destroy();
    res.end();
    return;
  }
  const token = /^Bearer (.+)$/.exec(req.headers.authorization)?.[1] ?? '';
  const is = token ? await ask(token) : { active: false };
  const status = is.active && is.aud === resource && is.scope === scope ? 200 : 401;
  seen.deliveries.push({
    id: req.headers['webhook-id'], status, client: is.client_id, scope: is.scope, aud: is.aud, sub: is.sub, token,
  });
  res.statusCode = status;
  res.end();
});
const hookURL = await listen(hook);

const refresh = new provider.RefreshToken({
  accountId: account, client: await provider.Client.find('rotated'), grantId: await newGrant('rotated'),
  gty: 'authorization_code', resource, scope: `openid offline_access ${scope}`,
});
await writeFile(`${ready}.new`, JSON.stringify({
  token: `${issuer}/token`, hook: hookURL, resource, scope, refreshToken: await refresh.save(), username: account, password,
}));
await rename(`${ready}.new`, ready);
