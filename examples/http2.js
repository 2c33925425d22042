// HTTP/2 over a tunnel with TLS: node http2.js socks5://127.0.0.1:1080 https://example.com/

import http2 from 'node:http2';
import { connect } from '@socksify/core';

const [proxy, url] = process.argv.slice(2);
const { hostname, port, pathname } = new URL(url);
const tls = { ALPNProtocols: ['h2'] };
const { socket } = await connect(proxy, { host: hostname, port: Number(port || 443) }, { tls });

const session = http2.connect(url, { createConnection: () => socket });
const stream = session.request({ ':path': pathname });
stream.on('response', (headers) => console.log(socket.alpnProtocol, headers[':status']));
for await (const chunk of stream) console.log(chunk.toString());
session.close();
