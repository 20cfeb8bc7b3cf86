// npm oidc-provider, an authorization server that is not ours: `node oidc_provider.mjs SETTINGS`, JSON in one argument.
// Whoever logs in is whom they say they are. Tokens for the audience, if there is one, are JWTs; others are opaque.
// Prints one line, where its endpoints are, once it listens.
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { modules, issuer, certificate, key, clients, audience, scopes } = JSON.parse(process.argv[2]);
const { Provider, errors } = await import(pathToFileURL(createRequire(`${modules}/`).resolve('oidc-provider')));

const signing = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const provider = new Provider(issuer, {
  clients: clients.map((client) => ({
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    id_token_signed_response_alg: 'ES256',
    ...client,
  })),
  scopes: scopes ?? ['openid', 'offline_access', 'agent-access'],
  pkce: { required: () => true },
  jwks: { keys: [{ ...signing, kid: 'signing', use: 'sig', alg: 'ES256' }] },
  cookies: { keys: ['a key of this test only'] },
  issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: true,
  findAccount: async (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: audience !== undefined,
      useGrantedResource: async () => true,
      getResourceServerInfo: async (_ctx, resource) => {
        if (resource !== audience) throw new errors.InvalidTarget();
        return {
          scope: 'agent-access',
          audience,
          accessTokenTTL: 300,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        };
      },
    },
  },
});
const where = { authorization: '/auth', token: '/token', revocation: '/token/revocation' };
createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, provider.callback()).listen(
  Number(new URL(issuer).port),
  'localhost',
  () => process.stdout.write(`${JSON.stringify(where)}\n`),
);
