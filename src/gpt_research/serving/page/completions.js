// Text from the server's OpenAI API, token by token.
import { stream } from "./api.js";

const ALTERNATIVES = 10;

// The settings of a request that the page offers, with what they are at first and what a person must know.
export const SETTINGS = [
  { key: "max_tokens", label: "Tokens", value: 80, min: 1, max: 4096, step: 1 },
  { key: "temperature", label: "Temperature", value: 0.8, min: 0, max: 2, step: 0.05, hint: "0 takes the likeliest" },
  { key: "top_p", label: "Top p", value: 1, min: 0.01, max: 1, step: 0.01, hint: "1 leaves all tokens in" },
  { key: "seed", label: "Seed", value: 1, min: 0, max: 2 ** 31, step: 1, hint: "same seed, same text" },
];

export function requestOf(model, prompt, values) {
  const request = { model, prompt };
  for (const { key, value } of SETTINGS) request[key] = Number(values[key] ?? value);
  if (values.stop) request.stop = values.stop.replaceAll("\\n", "\n");
  return request;
}

// Yields { tokens: [{ text, id, logprob, top: [{ text, id, logprob }] }] }, and at the end { finish }. The tokens of an
// echoed prompt have the kind "given".
export async function* complete(request, { echo, signal }) {
  const wholeText = characters();
  let prompt = echo;
  for await (const event of stream(
    "/v1/completions",
    { ...request, logprobs: ALTERNATIVES, return_token_ids: true, echo },
    signal,
  )) {
    const choice = event.choices?.[0];
    if (!choice) continue;
    const ids = prompt ? choice.prompt_token_ids : choice.token_ids;
    if (choice.logprobs?.tokens.length)
      yield { tokens: tokensOf(choice.logprobs, ids ?? [], wholeText, prompt ? "given" : undefined) };
    prompt = false;
    if (choice.finish_reason) yield { finish: choice.finish_reason };
  }
}

function tokensOf(logprobs, ids, wholeText, kind) {
  return logprobs.tokens.map((text, at) => {
    const others = Object.entries(logprobs.top_logprobs?.[at] ?? {});
    const otherIds = logprobs.top_token_ids?.[at] ?? [];
    const top = others.map(([other, logprob], number) => ({
      text: shownText(other),
      id: otherIds.length === others.length ? otherIds[number] : undefined,
      logprob,
    }));
    top.sort((a, b) => b.logprob - a.logprob);
    return { text: wholeText(text), id: ids[at], logprob: logprobs.token_logprobs[at], top, kind };
  });
}

// OpenAI's API writes a token that is a part of a character as "bytes:\xe2\x80". The last part gets the character.
function characters() {
  const decoder = new TextDecoder();
  return (text) => (text.startsWith("bytes:") ? decoder.decode(bytesOf(text), { stream: true }) : text);
}

const bytesOf = (text) => Uint8Array.from(text.slice(6).split("\\x").slice(1), (digits) => parseInt(digits, 16));
const shownText = (text) => (text.startsWith("bytes:") ? text.slice(6) : text);
