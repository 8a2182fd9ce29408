const grpc = require('@grpc/grpc-js');
const { loadSync } = require('@grpc/proto-loader');
const [port, server = '127.0.0.1:8502'] = process.argv.slice(2);
const options = { includeDirs: ['proto'], longs: String, arrays: true };
const protos = loadSync(['muster/v1/registry.proto', 'muster/v1/discovery.proto'], options);
const { Registry, Discovery } = grpc.loadPackageDefinition(protos).muster.v1;
const [registry, discovery] = [Registry, Discovery].map(
  (Service) => new Service(server, grpc.credentials.createInsecure()));
const instance = { service: 'web', address: '127.0.0.1', port: Number(port) };
registry.register({ instance, ttl: { seconds: 3 } }, (error, lease) => {
  if (error) throw error;
  const beats = registry.keepAlive().resume();
  setInterval(() => beats.write({ leaseHandles: [lease.leaseHandle] }), 1000);
});
const here = new Map();
discovery.watch().on('data', ({ snapshot, change }) => {
  for (const { id } of change?.removed ?? []) here.delete(id);
  for (const e of snapshot?.endpoints ?? change?.upserted ?? []) here.set(e.id, `${e.address}:${e.port}`);
  if (change || snapshot?.complete) console.log('web:', ...[...here.values()].sort());
}).write({ subscribe: { subId: 1, service: 'web' } });
