import collections, sys, threading, time
import grpc
from muster.v1 import discovery_pb2, discovery_pb2_grpc, registry_pb2, registry_pb2_grpc
channel = grpc.insecure_channel((sys.argv[2:] or ["127.0.0.1:8502"])[0])
registry = registry_pb2_grpc.RegistryStub(channel)
instance = {"service": "web", "address": "127.0.0.1", "port": int(sys.argv[1])}
lease = registry.Register(registry_pb2.RegisterRequest(instance=instance, ttl={"seconds": 3}))
def beats():
    while True:
        yield registry_pb2.HeartbeatRequest(lease_handles=[lease.lease_handle])
        time.sleep(1)
keep_alive = lambda: collections.deque(registry.KeepAlive(beats()), maxlen=0)
threading.Thread(target=keep_alive, daemon=True).start()
follow = discovery_pb2.WatchRequest(subscribe={"sub_id": 1, "service": "web"})
here = {}
for event in discovery_pb2_grpc.DiscoveryStub(channel).Watch(iter([follow])):
    for gone in event.change.removed:
        here.pop(gone.id, None)
    for endpoint in [*event.snapshot.endpoints, *event.change.upserted]:
        here[endpoint.id] = f"{endpoint.address}:{endpoint.port}"
    if event.HasField("change") or event.snapshot.complete:
        print("web:", *sorted(here.values()), flush=True)
