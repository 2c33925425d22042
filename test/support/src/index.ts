// What several suites need: the public names of @socksify/support, and nothing else. No file here imports SOCKS; the
// SOCKS server of the tests is @socksify/server.

export { CERTIFICATE, CERTIFICATE_FILE, EXPIRED_CERTIFICATE, TLS } from './certificate.ts';
export { startDestination, startEcho } from './destination.ts';
export type { TcpDestination } from './destination.ts';
export { countTrips, tripsByAgent, tripsByDispatcher } from './first-byte.ts';
export type { Trips, TripsProgram } from './first-byte.ts';
export { bytes } from './hex.ts';
export { freePort, listen, portHex, stopListening } from './port.ts';
export { IN_ORDER, outputOf, runProgram } from './program.ts';
export type { Ended, ProgramOptions } from './program.ts';
export { dialRaw, RawClient } from './raw-client.ts';
export { startRawServer } from './raw-server.ts';
export type { RawServer, Read } from './raw-server.ts';
export { countDescriptors, countSockets, measureHeap } from './resources.ts';
export { FORMS_OF_SECRET, SECRET } from './secret.ts';
export { sha256, startSite } from './site.ts';
export type { Site } from './site.ts';
export { closed, deferred, rejection, turns, within } from './waiting.ts';
