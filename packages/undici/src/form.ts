// Writes a form as the bytes of a multipart body. undici leaves a form in a request to its Agent, and the Agents of 7
// and 8 accept the FormData class of their own copy alone: they would send a form of another copy as the text "[object
// FormData]".

interface Blobby {
  readonly size: number;
  readonly type: string;
  readonly name?: string;
  stream(): AsyncIterable<Uint8Array>;
}

type Form = Iterable<[name: string, value: string | Blobby]>;

/** True for FormData of any copy of undici, or of the runtime. */
export function isForm(body: unknown): body is Form {
  return (
    typeof body === 'object' &&
    body !== null &&
    Reflect.get(body, Symbol.toStringTag) === 'FormData' &&
    Symbol.iterator in body
  );
}

/** The form written out: a stream of a known length, unless the headers say otherwise. */
export function writeForm(
  form: Form,
  given: unknown,
): { readonly headers: unknown[]; readonly body: AsyncIterable<Uint8Array> } {
  // Loaded here, because the module is slow to load and most programs send no form.
  const { randomUUID } = process.getBuiltinModule('node:crypto');
  const boundary = `----formdata-${randomUUID()}`;
  const parts = partsOf(form, boundary);
  const length = parts.reduce((sum, part) => sum + (part instanceof Uint8Array ? part.length : part.size), 0);
  const headers = flatten(given);
  const names = new Set(headers.map((name, i) => (i % 2 === 0 ? String(name).toLowerCase() : '')));
  if (!names.has('content-type')) headers.push('content-type', `multipart/form-data; boundary=${boundary}`);
  if (!names.has('content-length')) headers.push('content-length', String(length));
  return { headers, body: bytesOf(parts) };
}

/*
 * --boundary CRLF
 * Content-Disposition: form-data; name="..."[; filename="..." CRLF Content-Type: ...] CRLF
 * CRLF
 * value CRLF
 * --boundary-- CRLF                                       RFC 7578 section 4; HTML, "multipart/form-data"
 */
function partsOf(form: Form, boundary: string): (Uint8Array | Blobby)[] {
  const parts: (Uint8Array | Blobby)[] = [];
  const write = (text: string): void => {
    parts.push(Buffer.from(text));
  };
  for (const [name, value] of form) {
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(lines(name))}"`;
    if (typeof value === 'string') {
      write(`${head}\r\n\r\n${lines(value)}\r\n`);
    } else {
      const { name: filename = 'blob', type } = value;
      write(
        `${head}; filename="${quoted(filename)}"\r\nContent-Type: ${type || 'application/octet-stream'}\r\n\r\n`,
      );
      parts.push(value);
      write('\r\n');
    }
  }
  write(`--${boundary}--\r\n`);
  return parts;
}

async function* bytesOf(parts: readonly (Uint8Array | Blobby)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    if (part instanceof Uint8Array) yield part;
    else yield* part.stream();
  }
}

/** HTML: a line ends with CRLF. */
function lines(text: string): string {
  return text.replaceAll(/\r\n|\r|\n/g, '\r\n');
}

function quoted(text: string): string {
  return text.replaceAll('\n', '%0A').replaceAll('\r', '%0D').replaceAll('"', '%22');
}

/** Headers in any form that undici takes, as a list in which each name is followed by its value. */
function flatten(headers: unknown): unknown[] {
  if (Array.isArray(headers)) return [...(headers as unknown[])];
  if (typeof headers !== 'object' || headers === null) return [];
  return (
    Symbol.iterator in headers ? [...(headers as Iterable<unknown[]>)] : Object.entries(headers)
  ).flat();
}
