"""A service that registers, keeps its lease and prints where its service is.

usage: python client.py PORT [SERVER]
"""
import os
import sys
import threading
import time

import grpc
from google.protobuf import duration_pb2
from muster.v1 import discovery_pb2, discovery_pb2_grpc, registry_pb2, registry_pb2_grpc, types_pb2

PORT, SERVER = int(sys.argv[1]), (sys.argv[2:] or ["127.0.0.1:8502"])[0]
channel = grpc.insecure_channel(SERVER)
registry = registry_pb2_grpc.RegistryStub(channel)
discovery = discovery_pb2_grpc.DiscoveryStub(channel)
request = registry_pb2.RegisterRequest(
    instance=types_pb2.Instance(service="web", address="127.0.0.1", port=PORT),
    life_id=os.urandom(16),  # this process, as against one that had the port before
    ttl=duration_pb2.Duration(seconds=3))
lease = registry.Register(request)


def beats():
    while True:
        yield registry_pb2.HeartbeatRequest(lease_handles=[lease.lease_handle])
        time.sleep(lease.heartbeat_interval.ToMilliseconds() / 1000)


def keep():
    global lease
    try:
        for answer in registry.KeepAlive(beats()):
            if answer.outcomes[0] == registry_pb2.HeartbeatResponse.UNKNOWN:
                lease = registry.Register(request)
            if answer.outcomes[0] == registry_pb2.HeartbeatResponse.STALE:
                sys.exit("a newer process has this key")
    finally:
        os._exit(1)


threading.Thread(target=keep, daemon=True).start()
subscribe = discovery_pb2.Subscribe(sub_id=1, service="web")
here = {}
for event in discovery.Watch(iter([discovery_pb2.WatchRequest(subscribe=subscribe)])):
    if event.HasField("error"):
        sys.exit(event.error.message)
    if event.HasField("reset"):
        here.clear()  # a snapshot follows
    for gone in event.change.removed:
        here.pop((gone.node, gone.id), None)
    for endpoint in [*event.snapshot.endpoints, *event.change.upserted]:
        here[endpoint.node, endpoint.id] = f"{endpoint.address}:{endpoint.port}"
    if event.HasField("change") or event.snapshot.complete:
        print("web:", *sorted(here.values()), flush=True)
