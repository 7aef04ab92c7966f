"""The runtime of Python functions: asks for an event, calls the handler, sends what it answers."""

import http.client
import importlib
import json
import os
import sys
import time
import traceback

API = "/2018-06-01/runtime/"
env = os.environ


class Connection:
    """One connection to the Runtime API, kept open."""

    def __init__(self):
        self.connection = http.client.HTTPConnection(env["AWS_LAMBDA_RUNTIME_API"])

    def send(self, method, where, body=None, headers=None):
        self.connection.request(method, API + where, body, headers or {})
        response = self.connection.getresponse()
        return response.headers, response.read()

    def post(self, where, text, headers=None):
        return self.send("POST", where, text.encode(), {"Content-Type": "application/json", **(headers or {})})

    def fail(self, where, kind, message, trace, request_id=None):
        described = {"errorMessage": message, "errorType": kind, "stackTrace": trace}
        if request_id:
            described["requestId"] = request_id
        self.post(where, json.dumps(described), {"Lambda-Runtime-Function-Error-Type": kind})


class Identity:
    def __init__(self, values):
        self.cognito_identity_id = values.get("cognitoIdentityId")
        self.cognito_identity_pool_id = values.get("cognitoIdentityPoolId")


class ClientContext:
    def __init__(self, values):
        self.client = values.get("client")
        self.custom = values.get("custom")
        self.env = values.get("env")


class Context:
    """What the second argument of a handler is."""

    def __init__(self, headers):
        self.function_name = env["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = env["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = env["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = env["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        client_context = headers.get("Lambda-Runtime-Client-Context")
        self.client_context = ClientContext(json.loads(client_context)) if client_context else None
        self.identity = Identity(json.loads(headers.get("Lambda-Runtime-Cognito-Identity") or "{}"))
        self._deadline_ms = int(headers["Lambda-Runtime-Deadline-Ms"])
        env["_X_AMZN_TRACE_ID"] = headers["Lambda-Runtime-Trace-Id"]

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline_ms - int(time.time() * 1000))


def load():
    module, _, name = env["_HANDLER"].rpartition(".")
    sys.path.insert(0, env["LAMBDA_TASK_ROOT"])
    try:
        loaded = importlib.import_module(module.replace("/", "."))
    except ModuleNotFoundError as error:
        raise LoadError("Runtime.ImportModuleError", f"Unable to import module '{module}': {error}") from error
    except SyntaxError as error:
        raise LoadError("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module}': {error}") from error
    handler = getattr(loaded, name, None)
    if handler is None:
        raise LoadError("Runtime.HandlerNotFound", f"Handler '{name}' missing on module '{module}'")
    return handler


class LoadError(Exception):
    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def lines(error):
    return traceback.format_list(traceback.extract_tb(error.__traceback__)[1:])


def invoke(connection, handler, headers, body):
    context = Context(headers)
    where = f"invocation/{context.aws_request_id}/"
    try:
        value = handler(json.loads(body), context)
    except Exception as error:  # Whatever a handler raises is the invocation's error.
        connection.fail(where + "error", type(error).__name__, str(error), lines(error), context.aws_request_id)
        return
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        message = f"Unable to marshal response: {error}"
        connection.fail(where + "error", "Runtime.MarshalError", message, [], context.aws_request_id)
        return
    connection.post(where + "response", text)


def main():
    connection = Connection()
    try:
        handler = load()
    except BaseException as error:
        traceback.print_exc()
        connection.fail("init/error", getattr(error, "kind", type(error).__name__), str(error), lines(error))
        sys.exit(1)
    while True:
        try:
            headers, body = connection.send("GET", "invocation/next")
        except (OSError, http.client.HTTPException):
            sys.exit(0)  # Whoever served the events has ended.
        invoke(connection, handler, headers, body)


main()
