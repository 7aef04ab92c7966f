"""Every operation of API Gateway's REST control plane that botocore knows, once. argv: admin address.

Those that users' scripts call answer with the status that the model has; the rare ones that are not written say so.
"""
import json
import re
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

# They answer 501, and docs/compat.md lists them.
NOT_WRITTEN = set("""
CreateDocumentationPart CreateDocumentationVersion CreateDomainNameAccessAssociation DeleteClientCertificate
DeleteDocumentationPart DeleteDocumentationVersion DeleteDomainNameAccessAssociation GenerateClientCertificate
GetClientCertificate GetClientCertificates GetDocumentationPart GetDocumentationParts GetDocumentationVersion
GetDocumentationVersions GetDomainNameAccessAssociations GetSdk GetSdkType GetSdkTypes ImportDocumentationParts
RejectDomainNameAccessAssociation UpdateClientCertificate UpdateDocumentationPart
UpdateDocumentationVersion
""".split())

api = boto3.client(
    "apigateway", endpoint_url=f"http://{sys.argv[1]}", region_name="us-east-1",
    aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    config=Config(retries={"max_attempts": 1}))
model = api.meta.service_model
called = set()


def call(operation, **arguments):
    method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
    answer = getattr(api, method)(**arguments)
    expected = model.operation_model(operation).http.get("responseCode", 200)
    found = answer["ResponseMetadata"]["HTTPStatusCode"]
    assert found == expected, f"{operation}: expected {expected}, found {found}"
    called.add(operation)
    return answer


def replace(path, value):
    return [{"op": "replace", "path": path, "value": value}]


# An API, from the outside in.
rest = call("CreateRestApi", name="all")
a = {"restApiId": rest["id"]}
call("GetRestApi", **a)
call("GetRestApis")
call("UpdateRestApi", **a, patchOperations=replace("/name", "everything"))
resource = call("CreateResource", **a, parentId=rest["rootResourceId"], pathPart="pets")
r = {**a, "resourceId": resource["id"]}
call("GetResource", **r)
call("GetResources", **a)
call("UpdateResource", **r, patchOperations=replace("/pathPart", "animals"))
m = {**r, "httpMethod": "GET"}
call("PutMethod", **m, authorizationType="NONE")
call("GetMethod", **m)
call("UpdateMethod", **m, patchOperations=replace("/operationName", "list"))
s = {**m, "statusCode": "200"}
call("PutMethodResponse", **s)
call("GetMethodResponse", **s)
call("UpdateMethodResponse", **s, patchOperations=[
    {"op": "add", "path": "/responseModels/application~1json", "value": "Empty"}])
call("PutIntegration", **m, type="MOCK", requestTemplates={"application/json": '{"statusCode": 200}'})
call("GetIntegration", **m)
call("UpdateIntegration", **m, patchOperations=replace("/timeoutInMillis", "1000"))
call("PutIntegrationResponse", **s, responseTemplates={"application/json": "{}"})
call("GetIntegrationResponse", **s)
call("UpdateIntegrationResponse", **s, patchOperations=replace("/responseTemplates/application~1json", "[]"))
assert call("TestInvokeMethod", **m)["status"] == 200

function = "arn:aws:lambda:us-east-1:123456789012:function:f"
authorizer = {**a, "authorizerId": call(
    "CreateAuthorizer", **a, name="token", type="TOKEN", identitySource="method.request.header.Authorization",
    authorizerUri=f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{function}/invocations")["id"]}
call("GetAuthorizer", **authorizer)
call("GetAuthorizers", **a)
call("TestInvokeAuthorizer", **authorizer, headers={"Authorization": "x"})
call("UpdateAuthorizer", **authorizer, patchOperations=replace("/name", "bearer"))
pet = {**a, "modelName": call(
    "CreateModel", **a, name="Pet", contentType="application/json", schema='{"type": "object"}')["name"]}
call("GetModel", **pet)
call("GetModels", **a)
call("GetModelTemplate", **pet)
call("UpdateModel", **pet, patchOperations=replace("/description", "one of them"))
validator = {**a, "requestValidatorId": call("CreateRequestValidator", **a, name="all")["id"]}
call("GetRequestValidator", **validator)
call("GetRequestValidators", **a)
call("UpdateRequestValidator", **validator, patchOperations=replace("/validateRequestBody", "true"))
told = {**a, "responseType": "DEFAULT_4XX"}
call("PutGatewayResponse", **told)
call("GetGatewayResponse", **told)
call("GetGatewayResponses", **a)
call("UpdateGatewayResponse", **told, patchOperations=replace("/statusCode", "418"))

# Served.
deployment = call("CreateDeployment", **a)
d = {**a, "deploymentId": deployment["id"]}
call("GetDeployment", **d)
call("GetDeployments", **a)
call("UpdateDeployment", **d, patchOperations=replace("/description", "first"))
stage = {**a, "stageName": "prod"}
call("CreateStage", **stage, deploymentId=deployment["id"], cacheClusterEnabled=True, cacheClusterSize="0.5")
call("GetStage", **stage)
call("GetStages", **a)
call("UpdateStage", **stage, patchOperations=replace("/variables/color", "red"))
call("FlushStageCache", **stage)
call("FlushStageAuthorizersCache", **stage)
exported = call("GetExport", **stage, exportType="oas30", accepts="application/json",
                parameters={"extensions": "apigateway"})["body"].read()
imported = call("ImportRestApi", body=exported)
call("PutRestApi", restApiId=imported["id"], mode="overwrite", body=exported)
arn = f"arn:aws:apigateway:us-east-1::/restapis/{rest['id']}"
call("TagResource", resourceArn=arn, tags={"team": "a"})
assert call("GetTags", resourceArn=arn)["tags"] == {"team": "a"}
call("UntagResource", resourceArn=arn, tagKeys=["team"])

# Who calls it, and how much.
key = call("CreateApiKey", name="k", enabled=True)
call("GetApiKey", apiKey=key["id"])
call("GetApiKeys")
call("UpdateApiKey", apiKey=key["id"], patchOperations=replace("/name", "key"))
keys = call("ImportApiKeys", body=b"name,key\nimported,abcdefghij0123456789\n", format="csv")["ids"]
plan = {"usagePlanId": call(
    "CreateUsagePlan", name="p", quota={"limit": 10, "period": "DAY"},
    apiStages=[{"apiId": rest["id"], "stage": "prod"}])["id"]}
call("GetUsagePlan", **plan)
call("GetUsagePlans")
call("UpdateUsagePlan", **plan, patchOperations=replace("/name", "plan"))
member = {**plan, "keyId": key["id"]}
call("CreateUsagePlanKey", **member, keyType="API_KEY")
call("GetUsagePlanKey", **member)
call("GetUsagePlanKeys", **plan)
call("UpdateUsage", **member, patchOperations=replace("/remaining", "20"))
today = deployment["createdDate"].strftime("%Y-%m-%d")
call("GetUsage", **plan, startDate=today, endDate=today)

# Where it is.
domain = {"domainName": call(
    "CreateDomainName", domainName="api.example.com", endpointConfiguration={"types": ["REGIONAL"]},
    regionalCertificateArn="arn:aws:acm:us-east-1:123456789012:certificate/x")["domainName"]}
call("GetDomainName", **domain)
call("GetDomainNames")
call("UpdateDomainName", **domain, patchOperations=replace("/securityPolicy", "TLS_1_2"))
base = {**domain, "basePath": "v1"}
call("CreateBasePathMapping", **base, restApiId=rest["id"], stage="prod")
call("GetBasePathMapping", **base)
call("GetBasePathMappings", **domain)
call("UpdateBasePathMapping", **base, patchOperations=replace("/stage", "prod"))
balancer = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/a/1"
link = {"vpcLinkId": call("CreateVpcLink", name="l", targetArns=[balancer])["id"]}
call("GetVpcLink", **link)
call("GetVpcLinks")
call("UpdateVpcLink", **link, patchOperations=replace("/description", "inside"))
call("GetAccount")
call("UpdateAccount", patchOperations=replace("/cloudwatchRoleArn", "arn:aws:iam::123456789012:role/logs"))

# And away with it.
call("DeleteBasePathMapping", **base)
call("DeleteDomainName", **domain)
call("DeleteVpcLink", **link)
call("DeleteUsagePlanKey", **member)
api.update_usage_plan(**plan, patchOperations=[{"op": "remove", "path": "/apiStages", "value": f"{rest['id']}:prod"}])
call("DeleteUsagePlan", **plan)
for one in [key["id"], *keys]:
    call("DeleteApiKey", apiKey=one)
call("DeleteStage", **stage)
call("DeleteDeployment", **d)
call("DeleteGatewayResponse", **told)
call("DeleteRequestValidator", **validator)
call("DeleteModel", **pet)
call("DeleteAuthorizer", **authorizer)
call("DeleteIntegrationResponse", **s)
call("DeleteIntegration", **m)
call("DeleteMethodResponse", **s)
call("DeleteMethod", **m)
call("DeleteResource", **r)
call("DeleteRestApi", **a)

# What is not written says so, whatever it is asked.
samples = {"string": "abc", "integer": 1, "boolean": True, "timestamp": 0, "map": {}, "list": [], "blob": b"x"}


def sample(shape):
    if shape.type_name == "structure":
        return {name: sample(shape.members[name]) for name in shape.required_members}
    return shape.enum[0] if getattr(shape, "enum", None) else samples[shape.type_name]


for operation in sorted(NOT_WRITTEN):
    method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
    try:
        getattr(api, method)(**sample(model.operation_model(operation).input_shape))
    except ClientError as error:
        told = error.response
        assert told["ResponseMetadata"]["HTTPStatusCode"] == 501, (operation, told)
        assert told["Error"]["Code"] == "NotImplementedException", (operation, told)
    else:
        raise AssertionError(f"{operation} answers: it is written after all")

missing = set(model.operation_names) - called - NOT_WRITTEN
assert not missing, sorted(missing)
assert not called & NOT_WRITTEN
print(f"{len(called)} operations answer")
