// npm oidc-provider, an authorization server that is not ours: `node oidc_provider.mjs SETTINGS`, JSON in one argument.
// Whoever logs in is whom they say they are. Prints one line once it listens.
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';

const { modules, issuer, certificate, key, audience, client, redirects } = JSON.parse(process.argv[2]);
const { default: Provider, errors } = await import(`${modules}/oidc-provider/lib/index.js`);

const signing = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: client,
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: redirects,
      id_token_signed_response_alg: 'ES256',
    },
  ],
  scopes: ['openid', 'offline_access', 'agent-access'],
  jwks: { keys: [{ ...signing, kid: 'signing', use: 'sig', alg: 'ES256' }] },
  cookies: { keys: ['a key of this test only'] },
  findAccount: async (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  features: {
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
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
createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, provider.callback()).listen(
  Number(new URL(issuer).port),
  'localhost',
  () => process.stdout.write('listening\n'),
);
