// The AWS SDK takes an http.Agent for each protocol, and here one for both: node aws-s3.js socks5://127.0.0.1:1080 https://s3.example.com bucket key

import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { SocksAgent } from '@socksify/agent';

const [proxy, endpoint, Bucket, Key] = process.argv.slice(2);
const agent = new SocksAgent(proxy, { keepAlive: true });
const client = new S3Client({
  endpoint,
  region: 'us-east-1',
  forcePathStyle: true,
  requestHandler: new NodeHttpHandler({ httpAgent: agent, httpsAgent: agent }),
});

const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }));
console.log(await Body.transformToString());

agent.destroy();
