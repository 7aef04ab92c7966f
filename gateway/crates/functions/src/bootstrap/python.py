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
ADDRESS = env["AWS_LAMBDA_RUNTIME_API"]
HOST, _, PORT = ADDRESS.partition(":")
NEXT = f"GET {API}invocation/next HTTP/1.1\r\nHost: {ADDRESS}\r\n\r\n".encode()
# Each value that setenv(3) is ever given stays in memory, 110 bytes for a trace id: in time all that a busy instance may use. So
# it is only where Python looks.
VALUES = env._data
TRACE_ID = env.encodekey("_X_AMZN_TRACE_ID")
# The same in each context; a look into the environment costs more than it seems.
NAME, VERSION, MEMORY_MB, GROUP, STREAM = (
    env[f"AWS_LAMBDA_{name}"]
    for name in ("FUNCTION_NAME", "FUNCTION_VERSION", "FUNCTION_MEMORY_SIZE", "LOG_GROUP_NAME", "LOG_STREAM_NAME")
)
FIELDS = re.compile(r"\r\n([^:]+): *([^\r]*)").findall
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE).search
# As json.loads and json.dumps, which look at all that they might be told first.
decode = json.JSONDecoder().decode
encode = json.JSONEncoder(ensure_ascii=False).encode


def post(where, body, headers=""):
    return (
        f"POST {API}{where} HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/json\r\n{headers}\r\n"
    ).encode() + body


def failure(where, kind, message, trace, request_id=None):
    described = {"errorMessage": message, "errorType": kind, "stackTrace": trace}
    if request_id:
        described["requestId"] = request_id
    named = re.sub(r"[^ -~]", "?", str(kind))
    return post(where, json.dumps(described).encode(), f"Lambda-Runtime-Function-Error-Type: {named}\r\n")


class Connection:
    """The Runtime API over one connection, kept open, with no more of HTTP/1.1 than that takes: http.client costs several
    times as much."""

    def __init__(self):
        self.socket = socket.create_connection((HOST, PORT))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

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
            self.received += self.read()
        length = LENGTH(self.received, 0, end)
        size = end + 4 + (int(length[1]) if length else 0)
        if len(self.received) < size:
            parts, missing = [self.received], size - len(self.received)
            while missing > 0:
                parts.append(self.read())
                missing -= len(parts[-1])
            self.received = b"".join(parts)
        head, body = self.received[:end], self.received[end + 4:size]
        self.received = self.received[size:]
        return head, body

    def read(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the Runtime API has closed the connection")
        return data


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
        self.function_name = NAME
        self.function_version = VERSION
        self.memory_limit_in_mb = MEMORY_MB
        self.log_group_name = GROUP
        self.log_stream_name = STREAM
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers["lambda-runtime-invoked-function-arn"]
        client_context = headers.get("lambda-runtime-client-context")
        self.client_context = ClientContext(json.loads(client_context)) if client_context else None
        identity = headers.get("lambda-runtime-cognito-identity")
        self.identity = Identity(json.loads(identity) if identity else {})
        self._deadline_ms = int(headers["lambda-runtime-deadline-ms"])
        VALUES[TRACE_ID] = env.encodevalue(headers["lambda-runtime-trace-id"])

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


def invoke(handler, head, body):
    """Calls the handler; what to say then."""
    context = Context({name.lower(): value for name, value in FIELDS(head.decode("latin-1"))})
    where = f"invocation/{context.aws_request_id}/"
    try:
        value = handler(decode(body.decode()), context)
    except Exception as error:  # Whatever a handler raises is the invocation's error.
        return failure(where + "error", type(error).__name__, str(error), lines(error), context.aws_request_id)
    try:
        return post(where + "response", encode(value).encode())
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
            said = invoke(handler, *connection.ask(said, NEXT))
    except OSError:
        sys.exit(0)  # Whoever served the events has ended.


main()
