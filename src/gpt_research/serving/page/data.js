// The view Data: what the run learnt from, down to a single document and the steps that read it.
import { get } from "./api.js";
import { button, choice, element, field, paragraph, percent, shown, table } from "./dom.js";
import { progress } from "./curves.js";
import { DocumentPart } from "./document.js";
import { markdown } from "./markdown.js";
import { Slot } from "./problems.js";
import { address } from "./route.js";

const PARTS = {
  corpora: "Corpora",
  documents: "Documents",
  search: "Search",
  validation: "Hardest and easiest",
  card: "Data card",
};
const NEEDS = {
  documents: "documents",
  document: "documents",
  search: "search",
  validation: "validation",
  card: "card",
};
const PAGE = 25;
const AGAIN_MS = 1000;

export function show(page) {
  return new Data(page);
}

class Data {
  constructor(page) {
    this.page = page;
    this.slot = new Slot();
    this.on = new Slot(); // what went wrong while it searched on
    this.tabs = element("nav", { class: "choices tabs", "aria-label": "Parts of the data" });
    this.node = element("div", { class: "view data" }, this.tabs, this.slot.node);
  }

  get run() {
    return this.page.run().name;
  }

  shown() {
    this.load();
  }

  change() {
    this.load();
    return true;
  }

  to(values) {
    this.page.go("data", { ...this.page.place(), ...values });
  }

  load() {
    const { values } = this.page;
    const part = values.part in PARTS || values.part === "document" ? values.part : "corpora";
    clearTimeout(this.timer);
    this.on.leave();
    this.opened?.leave();
    this.tabs.replaceChildren(
      ...Object.entries(PARTS).map(([name, title]) =>
        button(title, () => this.to({ part: name }), {
          "aria-pressed": String(name === part || (part === "document" && name === "documents")),
        }),
      ),
    );
    this.slot.fill("Reading the data set…", async (signal) => {
      this.about = await get("/api/data", { run: this.run }, signal);
      const view = this.about.views[NEEDS[part]];
      const notice =
        this.about.state !== "ok" &&
        element("div", { class: "problem", role: "alert" }, paragraph(this.about.why), this.missing());
      if (view && !view.ok) return [notice || element("div", { class: "problem", role: "alert" }, paragraph(view.why))];
      return [notice, ...[await this[part](values, signal)].flat()];
    });
  }

  // Which views are missing, if the data set is gone or is another.
  missing() {
    const names = {
      card: "the data card",
      documents: "documents",
      search: "search",
      steps: "the steps that read a document",
      validation: "hardest and easiest documents",
      trace: "trace",
    };
    const gone = Object.entries(this.about.views)
      .filter(([, view]) => !view.ok)
      .map(([name]) => names[name] ?? name);
    return (
      gone.length > 0 &&
      paragraph(`Without it these views are missing: ${gone.join(", ")}. What needs the model alone works.`)
    );
  }

  corpora() {
    const { about } = this;
    const total = (key) => about.corpora.reduce((all, one) => all + one[key].tokens, 0);
    if (!about.corpora.length) return paragraph("Nothing is known about the corpora.", "quiet");
    return [
      paragraph(
        `${shown(total("train"))} tokens to train on and ${shown(total("val"))} to validate with, in ${about.folder}.`,
        "lead",
      ),
      table(
        "Corpora",
        [
          "corpus",
          "share of what was read",
          "passes so far",
          "train tokens",
          "documents",
          "validation tokens",
          "documents",
          "licence",
        ],
        about.corpora.map((one) => [
          element(
            "a",
            { href: address("data", { ...this.page.place(), part: "documents", corpus: one.name }) },
            one.name,
          ),
          one.weight === null ? "–" : percent(one.weight),
          one.passes === null ? "–" : shown(+one.passes.toFixed(2)),
          one.train.tokens,
          one.train.documents,
          one.val.tokens,
          one.val.documents,
          one.licence || "not told",
        ]),
      ),
      about.corpora.some((one) => Object.keys(one.drops ?? {}).length) &&
        table(
          "Documents that were dropped",
          ["corpus", "reason", "documents"],
          about.corpora.flatMap((one) =>
            Object.entries(one.drops).map(([reason, count]) => [one.name, reason.replaceAll("_", " "), count]),
          ),
        ),
      paragraph(`Fingerprint ${about.fingerprint}`, "quiet fingerprint"),
    ];
  }

  async documents(values, signal) {
    const corpus = values.corpus ?? this.about.corpora[0]?.name;
    const split = values.split ?? "train";
    const sort = values.sort ?? "order";
    const offset = Number(values.offset ?? 0);
    const found = await get(
      "/api/data/documents",
      { run: this.run, corpus, split, sort, offset, limit: PAGE, source: values.source },
      signal,
    );
    const other = (more) => this.to({ part: "documents", corpus, split, sort, source: values.source, ...more });
    const source = element("input", {
      type: "search",
      value: values.source ?? "",
      placeholder: "any file",
      onchange: (event) => other({ source: event.target.value }),
    });
    return [
      element(
        "div",
        { class: "row" },
        field(
          "Corpus",
          choice(
            this.about.corpora.map((one) => one.name),
            corpus,
            (name) => other({ corpus: name }),
          ),
        ),
        this.splitChoice(split, other),
        field(
          "Order",
          choice(
            [
              ["order", "as stored"],
              ["longest", "longest first"],
              ["shortest", "shortest first"],
            ],
            sort,
            (value) => other({ sort: value }),
          ),
        ),
        field("Part of the file's name", source),
      ),
      found.documents.length
        ? this.list(`Documents of ${corpus}, ${split === "val" ? "validation" : "training"}`, found.documents)
        : paragraph("No document is like that.", "quiet"),
      this.turn(found, offset, other),
    ];
  }

  splitChoice(split, other, all = false) {
    return field(
      "Split",
      choice([...(all ? [["", "both"]] : []), ["train", "training"], ["val", "validation"]], split, (value) =>
        other({ split: value }),
      ),
    );
  }

  turn({ total, documents }, offset, other) {
    if (total <= PAGE) return null;
    return element(
      "div",
      { class: "row middle" },
      button("Before", () => other({ offset: Math.max(0, offset - PAGE) }), { disabled: offset === 0, class: "small" }),
      button("After", () => other({ offset: offset + PAGE }), {
        disabled: offset + documents.length >= total,
        class: "small",
      }),
      element(
        "span",
        { class: "quiet" },
        `${shown(offset + 1)} to ${shown(offset + documents.length)} of ${shown(total)}`,
      ),
    );
  }

  link(one, text, more = {}) {
    return element(
      "a",
      {
        href: address("data", {
          ...this.page.place(),
          part: "document",
          corpus: one.corpus,
          split: one.split,
          number: one.number,
          ...more,
        }),
      },
      text,
    );
  }

  list(caption, documents, measured = false) {
    const rows = documents.map((one) => [
      this.link(one, `${one.source}${one.position ? ` (${one.position})` : ""}`),
      ...(measured ? [rounded(one.loss), rounded(one.bits_per_byte)] : []),
      one.tokens,
      element("span", { class: "begins" }, one.begins),
    ]);
    return table(caption, ["document", ...(measured ? ["loss", "bits per byte"] : []), "tokens", "begins"], rows);
  }

  async search(values, signal) {
    const query = element("input", {
      type: "search",
      value: values.q ?? "",
      class: "long",
      placeholder: "Words as they stand in the text",
      onkeydown: (event) => {
        if (event.key === "Enter") go();
      },
    });
    const go = (more = {}) =>
      this.to({ part: "search", q: query.value, split: values.split, case: values.case, ...more });
    const form = [
      element(
        "div",
        { class: "row" },
        field("Find", query),
        this.splitChoice(values.split ?? "", go, true),
        element(
          "label",
          { class: "check" },
          element("input", {
            type: "checkbox",
            checked: values.case === "1",
            onchange: (event) => go({ case: event.target.checked ? "1" : null }),
          }),
          " capitals matter",
        ),
        button("Search", () => go(), { class: "main" }),
      ),
    ];
    if (!values.q) return form;
    const list = element("ol", { class: "matches" });
    const state = element("p", { class: "quiet", role: "status" });
    const next = (given) => this.searchOn(values, list, state, more, given);
    // A second press begins again from the same place, instead of the first.
    const more = button("Search on", () => this.on.fill("", next), { class: "small" });
    list.cursor = "";
    this.on.node.replaceChildren();
    await next(signal);
    return [...form, state, list, more, this.on.node];
  }

  // One call looks for about a second; a few of them in a row find something or come to the end.
  async searchOn(values, list, state, more, signal) {
    const before = list.childElementCount;
    let found;
    do {
      found = await get(
        "/api/data/search",
        {
          run: this.run,
          q: values.q,
          split: values.split,
          "case-sensitive": values.case,
          limit: PAGE,
          cursor: list.cursor || null,
        },
        signal,
      );
      list.append(
        ...found.matches.map((one) =>
          element(
            "li",
            {},
            element("p", { class: "match" }, one.before, element("mark", {}, one.match), one.after),
            element(
              "p",
              { class: "quiet" },
              this.link(one, one.source, { offset: Math.max(0, one.token - 40), token: one.token }),
              ` · ${one.split === "val" ? "validation" : "training"} · token ${shown(one.token)}`,
            ),
          ),
        ),
      );
      list.cursor = found.cursor;
      state.textContent =
        `${shown(list.childElementCount)} ${list.childElementCount === 1 ? "place" : "places"} so ` +
        `far; ${percent(found.searched)} of the text searched${found.cursor ? "" : ", which is all"}.`;
    } while (found.cursor && list.childElementCount === before);
    if (!found.cursor && !list.childElementCount) state.textContent = "It stands nowhere in the text.";
    more.hidden = !found.cursor;
  }

  async validation(values, signal) {
    const order = values.order ?? "hardest";
    const offset = Number(values.offset ?? 0);
    const found = await get("/api/data/validation", { model: this.page.model(), order, offset, limit: PAGE }, signal);
    const bar = element(
      "div",
      { class: "choices", role: "group", "aria-label": "Order" },
      [
        ["hardest", "Hardest"],
        ["easiest", "Easiest"],
      ].map(([name, text]) =>
        button(text, () => this.to({ part: "validation", order: name }), { "aria-pressed": String(name === order) }),
      ),
    );
    if (found.state === "running") {
      this.timer = setTimeout(() => this.load(), AGAIN_MS);
      return progress("The model is reading the validation split", found.progress);
    }
    if (found.state === "failed") return paragraph(found.why, "problem");
    return [
      element("div", { class: "row middle" }, bar),
      this.list(
        `${order === "hardest" ? "Hardest" : "Easiest"} validation documents of ${this.page.checkpoint(found)}`,
        found.documents,
        true,
      ),
      this.turn(found, offset, (more) => this.to({ part: "validation", order, ...more })),
    ];
  }

  async card(values, signal) {
    const { markdown: text } = await get("/api/data/card", { run: this.run }, signal);
    // Its charts are in data_card.html alone.
    return element("article", { class: "card" }, markdown(text.replaceAll(/^.*: see data_card\.html\.$/gm, "")));
  }

  document(values, signal) {
    return (this.opened = new DocumentPart(this.page)).load(values, signal);
  }

  leave() {
    clearTimeout(this.timer);
    this.on.leave();
    this.slot.leave();
    this.opened?.leave();
  }
}

const rounded = (value) => (value === null ? "–" : +value.toFixed(3));
