// Run by runtimes.test.ts under Bun and Deno: prints the codes of what must fail there before a request leaves, then
// whether a dispatcher would have been used.

import { setGlobalDispatcher, SocksDispatcher } from '../dist/index.js';

const [proxy, url] = process.argv.slice(2);
const attempts = [
  () => fetch(`${url}/constructor`, { dispatcher: new SocksDispatcher(proxy) }),
  async () => {
    setGlobalDispatcher({ dispatch: () => true });
    await fetch(`${url}/global`);
  },
];
const results = [];
for (const attempt of attempts) {
  try {
    await attempt();
    results.push('no error');
  } catch (error) {
    results.push(error.code);
  }
}
let used = false;
await fetch(`${url}/ignored`, { dispatcher: { dispatch: () => (used = true) } });
console.log(JSON.stringify({ results, used }));
