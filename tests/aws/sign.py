# Calls a method that wants signed requests, signed by botocore. argv: the stage, key, secret.
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

base, key, secret = sys.argv[1:]
PERMANENT = Credentials(key, secret)
TEMPORARY = Credentials("ASIATEMPORARY", secret, "a/session+token==")


def send(request):
    prepared = request.prepare()
    body = prepared.body
    if isinstance(body, str):
        body = body.encode()
    sent = urllib.request.Request(prepared.url, data=body, headers=dict(prepared.headers), method=prepared.method)
    try:
        with urllib.request.urlopen(sent) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def call(method, path, credentials, auth=None, **more):
    request = AWSRequest(method=method, url=base + path, **more)
    (auth or SigV4Auth(credentials, "execute-api", "us-east-1")).add_auth(request)
    return send(request)


for credentials in (PERMANENT, TEMPORARY):
    expected = (200, credentials.access_key)
    assert call("GET", "/", credentials) == expected
    assert call("GET", "/pets/1?limit=10&tag=a&tag=b", credentials) == expected
    assert call("GET", "/" + urllib.parse.quote("a b/c\u00e9"), credentials) == expected
    json_body = {"data": '{"name": "rex"}', "headers": {"content-type": "application/json"}}
    assert call("POST", "/pets", credentials, **json_body) == expected
    presigned = SigV4QueryAuth(credentials, "execute-api", "us-east-1", expires=60)
    assert call("GET", "/pets?limit=10", credentials, presigned) == expected

status, body = call("GET", "/", Credentials(key, "another-secret"))
assert (status, "does not match" in body["message"]) == (403, True), body
status, body = call("GET", "/", Credentials("AKIDNOBODY", secret))
assert (status, body["message"]) == (403, "The security token included in the request is invalid."), body
request = AWSRequest(method="GET", url=base + "/pets")
SigV4Auth(PERMANENT, "execute-api", "eu-west-1").add_auth(request)
status, body = send(request)
assert (status, "valid region" in body["message"]) == (403, True), body
print("all passed")
