// What was written from one prompt, as a tree: a branch begins at a token of another and goes its own way.

const MOST_KEPT = 40;

export class Branches {
  // `place` is the name under which the tree is kept until the tab is closed.
  constructor(place) {
    this.place = place;
    this.all = new Map();
    this.chosen = null;
    this.restore();
  }

  get empty() {
    return this.all.size === 0;
  }

  clear() {
    this.all.clear();
    this.chosen = null;
    this.save();
  }

  // A new branch: `parent` is the id of the branch it leaves before the token number `at`; null begins anew.
  add({ parent = null, at = 0, tokens = [], model, prompt }) {
    const id = Math.max(0, ...this.all.keys()) + 1;
    const branch = { id, parent, at, tokens, model, prompt, state: "writing", why: "" };
    this.all.set(id, branch);
    this.chosen = id;
    return branch;
  }

  get(id) {
    return this.all.get(id);
  }

  // All tokens of a branch, with those of the branches that it comes from.
  path(id) {
    const branch = this.all.get(id);
    if (!branch) return [];
    return branch.parent === null ? branch.tokens : [...this.path(branch.parent).slice(0, branch.at), ...branch.tokens];
  }

  below(parent) {
    return [...this.all.values()].filter((branch) => branch.parent === parent);
  }

  remove(id) {
    for (const branch of this.below(id)) this.remove(branch.id);
    const { parent } = this.all.get(id);
    this.all.delete(id);
    if (!this.all.has(this.chosen)) this.chosen = parent ?? [...this.all.keys()].at(-1) ?? null;
    this.save();
  }

  save() {
    const branches = this.kept().map((branch) => ({
      ...branch,
      state: branch.state === "writing" ? "stopped" : branch.state,
    }));
    try {
      sessionStorage.setItem(this.place, JSON.stringify({ chosen: this.chosen, branches }));
    } catch {
      /* Full: it is not kept. */
    }
  }

  // The newest branches and the chosen one, each with all that it comes from.
  kept() {
    const ids = new Set();
    for (let id of [...[...this.all.keys()].slice(-MOST_KEPT), this.chosen])
      for (; this.all.has(id) && !ids.has(id); id = this.all.get(id).parent) ids.add(id);
    return [...this.all.values()].filter((branch) => ids.has(branch.id));
  }

  restore() {
    let saved = null;
    try {
      saved = JSON.parse(sessionStorage.getItem(this.place));
    } catch {
      /* Not ours: begin anew. */
    }
    for (const branch of saved?.branches ?? []) this.all.set(branch.id, branch);
    this.chosen = this.all.has(saved?.chosen) ? saved.chosen : null;
  }
}

export const textOf = (tokens) => tokens.map((token) => token.text).join("");
