// What the page asks of its server, and what went wrong, in words.

// A refusal of the server, or its silence. `code` is the server's word for it, `details` all it said.
export class ApiError extends Error {
  constructor(message, code = "", details = {}) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.details = details;
  }
}

const UNREACHABLE =
  "The server does not answer. It may have been stopped: start it again where it ran, then try again.";

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { headers: { "Content-Type": "application/json" }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    dispatchEvent(new CustomEvent("server", { detail: false }));
    throw new ApiError(UNREACHABLE, "unreachable");
  }
  dispatchEvent(new CustomEvent("server", { detail: true }));
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  let said = {};
  try {
    said = (await answer.json()).error ?? {};
  } catch {
    /* Something between us and the server answered. */
  }
  const message = said.message ?? `The server answered with status ${answer.status}.`;
  const wait = answer.headers.get("Retry-After");
  return new ApiError(
    answer.status === 429 && wait ? `${message} Try again in ${wait} s.` : message,
    said.code ?? "",
    said,
  );
}

export async function get(path, values = {}, signal) {
  const kept = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(kept).toString();
  return (await ask(query ? `${path}?${query}` : path, { signal })).json();
}

export async function post(path, body, signal) {
  return (await ask(path, { method: "POST", body: JSON.stringify(body), signal })).json();
}

// The events of a streamed answer, as they come.
export async function* stream(path, body, signal) {
  const answer = await ask(path, { method: "POST", body: JSON.stringify({ ...body, stream: true }), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "",
    ended = false;
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (kept + value).split(/\r?\n/);
      kept = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") {
          ended = true;
          continue;
        }
        const event = JSON.parse(data);
        if (event.error) throw new ApiError(event.error.message, event.error.code, event.error);
        yield event;
      }
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    dispatchEvent(new CustomEvent("server", { detail: false }));
    throw new ApiError(
      "The answer broke off, because the server went away. What was written so far is kept.",
      "unreachable",
    );
  } finally {
    reader.cancel().catch(() => {});
  }
  if (!ended) throw new ApiError("The answer broke off before its end. What was written so far is kept.", "broken_off");
}
