# Two user pools of moto, the first with a user in a group. argv: the endpoint. Prints the pools and the user's tokens.
import json
import sys

import boto3

client = boto3.client(
    "cognito-idp",
    endpoint_url=sys.argv[1],
    region_name="us-east-1",
    aws_access_key_id="any",
    aws_secret_access_key="any",
)
pool = client.create_user_pool(PoolName="one")["UserPool"]["Id"]
other = client.create_user_pool(PoolName="other")["UserPool"]["Id"]
app = client.create_user_pool_client(
    UserPoolId=pool, ClientName="app", ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
)["UserPoolClient"]["ClientId"]
client.admin_create_user(UserPoolId=pool, Username="ana", TemporaryPassword="Pass-word-1!")
client.admin_set_user_password(UserPoolId=pool, Username="ana", Password="Pass-word-2!", Permanent=True)
client.create_group(GroupName="admins", UserPoolId=pool)
client.admin_add_user_to_group(UserPoolId=pool, Username="ana", GroupName="admins")
tokens = client.admin_initiate_auth(
    UserPoolId=pool,
    ClientId=app,
    AuthFlow="ADMIN_NO_SRP_AUTH",
    AuthParameters={"USERNAME": "ana", "PASSWORD": "Pass-word-2!"},
)["AuthenticationResult"]
print(json.dumps({"pool": pool, "other": other, "id": tokens["IdToken"], "access": tokens["AccessToken"]}))
