// The certified provider `oidc-provider` on loopback. Reads one JSON object a line, answers each with one.
//
//     {"client": {…}}        serve, with that client's metadata; again: the same with changed metadata
//     {"rotate": true}       another signing key in place of the one before
//     {"disable": "name"}    that person can no longer sign in
//     {"sign_out": "name"}   tell the client so by its back channel
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

// Standard output is the answers' alone.
console.log = console.info = console.warn = console.error;
const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const disabled = new Set();
const cookieKey = randomBytes(16).toString('hex');
let keys = [newKey()];
let client;
let provider;
let handle = (_request, response) => response.writeHead(503).end();

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', kid: randomBytes(4).toString('hex') };
}

const server = createServer((request, response) => handle(request, response));

function serve() {
  provider = new Provider(`http://127.0.0.1:${server.address().port}`, {
    clients: [client],
    jwks: { keys },
    cookies: { keys: [cookieKey] },
    claims: { openid: ['sub', 'sid'], profile: ['preferred_username'] },
    features: {
      backchannelLogout: { enabled: true },
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
    },
    // Its own guard refuses clients on loopback.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    findAccount: (_context, name) =>
      disabled.has(name)
        ? undefined
        : { accountId: name, claims: () => ({ sub: name, preferred_username: name }) },
  });
  handle = provider.callback();
}

async function obey(order) {
  if (order.client) client = order.client;
  if (order.rotate) keys = [newKey()];
  if (order.client || order.rotate) serve();
  if (order.disable) disabled.add(order.disable);
  if (order.sign_out) await (await provider.Client.find(client.client_id)).backchannelLogout(order.sign_out, order.sid);
}

server.listen(0, '127.0.0.1', () => {
  answer({ issuer: `http://127.0.0.1:${server.address().port}` });
  const lines = createInterface({ input: process.stdin });
  lines.on('line', async (line) => {
    try {
      await obey(JSON.parse(line));
      answer({ done: true });
    } catch (error) {
      answer({ failed: `${error.name}: ${error.message} ${error.error_description ?? ''}` });
    }
  });
  lines.on('close', () => process.exit(0));
});
