// The TypeScript SDK's v1 line (@modelcontextprotocol/sdk): lists the tools and calls one, as a JSON argument says.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const wanted = JSON.parse(process.argv[2]);
const require = createRequire(`${wanted.modules}/`);
const load = async (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/client/${name}.js`)));
const { Client } = await load('index');
const headers = { Authorization: `Bearer ${wanted.token}` };

async function transport() {
  if (wanted.transport === 'stdio') {
    const { StdioClientTransport } = await load('stdio');
    return new StdioClientTransport({ command: wanted.command[0], args: wanted.command.slice(1), env: process.env });
  }
  if (wanted.transport === 'sse') {
    const { SSEClientTransport } = await load('sse');
    return new SSEClientTransport(new URL(wanted.url), { requestInit: { headers } });
  }
  const { StreamableHTTPClientTransport } = await load('streamableHttp');
  return new StreamableHTTPClientTransport(new URL(wanted.url), { requestInit: { headers } });
}

const client = new Client({ name: 'typescript-v1', version: '1' });
await client.connect(await transport());
const { tools } = await client.listTools();
const answer = await client.callTool({ name: wanted.tool, arguments: wanted.arguments });
const refused = await client.callTool({ name: wanted.tool, arguments: wanted.wrong });
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), text: answer.content[0].text, refused: refused.isError === true }));
await client.close();
process.exit(0);
