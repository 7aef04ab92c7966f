"""An AWS user's script: nothing differs from AWS but the endpoint. argv: admin address, data address."""
import sys
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

admin, data = sys.argv[1:3]


def client(key="AKIAIOSFODNN7EXAMPLE", secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region="us-east-1"):
    return boto3.client(
        "apigateway", endpoint_url=f"http://{admin}", region_name=region, aws_access_key_id=key,
        aws_secret_access_key=secret, config=Config(retries={"max_attempts": 1}))


api = client()


def refused(code, status, message, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        told = error.response["Error"]
        assert told["Code"] == code, told
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status, error.response
        assert message in told["Message"], told
        return
    raise AssertionError(f"{call} was not refused with {code}")


def get(path, headers={}):
    request = urllib.request.Request(f"http://{data}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# Signatures.
refused("InvalidSignatureException", 403, "does not match", client(secret="wrong" * 8).get_rest_apis)
refused("UnrecognizedClientException", 403, "security token", client(key="AKIANOBODY").get_rest_apis)
refused("InvalidSignatureException", 403, "valid region", client(region="eu-west-1").get_rest_apis)

# A REST API with one method, served.
made = api.create_rest_api(name="pets", description="all of them", tags={"team": "a"})
assert made["ResponseMetadata"]["HTTPStatusCode"] == 201 and len(made["id"]) == 10, made
assert made["endpointConfiguration"] == {"types": ["EDGE"], "ipAddressType": "ipv4"}, made
assert (made["apiKeySource"], made["disableExecuteApiEndpoint"]) == ("HEADER", False)
rest = made["id"]
resource = api.create_resource(restApiId=rest, parentId=made["rootResourceId"], pathPart="pets")
assert resource["path"] == "/pets" and len(resource["id"]) == 6, resource
at = {"restApiId": rest, "resourceId": resource["id"], "httpMethod": "GET"}
method = api.put_method(**at, authorizationType="NONE", requestParameters={"method.request.querystring.q": False})
assert method["apiKeyRequired"] is False and method["requestParameters"], method
refused("ConflictException", 409, "Method already exists", api.put_method, **at, authorizationType="NONE")
refused("BadRequestException", 400, "No integration defined for method", api.create_deployment, restApiId=rest)
api.put_method_response(**at, statusCode="200", responseModels={"application/json": "Empty"})
integration = api.put_integration(**at, type="MOCK", requestTemplates={"application/json": '{"statusCode": 200}'})
assert integration["passthroughBehavior"] == "WHEN_NO_MATCH" and integration["timeoutInMillis"] == 29000
assert integration["cacheNamespace"] == resource["id"] and integration["cacheKeyParameters"] == []
answer = api.put_integration_response(**at, statusCode="200", responseTemplates={"application/json": '{"n": 1}'})
first = api.create_deployment(restApiId=rest, stageName="prod", variables={"color": "red"})
assert len(first["id"]) == 6
path = f"/_aws/execute-api/{rest}/prod/pets"
assert get(path) == (200, '{"n": 1}'), get(path)

# What is not deployed does not serve, and a stage goes back by pointing to the deployment before.
api.update_integration_response(**at, statusCode="200", patchOperations=[
    {"op": "replace", "path": "/responseTemplates/application~1json", "value": '{"n": 2}'}])
assert get(path) == (200, '{"n": 1}'), get(path)
second = api.create_deployment(restApiId=rest, stageName="prod")
assert get(path) == (200, '{"n": 2}'), get(path)
stage = api.update_stage(restApiId=rest, stageName="prod", patchOperations=[
    {"op": "replace", "path": "/deploymentId", "value": first["id"]},
    {"op": "replace", "path": "/*/*/throttling/rateLimit", "value": "100.5"},
    {"op": "replace", "path": "/~1pets/GET/caching/ttlInSeconds", "value": "60"},
    {"op": "replace", "path": "/variables/color", "value": "blue"}])
assert stage["deploymentId"] == first["id"] and stage["variables"] == {"color": "blue"}, stage
assert stage["methodSettings"]["*/*"]["throttlingRateLimit"] == 100.5, stage
assert stage["methodSettings"]["~1pets/GET"]["cacheTtlInSeconds"] == 60, stage
assert get(path) == (200, '{"n": 1}'), get(path)
refused("BadRequestException", 400, "Active stages pointing", api.delete_deployment,
        restApiId=rest, deploymentId=first["id"])
refused("BadRequestException", 400, "Deployment id does not exist", api.update_stage, restApiId=rest,
        stageName="prod", patchOperations=[{"op": "replace", "path": "/deploymentId", "value": "nothere"}])
refused("BadRequestException", 400, "Invalid method setting path: /wrong. Must be one of: [/deploymentId",
        api.update_stage, restApiId=rest, stageName="prod",
        patchOperations=[{"op": "replace", "path": "/wrong", "value": "1"}])

# A canary, promoted.
api.create_deployment(restApiId=rest, stageName="prod", canarySettings={
    "percentTraffic": 10, "stageVariableOverrides": {"color": "green"}})
stage = api.get_stage(restApiId=rest, stageName="prod")
assert stage["canarySettings"]["percentTraffic"] == 10.0, stage
stage = api.update_stage(restApiId=rest, stageName="prod", patchOperations=[
    {"op": "copy", "from": "/canarySettings/deploymentId", "path": "/deploymentId"},
    {"op": "copy", "from": "/canarySettings/stageVariableOverrides", "path": "/variables"},
    {"op": "remove", "path": "/canarySettings"}])
assert stage["variables"]["color"] == "green" and "canarySettings" not in stage, stage
assert get(path) == (200, '{"n": 2}'), get(path)

# Keys and plans.
key = api.create_api_key(name="mobile", enabled=True, value="0123456789abcdefghij")
refused("ConflictException", 409, "API Key already exists", api.create_api_key, name="x", value=key["value"])
refused("BadRequestException", 400, "at least 20 characters", api.create_api_key, name="x", value="short")
assert "value" not in api.get_api_key(apiKey=key["id"])
assert api.get_api_key(apiKey=key["id"], includeValue=True)["value"] == key["value"]
plan = api.create_usage_plan(name="basic", apiStages=[{"apiId": rest, "stage": "prod"}],
                             throttle={"rateLimit": 5.0, "burstLimit": 10}, quota={"limit": 100, "period": "DAY"})
refused("NotFoundException", 404, "API Stage not found", api.create_usage_plan, name="x",
        apiStages=[{"apiId": rest, "stage": "none"}])
member = api.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
assert member["value"] == key["value"] and member["name"] == "mobile", member
plan = api.update_usage_plan(usagePlanId=plan["id"], patchOperations=[
    {"op": "add", "path": f"/apiStages/{rest}:prod/throttle/~1pets/GET/rateLimit", "value": "1"},
    {"op": "replace", "path": "/quota/period", "value": "MONTH"}])
assert plan["apiStages"][0]["throttle"] == {"/pets/GET": {"burstLimit": 0, "rateLimit": 1.0}}, plan
assert plan["quota"] == {"limit": 100, "offset": 0, "period": "MONTH"}, plan
imported = api.import_api_keys(body=b"Name,key,description,Enabled,usageplanIds\n"
                               b"first,abcdefghij0123456789,\"one, two\",TRUE,\nbad,short,,true,\n", format="csv")
assert len(imported["ids"]) == 1 and len(imported["warnings"]) == 1, imported
assert api.get_api_key(apiKey=imported["ids"][0])["description"] == "one, two"

# Pages, in one and in several; embedded methods.
for n in range(30):
    api.create_resource(restApiId=rest, parentId=resource["id"], pathPart=f"p{n}")
page = api.get_resources(restApiId=rest)
assert len(page["items"]) == 25 and page["position"], page
everything = [one for page in api.get_paginator("get_resources").paginate(
    restApiId=rest, embed=["methods"], PaginationConfig={"PageSize": 7}) for one in page["items"]]
assert len(everything) == 32 and len({one["id"] for one in everything}) == 32
pets = next(one for one in everything if one["path"] == "/pets")
assert pets["resourceMethods"]["GET"]["methodIntegration"]["type"] == "MOCK", pets

# Tags by ARN, and everything else that has a life of its own.
arn = f"arn:aws:apigateway:us-east-1::/restapis/{rest}"
api.tag_resource(resourceArn=arn, tags={"k": "v"})
api.untag_resource(resourceArn=arn, tagKeys=["team"])
assert api.get_tags(resourceArn=arn)["tags"] == {"k": "v"}
validator = api.create_request_validator(restApiId=rest, name="all", validateRequestBody=True)
api.update_method(**at, patchOperations=[{"op": "replace", "path": "/requestValidatorId", "value": validator["id"]}])
refused("ConflictException", 409, "Cannot delete validator", api.delete_request_validator, restApiId=rest,
        requestValidatorId=validator["id"])
responses = api.get_gateway_responses(restApiId=rest)["items"]
assert len(responses) == 21 and all(one["defaultResponse"] for one in responses), responses
api.put_gateway_response(restApiId=rest, responseType="DEFAULT_4XX", responseParameters={
    "gatewayresponse.header.Access-Control-Allow-Origin": "'*'"})
authorizer = api.create_authorizer(
    restApiId=rest, name="token", type="TOKEN", identitySource="method.request.header.Authorization",
    authorizerUri="arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:123456789012:function:f/invocations")
assert authorizer["authorizerResultTtlInSeconds"] == 300, authorizer
api.create_domain_name(domainName="api.example.com", regionalCertificateArn="arn:aws:acm:us-east-1:123456789012:certificate/x",
                       endpointConfiguration={"types": ["REGIONAL"]})
api.create_base_path_mapping(domainName="api.example.com", basePath="v1", restApiId=rest, stage="prod")
refused("BadRequestException", 400, "base path mappings", api.delete_rest_api, restApiId=rest)
api.delete_domain_name(domainName="api.example.com")

# What is not there, and what is not written.
refused("NotFoundException", 404, "Invalid API identifier specified 123456789012:nothere00", api.get_rest_api,
        restApiId="nothere00")
refused("ValidationException", 400, "1 validation error detected: Value 'no' at 'putIntegrationInput.type'",
        api.put_integration, **at, type="no")
refused("NotImplementedException", 501, "GetSdk is not supported", api.get_sdk, restApiId=rest, stageName="prod",
        sdkType="javascript")

api.delete_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"])
api.update_usage_plan(usagePlanId=plan["id"], patchOperations=[
    {"op": "remove", "path": "/apiStages", "value": f"{rest}:prod"}])
api.delete_usage_plan(usagePlanId=plan["id"])
for one in api.get_api_keys()["items"]:
    api.delete_api_key(apiKey=one["id"])
assert api.delete_rest_api(restApiId=rest)["ResponseMetadata"]["HTTPStatusCode"] == 202
assert api.get_rest_apis()["items"] == []
status, _ = get(path)
assert status in (403, 404), status
print("all passed")
