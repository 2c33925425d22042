// ioredis takes a class whose connect() returns a socket: node ioredis.js socks5://127.0.0.1:1080 redis.example.com 6379

import { connect } from '@socksify/core';
import { Redis } from 'ioredis';

const [proxy, host, port] = process.argv.slice(2);

class Connector {
  async connect() {
    const { socket } = await connect(proxy, { host, port: Number(port) });
    this.disconnect = () => socket.end();
    return socket;
  }
  check = () => true;
  disconnect() {}
}

const redis = new Redis({ Connector });
console.log(await redis.ping());
redis.disconnect();
