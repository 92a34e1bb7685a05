"""Asks a node what it serves, through both versions of server reflection, as tools do that have no proto file.

Says on stderr what does not hold and ends with 1; the last line on stdout is `ok`.

usage: reflection.py HOST:PORT
"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

CALL_S = 10
SERVICES = {
    "chandy_lamport.BankService",
    "chandy_lamport.KeyValueService",
    "chandy_lamport.SnapshotService",
    "snapledger.v1.HistoryService",
    "snapledger.v1.LedgerService",
    "snapledger.v1.PeerService",
    "grpc.health.v1.Health",
}


def check(holds: bool, what: str, *found):
    if not holds:
        sys.exit(f"does not hold: {what} {found if found else ''}")


def listed_by_v1(channel):
    """The package offers v1alpha alone; the messages of v1 are the same on the wire, its method is another."""
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(iter(call(iter([request]), timeout=CALL_S)))
    return {service.name for service in answer.list_services_response.service}


def main():
    (address,) = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        alpha = set(database.get_services())
        check(SERVICES <= alpha, "v1alpha lists every service", sorted(SERVICES - alpha))
        v1 = listed_by_v1(channel)
        check(SERVICES <= v1, "v1 lists every service", sorted(SERVICES - v1))
        pool = DescriptorPool(database)
        transfer = pool.FindServiceByName("chandy_lamport.BankService").FindMethodByName("Transfer")
        fields = {field.name: field.number for field in transfer.input_type.fields}
        expected = {"from_account": 1, "to_account": 2, "amount": 3, "to_process": 4}
        check(fields == expected, "the messages are described", fields)
    print("ok")


if __name__ == "__main__":
    main()
