// What stands beside a text: the tokens that are chosen in it, their chances, and what could have come instead.
import { button, element, heading, paragraph, percent, visible } from "./dom.js";
import { sharesList } from "./shares.js";
import { bitsOf } from "./tokens.js";

// `branch(alternative)` writes on from an alternative of the token; `actions` are [label, function].
export function inspector({ tokens, from, to, branch, actions, close }) {
  const made = element("section", { class: "inspector", "aria-label": "Chosen tokens" });
  if (from === null) {
    made.append(
      paragraph(
        "Click a token, or move to it with Tab and the arrow keys and press Enter: you see its chance, " +
          "what could have come instead, and where the words stand in the training data. Shift " +
          "chooses several.",
        "quiet",
      ),
    );
    return made;
  }
  const span = tokens.slice(from, to);
  const text = span.map((token) => token.text).join("");
  made.append(
    button("×", close, { class: "small close", "aria-label": "Close" }),
    heading(2, element("q", { class: "piece" }, visible(text))),
  );
  const known = span.filter((token) => Number.isFinite(token.logprob));
  const sum = known.reduce((all, token) => all + token.logprob, 0);
  const place =
    to - from === 1 ? `Token ${from + 1} of ${tokens.length}` : `Tokens ${from + 1} to ${to} of ${tokens.length}`;
  const chance = known.length
    ? `: ${percent(Math.exp(sum))}${known.length > 1 ? " all together" : ""}, ${bitsOf(sum).toFixed(1)} ` +
      `bits of surprise.`
    : ". The text begins here, so it has no chance.";
  made.append(paragraph(place + chance));
  made.append(
    element(
      "div",
      { class: "row" },
      actions.map(([label, act]) => button(label, act, { class: "small" })),
    ),
  );
  if (to - from === 1 && span[0].top?.length) made.append(alternatives(span[0], branch));
  return made;
}

function alternatives(token, branch) {
  const most = Math.exp(token.top[0].logprob);
  const rows = token.top.map((other) => {
    const known = other.id !== undefined && token.id !== undefined;
    const taken = known ? other.id === token.id : other.text === token.text;
    const label = visible(other.text);
    const share = Math.exp(other.logprob);
    const choose = !taken && branch && (() => branch(other));
    return { label, share, length: share / most, taken, choose, words: `Branch with ${label}, ${percent(share)}` };
  });
  return element(
    "div",
    {},
    heading(3, "What could have come"),
    branch && paragraph("Click one to go on from it, as a branch.", "quiet"),
    sharesList(rows),
  );
}
