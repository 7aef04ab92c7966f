// An API made, served, paged over and removed with the AWS SDK for JavaScript, version 3.
// argv: the package's folder, the control plane, the data listener.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const [folder, endpoint, data] = process.argv.slice(2);
const sdk = createRequire(path.join(folder, "package.json"))(folder);
const client = new sdk.APIGatewayClient({ endpoint, region: "us-east-1", maxAttempts: 1 });
const send = (name, input) => client.send(new sdk[`${name}Command`](input));

const api = await send("CreateRestApi", { name: "from node", tags: { a: "b" } });
const restApiId = api.id;
const { id: resourceId } = await send("CreateResource", { restApiId, parentId: api.rootResourceId, pathPart: "{id}" });
const at = { restApiId, resourceId, httpMethod: "GET" };
await send("PutMethod", { ...at, authorizationType: "NONE" });
await send("PutMethodResponse", { ...at, statusCode: "200" });
await send("PutIntegration", { ...at, type: "MOCK", requestTemplates: { "application/json": '{"statusCode": 200}' } });
await send("PutIntegrationResponse", { ...at, statusCode: "200", responseTemplates: { "application/json": "node" } });
const deployment = await send("CreateDeployment", { restApiId, stageName: "prod" });
assert.ok(deployment.createdDate instanceof Date);
const answer = await fetch(`${data}/_aws/execute-api/${restApiId}/prod/7`);
assert.equal(answer.status, 200);
assert.equal(await answer.text(), "node");

const arn = `arn:aws:apigateway:us-east-1::/restapis/${restApiId}/stages/prod`;
await send("TagResource", { resourceArn: arn, tags: { "with space": "a/b" } });
assert.deepEqual((await send("GetTags", { resourceArn: arn })).tags, { "with space": "a/b" });
await send("UntagResource", { resourceArn: arn, tagKeys: ["with space"] });

let pages = 0;
for await (const page of sdk.paginateGetResources({ client, pageSize: 1 }, { restApiId, embed: ["methods"] })) {
  pages += page.items.length;
}
assert.equal(pages, 2);
await assert.rejects(send("GetRestApi", { restApiId: "nothere000" }), (error) => {
  assert.equal(error.name, "NotFoundException");
  assert.equal(error.$metadata.httpStatusCode, 404);
  return /Invalid API identifier specified 123456789012:nothere000/.test(error.message);
});
await send("DeleteRestApi", { restApiId });
assert.deepEqual((await send("GetRestApis", {})).items, []);
