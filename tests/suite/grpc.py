# A gRPC server and a client of it, with the gateway between them. Messages are bytes: no generated code.
import grpc
import queue
import sys
from concurrent import futures


def unary(request, context):
    if request == b"fail":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    context.set_trailing_metadata((("x-tail", "yes"),))
    return b"echo:" + request


def from_server(request, context):
    for n in range(200):
        yield request + str(n).encode()


def from_client(requests, context):
    return b",".join(requests)


def both(requests, context):
    for request in requests:
        yield b"<" + request + b">"


server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "FromServer": grpc.unary_stream_rpc_method_handler(from_server),
    "FromClient": grpc.stream_unary_rpc_method_handler(from_client),
    "Both": grpc.stream_stream_rpc_method_handler(both),
}),))
# With files (certificate, key, authority) TLS on both sides, else neither.
files = [open(path, "rb").read() for path in sys.argv[1:]]
if files:
    certificate, key, authority = files
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
else:
    port = server.add_insecure_port("127.0.0.1:0")
print(port, flush=True)
server.start()

gateway = sys.stdin.readline().strip()
if files:
    channel = grpc.secure_channel(gateway, grpc.ssl_channel_credentials(authority))
else:
    channel = grpc.insecure_channel(gateway)
call_unary = channel.unary_unary("/test.Echo/Unary")

answer, call = call_unary.with_call(b"hi", timeout=20)
assert answer == b"echo:hi" and call.code() == grpc.StatusCode.OK
assert ("x-tail", "yes") in [tuple(pair) for pair in call.trailing_metadata()]

try:
    call_unary(b"fail", timeout=20)
    sys.exit("expected an error")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.NOT_FOUND and error.details() == "no such thing", error

assert len(list(channel.unary_stream("/test.Echo/FromServer")(b"x" * 1000, timeout=20))) == 200
answer = channel.stream_unary("/test.Echo/FromClient")(iter([b"y" * 1000] * 500), timeout=20)
assert len(answer) == 500 * 1001 - 1

# One message at a time in both directions: nothing may wait for more.
sent = queue.Queue()
answers = channel.stream_stream("/test.Echo/Both")(iter(sent.get, None), timeout=20)
for n in range(50):
    sent.put(str(n).encode())
    assert next(answers) == b"<%d>" % n
sent.put(None)
assert list(answers) == [] and answers.code() == grpc.StatusCode.OK

assert len(call_unary(b"z" * 3_000_000, timeout=20)) == 3_000_005
pending = [call_unary.future(b"%d" % n, timeout=20) for n in range(500)]
assert [future.result() for future in pending] == [b"echo:%d" % n for n in range(500)]
print("all passed")
