// Calls a method that wants signed requests, signed by AWS's JavaScript library.
// argv: the package's folder, the stage, key, secret.
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";

const [folder, base, accessKeyId, secretAccessKey] = process.argv.slice(2);
const { SignatureV4 } = createRequire(path.join(folder, "package.json"))(folder);

// What the library asks of a hash.
class Sha256 {
  constructor(secret) {
    this.hash = secret ? createHmac("sha256", secret) : createHash("sha256");
  }
  update(data) {
    this.hash.update(data);
  }
  async digest() {
    return new Uint8Array(this.hash.digest());
  }
}

const stage = new URL(base);
const signer = (credentials) =>
  new SignatureV4({ credentials, region: "us-east-1", service: "execute-api", sha256: Sha256 });
const request = (method, resource, query, body) => ({
  method,
  protocol: stage.protocol,
  hostname: stage.hostname,
  port: Number(stage.port),
  path: stage.pathname + resource,
  query: query ?? {},
  headers: { host: stage.host, ...(body ? { "content-type": "application/json" } : {}) },
  body,
});
const send = async ({ method, path, query, headers, body }) => {
  const pairs = Object.entries(query).flatMap(([name, values]) => [values].flat().map((value) => [name, value]));
  const { host, ...others } = headers;
  const text = pairs.map(([n, v]) => `${encodeURIComponent(n)}=${encodeURIComponent(v)}`).join("&");
  const answer = await fetch(`${stage.origin}${path}${text && "?" + text}`, { method, headers: others, body });
  return [answer.status, await answer.text()];
};

const permanent = { accessKeyId, secretAccessKey };
const temporary = { accessKeyId: "ASIATEMPORARY", secretAccessKey, sessionToken: "a/session+token==" };
for (const credentials of [permanent, temporary]) {
  const expected = [200, credentials.accessKeyId];
  const sign = (one) => signer(credentials).sign(one);
  assert.deepEqual(await send(await sign(request("GET", "/"))), expected);
  assert.deepEqual(await send(await sign(request("GET", "/pets/1", { limit: "10", tag: ["a", "b"] }))), expected);
  assert.deepEqual(await send(await sign(request("POST", "/pets", {}, '{"name": "rex"}'))), expected);
  const presigned = await signer(credentials).presign(request("GET", "/pets"), { expiresIn: 60 });
  assert.deepEqual(await send(presigned), expected);
}
const forged = await signer({ accessKeyId, secretAccessKey: "another-secret" }).sign(request("GET", "/"));
const [status, body] = await send(forged);
assert.equal(status, 403);
assert.match(JSON.parse(body).message, /does not match/);
console.log("all passed");
