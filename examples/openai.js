// The openai client passes its fetchOptions to fetch: node openai.js socks5://127.0.0.1:1080 https://api.openai.com/v1 KEY

import { SocksDispatcher } from '@socksify/undici';
import OpenAI from 'openai';

const [proxy, baseURL, apiKey] = process.argv.slice(2);
const dispatcher = new SocksDispatcher(proxy);
const client = new OpenAI({ apiKey, baseURL, fetchOptions: { dispatcher } });

const { choices } = await client.chat.completions.create({
  model: 'gpt-5',
  messages: [{ role: 'user', content: 'Say hello' }],
});
console.log(choices[0].message.content);

await dispatcher.close();
