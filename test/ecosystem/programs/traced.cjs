// Under OpenTelemetry's instrumentation of http and undici: makes a request through an agent, makes dispatchers, and
// makes requests through them. Prints the spans of each step. CommonJS, because the instrumentation of http replaces
// functions of the module where require() finds it.

const { SpanKind, SpanStatusCode } = require('@opentelemetry/api');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
const { UndiciInstrumentation } = require('@opentelemetry/instrumentation-undici');
const {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
} = require('@opentelemetry/sdk-trace-node');

const exporter = new InMemorySpanExporter();
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
for (const instrumentation of [new HttpInstrumentation(), new UndiciInstrumentation()])
  instrumentation.enable();

const http = require('node:http');
const https = require('node:https');
const { text } = require('node:stream/consumers');

const [, , proxy, plain, secure] = process.argv;

async function main() {
  const { SocksAgent } = await import('@socksify/agent');
  const { setGlobalDispatcher, SocksDispatcher } = await import('@socksify/undici');
  const report = {};
  const step = async (name, work) => {
    await work();
    report[name] = exporter.getFinishedSpans().map(describe);
    exporter.reset();
  };

  const agent = new SocksAgent(proxy, { rejectUnauthorized: false });
  const get = (module, url) =>
    new Promise((resolve, reject) => {
      module.get(url, { agent }, (response) => resolve(text(response))).on('error', reject);
    });
  await step('http', () => get(http, plain));
  await step('https', () => get(https, secure));
  await step('http to an unknown name', () => get(http, 'http://unknown.test/').catch(() => {}));

  const dispatchers = {};
  const copies = ['undici6', 'undici7', ...(process.versions.node.startsWith('20.') ? [] : ['undici8'])];
  await step('making dispatchers', () => {
    const connect = { rejectUnauthorized: false };
    dispatchers["Node's Agent"] = new SocksDispatcher(proxy, { connect });
    for (const name of copies) {
      const { Agent } = require(name);
      dispatchers[name] = new SocksDispatcher(proxy, { Agent, connect });
    }
  });
  for (const [name, dispatcher] of Object.entries(dispatchers)) {
    await step(`fetch over ${name}`, async () => {
      for (const url of [plain, secure]) await (await fetch(url, { dispatcher })).text();
    });
    await step(`fetch to an unknown name over ${name}`, () =>
      fetch('http://unknown.test/', { dispatcher }).catch(() => {}),
    );
  }
  await step('the global dispatcher', async () => {
    const undo = setGlobalDispatcher(dispatchers["Node's Agent"]);
    await (await fetch(plain)).text();
    undo();
  });
  console.log(JSON.stringify(report));
  process.exit();
}

function describe({ name, kind, status, attributes }) {
  const url = attributes['url.full'] ?? attributes['http.url'];
  const code = attributes['http.response.status_code'] ?? attributes['http.status_code'] ?? '-';
  return `${SpanKind[kind]} ${name} ${url} ${code} ${SpanStatusCode[status.code]}`;
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
