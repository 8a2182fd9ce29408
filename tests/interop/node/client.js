// A service that registers, keeps its lease and prints where its service is.
// usage: node client.js PORT [SERVER]
const grpc = require('@grpc/grpc-js');
const { loadSync } = require('@grpc/proto-loader');
const [port, server = '127.0.0.1:8502'] = process.argv.slice(2);

const files = ['muster/v1/registry.proto', 'muster/v1/discovery.proto'];
const options = { includeDirs: ['proto'], longs: String, enums: String, arrays: true };
const { v1 } = grpc.loadPackageDefinition(loadSync(files, options)).muster;
const registry = new v1.Registry(server, grpc.credentials.createInsecure());
const discovery = new v1.Discovery(server, grpc.credentials.createInsecure());
const fail = (error) => { console.error(error.message); process.exit(1); };

const request = { // lifeId: this process, as against one that had the port before
  instance: { service: 'web', address: '127.0.0.1', port: Number(port) },
  lifeId: require('crypto').randomBytes(16), ttl: { seconds: 3 } };
let lease;
const register = () => registry.register(request, (error, answer) => error ? fail(error) : (lease = answer));
register();

const beats = registry.keepAlive().on('error', fail).on('data', ({ outcomes: [outcome] }) => {
  if (outcome === 'UNKNOWN') register();
  if (outcome === 'STALE') fail(new Error('a newer process has this key'));
});
setInterval(() => lease && beats.write({ leaseHandles: [lease.leaseHandle] }), 1000);

const here = new Map(); // by node and id
const keyOf = ({ node, id }) => JSON.stringify([node, id]);
const watch = discovery.watch().on('error', fail).on('data', ({ reset, snapshot, change, error }) => {
  if (error) fail(error);
  if (reset) here.clear(); // a snapshot follows
  for (const gone of change?.removed ?? []) here.delete(keyOf(gone));
  for (const endpoint of (snapshot ?? change)?.endpoints ?? change?.upserted ?? []) here.set(keyOf(endpoint), endpoint);
  if (change || snapshot?.complete) console.log('web:', ...[...here.values()].map((e) => `${e.address}:${e.port}`).sort());
});
watch.write({ subscribe: { subId: 1, service: 'web' } });
