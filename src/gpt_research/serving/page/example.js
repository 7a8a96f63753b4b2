// A text of the run's own validation split, for those who have none at hand.
import { get } from "./api.js";

// The text of so many tokens, or null if no document can be read.
export async function exampleText(page, length, signal) {
  const run = page.run().name;
  const { corpora, views } = await get("/api/data", { run }, signal);
  const corpus = corpora.find((one) => one.val.documents > 0)?.name;
  if (!corpus || !views.documents?.ok) return null;
  const { documents } = await get("/api/data/documents", { run, corpus, split: "val", limit: 1 }, signal);
  const { split, number, tokens } = documents[0];
  const limit = Math.max(1, Math.min(length, (page.run().shape?.context ?? length) - 2));
  const offset = Math.max(0, Math.floor((tokens - limit) / 2));
  const { pieces } = await get("/api/data/document", { run, corpus, split, number, offset, limit }, signal);
  const text = pieces.map((piece) => (piece.special ? "" : piece.text)).join("");
  // The first line may be cut; the text begins behind it if enough is left.
  const line = text.indexOf("\n") + 1;
  return line < text.length / 3 ? text.slice(line) : text;
}
