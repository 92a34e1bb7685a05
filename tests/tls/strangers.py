"""A stranger: calls of a process, with and without a certificate. Prints the status of each as a line of JSON.

usage: strangers.py PROTO_DIR HOST:PORT CA [CERT KEY]
"""

import importlib
import json
import sys
import tempfile
from importlib import resources

import grpc
from grpc_tools import protoc

DEADLINE_S = 20


def generate(protos: str, out: str):
    well_known = str(resources.files("grpc_tools") / "_proto")
    names = ["chandy_lamport.proto", "snapledger.proto"]
    if protoc.main(["protoc", f"-I{protos}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", *names]):
        sys.exit("the interfaces do not compile")
    sys.path.insert(0, out)
    modules = [name.replace(".proto", suffix) for name in names for suffix in ("_pb2", "_pb2_grpc")]
    return [importlib.import_module(module) for module in modules]


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def status(call) -> dict:
    try:
        call()
        return {"code": "OK", "details": ""}
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}


def main():
    protos, address, ca, *pair = sys.argv[1:]
    with tempfile.TemporaryDirectory() as out:
        published, published_grpc, own, own_grpc = generate(protos, out)
    certificate, key = (read(pair[0]), read(pair[1])) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(read(ca), key, certificate)
    sender = own.Identity(cluster="bank", process="n1", store_uuid=bytes(16), boot=1, run=1)
    hello = own.Frame(hello=own.Hello(sender=sender, receiver="n3", sent=own.Tally()))
    message = published.ApplicationMessage(
        message_id="m", from_process="n1", to_process="n3", message_type="transfer", payload=b"{}"
    )
    with grpc.secure_channel(address, credentials) as channel:
        peer, snapshots = own_grpc.PeerServiceStub(channel), published_grpc.SnapshotServiceStub(channel)
        calls = {
            "hello": lambda: next(peer.Channel(iter([hello]), timeout=DEADLINE_S)),
            "message": lambda: snapshots.SendMessage(message, timeout=DEADLINE_S),
        }
        for name, call in calls.items():
            print(json.dumps({"call": name, **status(call)}))


main()
