// Any protocol over TCP: node raw-tunnel.js socks5://127.0.0.1:1080 example.com 80

import { connect } from '@socksify/core';

const [proxy, host, port] = process.argv.slice(2);
const { socket, bound } = await connect(proxy, { host, port: Number(port) }, { timeout: 10_000 });
console.log('the proxy is bound to', bound);

socket.write(`GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
for await (const chunk of socket) process.stdout.write(chunk);
