// The least that can work as a SOCKS5 client: two writes, two replies, no checks but of the reply. The control row for
// whatever opens connections.

import { connect } from 'node:net';

const GREETING = Buffer.from([0x05, 0x01, 0x00]);
/** VER, REP, RSV, ATYP and an IPv4 address with its port, as the SOCKS server of the benchmark replies. */
const REPLY = 10;

/** Calls back with a socket that is connected to 127.0.0.1 and this port through the proxy. */
export function exchange(proxyPort, port, callback) {
  const request = Buffer.from([0x05, 0x01, 0x00, 0x01, 127, 0, 0, 1, port >> 8, port & 0xff]);
  const socket = connect({ port: proxyPort, host: '127.0.0.1', noDelay: true });
  let chosen = false;
  socket.once('connect', () => socket.write(GREETING));
  const receive = (data) => {
    if (!chosen) {
      if (data.length !== 2 || data[1] !== 0) throw new Error(`METHOD ${data.toString('hex')}`);
      chosen = true;
      socket.write(request);
      return;
    }
    if (data.length !== REPLY || data[1] !== 0) throw new Error(`reply ${data.toString('hex')}`);
    socket.removeListener('data', receive);
    callback(null, socket);
  };
  socket.on('data', receive);
}
