// Talks to the gateway that this page came from.

/** An answer that is no success: its status, and the sentence that the gateway gave. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Return a document of the console's own routes; throws Refused. */
export async function get(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  const answer = await reached(() => fetch(query ? `${path}?${query}` : path, { signal }));
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body.error ?? `The gateway answered ${answer.status}.`);
  return body;
}

/** Ask a model and have its trace kept; the answer is told whatever its status is. */
export async function infer(path, body, requestId) {
  const headers = { "Content-Type": "application/json", traceparent: `00-${random(16)}-${random(8)}-01` };
  if (requestId) headers["X-Request-Id"] = requestId;
  const began = performance.now();
  const answer = await reached(() => fetch(path, { method: "POST", headers, body }));
  const text = await answer.text();
  return {
    status: answer.status,
    seconds: (performance.now() - began) / 1000,
    requestId: answer.headers.get("X-Request-Id") ?? "",
    traceId: answer.headers.get("X-Trace-Id") ?? "",
    body: parsed(text),
    text,
  };
}

async function reached(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The gateway does not answer. Is it running? Try: make status");
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function random(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
