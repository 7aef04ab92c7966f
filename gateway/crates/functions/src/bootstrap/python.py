"""The runtime of Python functions: asks for an event, calls the handler, sends what it answers."""

import importlib
import json
import os
import re
import socket
import sys
import time
import traceback

API = "/2018-06-01/runtime/"
SMALL = 1 << 20  # Bytes of a result.
env = os.environ
HOST, _, PORT = env["AWS_LAMBDA_RUNTIME_API"].partition(":")


def request(method, where, body=b"", headers=()):
    lines = [f"{method} {API}{where} HTTP/1.1", f"Host: {HOST}:{PORT}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {re.sub(r'[^ -~]', '?', str(value))}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def post(where, body, headers=()):
    return request("POST", where, body, [("Content-Type", "application/json"), *headers])


def failure(where, kind, message, trace, request_id=None):
    described = {"errorMessage": message, "errorType": kind, "stackTrace": trace}
    if request_id:
        described["requestId"] = request_id
    return post(where, json.dumps(described).encode(), [("Lambda-Runtime-Function-Error-Type", kind)])


class Connection:
    """The Runtime API over one connection, kept open, with no more of HTTP/1.1 than that takes: http.client costs several
    times as much."""

    def __init__(self):
        self.socket = socket.create_connection((HOST, PORT))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()

    def ask(self, said, asked):
        """What is answered to the second request. It need not wait for the answer to the first, but behind what is refused for
        its size the connection may end."""
        if len(said) > SMALL:
            self.socket.sendall(said)
            self.answer()
            said = b""
        self.socket.sendall(said + asked)
        if said:
            self.answer()
        return self.answer()

    def answer(self):
        while (end := self.received.find(b"\r\n\r\n")) < 0:
            self.receive()
        headers = {}
        for line in self.received[:end].decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        size = end + 4 + int(headers.get("content-length", 0))
        while len(self.received) < size:
            self.receive()
        body = bytes(self.received[end + 4:size])
        del self.received[:size]
        return headers, body

    def receive(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the Runtime API has closed the connection")
        self.received += data


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
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers["lambda-runtime-invoked-function-arn"]
        client_context = headers.get("lambda-runtime-client-context")
        self.client_context = ClientContext(json.loads(client_context)) if client_context else None
        self.identity = Identity(json.loads(headers.get("lambda-runtime-cognito-identity") or "{}"))
        self._deadline_ms = int(headers["lambda-runtime-deadline-ms"])
        env["_X_AMZN_TRACE_ID"] = headers["lambda-runtime-trace-id"]

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


def invoke(handler, headers, body):
    """Calls the handler; what to say then."""
    context = Context(headers)
    where = f"invocation/{context.aws_request_id}/"
    try:
        value = handler(json.loads(body), context)
    except Exception as error:  # Whatever a handler raises is the invocation's error.
        return failure(where + "error", type(error).__name__, str(error), lines(error), context.aws_request_id)
    try:
        return post(where + "response", json.dumps(value, ensure_ascii=False).encode())
    except (TypeError, ValueError) as error:
        message = f"Unable to marshal response: {error}"
        return failure(where + "error", "Runtime.MarshalError", message, [], context.aws_request_id)


def main():
    try:
        handler = load()
    except BaseException as error:
        traceback.print_exc()
        kind = getattr(error, "kind", type(error).__name__)
        Connection().ask(b"", failure("init/error", kind, str(error), lines(error)))
        sys.exit(1)
    try:
        connection = Connection()
        said = b""
        while True:
            said = invoke(handler, *connection.ask(said, request("GET", "invocation/next")))
    except OSError:
        sys.exit(0)  # Whoever served the events has ended.


main()
