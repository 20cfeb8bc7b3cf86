// npm oidc-provider over TLS on loopback: node oidc_provider.mjs MODULES KEY CERTIFICATE PORT CLIENTS
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:https";
import { pathToFileURL } from "node:url";

const [modules, key, certificate, port, clients] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(createRequire(`${modules}/`).resolve("oidc-provider")));
const provider = new Provider(`https://localhost:${port}`, {
  clients: JSON.parse(clients),
  scopes: ["openid", "offline_access", "api", "write"],
  features: { clientCredentials: { enabled: true }, revocation: { enabled: true }, introspection: { enabled: true } },
  pkce: { required: () => true },
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
});
createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, provider.callback()).listen(
  Number(port),
  "localhost",
  () => console.log(JSON.stringify({ authorization: "/auth", token: "/token", revocation: "/token/revocation" })),
);
