"""Makes the uploads API: POST /files answers with a URL to upload to, GET /files/{key} leads to what was uploaded.

On AWS leave the endpoint out; all else is the same. argv: the admin listener, `http://127.0.0.1:8081` if there is none.
"""
import json
import sys

import boto3

REGION, ACCOUNT, STAGE = "us-east-1", "123456789012", "prod"

function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:files"
uri = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{function}/invocations"
operation = {
    "responses": {},
    "x-amazon-apigateway-integration": {"type": "aws_proxy", "httpMethod": "POST", "uri": uri},
}
key = {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}}
document = {
    "openapi": "3.0.1",
    "info": {"title": "uploads-api", "version": "1"},
    "paths": {
        "/files": {"post": operation},
        "/files/{key}": {"get": {**operation, "parameters": [key]}},
    },
}

endpoint = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8081"
api = boto3.client("apigateway", region_name=REGION, endpoint_url=endpoint)
rest = api.import_rest_api(body=json.dumps(document).encode(), failOnWarnings=True)
api.create_deployment(restApiId=rest["id"], stageName=STAGE)

print(f"api={rest['id']}")
