// Text from the server's OpenAI API, token by token.
import { stream } from "./api.js";

export const ALTERNATIVES = 10;

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

// Yields lists of tokens { text, id, logprob, top: [{ text, id, logprob }] }, and at the end { finish }.
export async function* complete(request, { echo, signal }) {
  let asked = echo;
  for await (const event of stream("/v1/completions", { ...request, logprobs: ALTERNATIVES, echo }, signal)) {
    const choice = event.choices?.[0];
    if (!choice) continue;
    const found = choice.logprobs ? tokensOf(choice.logprobs) : [];
    if (asked && found.length) {
      for (const token of found) token.kind = token.logprob === null || found.length > 1 ? "given" : undefined;
      asked = false;
    }
    if (found.length) yield { tokens: found };
    if (choice.finish_reason) yield { finish: choice.finish_reason };
  }
}

function tokensOf(logprobs) {
  return logprobs.tokens.map((text, at) => {
    const ids = logprobs.top_token_ids?.[at] ?? {};
    const top = Object.entries(logprobs.top_logprobs?.[at] ?? {})
      .map(([other, logprob]) => ({ text: other, id: ids[other], logprob })).sort((a, b) => b.logprob - a.logprob);
    return { text, id: logprobs.token_ids?.[at], logprob: logprobs.token_logprobs[at], top };
  });
}
