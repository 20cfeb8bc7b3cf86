// The TypeScript SDK's v2 line (@modelcontextprotocol/client): lists the tools and calls one, in either era.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const wanted = JSON.parse(process.argv[2]);
const require = createRequire(`${wanted.modules}/`);
const load = async (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/client${name}`)));
const { Client, SSEClientTransport, StreamableHTTPClientTransport } = await load('');
const requestInit = { headers: { Authorization: `Bearer ${wanted.token}` } };

async function transport() {
  if (wanted.transport === 'stdio') {
    const { StdioClientTransport } = await load('/stdio');
    return new StdioClientTransport({ command: wanted.command[0], args: wanted.command.slice(1), env: process.env });
  }
  if (wanted.transport === 'sse') return new SSEClientTransport(new URL(wanted.url), { requestInit });
  return new StreamableHTTPClientTransport(new URL(wanted.url), { requestInit });
}

const options = wanted.era === 'modern' ? { versionNegotiation: { mode: { pin: '2026-07-28' } } } : {};
const client = new Client({ name: 'typescript-v2', version: '2' }, options);
await client.connect(await transport());
const { tools } = await client.listTools();
const answer = await client.callTool({ name: wanted.tool, arguments: wanted.arguments });
const refused = await client.callTool({ name: wanted.tool, arguments: wanted.wrong });
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), text: answer.content[0].text, refused: refused.isError === true }));
await client.close();
process.exit(0);
