"""Makes the users API: GET and POST /users behind an API key, a usage plan and a TOKEN authorizer, with the function `users`
behind them.

On AWS leave the endpoint out; all else is the same. argv: the admin listener, `http://127.0.0.1:8081` if there is none.
"""
import sys

import boto3

REGION, ACCOUNT, STAGE = "us-east-1", "123456789012", "prod"


def invocations(function):
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"
    return f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{arn}/invocations"


endpoint = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8081"
api = boto3.client("apigateway", region_name=REGION, endpoint_url=endpoint)

rest = api.create_rest_api(name="users-api", endpointConfiguration={"types": ["REGIONAL"]})
rest_id = rest["id"]
resource = api.create_resource(restApiId=rest_id, parentId=rest["rootResourceId"], pathPart="users")
authorizer = api.create_authorizer(
    restApiId=rest_id,
    name="tokens",
    type="TOKEN",
    authorizerUri=invocations("authorizer"),
    identitySource="method.request.header.Authorization",
)
for method in ("GET", "POST"):
    at = {"restApiId": rest_id, "resourceId": resource["id"], "httpMethod": method}
    api.put_method(**at, authorizationType="CUSTOM", authorizerId=authorizer["id"], apiKeyRequired=True)
    api.put_integration(
        **at,
        type="AWS_PROXY",
        integrationHttpMethod="POST",
        uri=invocations("users"),
    )
api.create_deployment(restApiId=rest_id, stageName=STAGE)

key = api.create_api_key(name="web", enabled=True)
plan = api.create_usage_plan(
    name="standard",
    apiStages=[{"apiId": rest_id, "stage": STAGE}],
    throttle={"rateLimit": 100.0, "burstLimit": 200},
    quota={"limit": 10000, "period": "MONTH"},
)
api.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")

print(f"api={rest_id}")
print(f"key={key['value']}")
