// A first call through the gateway with Node 18 or newer, and nothing installed.
//
//   node first-call.mjs TOKEN_ENDPOINT CLIENT_ID KEY.pem PURPOSE URL
//
// The key is PKCS#8 PEM on the curve P-256. Prints the answer's body; ends with 1 where the gateway refuses.
import { createHash, createPrivateKey, createPublicKey, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";

// No token goes through a proxy that the environment names: Node asks for one where NODE_USE_ENV_PROXY is set.
process.env.no_proxy = process.env.NO_PROXY = "*";

const [endpoint, clientId, keyFile, purpose, url] = process.argv.slice(2);
const key = createPrivateKey(readFileSync(keyFile));
const { crv, kty, x, y } = createPublicKey(key).export({ format: "jwk" });
const jwk = { crv, kty, x, y };

const base64url = (data) => Buffer.from(data).toString("base64url");
const sha256 = (text) => createHash("sha256").update(text).digest("base64url");
// RFC 7638: the members in this order, and nothing else.
const thumbprint = sha256(JSON.stringify(jwk));

function jwt(header, claims) {
  const input = `${base64url(JSON.stringify({ alg: "ES256", ...header }))}.${base64url(JSON.stringify(claims))}`;
  return `${input}.${base64url(sign("sha256", Buffer.from(input), { key, dsaEncoding: "ieee-p1363" }))}`;
}

const now = () => Math.floor(Date.now() / 1000);

// RFC 7523: who asks for the token.
const assertion = () =>
  jwt({ kid: thumbprint }, { iss: clientId, sub: clientId, aud: endpoint, iat: now(), exp: now() + 60, jti: randomUUID() });

// RFC 9449: that the sender holds the key; one proof a request.
function proof(method, target, nonce, token) {
  const claims = { htm: method, htu: target.split(/[?#]/)[0], iat: now(), jti: randomUUID() };
  if (nonce) claims.nonce = nonce;
  if (token) claims.ath = sha256(token);
  return jwt({ typ: "dpop+jwt", jwk }, claims);
}

// The first answer gives a nonce (400 from the token endpoint, 401 from the data plane): the request is made again with it.
async function withNonce(request) {
  let answer = await request(undefined);
  const nonce = answer.headers.get("DPoP-Nonce");
  const says = `${answer.headers.get("WWW-Authenticate")} ${answer.ok ? "" : await answer.clone().text()}`;
  if (!answer.ok && nonce && says.includes("use_dpop_nonce")) answer = await request(nonce);
  return answer;
}

const granted = await withNonce((nonce) =>
  fetch(endpoint, {
    method: "POST",
    headers: { DPoP: proof("POST", endpoint, nonce) },
    body: new URLSearchParams({
      grant_type: "client_credentials",
      client_id: clientId,
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      client_assertion: assertion(),
    }),
  }),
);
if (!granted.ok) {
  console.error(await granted.text());
  process.exit(1);
}
const { access_token: token } = await granted.json();

const answer = await withNonce((nonce) =>
  fetch(url, {
    headers: { Authorization: `DPoP ${token}`, DPoP: proof("GET", url, nonce, token), "Sharing-Purpose": purpose },
  }),
);
if (!answer.ok) {
  console.error(await answer.text());
  process.exit(1);
}
console.error(`record ${answer.headers.get("Sharing-Record")}`);
console.log(await answer.text());
